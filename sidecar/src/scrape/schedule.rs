//! When a target is due: every interval, shifted by an offset of its own, so that targets spread over the interval and
//! keep their place across restarts.

use std::time::Duration;

use millrace_kit::clock::UnixMillis;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// The offset follows from `key`.
    pub fn new(interval: Duration, key: &str) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let offset_ms = (xxh3_64(key.as_bytes()) % interval_ms as u64) as i64;
        Self { interval_ms, offset_ms }
    }

    /// The first due time after `now`.
    pub fn next(self, now: UnixMillis) -> UnixMillis {
        let periods = now.saturating_sub(self.offset_ms).div_euclid(self.interval_ms);
        periods.saturating_add(1).saturating_mul(self.interval_ms).saturating_add(self.offset_ms)
    }

    /// Due times after `last` that lie before `now`: iterations that were missed.
    pub fn missed(self, last: UnixMillis, now: UnixMillis) -> u64 {
        let due = self.next(last);
        if due >= now { 0 } else { ((now - due) / self.interval_ms) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_regular_and_differ_between_targets() {
        let interval = Duration::from_secs(15);
        let one = Schedule::new(interval, "http://a/metrics");
        let first = one.next(1_700_000_000_000);
        assert!(first > 1_700_000_000_000 && first <= 1_700_000_015_000);
        assert_eq!(one.next(first), first + 15_000);
        assert_eq!(one.next(first - 1), first);
        let offsets: std::collections::HashSet<_> =
            (0..20).map(|n| Schedule::new(interval, &format!("http://{n}/")).offset_ms).collect();
        assert!(offsets.len() > 15);
    }

    #[test]
    fn overruns_are_counted() {
        let schedule = Schedule { interval_ms: 10, offset_ms: 0 };
        assert_eq!(schedule.missed(0, 10), 0);
        assert_eq!(schedule.missed(0, 19), 0);
        assert_eq!(schedule.missed(0, 35), 2);
    }
}
