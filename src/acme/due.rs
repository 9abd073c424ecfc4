//! When a certificate is renewed, and when an order that failed is tried again. In milliseconds since 1970.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Between the first failure and the next try, and the most. Authorities count failures within an hour.
const FIRST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(6 * 3600);

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: i64,
    pub to: i64,
}

/// Tries that have failed since the last that did not.
#[derive(Debug, Default)]
pub struct Failures {
    count: u32,
    /// No earlier than then.
    pub until: i64,
}

/// When two thirds of its time are over, and up to a twentieth earlier: each name at another moment, which stays the same.
pub fn renewal(name: &str, validity: Validity) -> i64 {
    let whole = validity.to.saturating_sub(validity.from).max(0);
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let share = i64::try_from(hasher.finish() % 1000).unwrap_or(0);
    let earlier = (whole / 20_000).saturating_mul(share);
    validity.to.saturating_sub(whole / 3).saturating_sub(earlier)
}

impl Failures {
    /// One more; how long it is waited. Up to a quarter longer, by chance.
    pub fn count(&mut self, now: i64) -> Duration {
        let wait = FIRST.saturating_mul(4_u32.saturating_pow(self.count)).min(MOST);
        self.count = self.count.saturating_add(1);
        let wait = wait.mul_f64(1.0 + fastrand::f64() / 4.0);
        self.until = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn renewed_when_a_third_is_left_and_not_all_at_once() {
        let validity = Validity { from: 1_000 * DAY, to: 1_090 * DAY };
        let dues: Vec<_> = (0..50).map(|at| renewal(&format!("{at}.example"), validity)).collect();
        for due in &dues {
            assert!((1_055 * DAY..=1_060 * DAY).contains(due), "{}", due / DAY);
        }
        assert!(dues.iter().max() > dues.iter().min());
        assert_eq!(renewal("a", validity), renewal("a", validity));
        // One that makes no sense is renewed at once.
        assert!(renewal("a", Validity { from: DAY, to: 0 }) <= DAY);
    }

    #[test]
    fn tries_become_rare() {
        let mut failures = Failures::default();
        let mut before = Duration::ZERO;
        let mut in_an_hour = 0;
        let mut now = 0;
        for _ in 0..12 {
            let wait = failures.count(now);
            assert!(wait >= before.min(MOST) && wait <= MOST.mul_f64(1.25), "{wait:?}");
            assert_eq!(failures.until, now + wait.as_millis() as i64);
            (before, now) = (wait, failures.until);
            in_an_hour += u32::from(now < 3_600_000);
        }
        assert!((2..=4).contains(&in_an_hour), "{in_an_hour}");
    }
}
