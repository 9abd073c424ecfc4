//! Where requests wait that have no other origin to go to, while theirs recovers and lets only so many through at a time.

use std::time::Duration;

use tokio::{
    sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

/// Requests in one line; more are turned away.
const MOST: usize = 1024;

pub(super) struct Line {
    patience: Duration,
    room: Semaphore,
    /// First come, first served.
    head: Mutex<()>,
}

/// Held by whoever is first in the line.
pub(super) struct Turn<'a> {
    pub(super) deadline: Instant,
    _head: MutexGuard<'a, ()>,
    _room: SemaphorePermit<'a>,
}

impl Line {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, room: Semaphore::new(MOST), head: Mutex::default() }
    }

    /// None: the line is full, or this one did not get to its head in time.
    pub(super) async fn join(&self) -> Option<Turn<'_>> {
        let deadline = Instant::now() + self.patience;
        let room = self.room.try_acquire().ok()?;
        let head = timeout_at(deadline, self.head.lock()).await.ok()?;
        Some(Turn { deadline, _head: head, _room: room })
    }
}
