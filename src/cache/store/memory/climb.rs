//! How large the window should be: tried out. Loads whose favourites change want a large one, loads whose favourites stay a
//! small one. Every sample of requests moves its size a step, on as long as that gains hits, else back.

/// Shares of the capacity are counted in so many parts.
const WHOLE: i64 = 1 << 20;
const LEAST: i64 = WHOLE / 100;
const MOST: i64 = WHOLE * 8 / 10;
const FIRST_STEP: i64 = WHOLE / 32;
/// A step is so much shorter than the one before, in per mille.
const DECAY: i64 = 950;
/// Hits, in per mille of a sample. When so many more or less come, the load is another: start anew.
const RESTART: i64 = 50;

pub struct Climber {
    share: i64,
    step: i64,
    /// Of the last sample, in millionths.
    ratio: Option<i64>,
    hits: u32,
    asked: u32,
}

impl Default for Climber {
    fn default() -> Self {
        Self { share: LEAST, step: FIRST_STEP, ratio: None, hits: 0, asked: 0 }
    }
}

impl Climber {
    pub fn window(&self, capacity: usize) -> usize {
        // At most the capacity.
        (capacity as u128 * u128::from(self.share.unsigned_abs()) / WHOLE as u128) as usize
    }

    pub fn note(&mut self, hit: bool) {
        self.hits += u32::from(hit);
        self.asked += 1;
    }

    /// A sample is over.
    pub fn sampled(&mut self) {
        let ratio = i64::from(self.hits) * 1_000_000 / i64::from(self.asked.max(1));
        (self.hits, self.asked) = (0, 0);
        let Some(before) = self.ratio.replace(ratio) else { return };
        let gained = ratio - before;
        let step = if gained >= 0 { self.step } else { -self.step };
        self.share = (self.share + step).clamp(LEAST, MOST);
        self.step = match gained.abs() >= RESTART * 1000 {
            true => FIRST_STEP * step.signum(),
            false => step * DECAY / 1000,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best window is `best`, and so many hits in a hundred are lost by being a hundredth away from it.
    fn climbs_to(best: i64) -> i64 {
        let mut climber = Climber::default();
        for _ in 0..500 {
            let away = (climber.share - best).abs() * 100 / WHOLE;
            (0..1000).for_each(|n| climber.note(n < 500 - 2 * away));
            climber.sampled();
        }
        climber.share * 100 / WHOLE
    }

    #[test]
    fn the_window_grows_to_where_most_is_hit_and_no_further() {
        assert!((climbs_to(WHOLE / 2) - 50).abs() < 15);
        assert!(climbs_to(LEAST) < 15);
        assert!(climbs_to(2 * WHOLE) <= 80);
        assert_eq!(Climber::default().window(1000), 9);
    }
}
