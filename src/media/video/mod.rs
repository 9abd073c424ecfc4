//! MP4 files as adaptive streams: an index of the source, cut into CMAF segments without re-encoding, the playlists
//! over them, progressive delivery, and stills. Says which bytes make up an answer; fetching, caching and sending
//! them is for the callers.

mod asset;
mod bitrate;
mod boxes;
mod clip;
mod codec;
mod edits;
mod excerpt;
pub mod faststart;
mod fmp4;
mod fragments;
mod init;
mod keyframes;
mod ladder;
mod language;
mod manifest;
mod movie;
mod package;
mod playlist;
mod poster;
mod samples;
mod scan;
mod segments;
mod sound;
mod splice;
mod stills;
mod stretch;
mod tables;
mod track;
mod transcode;

#[cfg(test)]
mod tests;

pub use asset::{Asset, Rendition, WaveformForm};
pub use clip::{Span, clip};
pub use ladder::{Ladder, Rung, Step};
pub use language::Language;
pub use movie::{Movie, SkippedTrack};
pub use package::Package;
pub use poster::{PosterError, RawImage, poster};
pub use samples::{Sample, SampleTable};
pub use segments::{Segment, Segmentation};
pub use sound::loudness;
pub use splice::{Piece, Splice};
pub use stills::{RawFrames, Storyboard, preview, sprite};
pub use stretch::Stretch;
pub use track::{AudioFormat, Format, Track, VideoFormat};
pub use transcode::{Choice, Encoder, TranscodeError, Transcoder};

use crate::media::ReadError;

/// Why a video answer could not be made. Except for `Read`, the same source gives the same error again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The source is not an MP4, is cut off, or contradicts itself.
    #[error("malformed MP4: {detail}")]
    Malformed { detail: String },
    /// A sound file that uses something this server does not package.
    #[error("unsupported MP4: {detail}")]
    Unsupported { detail: String },
    /// A sound request for a rendition or segment that this source does not have.
    #[error("no such rendition or segment")]
    NotFound,
}

impl Error {
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed { detail: detail.into() }
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        Self::Unsupported { detail: detail.into() }
    }
}
