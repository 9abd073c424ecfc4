//! The server's image part, by its source: nothing else of the server is needed, or built.

#[path = "../../../src/media/image/mod.rs"]
pub mod image;
