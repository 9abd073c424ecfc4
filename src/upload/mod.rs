//! Turns a client's bytes into a committed asset, and removes assets. Knows neither HTTP connections nor caches: who else has
//! to hear of a change is told through [`Caches`].

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use millrace_kit::{
    clock::Clock,
    metrics::{self, IntCounter, IntCounterVec, IntGauge, Registry, catalogue},
    tasks::Tasks,
};
use tokio::sync::Semaphore;

mod aftercare;
mod commit;
mod digest;
mod error;
mod put;
mod receive;
pub mod resumable;
mod sniff;
mod sweep;

pub use aftercare::{Aftercare, FoundOut};
pub use digest::Digests;
pub use error::Error;
pub use put::{Put, Stored};
pub use sniff::Rules as TypeRules;

pub use crate::store::Error as StoreError;
pub use crate::store::{
    AssetKey, BadAssetKey, BlobId,
    catalogue::{Asset, Condition, Listing, Page, Probed, Tags},
};
use crate::store::{Blobs, Catalogue, catalogue::Bounds};

/// What a client sends. An `Err` item is the last one: the client is gone.
pub type Body = BoxStream<'static, Result<Bytes, std::io::Error>>;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest asset.
    pub size: u64,
    /// Uploads whose bytes are being received at a time.
    pub concurrent: usize,
    /// Longest silence of a client.
    pub idle: Duration,
    /// Bytes per second that a client must send in the long run; 0: any.
    pub least_rate: u64,
    /// Uploads that are begun and not finished: of all owners, and of one.
    pub unfinished: u64,
    pub unfinished_per_owner: u64,
    /// Bytes that one owner may have stored.
    pub quota: Option<u64>,
    /// An unfinished upload that nobody goes on with is kept for so long.
    pub expiry: Duration,
    pub types: TypeRules,
}

/// Whoever may still have an asset as it was.
pub trait Caches: Send + Sync {
    /// Resolves when nobody gets anything any more that was made of this asset before. False: that may not survive a restart.
    fn forget<'a>(&'a self, key: &'a AssetKey) -> BoxFuture<'a, bool>;
}

/// Takes uploads. Shared by all connections.
#[derive(Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

struct Inner {
    blobs: Arc<dyn Blobs>,
    catalogue: Arc<dyn Catalogue>,
    caches: Arc<dyn Caches>,
    aftercare: Arc<dyn Aftercare>,
    limits: Limits,
    places: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    holders: Arc<resumable::Holders>,
    clock: Clock,
    tasks: Tasks,
    instruments: Instruments,
    committed: OnceLock<Committed>,
}

/// Hears of each asset that has been put in place and looked into; not of those that are not, as there can be nothing in them. Must not
/// take long.
type Committed = Box<dyn Fn(&Asset) + Send + Sync>;

struct Instruments {
    bytes: IntCounter,
    ended: IntCounterVec,
    active: IntGauge,
}

impl Uploads {
    /// When nothing is under way any more: another server may have the directory.
    pub fn close(&self) {
        self.inner.blobs.close();
    }

    pub fn new(
        (blobs, catalogue): (Arc<dyn Blobs>, Arc<dyn Catalogue>),
        (caches, aftercare): (Arc<dyn Caches>, Arc<dyn Aftercare>),
        limits: Limits,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Self, metrics::Error> {
        let instruments = Instruments {
            bytes: registry.counter(&catalogue::UPLOAD_BYTES)?.with_label_values(&[] as &[&str]),
            ended: registry.counter(&catalogue::UPLOADS)?,
            active: registry.gauge(&catalogue::UPLOADS_ACTIVE)?.with_label_values(&[] as &[&str]),
        };
        let places = Arc::new(Semaphore::new(limits.concurrent));
        let inner = Inner {
            blobs,
            catalogue,
            caches,
            aftercare,
            limits,
            places,
            // Until it is known who is told, see `keep_in_order`.
            looks: Arc::new(Semaphore::new(0)),
            holders: Arc::default(),
            clock,
            tasks,
            instruments,
            committed: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Told of each asset that is put in place from now on, when it has been looked into, which those of plain types are not. Set
    /// once.
    pub fn after_commit(&self, told: impl Fn(&Asset) + Send + Sync + 'static) {
        let _ = self.inner.committed.set(Box::new(told));
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub async fn list(&self, listing: Listing) -> Result<Page, Error> {
        Ok(self.inner.catalogue.list(listing).await?)
    }

    fn bounds(&self) -> Bounds {
        let Limits { unfinished, unfinished_per_owner, quota, .. } = self.inner.limits;
        Bounds { overall: unfinished, per_owner: unfinished_per_owner, quota }
    }

    fn count(&self, kind: &str, result: &Result<impl Sized, Error>) {
        let word = result.as_ref().map_or_else(Error::as_str, |_| "stored");
        self.inner.instruments.ended.with_label_values(&[kind, word]).inc();
        if let Err(Error::Store(error)) = result {
            tracing::error!(kind, "an upload failed: {error}");
        }
    }
}
