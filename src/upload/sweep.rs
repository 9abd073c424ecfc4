//! Putting in order what a crash has left, and what nobody came back for.

use std::time::Duration;

use super::{Error, Uploads};
use crate::store::catalogue::Kind;

/// Between sweeps; the expiry, if that is shorter.
const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// A file that is younger may be of a request that is under way.
const LEAST: Duration = Duration::from_secs(3600);

impl Uploads {
    /// At the start, before anybody is served: caches hear of what they have missed, and what belongs to nobody goes.
    pub async fn recover(&self) -> Result<(), Error> {
        self.forget_changed().await?;
        // Nobody is writing yet, so age does not matter.
        self.sweep(Duration::ZERO).await?;
        self.finish_complete().await
    }

    /// Tells caches of what has changed. What they cannot keep is told again at the next start.
    async fn forget_changed(&self) -> Result<(), Error> {
        loop {
            let changed = self.inner.catalogue.changed().await?;
            if changed.is_empty() {
                return Ok(());
            }
            for key in &changed {
                if !self.inner.caches.forget(key).await {
                    return Ok(());
                }
                self.inner.catalogue.forgotten(key.clone(), u64::MAX).await?;
            }
        }
    }

    /// Sweeps again and again.
    pub fn keep_in_order(&self) {
        let uploads = self.clone();
        let expiry = self.inner.limits.expiry;
        self.inner.tasks.spawn_until_stop("sweep", async move {
            loop {
                tokio::time::sleep(INTERVAL.min(expiry)).await;
                if let Err(error) = uploads.sweep(expiry.max(LEAST)).await {
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
            // Whoever still sends to it gets it more time at the end.
            let Some(_hold) = self.hold_if_free(&id) else { continue };
            let now = inner.clock.unix_millis();
            if catalogue.upload(&id).await?.is_some_and(|upload| upload.expires <= now) {
                catalogue.end_upload(&id).await?;
                blobs.discard(&id).await?;
            }
        }
        let idle = blobs.idle(least).await?;
        let mut swept = 0;
        for id in &idle.drafts {
            let Some(_hold) = self.hold_if_free(id) else { continue };
            if catalogue.upload(id).await?.is_none() {
                blobs.discard(id).await?;
                swept += 1;
            }
        }
        for id in &idle.blobs {
            let Some(_hold) = self.hold_if_free(id) else { continue };
            if catalogue.has_blob(id).await? {
                continue;
            }
            match catalogue.upload(id).await? {
                // Its row did not make it; it is tried again from its bytes.
                Some(upload) if upload.kind == Kind::Whole => blobs.take_back(id).await?,
                _ => blobs.remove(id).await?,
            }
            swept += 1;
        }
        if swept > 0 {
            tracing::info!(swept, "removed files of unfinished uploads");
        }
        Ok(())
    }
}
