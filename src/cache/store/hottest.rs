//! What the memory tier holds of objects that were asked for most: what a peer should have first.
//!
//! Heads that are wanted are in memory, wherever their blocks are, so the disk need not be searched.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_128;

use super::Store;
use crate::cache::{
    Content, Head, Key,
    entry::{Entry, HEAD},
    purge::Standing,
};

/// A stored object that others may want too.
#[derive(Debug, Clone)]
pub struct Hot {
    /// Under which it is asked for, here.
    pub id: u128,
    /// The same for what another server has stored under the same key.
    pub name: u128,
    pub head: Arc<Head>,
    /// Requests lately, at most 15.
    pub hits: u8,
    /// Of its body, as far as it is stored.
    pub bytes: u64,
}

/// The most wanted first; of these, the shortest.
type Rank = (u8, Reverse<u64>, u128);

impl Store {
    /// The objects asked for most, at most so many, and together of at most so many bytes.
    pub fn hottest(&self, most: usize, mut bytes: u64) -> Vec<Hot> {
        let mut found: BinaryHeap<Reverse<Candidate>> = BinaryHeap::new();
        self.memory.survey(|key, entry, hits| {
            let Entry::Head(head) = entry else { return };
            let rank = (hits, Reverse(head.length), key.id);
            if key.part != HEAD
                || (found.len() >= most && found.peek().is_none_or(|Reverse(last)| last.rank > rank))
            {
                return;
            }
            found.push(Reverse(Candidate { rank, head: head.clone() }));
            if found.len() > most {
                found.pop();
            }
        });
        let mut seen = HashSet::new();
        let sorted = found.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate);
        let good = sorted.filter(|one| self.purges.judge(&one.head) == Standing::Current);
        let hot = good.filter_map(|Candidate { rank: (hits, _, id), head }| {
            let held = self.held_bytes(&head);
            (held > 0 || head.length == 0).then(|| Hot {
                id,
                name: name_of(&head.key),
                head,
                hits,
                bytes: held,
            })
        });
        let once = hot.filter(|one| seen.insert(one.id));
        // What is too long for the rest makes way for what is not.
        let fitting = once.filter(|one| {
            let fits = one.bytes <= bytes;
            bytes -= if fits { one.bytes } else { 0 };
            fits
        });
        fitting.collect()
    }

    fn held_bytes(&self, head: &Head) -> u64 {
        match (&head.content, self.inspect_blocks(head)) {
            (Content::Blocks { block_size, .. }, Some(blocks)) => {
                head.length.min(blocks.held * u64::from(*block_size))
            }
            _ => head.length,
        }
    }
}

struct Candidate {
    rank: Rank,
    head: Arc<Head>,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// A name for the key's text that does not depend on the server.
fn name_of(text: &str) -> u128 {
    match Key::parts(text) {
        Some((resource, _, rest)) => xxh3_128(format!("{resource}\n\n{rest}").as_bytes()),
        None => xxh3_128(text.as_bytes()),
    }
}
