//! Putting in order what a crash has left, and what nobody came back for.

use std::time::Duration;

use super::{Error, Uploads};

/// Between sweeps; the expiry, if that is shorter.
const INTERVAL: Duration = Duration::from_secs(15 * 60);

impl Uploads {
    /// At the start, before anybody is served: caches hear of what they have missed, and what belongs to nobody goes.
    pub async fn recover(&self) -> Result<(), Error> {
        loop {
            let changed = self.inner.catalogue.changed().await?;
            if changed.is_empty() {
                break;
            }
            for key in &changed {
                if !self.inner.caches.forget(key).await {
                    // It holds until the next start, which will see to it again.
                    return self.sweep(Duration::ZERO).await;
                }
                self.inner.catalogue.forgotten(key.clone(), u64::MAX).await?;
            }
        }
        // Nobody is writing yet, so age does not matter.
        self.sweep(Duration::ZERO).await
    }

    /// Sweeps again and again.
    pub fn keep_in_order(&self) {
        let uploads = self.clone();
        let expiry = self.inner.limits.expiry;
        self.inner.tasks.spawn_until_stop("sweep", async move {
            loop {
                tokio::time::sleep(INTERVAL.min(expiry)).await;
                if let Err(error) = uploads.sweep(expiry).await {
                    tracing::warn!("the store could not be swept: {error}");
                }
            }
        });
    }

    /// Removes uploads whose time is over, and files that nobody has touched for so long and nobody knows.
    async fn sweep(&self, least: Duration) -> Result<(), Error> {
        let inner = &self.inner;
        let (blobs, catalogue) = (&inner.blobs, &inner.catalogue);
        for id in catalogue.expired_uploads(inner.clock.unix_millis()).await? {
            catalogue.end_upload(&id).await?;
            blobs.discard(&id).await?;
        }
        let idle = blobs.idle(least).await?;
        let mut swept = 0;
        for id in &idle.drafts {
            if catalogue.upload(id).await?.is_none() {
                blobs.discard(id).await?;
                swept += 1;
            }
        }
        for id in &idle.blobs {
            if !catalogue.has_blob(id).await? {
                blobs.remove(id).await?;
                swept += 1;
            }
        }
        if swept > 0 {
            tracing::info!(swept, "removed files of unfinished uploads");
        }
        Ok(())
    }
}
