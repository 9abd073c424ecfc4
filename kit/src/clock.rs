//! The time, as a value that tests can set. Production code asks a [`Clock`]; it never calls `SystemTime::now`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the Unix epoch. Signed, because an origin's dates may lie before it.
pub type UnixMillis = i64;

#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until a test moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(start: UnixMillis) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start)))
    }

    pub fn unix_millis(&self) -> UnixMillis {
        match self {
            Self::System => to_unix_millis(SystemTime::now()),
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves a manual clock; the system clock is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

/// Times outside of ±292 million years are clamped.
pub fn to_unix_millis(time: SystemTime) -> UnixMillis {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000);
        let copy = clock.clone();
        assert_eq!(copy.unix_millis(), 1_000);
        clock.advance(Duration::from_secs(2));
        assert_eq!(copy.unix_millis(), 3_000);
    }

    #[test]
    fn times_before_the_epoch_are_negative() {
        assert_eq!(to_unix_millis(UNIX_EPOCH - Duration::from_millis(1_500)), -1_500);
    }
}
