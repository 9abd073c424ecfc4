//! How readers hold on to a transfer and wait for its progress.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::watch;

use super::Transfer;

/// A reader's hold on a transfer: as long as it lives, the transfer knows that somebody wants its bytes.
pub struct Attachment {
    pub transfer: Arc<Transfer>,
    progress: watch::Receiver<()>,
}

impl Attachment {
    pub(super) fn new(transfer: Arc<Transfer>) -> Self {
        transfer.readers.fetch_add(1, Ordering::Relaxed);
        Self { progress: transfer.progress.subscribe(), transfer }
    }

    /// Tells the transfer how far this reader has come.
    pub fn wants(&self, offset: u64) {
        if self.transfer.frontier.fetch_max(offset, Ordering::Relaxed) < offset {
            self.transfer.demand.notify_one();
        }
    }

    /// Marks what is there now as seen; [`Self::changed`] then waits for more.
    pub fn look(&mut self) {
        self.progress.mark_unchanged();
    }

    pub async fn changed(&mut self) {
        // The sender lives as long as the transfer that we hold.
        let _ = self.progress.changed().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.transfer.readers.fetch_sub(1, Ordering::Relaxed);
        self.transfer.demand.notify_one();
    }
}
