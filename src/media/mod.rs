//! Image and video operations, and content codings: bytes in, bytes out, under limits. No HTTP, no cache.

pub mod checkpoint;
pub mod coding;
mod driven;
pub mod encodes;
pub mod ffmpeg;
pub mod image;
pub mod pool;
mod source;
pub mod subtitles;
pub mod video;
pub mod waveform;

pub use source::{ReadError, Source};
