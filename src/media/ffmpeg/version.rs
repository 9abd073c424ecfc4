//! Which ffmpeg there is.

use std::time::Duration;

/// `ffmpeg -version` answers in a tenth of a second, or never.
pub(super) const TIME: Duration = Duration::from_secs(10);
/// What `-version` prints is about 1.5 KiB.
pub(super) const OUTPUT_BYTES: usize = 64 * 1024;
/// The arguments used here mean the same from this version on.
pub(super) const OLDEST_MAJOR: u32 = 4;

/// First line of `ffmpeg -version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub text: String,
    /// `None` for builds from the development branch.
    pub major: Option<u32>,
}

impl Version {
    pub(super) fn is_too_old(&self) -> bool {
        self.major.is_some_and(|major| major < OLDEST_MAJOR)
    }
}

pub(super) fn parse(line: &str) -> Option<Version> {
    let number = line.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
    let digits = number.trim_start_matches('n');
    let major = digits.split(['.', '-']).next().and_then(|major| major.parse().ok());
    Some(Version { text: format!("ffmpeg {number}"), major })
}
