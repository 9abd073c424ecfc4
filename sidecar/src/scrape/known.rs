//! The series that a target exposed at its last scrape, by the hash of their text, in the order in which it exposed them: as
//! a rule the next scrape has the same series in the same order, and nothing needs to be looked up.

use std::collections::HashMap;

use millrace_kit::clock::UnixMillis;

use super::SeriesId;
use crate::model::{STALE_NAN, Sample};

#[derive(Default)]
pub(super) struct Known {
    series: Vec<Series>,
    /// Where the next is expected.
    next: usize,
    /// Hash → place; only while the order of a scrape differs from that of the one before.
    places: Option<HashMap<u128, u32>>,
    seen: u32,
}

struct Series {
    /// Of the text. At 128 bits no two texts of a target have the same by chance; one that makes them have it confuses only its
    /// own series.
    hash: u128,
    /// [`REFUSED`] and [`DROPPED`] beside ids, which are never that high.
    id: u64,
    /// One more than the place in this scrape; zero: not seen in it.
    seen: u32,
    /// A series that brings its own timestamps is not ended by us.
    own_time: bool,
    /// Has a sample that a stale marker must follow.
    written: bool,
}

const REFUSED: u64 = u64::MAX;
const DROPPED: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandsFor {
    Series(SeriesId),
    /// The sink had no room.
    Refused,
    /// By a rule of the target.
    Dropped,
}

impl Known {
    /// Of a scrape. What the one before has seen without coming to its end does not count.
    pub(super) fn begin(&mut self) {
        self.series.iter_mut().for_each(|series| series.seen = 0);
        (self.next, self.seen, self.places) = (0, 0, None);
    }

    /// The place of a series.
    pub(super) fn find(&mut self, hash: u128) -> Option<usize> {
        let expected = self.series.get(self.next).is_some_and(|series| series.hash == hash);
        let place = if expected { self.next } else { self.look_up(hash)? };
        self.next = place + 1;
        Some(place)
    }

    fn look_up(&mut self, hash: u128) -> Option<usize> {
        let places = self.places.get_or_insert_with(|| {
            let hashes = self.series.iter().map(|series| series.hash);
            hashes.zip(0..).collect()
        });
        places.get(&hash).map(|place| *place as usize)
    }

    pub(super) fn add(&mut self, hash: u128, stands_for: StandsFor) -> usize {
        let place = self.series.len();
        let id = match stands_for {
            StandsFor::Series(id) => id.0,
            StandsFor::Refused => REFUSED,
            StandsFor::Dropped => DROPPED,
        };
        self.series.push(Series { hash, id, seen: 0, own_time: false, written: false });
        if let Some(places) = &mut self.places {
            places.insert(hash, place as u32);
        }
        place
    }

    /// None when this scrape had it before.
    pub(super) fn see(&mut self, place: usize, own_time: bool) -> Option<StandsFor> {
        let series = self.series.get_mut(place).filter(|series| series.seen == 0)?;
        self.seen += 1;
        series.seen = self.seen;
        series.own_time = own_time;
        Some(series.stands_for())
    }

    /// Stale markers for what was there before and is not now.
    pub(super) fn end_vanished(&mut self, at: UnixMillis, batch: &mut Vec<(SeriesId, Sample)>) {
        let mut last = 0;
        let mut in_order = true;
        self.series.retain_mut(|series| {
            let vanished = series.seen == 0;
            let stands_for = series.stands_for();
            if let StandsFor::Series(id) = stands_for
                && vanished
                && series.written
                && !series.own_time
            {
                batch.push((id, Sample { at, value: STALE_NAN }));
            }
            series.written = true;
            in_order &= vanished || series.seen > last;
            last = series.seen.max(last);
            // A series that found no room is tried again.
            !vanished && stands_for != StandsFor::Refused
        });
        if !in_order {
            self.series.sort_unstable_by_key(|series| series.seen);
        }
        self.series.shrink_to(self.series.len() / 8 * 9);
        self.places = None;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Series {
    fn stands_for(&self) -> StandsFor {
        match self.id {
            REFUSED => StandsFor::Refused,
            DROPPED => StandsFor::Dropped,
            id => StandsFor::Series(SeriesId(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One scrape; series are named by numbers, which are their hashes and ids. Returns what ended.
    fn scrape(known: &mut Known, exposed: &[u64]) -> Vec<u64> {
        known.begin();
        for name in exposed {
            let hash = u128::from(*name);
            let place = known.find(hash);
            let place = place.unwrap_or_else(|| known.add(hash, StandsFor::Series(SeriesId(*name))));
            assert_eq!(known.see(place, false), Some(StandsFor::Series(SeriesId(*name))), "{name}");
        }
        let mut ended = Vec::new();
        known.end_vanished(0, &mut ended);
        ended.into_iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn series_are_found_in_any_order() {
        let mut known = Known::default();
        for (exposed, ended) in [
            (vec![1, 2, 3], vec![]),
            (vec![1, 2, 3], vec![]),
            (vec![1, 9, 2, 3], vec![]),
            (vec![3, 2, 1], vec![9]),
            (vec![2, 1], vec![3]),
            (vec![], vec![2, 1]),
            (vec![3], vec![]),
        ] {
            assert_eq!(scrape(&mut known, &exposed), ended, "{exposed:?}");
            // The next one like it needs no looking up.
            let kept: Vec<_> = known.series.iter().map(|series| series.id).collect();
            assert_eq!(kept, exposed);
        }
    }

    #[test]
    fn what_comes_twice_counts_once_and_what_was_refused_is_tried_again() {
        let mut known = Known::default();
        known.begin();
        let place = known.add(1, StandsFor::Refused);
        assert_eq!(known.see(place, false), Some(StandsFor::Refused));
        assert_eq!(known.see(place, false), None);
        let dropped = known.add(2, StandsFor::Dropped);
        assert_eq!(known.see(dropped, false), Some(StandsFor::Dropped));
        known.end_vanished(0, &mut Vec::new());
        known.begin();
        assert_eq!(known.find(1), None);
        assert_eq!(known.find(2), Some(0));
    }
}
