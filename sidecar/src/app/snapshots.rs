//! Keeps the store in bounds and on disk: forgets what is too old, saves now and then, restores at start.

use std::{path::PathBuf, sync::Arc, time::Duration};

use millrace_kit::{
    clock::{Clock, UnixMillis},
    tasks::Tasks,
};
use parking_lot::Mutex;

use crate::series::Store;

const FORGET_EVERY: Duration = Duration::from_secs(60);

pub struct Snapshots {
    store: Arc<Store>,
    clock: Clock,
    path: PathBuf,
    /// None: only at the end.
    interval: Option<Duration>,
    /// One at a time.
    saving: Mutex<()>,
}

impl Snapshots {
    pub(super) fn new(store: Arc<Store>, clock: Clock, path: PathBuf, interval: Option<Duration>) -> Self {
        Self { store, clock, path, interval, saving: Mutex::new(()) }
    }

    /// A snapshot that cannot be trusted is put aside, not a reason not to start.
    pub(super) fn restore(&self, now: UnixMillis) {
        match self.store.load(&self.path) {
            Ok(0) => {}
            Ok(series) => {
                self.store.forget(now);
                tracing::info!(series, "samples of the last run restored");
            }
            Err(error) => {
                tracing::warn!("starting without the samples of the last run: {error}");
                let aside = self.path.with_extension("damaged");
                if let Err(error) = std::fs::rename(&self.path, &aside) {
                    tracing::warn!(path = %aside.display(), "cannot put the snapshot aside: {error}");
                }
            }
        }
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks) {
        let snapshots = self.clone();
        tasks.spawn_until_stop("forget", async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                let store = snapshots.store.clone();
                let now = snapshots.clock.unix_millis();
                let _ = tokio::task::spawn_blocking(move || store.forget(now)).await;
            }
        });
        if let Some(interval) = self.interval {
            let snapshots = self.clone();
            tasks.spawn_until_stop("snapshot", async move {
                loop {
                    tokio::time::sleep(interval).await;
                    snapshots.save().await;
                }
            });
        }
    }

    pub async fn save(self: &Arc<Self>) {
        let snapshots = self.clone();
        let saved = tokio::task::spawn_blocking(move || {
            let _one = snapshots.saving.lock();
            match snapshots.store.save(&snapshots.path) {
                Ok(series) => tracing::debug!(series, "samples saved"),
                Err(error) => tracing::error!("samples not saved: {error}"),
            }
        });
        if saved.await.is_err() {
            tracing::error!("saving samples failed");
        }
    }
}
