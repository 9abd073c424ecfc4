//! Why an image could not be made: whose fault it is, in words fit for the person who asked.

use super::geometry::Size;
use crate::media::checkpoint::Stop;

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request asks for something it may not have; another request can succeed.
    Client,
    /// The source image is damaged, too large or of a kind nobody here can read; no request can succeed.
    Source,
    /// Ours.
    Internal,
}

/// What exceeded its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    SourceBytes,
    SourcePixels,
    DecodeBytes,
    OutputPixels,
    OutputSide,
    Frames,
    AnimationPixels,
}

impl Measure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceBytes => "source bytes",
            Self::SourcePixels => "source pixels",
            Self::DecodeBytes => "bytes of memory to decode the source",
            Self::OutputPixels => "output pixels",
            Self::OutputSide => "output side length in pixels",
            Self::Frames => "frames",
            Self::AnimationPixels => "pixels of all frames",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Refused from headers alone, before anything was decoded.
    #[error("image too large: {actual} {what}, the limit is {limit}", what = measure.as_str())]
    TooLarge { measure: Measure, actual: u64, limit: u64 },
    /// The part that is asked for has nothing of the picture.
    #[error(
        "image parameter `rect` begins at {left},{top}, the picture is {width} by {height} pixels large",
        width = size.width, height = size.height
    )]
    Outside { left: u32, top: u32, size: Size },
    /// The content is not what its own header says, or ends early.
    #[error("corrupt {format} image: {detail}")]
    Corrupt { format: &'static str, detail: String },
    /// The content is of a kind, or uses a feature, that is not decoded here.
    #[error("unsupported image: {what}")]
    Unsupported { what: &'static str },
    /// A codec failed on input that should have been acceptable.
    #[error("image processing failed at {step}: {detail}")]
    Internal { step: &'static str, detail: String },
    /// It was told to.
    #[error("image processing was stopped: {0}")]
    Stopped(#[from] Stop),
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { measure: Measure::OutputPixels | Measure::OutputSide, .. }
            | Self::Outside { .. } => Fault::Client,
            Self::TooLarge { .. } | Self::Corrupt { .. } | Self::Unsupported { .. } => Fault::Source,
            Self::Internal { .. } | Self::Stopped(_) => Fault::Internal,
        }
    }

    /// The word for logs, metric labels and `Cache-Status` details.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "image_too_large",
            Self::Outside { .. } => "image_outside",
            Self::Corrupt { .. } => "image_corrupt",
            Self::Unsupported { .. } => "image_unsupported",
            Self::Internal { .. } => "image_internal",
            Self::Stopped(Stop::Abandoned) => "abandoned",
            Self::Stopped(Stop::OutOfTime) => "image_timeout",
        }
    }

    pub(super) fn corrupt(format: &'static str, detail: impl ToString) -> Self {
        Self::Corrupt { format, detail: detail.to_string() }
    }

    pub(super) fn internal(step: &'static str, detail: impl ToString) -> Self {
        Self::Internal { step, detail: detail.to_string() }
    }
}
