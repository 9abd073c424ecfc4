//! What follows when an asset is stored: it is looked into, and whoever prepares something of it is told. Nobody waits for that.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Asset, Error, Probed, Uploads};
use crate::store::Content;

/// Assets looked into at a time; others wait.
pub(super) const AT_A_TIME: usize = 2;

/// Who looks into assets.
pub trait Aftercare: Send + Sync {
    /// Whether there can be something in an asset of this type; what cannot have anything is not looked into.
    fn concerns(&self, media_type: &str) -> bool;

    /// What is in an asset; nothing is an answer too.
    fn look<'a>(&'a self, asset: &'a Asset, content: Arc<dyn Content>) -> BoxFuture<'a, FoundOut>;
}

/// None: it could not be read just now.
pub type FoundOut = Option<Probed>;

impl Uploads {
    /// What follows a commit. What a crash leaves out is made up for at the next start.
    pub(super) fn take_care_of(&self, asset: Asset) {
        let uploads = self.clone();
        self.inner.tasks.spawn_until_stop("aftercare", async move {
            let Ok(_turn) = uploads.inner.looks.clone().acquire_owned().await else { return };
            if let Err(error) = uploads.look_into(asset).await {
                tracing::warn!("looking into an asset: {error}");
            }
        });
    }

    /// Those that nobody has looked into yet.
    pub(super) async fn look_into_all(&self) -> Result<(), Error> {
        loop {
            let assets = self.inner.catalogue.unprobed().await?;
            let before = assets.len();
            let mut noted = 0;
            for asset in assets {
                noted += usize::from(self.look_into(asset).await?);
            }
            // Whatever could not be read is for the next time.
            if before == 0 || noted == 0 {
                return Ok(());
            }
        }
    }

    async fn look_into(&self, mut asset: Asset) -> Result<bool, Error> {
        let inner = &self.inner;
        let Some(content) = inner.blobs.open(&asset.blob).await? else { return Ok(false) };
        let Some(found) = inner.aftercare.look(&asset, content).await else { return Ok(false) };
        asset.probed = Some(found.clone());
        // Before it is noted, which is the end of it: twice does no harm, never would.
        if let Some(told) = inner.committed.get() {
            told(&asset);
        }
        inner.catalogue.note_probed(asset.key.clone(), asset.version, found).await?;
        Ok(true)
    }
}
