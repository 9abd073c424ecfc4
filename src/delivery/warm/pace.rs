//! No more than so many bytes in a second, shared by all that comes.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub struct Pace {
    bytes_per_sec: u64,
    /// When all that was let through so far is paid for.
    paid: Mutex<Instant>,
}

/// What was not used for longer than this is lost: no burst after a pause.
const SAVED: Duration = Duration::from_millis(100);

impl Pace {
    /// 0: no bound.
    pub fn new(bytes_per_sec: u64) -> Self {
        Self { bytes_per_sec, paid: Mutex::new(Instant::now()) }
    }

    /// Returns when so much may have come.
    pub async fn spend(&self, bytes: usize) {
        if self.bytes_per_sec == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_sec as f64);
        let until = {
            let mut paid = self.paid.lock();
            let now = Instant::now();
            let from = now.checked_sub(SAVED).map_or(*paid, |earliest| earliest.max(*paid));
            *paid = from + cost;
            *paid
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_pauses_are_not_made_up_for() {
        let pace = Pace::new(1000);
        for pause in [0, 60] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let begun = Instant::now();
            for _ in 0..100 {
                pace.spend(100).await;
            }
            let took = begun.elapsed().as_millis();
            assert!((9_890..=10_010).contains(&took), "{took} ms for 10,000 bytes");
        }
        let begun = Instant::now();
        Pace::new(0).spend(usize::MAX).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
