//! What readers of long objects may hold of the blocks they read. A block that memory has let go stays for as long as somebody reads it,
//! and a slow client takes its time: only so many readers hold blocks. The others copy a few bytes at a time out of them.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::lender::{Lender, Loan};

/// What readers that hold blocks may hold together, as a part of the memory tier; those that memory has failed may hold as much again, see
/// [`Pin::keep`]. Copies share as much, too, but go beyond it where even the smallest ones are more: that is for the number of
/// connections to bound.
const SHARE: usize = 8;
/// However small the share is, so many hold blocks.
const LEAST: usize = 16;
/// Bytes that a reader copies: the fewer, the more readers there are, and never fewer than the first.
const COPY: RangeInclusive<usize> = 8 * 1024..=64 * 1024;

pub struct Pins {
    lender: Arc<Lender>,
    block_size: usize,
    /// For all that is copied.
    bytes: usize,
    most: usize,
    readers: AtomicUsize,
    /// Those of them that may hold blocks since memory has failed them.
    keepers: AtomicUsize,
}

/// A reader, as long as it reads.
pub struct Pin {
    pins: Arc<Pins>,
    holds: bool,
    keeps: bool,
    loan: Loan,
}

impl Pins {
    pub fn new(lender: &Arc<Lender>, block_size: u32) -> Arc<Self> {
        let bytes = lender.size() / SHARE;
        let most = (bytes / (block_size as usize).max(1)).max(LEAST);
        let (lender, block_size) = (lender.clone(), block_size as usize);
        let (readers, keepers) = Default::default();
        Arc::new(Self { lender, block_size, bytes, most, readers, keepers })
    }

    pub fn enter(self: &Arc<Self>) -> Pin {
        let readers = self.readers.fetch_add(1, Ordering::Relaxed);
        let holds = readers < self.most;
        let loan = self.lender.lend(if holds { self.block_size } else { 2 * self.copied(readers + 1) });
        Pin { pins: self.clone(), holds, keeps: false, loan }
    }
}

impl Pins {
    fn copied(&self, readers: usize) -> usize {
        // Of few sizes, lest each has memory of its own with the allocator.
        let share = (self.bytes / readers.max(1)).clamp(*COPY.start(), *COPY.end());
        1 << share.ilog2()
    }
}

impl Pin {
    /// None: the reader may hold the block that it reads. Else it copies at most so many bytes of it.
    pub fn copies(&mut self) -> Option<usize> {
        let readers = self.pins.readers.load(Ordering::Relaxed);
        // Others may have left since.
        self.holds |= readers <= self.pins.most;
        let copies = !self.holds && !self.keeps;
        copies.then(|| self.pins.copied(readers))
    }

    /// Memory has let go of the block that this reader is in the midst of. It may hold that, and those that follow, unless so many do
    /// already: else each few bytes would cost another read of the block.
    pub fn keep(&mut self) {
        if self.holds || self.keeps {
            return;
        }
        self.keeps = self.pins.keepers.fetch_add(1, Ordering::Relaxed) < self.pins.most;
        if self.keeps {
            self.loan = self.pins.lender.lend(self.pins.block_size);
        } else {
            self.pins.keepers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.readers.fetch_sub(1, Ordering::Relaxed);
        if self.keeps {
            self.pins.keepers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_readers_hold_blocks_and_many_copy_little() {
        let pins = Pins::new(&Lender::new(256 << 20), 1 << 20);
        let mut first: Vec<_> = (0..32).map(|_| pins.enter()).collect();
        assert!(first.iter_mut().all(|pin| pin.copies().is_none()));
        let mut late = pins.enter();
        assert_eq!(late.copies(), Some(64 * 1024));
        let crowd: Vec<_> = (0..10_000).map(|_| pins.enter()).collect();
        assert_eq!((late.copies(), first[0].copies()), (Some(8 * 1024), None));
        drop((crowd, first));
        assert_eq!(late.copies(), None);
        assert!(Pins::new(&Lender::new(0), 0).enter().copies().is_none());
    }

    #[test]
    fn as_many_again_hold_what_memory_did_not_keep() {
        let pins = Pins::new(&Lender::new(256 << 20), 1 << 20);
        let _first: Vec<_> = (0..32).map(|_| pins.enter()).collect();
        let mut late: Vec<_> = (0..33).map(|_| pins.enter()).collect();
        late.iter_mut().for_each(Pin::keep);
        assert!(late[..32].iter_mut().all(|pin| pin.copies().is_none()));
        assert!(late[32].copies().is_some());
        drop(late.remove(0));
        late[31].keep();
        assert_eq!(late[31].copies(), None, "one of them has left");
    }
}
