//! The memory tier: what is asked for most, in so many bytes.
//!
//! Entries are spread over shards by their keys, the blocks of an object evenly. A shard is locked for the time of a lookup,
//! which touches a few cache lines; what goes is dropped after that. Whoever holds an entry keeps it alive.

use std::{sync::Arc, time::Instant};

use millrace_kit::metrics::IntCounter;
use parking_lot::Mutex;

use super::Lender;
use crate::cache::{
    Incarnation,
    entry::{Entry, EntryKey},
};

mod climb;
mod holds;
mod lists;
mod shard;
mod sketch;
#[cfg(test)]
mod tests;

pub use holds::Hold;
use holds::Holds;
use shard::{Arrival, Gone, Shard};

/// Bytes of a shard, about: enough to hold many of the largest entries.
const SHARD: usize = 32 << 20;
const MOST_SHARDS: usize = 64;

pub struct Memory {
    /// A power of two of them.
    shards: Box<[Mutex<Shard<Entry>>]>,
    capacity: usize,
    lender: Arc<Lender>,
    holds: Holds,
    evictions: IntCounter,
    began: Instant,
}

impl Memory {
    pub fn new(lender: Arc<Lender>, evictions: IntCounter) -> Self {
        let capacity = lender.size();
        let shards = (capacity / SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        let shards = (0..shards).map(|_| Shard::new(capacity / shards).into()).collect();
        Self { shards, capacity, lender, holds: Holds::default(), evictions, began: Instant::now() }
    }

    /// Bytes for each shard, beside what is lent.
    fn share(&self) -> usize {
        self.lender.left().max(self.holds.needs()) / self.shards.len()
    }

    fn shard(&self, key: &EntryKey) -> &Mutex<Shard<Entry>> {
        // The upper half of a hash, or of what is random. The blocks of an object go to one shard after the other.
        let at = ((key.id >> 64) as usize).wrapping_add(key.part as usize);
        &self.shards[at & (self.shards.len() - 1)]
    }

    pub fn get(&self, key: &EntryKey) -> Option<Entry> {
        self.shard(key).lock().get((*key).into())
    }

    /// Without counting it as a request.
    pub fn look(&self, key: &EntryKey) -> Option<Entry> {
        self.shard(key).lock().look((*key).into())
    }

    pub fn contains(&self, key: &EntryKey) -> bool {
        self.shard(key).lock().contains((*key).into())
    }

    /// Others may have to go for it, or it may not be worth that.
    pub fn insert(&self, key: EntryKey, entry: Entry) {
        self.put(key, entry, || Arrival::Wanted);
    }

    /// As part of the fill of this object: it stays while that runs, if it was promised a place, and until its readers had time to
    /// come, if they are not too many.
    pub fn pass(&self, key: EntryKey, entry: Entry, of: Incarnation) {
        self.put(key, entry, || match self.holds.has(of) {
            true => Arrival::Held,
            false => Arrival::Passing(self.seconds()),
        });
    }

    /// Promises a place to what a fill brings, until that ends. None: others have been promised too much.
    pub fn hold(self: &Arc<Self>, of: Incarnation, bytes: u64) -> Option<Hold> {
        self.holds.enter(of, bytes, self.lender.left()).then(|| Hold::new(self.clone(), of))
    }

    fn let_go(&self, of: Incarnation) {
        if !self.holds.leave(of) {
            return;
        }
        let now = self.seconds();
        for shard in &self.shards {
            let mut shard = shard.lock();
            if self.holds.has(of) {
                // Another fill has come for it, which lets it go in its turn.
                return;
            }
            let held = |key: &EntryKey, entry: &Entry| key.id == of.0 || entry.incarnation() == Some(of);
            shard.let_go(held, now);
        }
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// How it comes is asked when nothing can be let go any more until it is in.
    fn put(&self, key: EntryKey, entry: Entry, arrival: impl FnOnce() -> Arrival) {
        let mut gone = Gone::default();
        let weight = entry.weight();
        let capacity = self.share();
        let mut shard = self.shard(&key).lock();
        shard.resize(capacity);
        shard.insert(key.into(), entry, weight, arrival(), &mut gone);
        drop(shard);
        self.evicted(gone.evicted);
    }

    /// As much as is lent beside it goes.
    pub fn trim(&self) {
        let capacity = self.share();
        for shard in &self.shards {
            let mut gone = Vec::new();
            let mut shard = shard.lock();
            shard.resize(capacity);
            shard.shrink(&mut gone);
            drop(shard);
            self.evicted(gone);
        }
    }

    fn evicted(&self, gone: Vec<Entry>) {
        self.evictions.inc_by(gone.len() as u64);
        for entry in gone {
            if let Entry::Head(head) = entry {
                self.lender.let_go(head);
            }
        }
    }

    /// It was asked for so often elsewhere.
    pub fn credit(&self, key: &EntryKey, hits: u8) {
        self.shard(key).lock().credit((*key).into(), hits);
    }

    /// Looks at each entry and at how often it was asked for lately. Lookups come in between, so what changes meanwhile may be
    /// missed or seen twice.
    pub fn survey(&self, mut see: impl FnMut(EntryKey, &Entry, u8)) {
        /// As many as a lookup can wait for.
        const STEP: usize = 1024;
        for shard in &self.shards {
            let mut at = 0;
            while let Some(next) = shard.lock().survey(at, STEP, &mut see) {
                at = next;
            }
        }
    }

    pub fn remove(&self, key: &EntryKey) {
        let removed = self.shard(key).lock().remove((*key).into());
        drop(removed);
    }

    /// As it is configured; what is lent beside it makes it less.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes and entries.
    pub fn usage(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(bytes, entries), shard| {
            let shard = shard.lock();
            (bytes + shard.weight(), entries + shard.len())
        })
    }
}
