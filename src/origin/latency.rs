//! How long the heads of recent answers took.

use std::time::Duration;

use parking_lot::Mutex;

/// Answers remembered.
const KEPT: usize = 128;
/// With fewer of them nothing is concluded.
const LEAST: usize = 20;

#[derive(Default)]
pub struct Latency {
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    /// In the order of arrival, the oldest replaced.
    kept: Vec<Duration>,
    next: usize,
}

impl Latency {
    pub fn add(&self, took: Duration) {
        let mut recent = self.recent.lock();
        let Recent { kept, next } = &mut *recent;
        match kept.get_mut(*next) {
            Some(oldest) => *oldest = took,
            None => kept.push(took),
        }
        *next = (*next + 1) % KEPT;
    }

    /// The time within which this share of the recent answers came.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.recent.lock().kept.clone();
        if sorted.len() < LEAST {
            return None;
        }
        let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1;
        Some(*sorted.select_nth_unstable(rank).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_recent_answers() {
        let latency = Latency::default();
        (1..LEAST as u64).for_each(|ms| latency.add(Duration::from_millis(ms)));
        assert_eq!(latency.quantile(0.95), None);
        (LEAST as u64..=100).for_each(|ms| latency.add(Duration::from_millis(ms)));
        assert_eq!(latency.quantile(0.95), Some(Duration::from_millis(95)));
        assert_eq!(latency.quantile(0.5), Some(Duration::from_millis(50)));
        (0..KEPT).for_each(|_| latency.add(Duration::from_millis(7)));
        assert_eq!(latency.quantile(1.0), Some(Duration::from_millis(7)));
    }
}
