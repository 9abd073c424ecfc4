//! The books: for each name the sequence numbers of its latest purges. Judging an object looks its names up and never
//! goes through the books.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use millrace_kit::clock::UnixMillis;

use super::{
    Purge, Standing,
    marks::{Mark, Name, Tags, names_of, of_key, tags_of},
    words::{Words, put},
};
use crate::cache::Head;

/// A purge that hides or outdates an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concern<'a> {
    pub named: Named<'a>,
    pub sequence: u64,
    pub soft: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    Name(Name<'a>),
    /// The object has more tags than are told apart: any of them may have been meant.
    AnyTag,
    Everything,
    /// The books do not reach back that far.
    Forgotten,
}

/// Sequence numbers of the latest purges of one name; 0: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stamp {
    hard: u64,
    soft: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    latest: u64,
    /// What was born before counts as purged: the stamps from before are gone.
    floor: u64,
    all: Stamp,
    any_tag: Stamp,
    marks: HashMap<Mark, Stamp, BuildHasherDefault<AsIs>>,
    /// About one a day: the time, and the latest sequence number by then.
    days: VecDeque<(UnixMillis, u64)>,
}

/// Marks are hashes already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct AsIs(u64);

/// Names on the books, about 50 MiB. When there are more, the older half goes, and objects from before with it.
const MAX_STAMPS: usize = 1 << 20;
const DAY: i64 = 24 * 3600 * 1000;
/// Stamps are kept so long; objects that are older go with them.
const KEPT: i64 = 30 * DAY;

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Stamp {
    fn set(&mut self, sequence: u64, soft: bool) {
        let own = if soft { &mut self.soft } else { &mut self.hard };
        *own = sequence.max(*own);
    }

    fn latest(self) -> u64 {
        self.hard.max(self.soft)
    }

    fn standing(self, born: u64) -> Standing {
        match self {
            Self { hard, .. } if hard > born => Standing::Hidden,
            Self { soft, .. } if soft > born => Standing::Outdated,
            _ => Standing::Current,
        }
    }

    fn later(self, other: Self) -> Self {
        Self { hard: self.hard.max(other.hard), soft: self.soft.max(other.soft) }
    }
}

impl Stamps {
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// From now on, sequence numbers are greater than this one.
    pub fn begin_after(&mut self, sequence: u64) {
        self.latest = self.latest.max(sequence);
    }

    pub fn judge(&self, key: &str, tags: &Tags, born: u64) -> Standing {
        let named = of_key(key).chain(tags.marks().iter().copied());
        let of_names = named.filter_map(|mark| self.marks.get(&mark)).copied();
        let of_any = tags.any().then_some(self.any_tag);
        match of_names.chain(of_any).fold(self.all, Stamp::later) {
            _ if born < self.floor => Standing::Hidden,
            stamp => stamp.standing(born),
        }
    }

    /// The purges that keep `judge` from saying that the object is current, each with its number and what it named.
    pub fn concerning<'a>(&self, head: &'a Head) -> Vec<Concern<'a>> {
        let tags = tags_of(&head.fields).map(Name::Tag);
        let named = names_of(&head.key)
            .chain(tags)
            .filter_map(|name| self.marks.get(&name.mark()).map(|stamp| (Named::Name(name), *stamp)));
        let of_any = head.tags.any().then_some((Named::AnyTag, self.any_tag));
        let floor = Stamp { hard: if head.born < self.floor { self.floor } else { 0 }, soft: 0 };
        let of_all = [(Named::Everything, self.all), (Named::Forgotten, floor)];
        let stamps = named.chain(of_any).chain(of_all);
        let concerns = stamps.filter_map(|(named, stamp)| match stamp.standing(head.born) {
            Standing::Current => None,
            Standing::Hidden => Some(Concern { named, sequence: stamp.hard, soft: false }),
            Standing::Outdated => Some(Concern { named, sequence: stamp.soft, soft: true }),
        });
        concerns.collect()
    }

    /// All that has been purged after this number, as one hard and one soft purge; more than so many names become everything.
    pub fn since(&self, after: u64, most: usize) -> Vec<Purge> {
        let kinds = [(false, Purge::hard()), (true, Purge::soft())];
        let purges = kinds.into_iter().filter_map(|(soft, mut purge)| {
            let later = |stamp: &Stamp| (if soft { stamp.soft } else { stamp.hard }) > after;
            purge.all = later(&self.all);
            purge.tagged = later(&self.any_tag);
            let marks = self.marks.iter().filter(|(_, stamp)| later(stamp)).map(|(mark, _)| *mark);
            purge.marks = marks.take(most + 1).collect();
            if purge.marks.len() > most || (!soft && after < self.floor) {
                purge = purge.everything();
                purge.marks.clear();
            }
            (purge.all || purge.tagged || !purge.marks.is_empty()).then_some(purge)
        });
        purges.collect()
    }

    /// The latest number that was given away by this time, as far as that is known: about one a day.
    pub fn latest_by(&self, time: UnixMillis) -> u64 {
        self.days.iter().filter(|(then, _)| *then <= time).map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    /// Gives the purge the next sequence number.
    pub fn enter(&mut self, purge: &Purge, now: UnixMillis) -> u64 {
        let sequence = self.latest + 1;
        self.replay(purge, sequence, now);
        sequence
    }

    pub fn replay(&mut self, purge: &Purge, sequence: u64, time: UnixMillis) {
        self.begin_after(sequence);
        if purge.all {
            self.all.set(sequence, purge.soft);
        }
        if purge.tagged {
            self.any_tag.set(sequence, purge.soft);
        }
        for mark in &purge.marks {
            self.marks.entry(*mark).or_default().set(sequence, purge.soft);
        }
        if self.days.back().is_none_or(|(last, _)| time.saturating_sub(*last) >= DAY) {
            self.days.push_back((time, sequence));
            while let Some((day, then)) = self.days.front().copied()
                && time.saturating_sub(day) > KEPT
            {
                self.days.pop_front();
                self.forget_until(then);
            }
        }
        if self.marks.len() > MAX_STAMPS {
            let mut sequences: Vec<_> = self.marks.values().map(|stamp| stamp.latest()).collect();
            let middle = sequences.len() / 2;
            let (_, median, _) = sequences.select_nth_unstable(middle);
            self.forget_until(*median);
        }
    }

    fn forget_until(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.marks.retain(|_, stamp| stamp.latest() > floor);
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        let Stamp { hard, soft } = self.all;
        let any = self.any_tag;
        put(into, &[self.latest, self.floor, hard, soft, any.hard, any.soft, self.days.len() as u64]);
        for (time, sequence) in &self.days {
            put(into, &[time.cast_unsigned(), *sequence]);
        }
        put(into, &[self.marks.len() as u64]);
        for (mark, stamp) in &self.marks {
            put(into, &[mark.0, stamp.hard, stamp.soft]);
        }
    }

    pub fn decode(words: &mut Words<'_>) -> Option<Self> {
        let [latest, floor] = words.take()?;
        let [[hard, soft], [any_hard, any_soft]] = [words.take()?, words.take()?];
        let [days] = words.take()?;
        let days = (0..days).map(|_| words.take().map(|[time, sequence]| (time.cast_signed(), sequence)));
        let days = days.collect::<Option<_>>()?;
        let [count] = words.take()?;
        let marks =
            (0..count).map(|_| words.take().map(|[mark, hard, soft]| (Mark(mark), Stamp { hard, soft })));
        let marks = marks.collect::<Option<_>>()?;
        let any_tag = Stamp { hard: any_hard, soft: any_soft };
        Some(Self { latest, floor, all: Stamp { hard, soft }, any_tag, marks, days })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn tagged(tags: &'static str) -> Tags {
        let mut headers = HeaderMap::new();
        headers.insert("surrogate-key", HeaderValue::from_static(tags));
        Tags::of(&headers)
    }

    #[test]
    fn purges_concern_what_was_born_before() {
        let (hard, soft) = (Purge::hard, Purge::soft);
        for (purge, concerned) in [
            (hard().everything(), true),
            (hard().url("/a/b"), true),
            (hard().url("/a"), false),
            (hard().prefix("", "/a").unwrap(), true),
            (hard().prefix("", "/a/").unwrap(), true),
            (hard().prefix("", "/").unwrap(), true),
            (hard().prefix("", "/b").unwrap(), false),
            (hard().tag("T").unwrap(), true),
            (hard().tag("u").unwrap(), false),
            (soft().url("/a/b"), true),
            (soft().tag("u").unwrap().url("/x"), false),
        ] {
            let mut stamps = Stamps::default();
            stamps.begin_after(5);
            assert_eq!(stamps.enter(&purge, 0), 6);
            let standing = |born| stamps.judge("/a/b", &tagged("s t"), born);
            let expected = match (concerned, purge.soft) {
                (false, _) => Standing::Current,
                (true, false) => Standing::Hidden,
                (true, true) => Standing::Outdated,
            };
            assert_eq!((standing(5), standing(6)), (expected, Standing::Current), "{purge:?}");
        }
    }

    #[test]
    fn of_unknown_tags_any_may_be_meant() {
        let mut stamps = Stamps::default();
        stamps.enter(&Purge::hard().tag("t").unwrap(), 0);
        assert_eq!(stamps.judge("/a", &Tags::unknown(), 0), Standing::Hidden);
        assert_eq!(stamps.judge("/a", &Tags::default(), 0), Standing::Current);
    }

    #[test]
    fn a_soft_purge_does_not_undo_a_hard_one() {
        let mut stamps = Stamps::default();
        stamps.enter(&Purge::hard().url("/a"), 0);
        stamps.enter(&Purge::soft().url("/a"), 0);
        let standing = |born| stamps.judge("/a", &Tags::default(), born);
        assert_eq!([0, 1, 2].map(standing), [Standing::Hidden, Standing::Outdated, Standing::Current]);
    }

    #[test]
    fn what_is_older_than_the_books_counts_as_purged() {
        let mut stamps = Stamps::default();
        let standing = |stamps: &Stamps, born| stamps.judge("/b", &Tags::default(), born);
        stamps.enter(&Purge::hard().url("/a"), 0);
        stamps.enter(&Purge::hard().url("/a2"), DAY);
        stamps.enter(&Purge::hard().url("/c"), KEPT);
        assert_eq!((stamps.marks.len(), standing(&stamps, 0)), (3, Standing::Current));
        stamps.enter(&Purge::hard().url("/d"), KEPT + DAY);
        assert_eq!(stamps.marks.len(), 3, "the first is gone");
        assert_eq!([0, 1].map(|born| standing(&stamps, born)), [Standing::Hidden, Standing::Current]);
    }

    #[test]
    fn the_books_are_bounded() {
        let mut stamps = Stamps::default();
        for n in 0..=MAX_STAMPS as u64 {
            stamps.replay(&Purge { marks: vec![Mark(n)], ..Purge::hard() }, n + 1, 0);
        }
        assert!(stamps.marks.len() <= MAX_STAMPS / 2 + 1);
        assert_eq!(stamps.judge("/a", &Tags::default(), 10), Standing::Hidden);
        assert_eq!(stamps.judge("/a", &Tags::default(), MAX_STAMPS as u64), Standing::Current);
    }

    #[test]
    fn what_came_since_is_told_to_others() {
        let mut ours = Stamps::default();
        ours.enter(&Purge::hard().url("/old"), 0);
        let after = ours.latest();
        assert_eq!(ours.since(after, 10), []);
        ours.enter(&Purge::hard().tag("t").unwrap(), 0);
        ours.enter(&Purge::soft().prefix("", "/p").unwrap(), 0);
        let mut theirs = Stamps::default();
        for purge in ours.since(after, 10) {
            theirs.enter(&purge, 0);
        }
        let judged = |key, tags| theirs.judge(key, &tags, 0);
        assert_eq!(judged("/x", tagged("t")), Standing::Hidden);
        assert_eq!(judged("/x", Tags::unknown()), Standing::Hidden);
        assert_eq!(judged("/p/x", Tags::default()), Standing::Outdated);
        assert_eq!(judged("/old", Tags::default()), Standing::Current);
        let all = |purges: Vec<Purge>| purges.iter().any(|purge| purge.all);
        assert!(!all(ours.since(0, 2)) && all(ours.since(0, 1)));
        assert_eq!((ours.latest_by(-1), ours.latest_by(0)), (0, 1));
    }

    #[test]
    fn snapshots_hold_all_of_it() {
        let mut stamps = Stamps::default();
        for purge in [
            Purge::hard().everything(),
            Purge::soft().url("/a").tag("t").unwrap(),
            Purge::hard().prefix("", "/p").unwrap(),
        ] {
            stamps.enter(&purge, -5);
        }
        stamps.forget_until(1);
        let mut encoded = Vec::new();
        stamps.encode(&mut encoded);
        assert_eq!(Stamps::decode(&mut Words(&encoded)).unwrap(), stamps);
        for cut in 0..encoded.len() {
            assert_eq!(Stamps::decode(&mut Words(&encoded[..cut])), None, "cut at {cut}");
        }
    }
}
