//! When a body that broke is gone on with, and after what pause.

use std::{sync::Arc, time::Duration};

use super::super::Error;
use crate::origin::Resume;

/// With less than this, a body that broke has brought nothing: to go on is to repeat.
const PROGRESS: u64 = 64 << 10;
/// The first pause is random up to this, each next one up to twice as long.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The bodies that one transfer has read so far.
#[derive(Default)]
pub(super) struct Resuming {
    /// Where the latest one comes from, and the position at which it began.
    latest: Option<(Arc<str>, u64)>,
    broken: bool,
    resumes: u32,
    /// Since bytes last came.
    in_vain: u32,
}

impl Resuming {
    pub(super) fn begin(&mut self, origin: &Arc<str>, position: u64) {
        self.latest = Some((origin.clone(), position));
        self.broken = false;
    }

    /// How to ask for what follows, if something has come.
    pub(super) fn after(&self, position: u64) -> Option<Resume> {
        let (at, began) = self.latest.clone()?;
        Some(Resume { at, progressed: !self.broken || position >= began + PROGRESS })
    }

    /// Whether it is worth going on at `position` after this error; counts it as done.
    pub(super) fn again(&mut self, error: &Error, position: u64, limit: u32) -> bool {
        let Some((_, began)) = &self.latest else { return false };
        let progressed = position >= began + PROGRESS && !self.broken;
        self.in_vain = if progressed { 0 } else { self.in_vain + 1 };
        self.broken = true;
        self.resumes += 1;
        self.resumes <= limit && may_pass(error)
    }

    /// None before the first attempt: most connections that break are replaced at once.
    pub(super) fn pause(&self) -> Option<Duration> {
        let doublings = self.in_vain.checked_sub(2)?.min(16);
        Some(PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE).mul_f64(fastrand::f64()))
    }
}

/// Whether the same may succeed later.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Origin(error) => error.kind.is_retryable(),
        Error::Refused { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 429),
        Error::Truncated => true,
        Error::TooLong | Error::Changed | Error::NotResumable | Error::Full | Error::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 4;

    #[test]
    fn who_gets_on_does_not_wait_and_who_does_not_waits_longer_each_time() {
        let mut resuming = Resuming::default();
        assert!(resuming.after(0).is_none() && !resuming.again(&Error::Truncated, 0, LIMIT));
        let origin = Arc::from("o");
        for position in [0, PROGRESS] {
            resuming.begin(&origin, position);
            assert!(resuming.again(&Error::Truncated, position + PROGRESS, LIMIT));
            assert_eq!(resuming.pause(), None);
            assert!(resuming.after(position + PROGRESS).unwrap().progressed);
        }
        for (position, waits) in [(2 * PROGRESS, false), (2 * PROGRESS + 1, true)] {
            resuming.begin(&origin, position);
            assert!(resuming.again(&Error::Truncated, position + 1, LIMIT));
            assert_eq!(resuming.pause().is_some(), waits);
            assert!(!resuming.after(position + 1).unwrap().progressed);
        }
        assert!(!resuming.again(&Error::Truncated, 9 * PROGRESS, LIMIT), "not for ever");
    }

    #[test]
    fn another_version_is_not_waited_for() {
        let mut resuming = Resuming::default();
        resuming.begin(&Arc::from("o"), 0);
        assert!(!resuming.again(&Error::Changed, PROGRESS, LIMIT));
    }
}
