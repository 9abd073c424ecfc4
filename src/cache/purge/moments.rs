//! When purges came: what an object from elsewhere, of which only the time is known, was born after.

use std::collections::VecDeque;

use millrace_kit::clock::UnixMillis;

/// Times and the sequence numbers reached by then, ascending.
#[derive(Debug, Default)]
pub struct Moments(VecDeque<(UnixMillis, u64)>);

/// Of what comes closer together than this only the last is told apart: an object from between counts as older.
const RESOLUTION: i64 = 1000;
/// More than an hour of purges without a pause.
const MOST: usize = 4096;

impl Moments {
    /// A time before that of the last one counts as that.
    pub fn note(&mut self, time: UnixMillis, sequence: u64) {
        let time = time.max(self.latest().unwrap_or(time));
        let before = self.0.len().checked_sub(2).and_then(|at| self.0.get(at));
        if before.is_some_and(|(then, _)| time.saturating_sub(*then) < RESOLUTION) {
            self.0.pop_back();
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((time, sequence));
    }

    pub fn latest(&self) -> Option<UnixMillis> {
        self.0.back().map(|(time, _)| *time)
    }

    /// The latest number that was surely given away by this time; 0: none that is known of.
    pub fn latest_by(&self, time: UnixMillis) -> u64 {
        self.0.iter().rev().find(|(then, _)| *then <= time).map_or(0, |(_, sequence)| *sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_taken_for_later_than_it_is() {
        let mut moments = Moments::default();
        let times = [0, 10, 900, 1500, 1600, 9000];
        for (number, time) in times.iter().enumerate() {
            moments.note(*time, number as u64 + 1);
        }
        for time in -1..10_000 {
            let known = times.iter().filter(|then| **then <= time).count() as u64;
            assert!(moments.latest_by(time) <= known, "{time}");
        }
        assert_eq!([-1, 0, 899, 950, 8999, 9000].map(|time| moments.latest_by(time)), [0, 1, 1, 3, 5, 6]);
        moments.note(5000, 7);
        assert_eq!([5000, 8999, 9000].map(|time| moments.latest_by(time)), [5, 5, 7]);
        (0..10_000).for_each(|n| moments.note(10_000 + n * 1000, n.unsigned_abs()));
        assert_eq!((moments.0.len(), moments.latest_by(9000)), (MOST, 0));
    }
}
