//! Budgets of one image job. Each is checked from headers and geometry, before anything is decoded.

use super::error::{Error, Measure};
use super::geometry::Size;
use super::params::Format;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_source_bytes: u64,
    /// Pixels that the source's header declares.
    pub max_pixels: u64,
    pub max_output_pixels: u64,
    /// Memory for decoding, estimated by format, coding mode and scale.
    pub max_decode_bytes: u64,
    /// Of an animation that stays one.
    pub max_frames: u32,
    /// Pixels of all its frames together, of the source and of the output.
    pub max_animation_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_source_bytes: 64 << 20,
            max_pixels: 100_000_000,
            max_output_pixels: 40_000_000,
            max_decode_bytes: 512 << 20,
            max_frames: 1000,
            max_animation_pixels: 250_000_000,
        }
    }
}

impl Limits {
    pub(super) fn admit_source(&self, bytes: usize) -> Result<(), Error> {
        within(Measure::SourceBytes, bytes as u64, self.max_source_bytes)
    }

    pub(super) fn admit_pixels(&self, size: Size) -> Result<(), Error> {
        within(Measure::SourcePixels, size.pixels(), self.max_pixels)
    }

    pub(super) fn admit_animation(&self, frames: u32, size: Size) -> Result<(), Error> {
        within(Measure::Frames, frames.into(), self.max_frames.into())?;
        within(Measure::AnimationPixels, size.pixels() * u64::from(frames), self.max_animation_pixels)
    }

    /// Of frames that may be larger than what shows of them.
    pub(super) fn admit_frames(&self, pixels: u64) -> Result<(), Error> {
        within(Measure::AnimationPixels, pixels, self.max_animation_pixels)
    }

    pub(super) fn admit_decode(&self, bytes: u64) -> Result<(), Error> {
        within(Measure::DecodeBytes, bytes, self.max_decode_bytes)
    }

    pub(super) fn admit_output(&self, size: Size, format: Format) -> Result<(), Error> {
        within(Measure::OutputPixels, size.pixels(), self.max_output_pixels.min(format.max_pixels()))?;
        within(Measure::OutputSide, u64::from(size.width.max(size.height)), u64::from(format.max_side()))
    }
}

fn within(measure: Measure, actual: u64, limit: u64) -> Result<(), Error> {
    if actual > limit { Err(Error::TooLarge { measure, actual, limit }) } else { Ok(()) }
}
