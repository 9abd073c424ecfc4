//! Whole assets in one request, and their removal.

use super::{
    Asset, AssetKey, Body, Condition, Digests, Error, Uploads, commit::Ready, digest::Checker, sniff,
};
use crate::store::BlobId;

/// An asset as a client describes it.
#[derive(Debug, Clone)]
pub struct Put {
    pub key: AssetKey,
    /// None: it does not say.
    pub length: Option<u64>,
    pub media_type: Option<String>,
    pub tags: Vec<String>,
    pub digests: Digests,
    pub condition: Condition,
    pub owner: String,
}

/// What a client is told of an asset.
#[derive(Debug, Clone)]
pub struct Stored {
    pub asset: Asset,
    /// There was none before.
    pub created: bool,
}

impl Uploads {
    /// Stores an asset. When this resolves it is durable, and nobody gets the one before.
    pub async fn put(&self, put: Put, body: Body) -> Result<Stored, Error> {
        let result = self.put_now(put, body).await;
        self.count("put", &result);
        result
    }

    async fn put_now(&self, put: Put, mut body: Body) -> Result<Stored, Error> {
        let Put { key, length, media_type, tags, digests, condition, owner } = put;
        let place = self.place()?;
        let turn = self.inner.catalogue.turn(&key).await?;
        sniff::foresee(media_type.as_deref(), key.extension(), self.inner.limits.types)
            .map_err(Error::Type)?;
        let most = self.room(&owner, self.replaced(&owner, &key).await?).await?;
        most.check(length.unwrap_or(0))?;
        self.inner.blobs.check_room(length.unwrap_or(0)).await?;
        // Told before the bytes are sent, if possible; what counts is the check at the commit.
        let asks = condition != Condition::default();
        if asks && !condition.holds(self.inner.catalogue.find(&key).await?.as_ref()) {
            return Err(Error::Condition);
        }
        let blob = BlobId::random();
        let mut draft = self.inner.blobs.draft(&blob, false).await?;
        let mut checker = Checker::new(digests);
        let received = self.receive(&mut body, &mut *draft, &most, None, |bytes| checker.see(bytes)).await?;
        if length.is_some_and(|length| length != received) {
            return Err(Error::Short);
        }
        drop(place);
        let ready = Ready {
            key,
            blob,
            draft,
            declared: media_type,
            tags,
            owner,
            condition,
            checker,
            turn,
            ends: false,
        };
        let replaced = self.commit(ready).await?;
        Ok(Stored { created: replaced.old.is_none(), asset: replaced.asset })
    }

    /// False: there was nothing.
    pub async fn delete(&self, key: AssetKey, condition: Condition) -> Result<bool, Error> {
        let result = self.delete_now(key, condition).await;
        self.count("delete", &result);
        result
    }

    async fn delete_now(&self, key: AssetKey, condition: Condition) -> Result<bool, Error> {
        let turn = self.inner.catalogue.turn(&key).await?;
        let uploads = self.clone();
        // Once the row may be gone, caches must hear of it, whoever is still waiting.
        self.detached(async move {
            let removed = uploads.inner.catalogue.remove(key.clone(), condition, turn).await;
            if removed.is_err() {
                // It may have been done all the same.
                uploads.inner.caches.forget(&key).await;
            }
            let removed = removed?;
            let Some(old) = removed.map_err(|refused| uploads.refused(refused))? else { return Ok(false) };
            uploads.discard_blob(&old).await;
            uploads.forget(&key, old.version).await;
            Ok(true)
        })
        .await
    }
}
