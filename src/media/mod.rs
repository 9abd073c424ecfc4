//! Image and video operations: bytes in, bytes out, under limits. No HTTP, no cache.

pub mod ffmpeg;
pub mod image;
pub mod pool;
mod source;
pub mod video;

pub use source::{ReadError, Source};
