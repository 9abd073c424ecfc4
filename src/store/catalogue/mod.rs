//! What is known of assets and unfinished uploads. A write is told of when it is durable. Every implementation must pass
//! `tests/it/uploads/catalogues.rs`.

use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time::Duration};
use tokio_util::sync::CancellationToken;

use super::{AssetKey, BlobId, Error};

mod asset;
mod list;
mod postgres;
mod sqlite;
mod upload;

pub use asset::{Asset, Commit, Condition, NewAsset, Probed, Refused, Replaced, Tags};
pub use list::{Listing, Page};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use upload::{Bounds, Kind, Upload};

pub type Result<T> = std::result::Result<T, Error>;
/// A refusal is an answer.
pub type Outcome<T> = std::result::Result<T, Refused>;
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

pub trait Catalogue: Send + Sync {
    /// Which catalogue this is, the same for all servers that share it.
    fn identity(&self) -> Answer<'_, String>;

    /// The place of a request that will change this key, taken when it comes.
    fn turn<'a>(&'a self, key: &'a AssetKey) -> Answer<'a, Turn>;

    fn find<'a>(&'a self, key: &'a AssetKey) -> Answer<'a, Option<Asset>>;

    fn commit(&self, commit: Commit) -> Answer<'_, Outcome<Replaced>>;

    /// What was removed. None: there was nothing.
    fn remove(&self, key: AssetKey, condition: Condition, turn: Turn) -> Answer<'_, Outcome<Option<Asset>>>;

    fn list(&self, listing: Listing) -> Answer<'_, Page>;

    /// Bytes that an owner has stored, and those of uploads that have begun.
    fn used_by<'a>(&'a self, owner: &'a str) -> Answer<'a, u64>;

    /// Assets that have changed, and whose old selves may still be in caches.
    fn changed(&self) -> Answer<'_, Vec<AssetKey>>;

    /// No cache has an asset any more as it was before the change of that number.
    fn forgotten(&self, key: AssetKey, version: u64) -> Answer<'_, ()>;

    /// Assets that change at other servers. None: there are none, or they have been taken.
    fn elsewhere(&self) -> Option<mpsc::Receiver<AssetKey>> {
        None
    }

    /// Whether an asset has this blob.
    fn has_blob<'a>(&'a self, blob: &'a BlobId) -> Answer<'a, bool>;

    /// Notes what was found in an asset, unless it has changed since.
    fn note_probed(&self, key: AssetKey, version: u64, found: Probed) -> Answer<'_, ()>;

    /// Some of the assets that nobody has looked into.
    fn unprobed(&self) -> Answer<'_, Vec<Asset>>;

    /// The right to write to an upload, among all servers that share the catalogue. `wanted` is told when another one wants it, and
    /// when it is lost. Without patience nobody is told that it is wanted. None: another one has it still.
    fn lease<'a>(
        &'a self,
        id: &'a BlobId,
        wanted: CancellationToken,
        patience: Duration,
    ) -> Answer<'a, Option<Lease>>;

    fn upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, Option<Upload>>;

    /// Notes a new upload, if there may be one more.
    fn begin_upload(&self, upload: Upload, bounds: Bounds) -> Answer<'_, Outcome<()>>;

    /// Notes an upload as it is now, and which version its key has.
    fn put_upload(&self, upload: Upload) -> Answer<'_, ()>;

    fn end_upload<'a>(&'a self, id: &'a BlobId) -> Answer<'a, ()>;

    /// Those that may have all their bytes and are no asset yet, from after this one on. Not those whose key has changed since
    /// they were noted: that was told of, and they were not.
    fn unfinished_uploads<'a>(&'a self, after: &'a str) -> Answer<'a, Vec<Upload>>;

    /// Some of those whose time is over.
    fn expired_uploads(&self, now: i64) -> Answer<'_, Vec<BlobId>>;
}

/// A request's place in the order in which requests for a key came. One that hangs on the disk while its client comes back with
/// another must not have its way after that one was told of.
pub struct Turn(Place);

enum Place {
    /// Among requests of this process.
    Here(sqlite::Turn),
    /// Among those of all servers.
    Numbered(i64),
}

/// Given back when it is dropped.
pub struct Lease(Option<postgres::Lease>);

impl Lease {
    /// Another one may have it by now.
    pub fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(postgres::Lease::is_lost)
    }
}
