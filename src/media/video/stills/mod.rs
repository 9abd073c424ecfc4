//! Pictures that tell what a video is about, made from little of it: sprites for scrubbing, and a short animation.

mod preview;
mod sprite;
mod storyboard;

pub use preview::{RawFrames, preview};
pub use sprite::sprite;
pub use storyboard::Storyboard;
