//! Where requests wait that have no other origin to go to, while it is found out whether theirs has recovered, and then while it
//! lets only so many through at a time.

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

/// A place in the line.
pub(super) struct Standing<'a> {
    line: &'a Line,
    pub(super) deadline: Instant,
    _room: SemaphorePermit<'a>,
}

impl Line {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, room: Semaphore::new(MOST), head: Mutex::default() }
    }

    /// None: the line is full.
    pub(super) fn join(&self) -> Option<Standing<'_>> {
        let room = self.room.try_acquire().ok()?;
        Some(Standing { line: self, deadline: Instant::now() + self.patience, _room: room })
    }
}

impl Standing<'_> {
    /// To be held by whoever is first in the line. None: this one did not get there in time.
    pub(super) async fn head(&self) -> Option<MutexGuard<'_, ()>> {
        timeout_at(self.deadline, self.line.head.lock()).await.ok()
    }
}
