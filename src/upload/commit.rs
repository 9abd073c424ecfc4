//! From a draft that is whole to an asset, whoever is still waiting for it: publish, row, caches.

use std::time::Duration;

use tokio::{sync::oneshot, time::sleep};

use super::{Error, Uploads, digest::Checker, sniff};
use crate::store::{
    AssetKey, BlobId, Draft,
    catalogue::{Asset, Commit, Condition, NewAsset, Refused, Replaced, Turn},
};

/// A blob that others than this server may be reading is kept for so long after its asset has gone.
const LINGER: Duration = Duration::from_secs(600);

/// All that is known of an asset before it is one.
pub struct Ready {
    pub key: AssetKey,
    pub blob: BlobId,
    pub draft: Box<dyn Draft>,
    /// What the client says it is.
    pub declared: Option<String>,
    pub tags: Vec<String>,
    pub owner: String,
    pub condition: Condition,
    pub checker: Checker,
    /// When its request came.
    pub turn: Turn,
    /// It is an upload that ends with this.
    pub ends: bool,
}

impl Uploads {
    /// Goes on to its end even if nobody waits for it any more.
    pub(super) async fn commit(&self, ready: Ready) -> Result<Replaced, Error> {
        let (told, result) = oneshot::channel();
        let uploads = self.clone();
        self.inner.tasks.spawn("commit", async move {
            let _ = told.send(uploads.commit_now(ready).await);
        });
        result.await.map_err(|_| Error::Stopping)?
    }

    async fn commit_now(&self, ready: Ready) -> Result<Replaced, Error> {
        let Ready { key, blob, mut draft, declared, tags, owner, condition, checker, turn, ends } = ready;
        let inner = &self.inner;
        let head = draft.head().await?;
        let types = inner.limits.types;
        let sniffed =
            sniff::judge(&head, declared.as_deref(), key.extension(), types).map_err(Error::Type)?;
        let published = draft.publish().await?;
        let new = NewAsset {
            key: key.clone(),
            blob: blob.clone(),
            length: published.length,
            sha256: published.sha256,
            attachment: sniffed.attachment,
            tags,
            owner,
            now: inner.clock.unix_millis(),
            plain: !inner.aftercare.concerns(&sniffed.media_type),
            media_type: sniffed.media_type,
        };
        let committed = match checker.meets(&published.sha256) {
            false => Err(Error::Digest),
            true => {
                let quota = inner.limits.quota;
                let ends = ends.then(|| blob.clone());
                let refused = inner.catalogue.commit(Commit { new, condition, quota, turn, ends }).await;
                refused.map_err(Error::from).and_then(|done| done.map_err(|refused| self.refused(refused)))
            }
        };
        let replaced = match committed {
            Ok(replaced) => replaced,
            // Of a catalogue that failed nobody knows what it holds; the sweep will find out. Caches must not know better.
            Err(error @ Error::Store(_)) => {
                inner.caches.forget(&key).await;
                return Err(error);
            }
            Err(error) => {
                // With the refusal an upload has gone, so nobody can put its bytes in place any more; but somebody may have.
                let is_others = match error {
                    Error::Finished => true,
                    _ => ends && inner.catalogue.has_blob(&blob).await?,
                };
                if !is_others {
                    inner.blobs.remove(&blob).await?;
                }
                return Err(error);
            }
        };
        if ends
            && inner.blobs.is_shared()
            && let Err(error) = inner.blobs.discard(&blob).await
        {
            // The sweep finds it when the upload's row is gone.
            tracing::warn!("a draft that has become an asset: {error}");
        }
        if let Some(old) = replaced.old.as_ref().filter(|old| old.blob != blob) {
            self.discard_blob(old).await;
        }
        self.forget(&key, replaced.asset.version).await;
        if replaced.asset.probed.is_none() {
            self.take_care_of(replaced.asset.clone());
        }
        Ok(replaced)
    }

    pub(super) fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Condition => Error::Condition,
            Refused::Overtaken => Error::Overtaken,
            Refused::Finished => Error::Finished,
            Refused::Ended => Error::NoUpload,
            Refused::TooMany => Error::TooMany(self.inner.limits.unfinished_per_owner),
            Refused::Crowded => Error::Busy,
            Refused::Quota => Error::Quota(self.inner.limits.quota.unwrap_or_default()),
        }
    }

    /// It is nobody's any more; if this fails, the sweep finds it.
    pub(super) async fn discard_blob(&self, old: &Asset) {
        if self.inner.blobs.is_shared() {
            let (blobs, blob) = (self.inner.blobs.clone(), old.blob.clone());
            self.inner.tasks.spawn_until_stop("old blob", async move {
                sleep(LINGER).await;
                if let Err(error) = blobs.remove(&blob).await {
                    tracing::warn!("{error}");
                }
            });
            return;
        }
        if let Err(error) = self.inner.blobs.remove(&old.blob).await {
            tracing::warn!("{error}");
        }
    }

    pub(super) async fn forget(&self, key: &AssetKey, version: u64) {
        if !self.inner.caches.forget(key).await {
            return;
        }
        let (uploads, key) = (self.clone(), key.clone());
        // Nobody waits for this: caches that are told twice lose nothing.
        self.inner.tasks.spawn("caches told", async move {
            if let Err(error) = uploads.inner.catalogue.forgotten(key, version).await {
                tracing::warn!("caches will be told once more at the next start: {error}");
            }
        });
    }
}
