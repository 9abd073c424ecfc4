//! What has come, into blocks: which of them are stored already, and what becomes of those that are complete.

use bytes::Bytes;

use super::Transfer;
use crate::cache::Store;

/// How far ahead stored blocks are looked for before an upstream is asked.
const LOOK_BLOCKS: u64 = 256;

/// A stretch of stored blocks at least this long is skipped rather than transferred again.
pub(super) const SKIP_BLOCKS: u64 = 4;

impl Transfer {
    /// The first block boundary at or after `position` whose block is not stored.
    pub(super) fn next_missing(&self, store: &Store, position: u64) -> u64 {
        let block_size = u64::from(self.subject.block_size);
        let (_, end) = self.reach();
        let mut next = position;
        while end.is_some_and(|end| next < end)
            && store.has_block(self.subject.incarnation, (next / block_size) as u32)
        {
            next += block_size;
        }
        end.map_or(next, |end| next.min(end))
    }

    /// Where to stop asking: before a stretch of stored blocks that is worth skipping, and behind the last block
    /// that is missing.
    pub(super) fn last_missing(&self, store: &Store, position: u64, end: u64) -> u64 {
        let block_size = u64::from(self.subject.block_size);
        let mut missing = position;
        let mut next = position / block_size * block_size;
        while next < end {
            if next >= position + LOOK_BLOCKS * block_size {
                return end;
            }
            if store.has_block(self.subject.incarnation, (next / block_size) as u32) {
                if next >= missing + (SKIP_BLOCKS - 1) * block_size {
                    break;
                }
            } else {
                missing = next + block_size;
            }
            next += block_size;
        }
        // The block at the position is wanted in any case.
        missing.max((position / block_size + 1) * block_size).min(end)
    }

    pub(super) fn skip_to(&self, position: u64) {
        let mut shared = self.shared.lock();
        shared.held.clear();
        shared.position = position;
        drop(shared);
        let _ = self.progress.send(());
    }

    /// Adds bytes at the position, at most up to the end of the block; stores the block that they complete, and holds
    /// `keep` bytes before it.
    pub(super) async fn accept(&self, store: &Store, piece: Bytes, keep: u64) {
        if piece.is_empty() {
            return;
        }
        let block_size = u64::from(self.subject.block_size);
        let completed = {
            let mut shared = self.shared.lock();
            let start = shared.position;
            if start.is_multiple_of(block_size) {
                // The block before is stored; readers that still want it find it there.
                shared.held.drop_before(start, keep);
            }
            shared.position += piece.len() as u64;
            shared.held.push(start, piece);
            let boundary = shared.position.is_multiple_of(block_size) || Some(shared.position) == shared.end;
            boundary.then(|| shared.complete_block(block_size))
        };
        let _ = self.progress.send(());
        if let Some((index, block)) = completed {
            self.store_block(store, index, block).await;
        }
    }

    /// The upstream ended a body of unknown length.
    pub(super) async fn finish_at(&self, store: &Store, position: u64) {
        let last = {
            let mut shared = self.shared.lock();
            shared.end = Some(position);
            (!position.is_multiple_of(u64::from(self.subject.block_size)))
                .then(|| shared.complete_block(u64::from(self.subject.block_size)))
        };
        if let Some((index, block)) = last {
            self.store_block(store, index, block).await;
        }
    }

    /// An object of one block is stored inline with its head, by whoever owns the head.
    async fn store_block(&self, store: &Store, index: u64, block: Bytes) {
        let (_, end) = self.reach();
        let length = self.subject.length.or(end);
        if length.is_some_and(|length| length <= u64::from(self.subject.block_size)) {
            return;
        }
        store.put_block(self.subject.incarnation, index as u32, block).await;
    }
}
