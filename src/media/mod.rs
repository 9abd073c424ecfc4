//! Image and video operations: bytes in, bytes out, under limits. No HTTP, no cache.

mod source;
pub mod video;

pub use source::{ReadError, Source};
