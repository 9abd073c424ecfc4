//! How much memory fills of long objects take at a time. Who has a place holds the block that is coming; the others wait, and their bytes
//! with the kernel. A place is had for a block, then others have their turn; whoever only waits for readers gives it back. It is taken
//! with the body at hand, never before an origin is asked: so nobody who has a place waits for another's. Nor does anybody wait for long:
//! who has a place may have it for an origin that stalls, which is no reason that others should. What is lent then shows in the account,
//! and when that says that memory is scarce, they wait longer.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::cache::{Lender, Loan};

/// Of the memory, for all fills; and at least so many bytes.
const SHARE: usize = 8;
const LEAST: usize = 16 << 20;
/// What the connection to an origin holds, beside the block that comes: what was read, what is being read, and what the allocator keeps of
/// both.
const NETWORK: usize = 512 << 10;
/// What needs less than this does not wait: it would wait for what takes long.
const SMALL: u64 = 64 << 10;
/// Fills that wait for their first place. Beyond that requests are refused.
const MOST_WAITING: usize = 1024;
/// For a place; a block comes from most origins within that.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// While memory is scarce, so many times that: those who are new, of whom others may be waiting for the answer, and those who have begun.
const NEW_PATIENT: usize = 10;
const MOST_PATIENT: usize = 150;
/// Of which places are made.
const UNIT: u64 = 1024;

pub struct Room {
    memory: Arc<Lender>,
    units: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _loan: Loan,
}

/// What takes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// It waits in line, if that is not too long.
    New,
    /// Clients have had some of it.
    Begun,
    /// It is made of something that is filled itself. It does not wait, lest that waited for it.
    Derived,
}

impl Room {
    pub fn new(memory: Arc<Lender>, block_size: u32) -> Self {
        let bytes = (memory.size() / SHARE).max(LEAST).max(4 * block_size as usize);
        let units = bytes / UNIT as usize;
        Self { memory, units, free: Arc::new(Semaphore::new(units)), waiting: AtomicUsize::new(0) }
    }

    /// For a body that an origin sends, as long as it is open; of so many bytes, if that is known. It may be read slowly.
    pub fn connection(&self, length: Option<u64>) -> Loan {
        let most = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(NETWORK);
        self.memory.lend(most.saturating_mul(2).min(NETWORK))
    }

    /// For bytes that are held for readers.
    pub fn beside(&self, bytes: u64) -> Loan {
        // A few blocks.
        self.memory.lend(bytes as usize)
    }

    /// There is no memory to be had.
    pub fn is_used_up(&self) -> bool {
        self.memory.is_used_up()
    }

    /// A place for so many bytes. None: too many wait, or there is no memory to be had.
    pub async fn enter(&self, bytes: u64, taker: Taker) -> Option<Place> {
        // The pieces as they come, and at the end the block that is made of them. No longer than a few blocks.
        let loan = || self.memory.lend(2 * bytes as usize);
        if taker == Taker::Derived || bytes <= SMALL {
            return Some(Place { _permit: None, _loan: loan() });
        }
        if taker == Taker::New && self.refuses(bytes) {
            return None;
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units as u32);
        let permit = match self.free.clone().try_acquire_many_owned(units) {
            Ok(permit) => Some(permit),
            Err(_) => {
                let _waiting = Waiting::enter(self);
                if taker == Taker::New && self.waiting.load(Ordering::Relaxed) > MOST_WAITING {
                    return None;
                }
                self.in_line(units, taker).await?
            }
        };
        Some(Place { _permit: permit, _loan: loan() })
    }

    /// The outer None: refused. The inner: it waited for long enough, and goes on without.
    async fn in_line(&self, units: u32, taker: Taker) -> Option<Option<OwnedSemaphorePermit>> {
        let mut turn = pin!(self.free.clone().acquire_many_owned(units));
        let most = if taker == Taker::New { NEW_PATIENT } else { MOST_PATIENT };
        for _ in 0..most {
            if let Ok(permit) = timeout(PATIENCE, &mut turn).await {
                return Some(permit.ok());
            }
            if taker == Taker::New && self.is_used_up() {
                return None;
            }
            if !self.memory.is_scarce() {
                return Some(None);
            }
        }
        (taker != Taker::New).then_some(None)
    }

    /// Whether who is new would have no place even by waiting.
    pub fn refuses(&self, bytes: u64) -> bool {
        (bytes > SMALL && self.is_used_up()) || self.memory.is_overdrawn()
    }

    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Waiting<'a>(&'a Room);

impl<'a> Waiting<'a> {
    fn enter(room: &'a Room) -> Self {
        room.waiting.fetch_add(1, Ordering::Relaxed);
        Self(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(memory: usize) -> Room {
        Room::new(Lender::new(memory), 1 << 20)
    }

    #[tokio::test]
    async fn long_fills_wait_for_each_other_and_short_ones_do_not() {
        let room = room(128 << 20);
        let mut places = Vec::new();
        for _ in 0..16 {
            places.push(room.enter(MIB, Taker::New).await.unwrap());
        }
        let mut late = pin!(room.enter(MIB, Taker::New));
        assert!(poll!(&mut late).is_pending() && room.is_wanted());
        assert!(room.enter(SMALL, Taker::New).await.is_some());
        assert!(room.enter(MIB, Taker::Derived).await.is_some());
        drop(places.pop());
        assert!(late.await.is_some() && !room.is_wanted());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_for_those_who_stall() {
        let room = room(128 << 20);
        let _stalled = room.enter(16 * MIB, Taker::New).await.unwrap();
        for taker in [Taker::New, Taker::Begun] {
            assert!(timeout(2 * PATIENCE, room.enter(MIB, taker)).await.unwrap().is_some());
        }
        let _connections = room.memory.lend(257 << 20);
        assert!(timeout(2 * PATIENCE, room.enter(MIB, Taker::New)).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn while_memory_is_scarce_they_wait_for_their_turn() {
        let room = room(128 << 20);
        let stalled = room.enter(16 * MIB, Taker::New).await.unwrap();
        let readers = room.memory.lend(200 << 20);
        for (taker, most) in [(Taker::New, NEW_PATIENT as u32), (Taker::Begun, MOST_PATIENT as u32)] {
            let mut waiting = pin!(room.enter(MIB, taker));
            assert!(timeout((most - 1) * PATIENCE, &mut waiting).await.is_err());
            let ended = timeout(2 * PATIENCE, &mut waiting).await.expect("not for ever");
            assert_eq!(ended.is_some(), taker == Taker::Begun);
        }
        let mut waiting = pin!(room.enter(MIB, Taker::Begun));
        assert!(timeout(20 * PATIENCE, &mut waiting).await.is_err());
        drop(readers);
        assert!(timeout(2 * PATIENCE, &mut waiting).await.is_ok());
        drop(stalled);
    }

    #[tokio::test]
    async fn the_line_is_bounded_for_those_who_are_new() {
        let room = room(128 << 20);
        let _all = room.enter(16 * MIB, Taker::New).await.unwrap();
        let mut line: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(room.enter(MIB, Taker::New))).collect();
        for waiting in &mut line {
            assert!(poll!(waiting).is_pending());
        }
        assert!(room.enter(MIB, Taker::New).await.is_none());
        assert!(poll!(pin!(room.enter(MIB, Taker::Begun))).is_pending());
    }

    #[tokio::test]
    async fn nothing_is_begun_when_the_memory_is_used_up() {
        let memory = Lender::new(128 << 20);
        let room = Room::new(memory.clone(), 1 << 20);
        let _connections = memory.lend(257 << 20);
        assert!(room.enter(MIB, Taker::New).await.is_none());
        assert!(room.enter(MIB, Taker::Begun).await.is_some());
        assert!(room.enter(SMALL, Taker::New).await.is_some());
    }
}
