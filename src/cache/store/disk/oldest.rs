//! Which of foyer's blocks goes when room is needed: the one that was written first, also when it was written before the
//! last restart. foyer's own picker gets those in any order, and could let an entry outlive the newer one that replaced it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use foyer::{EvictionInfo, EvictionPicker};

/// What evictions tell others.
#[derive(Debug, Default)]
pub struct Evictions {
    /// Every block has been written; from now on what comes costs what is there.
    pub full: AtomicBool,
    pub blocks: AtomicU64,
}

#[derive(Debug)]
pub struct Oldest {
    /// Of each block that was written before: the sequence number of its first entry. Taken when foyer hands it over.
    before: Vec<Option<u64>>,
    /// Written before or in this run, and when.
    queue: BTreeMap<(bool, u64), u32>,
    next: u64,
    evictions: Arc<Evictions>,
}

impl Oldest {
    pub fn new(before: Vec<Option<u64>>, evictions: Arc<Evictions>) -> Self {
        Self { before, queue: BTreeMap::new(), next: 0, evictions }
    }
}

impl EvictionPicker for Oldest {
    fn pick(&mut self, _: EvictionInfo<'_>) -> Option<u32> {
        self.queue.first_key_value().map(|(_, block)| *block)
    }

    fn on_block_evictable(&mut self, _: EvictionInfo<'_>, block: u32) {
        let before = self.before.get_mut(block as usize).and_then(Option::take);
        let place = before.map_or((true, self.next), |sequence| (false, sequence));
        self.next += 1;
        self.queue.insert(place, block);
    }

    fn on_block_evict(&mut self, _: EvictionInfo<'_>, block: u32) {
        self.queue.retain(|_, queued| *queued != block);
        self.evictions.full.store(true, Ordering::Relaxed);
        self.evictions.blocks.fetch_add(1, Ordering::Relaxed);
    }
}
