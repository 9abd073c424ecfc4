//! Encoders of H.264: in software everywhere, in hardware where it is there and works.

use std::fmt;
use std::time::Duration;

use super::arguments;
use crate::media::ffmpeg::{Ffmpeg, Limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoder {
    X264,
    Nvenc,
    Qsv,
    Vaapi,
    VideoToolbox,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first piece of hardware that encodes a trial; else software.
    Auto,
    /// This one if it encodes a trial; else software.
    Named(Encoder),
}

/// A trial takes a quarter of a second, or the driver hangs.
const TRIAL_TIME: Duration = Duration::from_secs(10);
const TRIAL_BYTES: usize = 1 << 20;

impl Encoder {
    /// In the order in which they are tried; software last.
    pub const ALL: [Self; 5] = [Self::Nvenc, Self::Qsv, Self::Vaapi, Self::VideoToolbox, Self::X264];

    /// ffmpeg's name, which is also that in settings, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::X264 => "libx264",
            Self::Nvenc => "h264_nvenc",
            Self::Qsv => "h264_qsv",
            Self::Vaapi => "h264_vaapi",
            Self::VideoToolbox => "h264_videotoolbox",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoder| encoder.name() == name)
    }

    /// What a run with it may take.
    pub(super) fn limits(self, time: Duration) -> Limits {
        let limits = Limits::within(time);
        match self {
            Self::X264 => limits,
            _ => Limits { memory_bytes: None, ..limits },
        }
    }

    async fn works(self, ffmpeg: &Ffmpeg) -> bool {
        let ffmpeg = ffmpeg.with(self.limits(TRIAL_TIME));
        let made = ffmpeg.run(arguments::trial(self), futures_util::stream::empty(), TRIAL_BYTES).await;
        match made {
            Ok(bytes) => !bytes.is_empty(),
            Err(error) => {
                tracing::debug!(encoder = self.name(), "no use: {error}");
                false
            }
        }
    }
}

impl Choice {
    /// The best that works. None: not even software does.
    pub(super) async fn settle(self, ffmpeg: &Ffmpeg) -> Option<Encoder> {
        let wanted: &[Encoder] = match &self {
            Self::Auto => &Encoder::ALL,
            Self::Named(encoder) => &[*encoder, Encoder::X264],
        };
        for encoder in wanted {
            if encoder.works(ffmpeg).await {
                return Some(*encoder);
            }
            if let Self::Named(named) = self
                && named == *encoder
            {
                tracing::warn!(encoder = encoder.name(), "the encoder asked for does not work here");
            }
        }
        None
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
