//! What is on its way to the disk: as much as the disk takes, and no more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_kit::tasks::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Hybrid;

/// Entries waiting for the disk, in bytes.
const SIZE: usize = 4 << 20;

/// A disk that has not written for so long is left behind: entries stay in memory only, and nobody waits, until it writes
/// again.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes handed to the disk tier and not yet written. Waiting here is what keeps a fast origin from flooding foyer's
/// write queue, which drops what it cannot hold.
pub struct Window {
    free: Arc<Semaphore>,
    written: mpsc::UnboundedSender<OwnedSemaphorePermit>,
    stuck: Arc<AtomicBool>,
}

impl Window {
    pub fn open(cache: Hybrid, tasks: &Tasks) -> Self {
        let free = Arc::new(Semaphore::new(SIZE));
        let stuck = Arc::new(AtomicBool::new(false));
        // Bounded by the permits in it.
        let (written, entered) = mpsc::unbounded_channel();
        // Not one of the tasks that a drain waits for: their writes need it to the last. It ends with its channel, that is
        // with the store.
        tasks.runtime().spawn(let_go(cache, entered, stuck.clone()));
        Self { free, written, stuck }
    }

    /// A place for an entry of so many bytes; None when the disk does not keep up.
    pub async fn enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if self.is_stuck() {
            return None;
        }
        // On disk an entry takes whole pages, and a header.
        let bytes = bytes.next_multiple_of(4096) + 4096;
        let bytes = u32::try_from(bytes.min(SIZE)).unwrap_or(u32::MAX);
        let permit = self.free.clone().acquire_many_owned(bytes);
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                self.stuck.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// The entry has been handed over; its place is free when it is written.
    pub fn entered(&self, permit: OwnedSemaphorePermit) {
        // Fails only when the process is stopping.
        let _ = self.written.send(permit);
    }

    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
}

/// Frees places as their entries are written.
async fn let_go(
    cache: Hybrid,
    mut entered: mpsc::UnboundedReceiver<OwnedSemaphorePermit>,
    stuck: Arc<AtomicBool>,
) {
    while let Some(first) = entered.recv().await {
        let mut batch = vec![first];
        while let Ok(permit) = entered.try_recv() {
            batch.push(permit);
        }
        let mut flushed = std::pin::pin!(cache.storage().wait());
        if tokio::time::timeout(PATIENCE, &mut flushed).await.is_err() {
            stuck.store(true, Ordering::Relaxed);
            tracing::warn!("the disk tier has not written for {PATIENCE:?}; going on in memory");
            flushed.await;
        }
        if stuck.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk tier writes again");
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
        let window = Window::open(cache, &Tasks::new());
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
        window.entered(all);
        while window.is_stuck() {
            tokio::task::yield_now().await;
        }
        assert!(window.enter(1).await.is_some());
    }
}
