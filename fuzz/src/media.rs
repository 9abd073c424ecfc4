//! The server's image part, by its source.

#[path = "../../src/media/checkpoint.rs"]
pub mod checkpoint;
#[path = "../../src/media/image/mod.rs"]
#[allow(unused_imports)]
pub mod image;
