//! Looking into the store without changing what it does: nothing is counted, nothing moves from disk to memory.

use std::sync::Arc;

use super::{Store, heads::head_key};
use crate::cache::{Content, Head, Incarnation, Key, Variants, entry::Entry};

/// Which tiers hold something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tiers {
    pub memory: bool,
    /// As far as its index knows.
    pub disk: bool,
}

/// What lies under a key, purged or not.
#[derive(Debug, Clone)]
pub enum Held {
    Head(Arc<Head>),
    Variants(Arc<Variants>),
    /// It was taken out: outdated by a write, or nothing that could be used again.
    Gone,
}

/// How much of an object is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blocks {
    pub total: u64,
    /// Of those that were looked at.
    pub held: u64,
    pub looked_at: u64,
}

impl Store {
    /// What the foremost tier holds under the key, and which tiers hold something.
    pub async fn inspect(&self, key: &Key) -> Option<(Held, Tiers)> {
        let at = head_key(key);
        let memory = self.memory.look(&at);
        let disk = self.disk.as_ref().filter(|disk| disk.may_contain(&at));
        let tiers = Tiers { memory: memory.is_some(), disk: disk.is_some() };
        let entry = match (memory, disk) {
            (Some(entry), _) => entry,
            (None, Some(disk)) => disk.load(&at).await?,
            (None, None) => return None,
        };
        let held = match entry {
            Entry::Head(head) if *head.key == *key.text() => Held::Head(head),
            Entry::Variants(variants) if *variants.key == *key.text() => Held::Variants(variants),
            Entry::Gone => Held::Gone,
            _ => return None,
        };
        Some((held, tiers))
    }

    /// Of an object with blocks, the first so many of which are looked at.
    pub fn inspect_blocks(&self, head: &Head) -> Option<Blocks> {
        /// A terabyte has a million blocks.
        const LOOK: u64 = 65_536;
        let Content::Blocks { incarnation, block_size } = head.content else { return None };
        let total = head.length.div_ceil(u64::from(block_size));
        let looked_at = total.min(LOOK);
        let held = (0..looked_at).filter(|index| self.holds(incarnation, *index)).count() as u64;
        Some(Blocks { total, held, looked_at })
    }

    fn holds(&self, incarnation: Incarnation, index: u64) -> bool {
        u32::try_from(index).is_ok_and(|index| self.has_block(incarnation, index))
    }
}
