//! How much of the load on an origin may be repetition: a token bucket that requests fill and repetitions empty.

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub struct Config {
    /// Repetitions allowed for each first request, as a share.
    pub ratio: f64,
    /// Repetitions allowed each second in any case, so that an origin with few requests has some, too.
    pub floor_per_sec: f64,
}

/// Seconds of the floor that may be saved up.
const SAVED_SECS: f64 = 10.0;
/// Tokens saved up from requests, at most: a quiet hour of successes does not pay for a storm.
const SAVED_FROM_REQUESTS: f64 = 100.0;

/// One origin's repetitions: retries, hedges, and resumes that brought nothing.
pub struct Budget {
    config: Config,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    /// From the floor.
    spare: f64,
    /// From requests.
    earned: f64,
    refilled: Instant,
}

impl Default for Config {
    fn default() -> Self {
        Self { ratio: 0.1, floor_per_sec: 2.0 }
    }
}

impl Budget {
    pub fn new(config: Config) -> Self {
        let bucket =
            Bucket { spare: config.floor_per_sec * SAVED_SECS, earned: 0.0, refilled: Instant::now() };
        Self { config, bucket: Mutex::new(bucket) }
    }

    /// A first request is sent.
    pub fn deposit(&self) {
        let mut bucket = self.bucket.lock();
        bucket.earned = (bucket.earned + self.config.ratio).min(SAVED_FROM_REQUESTS);
    }

    /// Whether a repetition may be sent; it is paid for then.
    pub fn withdraw(&self) -> bool {
        let mut bucket = self.bucket.lock();
        self.refill(&mut bucket);
        let Bucket { spare, earned, .. } = &mut *bucket;
        for purse in [earned, spare] {
            // Ten deposits of 0.1 add up to a little less than 1.
            if *purse >= 1.0 - 1e-9 {
                *purse = (*purse - 1.0).max(0.0);
                return true;
            }
        }
        false
    }

    /// Repetitions that could be sent now.
    pub fn left(&self) -> f64 {
        let mut bucket = self.bucket.lock();
        self.refill(&mut bucket);
        bucket.spare + bucket.earned
    }

    fn refill(&self, bucket: &mut Bucket) {
        let now = Instant::now();
        let gained = (now - bucket.refilled).as_secs_f64() * self.config.floor_per_sec;
        bucket.spare = (bucket.spare + gained).min(self.config.floor_per_sec * SAVED_SECS);
        bucket.refilled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn withdrawn(budget: &Budget) -> usize {
        (0..10_000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_are_a_share_of_requests_plus_a_floor() {
        let budget = Budget::new(Config { ratio: 0.1, floor_per_sec: 2.0 });
        assert_eq!(withdrawn(&budget), 20, "what the floor has saved up");
        for (requests, seconds, allowed) in
            [(0, 0, 0), (100, 0, 10), (10, 0, 1), (9, 0, 0), (0, 3, 6), (50, 1, 7)]
        {
            (0..requests).for_each(|_| budget.deposit());
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(withdrawn(&budget), allowed, "{requests} requests in {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn savings_are_bounded() {
        let budget = Budget::new(Config { ratio: 0.5, floor_per_sec: 1.0 });
        (0..10_000).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(withdrawn(&budget), 110);
    }
}
