//! What is on its way to the disk: as much as the disk takes, and no more; and whether it got there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use millrace_kit::tasks::Tasks;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::tier::{Alarm, Engine};
use crate::cache::entry::EntryKey;

/// Entries waiting for the disk, in bytes.
const SIZE: usize = 4 << 20;

/// A disk that has not written for so long is left behind: entries stay in memory only, and nobody waits, until it writes
/// again.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes handed to the disk tier and not yet written. Waiting here is what keeps a fast origin from flooding foyer's
/// write queue, which drops what it cannot hold.
pub struct Window {
    free: Arc<Semaphore>,
    written: mpsc::UnboundedSender<Handed>,
    stuck: Arc<Stuck>,
}

struct Handed {
    key: EntryKey,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Stuck {
    is_stuck: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Stuck {
    fn begins(&self) {
        if !self.is_stuck.swap(true, Ordering::Relaxed) {
            *self.since.lock() = Some(Instant::now());
            tracing::warn!("the disk tier has not written for {PATIENCE:?}; going on in memory");
        }
    }

    fn ends(&self) {
        if self.is_stuck.swap(false, Ordering::Relaxed) {
            *self.since.lock() = None;
            tracing::info!("the disk tier writes again");
        }
    }
}

impl Window {
    pub fn open(engine: Engine, alarm: Alarm, removals: Arc<AtomicU64>, tasks: &Tasks) -> Self {
        let free = Arc::new(Semaphore::new(SIZE));
        let stuck = Arc::<Stuck>::default();
        // Bounded by the permits in it.
        let (written, handed) = mpsc::unbounded_channel();
        // Not one of the tasks that a drain waits for: their writes need it to the last. It ends with its channel, that is
        // with the tier.
        let runtime = tasks.runtime().clone();
        tasks.runtime().spawn(let_go(engine, handed, stuck.clone(), alarm, removals, runtime));
        Self { free, written, stuck }
    }

    /// A place for an entry of so many bytes; None when the disk does not keep up.
    pub async fn enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if self.is_stuck() {
            return None;
        }
        let permit = self.free.clone().acquire_many_owned(space(bytes));
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                self.stuck.begins();
                None
            }
        }
    }

    /// A place, if there is one now.
    pub fn try_enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(space(bytes)).ok()
    }

    /// The entry has been handed over; its place is free when it is written.
    pub fn entered(&self, key: EntryKey, place: OwnedSemaphorePermit) {
        // Fails only when the process is stopping.
        let _ = self.written.send(Handed { key, _place: place });
    }

    pub fn is_stuck(&self) -> bool {
        self.stuck.is_stuck.load(Ordering::Relaxed)
    }

    pub fn stuck_for(&self) -> Duration {
        self.stuck.since.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// On disk an entry takes whole pages, and a header.
pub fn space(bytes: usize) -> u32 {
    let bytes = bytes.next_multiple_of(4096) + 4096;
    u32::try_from(bytes.min(SIZE)).unwrap_or(u32::MAX)
}

/// So many flushes in a row of which nothing has arrived are a failure; a single one may have been overtaken.
const LOST_FLUSHES: u32 = 2;

/// Frees places as their entries are written. foyer does not say when writing has failed, but what it could not write
/// it does not find either.
async fn let_go(
    engine: Engine,
    mut handed: mpsc::UnboundedReceiver<Handed>,
    stuck: Arc<Stuck>,
    alarm: Alarm,
    removals: Arc<AtomicU64>,
    runtime: tokio::runtime::Handle,
) {
    let mut lost = 0;
    while let Some(first) = handed.recv().await {
        let mut batch = vec![first];
        while let Ok(next) = handed.try_recv() {
            batch.push(next);
        }
        let removed = removals.load(Ordering::Relaxed);
        // In a task of its own, because foyer may panic after a failure.
        let flushing = engine.clone();
        let mut flushed = runtime.spawn(async move { flushing.storage().wait().await });
        let ended = match tokio::time::timeout(PATIENCE, &mut flushed).await {
            Ok(ended) => ended,
            Err(_) => {
                stuck.begins();
                flushed.await
            }
        };
        stuck.ends();
        let arrived = batch.iter().any(|entry| engine.storage().may_contains(&entry.key));
        let overtaken = removals.load(Ordering::Relaxed) != removed;
        lost = if arrived || overtaken { 0 } else { lost + 1 };
        if ended.is_err() || lost >= LOST_FLUSHES {
            alarm.raise("writing to it failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use foyer::HybridCacheBuilder;
    use tokio::time::Instant;

    use super::*;

    /// A disk that never writes: places are taken and not given back.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_disk_that_does_not_write_until_it_writes_again() {
        let cache = HybridCacheBuilder::new().memory(1 << 20).storage().build().await.unwrap();
        let window = Window::open(cache, Alarm::default(), Arc::default(), &Tasks::new());
        let all = window.enter(SIZE).await.unwrap();
        assert!(!window.is_stuck());
        let before = Instant::now();
        assert!(window.enter(1).await.is_none());
        assert_eq!(before.elapsed(), PATIENCE);
        for _ in 0..100 {
            assert!(window.enter(1).await.is_none());
        }
        assert!(before.elapsed() == PATIENCE && window.is_stuck());
        // What was handed over is written at last.
        window.entered(EntryKey { id: 1, part: 1 }, all);
        while window.is_stuck() {
            tokio::task::yield_now().await;
        }
        assert!(window.enter(1).await.is_some());
    }
}
