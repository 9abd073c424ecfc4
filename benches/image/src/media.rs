//! The server's image part, by its source: nothing else of the server is needed, or built.

#[path = "../../../src/media/checkpoint.rs"]
pub mod checkpoint;
#[path = "../../../src/media/image/mod.rs"]
#[allow(unused_imports)]
pub mod image;
