//! Image and video operations, and content codings: bytes in, bytes out, under limits. No HTTP, no cache.

pub mod checkpoint;
pub mod coding;
pub mod ffmpeg;
pub mod image;
pub mod pool;
mod source;
pub mod video;

pub use source::{ReadError, Source};
