//! Image and video operations: bytes in, bytes out, under limits. No HTTP, no cache.

pub mod image;
pub mod pool;
mod source;

pub use source::{ReadError, Source};
