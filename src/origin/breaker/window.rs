//! What became of requests in the last ten seconds. A target that fails again and again counts once.

use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;

const BUCKETS: usize = 10;
const BUCKET: Duration = Duration::from_secs(1);
/// Targets remembered as failing; with more of them each failure counts.
const MAX_TARGETS: usize = 64;

#[derive(Default)]
pub struct Window {
    buckets: [Bucket; BUCKETS],
    /// Where the newest bucket is, and when it began.
    newest: usize,
    began: Option<Instant>,
    /// Targets that failed, and when.
    failing: Vec<(u64, Instant)>,
}

#[derive(Default, Clone, Copy)]
struct Bucket {
    good: u32,
    bad: u32,
}

impl Window {
    /// Whether it counts: the same target's next failure does not.
    pub fn count(&mut self, now: Instant, outcome: Outcome) -> bool {
        self.turn(now);
        if let Outcome::Bad(target) | Outcome::Silent(target) = outcome {
            if let Some((_, when)) = self.failing.iter_mut().find(|(known, _)| *known == target) {
                *when = now;
                return false;
            }
            if self.failing.len() < MAX_TARGETS {
                self.failing.push((target, now));
            }
        }
        let bucket = &mut self.buckets[self.newest];
        match outcome {
            Outcome::Good => bucket.good += 1,
            Outcome::Bad(_) | Outcome::Silent(_) | Outcome::Unreachable => bucket.bad += 1,
        }
        true
    }

    /// One good answer less: of the newest that there are.
    pub fn retract(&mut self, now: Instant) {
        self.turn(now);
        let newest_first = (0..BUCKETS).map(|back| (self.newest + BUCKETS - back) % BUCKETS);
        for index in newest_first {
            if self.buckets[index].good > 0 {
                self.buckets[index].good -= 1;
                return;
            }
        }
    }

    pub fn totals(&mut self, now: Instant) -> (u32, u32) {
        self.turn(now);
        self.buckets.iter().fold((0, 0), |(good, bad), bucket| (good + bucket.good, bad + bucket.bad))
    }

    pub fn failing_targets(&self) -> usize {
        self.failing.len()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = ((now - began).as_secs_f64() / BUCKET.as_secs_f64()) as usize;
        if passed == 0 {
            return;
        }
        for _ in 0..passed.min(BUCKETS) {
            self.newest = (self.newest + 1) % BUCKETS;
            self.buckets[self.newest] = Bucket::default();
        }
        self.began = Some(began + BUCKET * u32::try_from(passed).unwrap_or(u32::MAX));
        let span = BUCKET * BUCKETS as u32;
        self.failing.retain(|(_, when)| now - *when < span);
    }
}
