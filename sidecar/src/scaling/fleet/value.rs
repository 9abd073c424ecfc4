//! Which instance is missed least: the one with the fewest streams, then the one whose hot objects the others have too.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// What an instance has that would be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Worth {
    /// Requests that it is answering. None: not known, which counts as many.
    pub(super) streams: Option<u64>,
    /// Its hottest objects, the hottest first: names, which are the same at every instance, and bytes.
    pub(super) hot: Vec<(String, u64)>,
}

impl Worth {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.hot.iter().map(|(name, _)| name.as_str())
    }
}

/// One that could leave. Of different ranks, those of the lower leave first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) rank: u8,
}

/// `count` of the candidates, in the order in which they should leave. Of equals the one with the highest number goes, so
/// that the same instances stay.
pub(super) fn least_valuable(
    candidates: &[Candidate],
    worth: &BTreeMap<String, Worth>,
    count: usize,
) -> Vec<String> {
    let mut stay: BTreeSet<usize> = (0..candidates.len()).collect();
    let mut leave = Vec::new();
    for _ in 0..count {
        // What two have is lost when both leave: the second is chosen by what the first has left behind.
        let mut holders: BTreeMap<&str, u32> = BTreeMap::new();
        for worth in stay.iter().filter_map(|index| worth.get(&candidates[*index].name)) {
            for object in worth.names() {
                *holders.entry(object).or_default() += 1;
            }
        }
        let alone = |object: &str| holders.get(object) == Some(&1);
        let price = |index: &usize| {
            let candidate = &candidates[*index];
            let worth = worth.get(&candidate.name);
            let streams = worth.and_then(|worth| worth.streams).unwrap_or(u64::MAX);
            let unique = worth.map_or(0, |worth| {
                worth.hot.iter().filter(|(object, _)| alone(object)).map(|(_, bytes)| bytes).sum::<u64>()
            });
            (candidate.rank, streams, unique, Reverse(natural(&candidate.name)))
        };
        let Some(next) = stay.iter().copied().min_by_key(price) else { break };
        stay.remove(&next);
        leave.push(candidates[next].name.clone());
    }
    leave
}

/// `edge-10` comes after `edge-9`.
pub(super) fn natural(name: &str) -> (u64, &str) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (_, number) = name.split_at(name.len() - digits);
    (number.parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(streams: u64, hot: &[(&str, u64)]) -> Worth {
        let hot = hot.iter().map(|(object, bytes)| ((*object).to_owned(), *bytes)).collect();
        Worth { streams: Some(streams), hot }
    }

    fn leave(all: &[(&str, u8, Option<Worth>)], count: usize) -> Vec<String> {
        let candidates: Vec<_> =
            all.iter().map(|(name, rank, _)| Candidate { name: (*name).to_owned(), rank: *rank }).collect();
        let worth =
            all.iter().filter_map(|(name, _, worth)| Some(((*name).to_owned(), worth.clone()?))).collect();
        least_valuable(&candidates, &worth, count)
    }

    #[test]
    fn fewest_streams_then_least_that_only_it_has_then_the_highest_number() {
        let (shared, a, b) = (("s", 1_000), ("a", 10), ("b", 5));
        for (all, expected) in [
            (vec![("e-1", 1, Some(worth(3, &[]))), ("e-2", 1, Some(worth(2, &[a])))], "e-2"),
            (vec![("e-1", 1, Some(worth(2, &[shared, b]))), ("e-2", 1, Some(worth(2, &[shared, a])))], "e-1"),
            (vec![("e-9", 1, Some(worth(0, &[]))), ("e-10", 1, Some(worth(0, &[])))], "e-10"),
            (vec![("e-1", 1, Some(worth(9, &[]))), ("e-2", 1, None)], "e-1"),
            (vec![("e-1", 0, Some(worth(9, &[]))), ("e-2", 1, Some(worth(0, &[])))], "e-1"),
        ] {
            assert_eq!(leave(&all, 1), [expected], "{all:?}");
        }
    }

    #[test]
    fn what_two_have_is_not_lost_twice() {
        let (big, small) = (("big", 100), ("small", 1));
        let all = [
            ("e-1", 1, Some(worth(0, &[small]))),
            ("e-2", 1, Some(worth(0, &[big]))),
            ("e-3", 1, Some(worth(0, &[big]))),
        ];
        // Without the first of its holders, the second is the only one to have the big object.
        assert_eq!(leave(&all, 2), ["e-3", "e-1"]);
        assert_eq!(leave(&all, 9).len(), 3);
    }
}
