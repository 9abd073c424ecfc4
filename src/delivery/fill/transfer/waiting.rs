//! When a transfer waits, and for what: memory for the next block, or readers. What it lets go meanwhile, and at its end.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        Error,
        room::{PATIENCE, Place, Room, Taker},
    },
    Context, Opened, Pace, Transfer,
};

/// How long what is costly goes on without a reader: players that come back at once find it.
const DESERTED: Duration = Duration::from_secs(1);

impl Transfer {
    /// Memory for the block at `position`. None: while it waited for that, the last of its readers has left.
    pub(super) async fn place(
        &self,
        room: &Room,
        position: u64,
        end: Option<u64>,
    ) -> Result<Option<Place>, Error> {
        let block_size = u64::from(self.subject.block_size);
        let bytes = end.map_or(block_size, |end| block_size.min(end - position));
        let taker = match position > self.start {
            _ if !self.subject.upstream.is_selective() => Taker::Derived,
            true => Taker::Begun,
            false => Taker::New,
        };
        tokio::select! {
            biased;
            place = room.enter(bytes, taker) => place.map(Some).ok_or(Error::Full),
            () = self.given_up(taker) => Ok(None),
        }
    }

    /// Nobody reads, and nothing would be lost by not going on.
    async fn given_up(&self, taker: Taker) {
        if taker != Taker::New && !self.is_repeatable() {
            return std::future::pending().await;
        }
        loop {
            let changed = self.demand.notified();
            if self.readers.load(Ordering::Relaxed) > 0 {
                changed.await;
                continue;
            }
            // By then it has its place, unless memory is scarce.
            if tokio::time::timeout(2 * PATIENCE, changed).await.is_err() {
                return;
            }
        }
    }

    /// Waits until nobody has wanted anything for a while. `since` goes on over several pieces.
    pub(super) async fn deserted(&self, since: &mut Option<Instant>) {
        loop {
            let changed = self.demand.notified();
            if self.readers.load(Ordering::Relaxed) > 0 {
                *since = None;
                changed.await;
                continue;
            }
            let alone = *since.get_or_insert_with(Instant::now);
            if tokio::time::timeout_at(alone + DESERTED, changed).await.is_err() {
                return;
            }
        }
    }

    /// What is stored need not be held for readers, who find it there. An object of one block is: it is stored by whoever owns its head.
    pub(super) fn let_go(&self, context: &Context, is_stored: bool) {
        let (position, end) = self.reach();
        let one_block =
            self.subject.length.or(end).is_some_and(|end| end <= u64::from(self.subject.block_size));
        let mut shared = self.shared.lock();
        if one_block {
            shared.kept = Some(context.room.beside(position - self.start.min(position)));
        } else if is_stored {
            shared.held.clear();
        }
    }

    /// Whether a reader is within the `lead`.
    pub(super) fn is_awaited(&self, position: u64, lead: Option<u64>) -> bool {
        let ahead = position.saturating_sub(self.frontier.load(Ordering::Relaxed));
        lead.is_none_or(|lead| ahead < lead)
    }

    /// Waits while readers are further behind than the `lead`. False when nobody wants more.
    pub(super) async fn wanted(
        &self,
        context: &Context,
        position: u64,
        keep: u64,
        lead: &mut Option<u64>,
        opened: &mut Option<Opened>,
    ) -> bool {
        let limits = &context.limits;
        loop {
            if self.readers.load(Ordering::Relaxed) == 0 && position > self.start {
                let (_, end) = self.reach();
                // Without a known end, what came so far stands for what may yet come.
                let remaining = end.map_or(position, |end| end - position);
                return self.pace == Pace::Whole && remaining <= limits.finish;
            }
            if self.is_awaited(position, *lead) {
                return true;
            }
            // What is stored is not held for as long as nothing comes: its readers may be very slow.
            self.shared.lock().held.drop_before(position, keep);
            let changed = self.demand.notified();
            let repeatable = self.is_repeatable();
            if repeatable && context.room.is_used_up() {
                // Its readers can have it fetched again.
                let mut shared = self.shared.lock();
                shared.held.clear();
                (shared.kept, *opened) = (None, None);
            }
            let Some(source) = opened else {
                changed.await;
                continue;
            };
            let wanted = async {
                match repeatable {
                    true => self.subject.upstream.wanted(&source.origin).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = wanted => *opened = None,
                () = tokio::time::sleep(limits.idle) => match repeatable {
                    true => *opened = None,
                    false => *lead = None,
                },
            }
        }
    }
}
