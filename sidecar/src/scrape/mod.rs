//! Gets metrics from targets and hands them on as samples. Knows nothing of how they are stored.

pub mod parse;
mod sink;

pub use sink::{Appended, SeriesId, Sink};
