//! Putting in order what a crash has left, and what nobody came back for.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Uploads, aftercare::AT_A_TIME, resumable::Noted};
use crate::store::catalogue::Kind;

/// Between sweeps; the expiry, if that is shorter.
const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// A file that is younger may be of a request that is under way.
const LEAST: Duration = Duration::from_secs(3600);

impl Uploads {
    /// At the start, before anybody is served: caches hear of what they have missed, and what belongs to nobody goes, if this server has
    /// the store for itself.
    pub async fn recover(&self) -> Result<(), Error> {
        self.forget_changed().await?;
        if self.inner.blobs.is_shared() {
            // A bucket may take minutes to answer, and other servers serve meanwhile.
            return Ok(());
        }
        // Nobody is writing yet, so age does not matter.
        self.sweep_drafts(Duration::ZERO).await?;
        self.sweep_blobs(Duration::ZERO).await?;
        self.finish_complete(Noted::Whatever).await
    }

    /// What a server that shares its stores does behind its start.
    async fn catch_up(&self) -> Result<(), Error> {
        self.sweep_drafts(self.inner.limits.expiry.max(LEAST)).await?;
        self.finish_complete(Noted::Whatever).await
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

    /// Lets aftercare begin, and sweeps again and again. Once, after [`Self::after_commit`].
    pub fn keep_in_order(&self) {
        self.inner.looks.add_permits(AT_A_TIME);
        let uploads = self.clone();
        let expiry = self.inner.limits.expiry;
        self.inner.tasks.spawn_until_stop("sweep", async move {
            let mut blobs_swept = Instant::now();
            if uploads.inner.blobs.is_shared()
                && let Err(error) = uploads.catch_up().await
            {
                tracing::warn!("the store could not be put in order: {error}");
            }
            loop {
                if let Err(error) = uploads.look_into_all().await {
                    tracing::warn!("assets could not be looked into: {error}");
                }
                tokio::time::sleep(INTERVAL.min(expiry)).await;
                // A bucket is listed as a whole, which costs.
                let with_blobs =
                    !uploads.inner.blobs.is_shared() || blobs_swept.elapsed() >= expiry.max(LEAST);
                if with_blobs {
                    blobs_swept = Instant::now();
                }
                if let Err(error) = uploads.put_in_order(with_blobs).await {
                    tracing::warn!("the store could not be swept: {error}");
                }
            }
        });
    }

    /// Tells the caches of what other servers change, from before [`Self::recover`] on.
    pub fn hear_elsewhere(&self) {
        let Some(mut elsewhere) = self.inner.catalogue.elsewhere() else { return };
        let caches = self.inner.caches.clone();
        self.inner.tasks.spawn_until_stop("changes elsewhere", async move {
            while let Some(key) = elsewhere.recv().await {
                caches.forget(&key).await;
            }
        });
    }

    async fn put_in_order(&self, with_blobs: bool) -> Result<(), Error> {
        let least = self.inner.limits.expiry.max(LEAST);
        self.sweep_drafts(least).await?;
        if with_blobs {
            self.sweep_blobs(least).await?;
        }
        // Of servers that have died.
        if self.inner.blobs.is_shared() {
            self.finish_complete(Noted::Complete).await?;
        }
        Ok(())
    }

    /// Removes uploads whose time is over, and drafts that nobody has touched for so long and nobody knows.
    async fn sweep_drafts(&self, least: Duration) -> Result<(), Error> {
        let inner = &self.inner;
        let (blobs, catalogue) = (&inner.blobs, &inner.catalogue);
        for id in catalogue.expired_uploads(inner.clock.unix_millis()).await? {
            // Whoever still sends to it gets it more time at the end.
            let Some(_hold) = self.hold_if_free(&id).await? else { continue };
            let now = inner.clock.unix_millis();
            if catalogue.upload(&id).await?.is_some_and(|upload| upload.expires <= now) {
                catalogue.end_upload(&id).await?;
                blobs.discard(&id).await?;
            }
        }
        let mut swept = 0;
        for id in &blobs.idle_drafts(least).await? {
            let Some(_hold) = self.hold_if_free(id).await? else { continue };
            if catalogue.upload(id).await?.is_none() {
                blobs.discard(id).await?;
                swept += 1;
            }
        }
        told(swept);
        Ok(())
    }

    /// Removes blobs that nobody has touched for so long and that are nobody's.
    async fn sweep_blobs(&self, least: Duration) -> Result<(), Error> {
        let (blobs, catalogue) = (&self.inner.blobs, &self.inner.catalogue);
        let mut swept = 0;
        for id in &blobs.idle_blobs(least).await? {
            if catalogue.has_blob(id).await? {
                continue;
            }
            let Some(_hold) = self.hold_if_free(id).await? else { continue };
            if catalogue.has_blob(id).await? {
                continue;
            }
            match catalogue.upload(id).await? {
                // Its row did not make it; it is tried again from its bytes.
                Some(upload) if upload.kind == Kind::Whole => blobs.take_back(id).await?,
                // It was about to be put together with others, which will be tried again.
                Some(upload) if upload.kind == Kind::Partial => continue,
                _ => blobs.remove(id).await?,
            }
            swept += 1;
        }
        told(swept);
        Ok(())
    }
}

fn told(swept: usize) {
    if swept > 0 {
        tracing::info!(swept, "removed what was left of unfinished uploads");
    }
}
