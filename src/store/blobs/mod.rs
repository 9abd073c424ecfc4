//! Where bytes are kept. A draft is written, and becomes a blob in one step; a blob never changes. Every implementation must pass
//! `tests/it/uploads/conformance.rs`.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};

use super::{BlobId, Error};

mod bucket;
mod directory;
mod draft;

pub use bucket::{Bucket, Place as BucketPlace};
pub use directory::Directory;

/// Bytes at the beginning by which types are told.
pub const HEAD: usize = 8 << 10;

pub type Result<T> = std::result::Result<T, Error>;

pub trait Blobs: Send + Sync {
    /// Other servers may use it at the same time: what nobody has touched for a while may still be somebody's, and a blob that is
    /// removed is gone for those who read it. Of bytes that were not synced nothing survives there.
    fn is_shared(&self) -> bool;

    /// Fails if there is certainly no room for so many bytes more. What is told of in vain need not be sent.
    fn check_room(&self, _: u64) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    /// Begins a blob. `lasting`: until it is discarded, across restarts; else until it is dropped.
    fn draft<'a>(&'a self, id: &'a BlobId, lasting: bool) -> BoxFuture<'a, Result<Box<dyn Draft>>>;

    /// Goes on with a lasting draft. Its length is what is durable. None: there is none.
    fn reopen<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Box<dyn Draft>>>>;

    /// Removes a draft; none is as good.
    fn discard<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>>;

    /// None: there is no such blob. What was opened can be read to its end, also when the blob is removed, unless it is shared.
    fn open<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Arc<dyn Content>>>>;

    /// Removes a blob; none is as good.
    fn remove<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>>;

    /// Makes a blob a lasting draft again, of which nobody knows yet that it was a blob.
    fn take_back<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>>;

    /// Drafts that nobody has touched for so long, to be removed unless the catalogue knows them.
    fn idle_drafts(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>>;

    /// The same of blobs. All are looked at, so this may take a while.
    fn idle_blobs(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>>;

    /// From now on another server may have them, whoever still holds on to this.
    fn close(&self) {}
}

/// A blob that is being written.
pub trait Draft: Send {
    /// Bytes taken so far.
    fn length(&self) -> u64;

    /// Puts bytes at the end. They may wait in memory, boundedly.
    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>>;

    /// What has been appended survives a crash from now on.
    fn sync(&mut self) -> BoxFuture<'_, Result<()>>;

    /// To be called now and then while bytes come: makes what has come durable where a crash would cost too much of it. Says how
    /// long the draft is then.
    fn checkpoint(&mut self) -> BoxFuture<'_, Result<Option<u64>>> {
        ready(Ok(None)).boxed()
    }

    /// Takes back what lies behind: at least down to what was durable when the draft was opened or synced last.
    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<()>>;

    /// The first bytes, at most [`HEAD`].
    fn head(&mut self) -> BoxFuture<'_, Result<Bytes>>;

    /// Some of the bytes that are there: at least one byte of a range that is not empty.
    fn read(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>>;

    /// Makes it a blob of the same name, durably. Whoever finds it finds all of it.
    fn publish(self: Box<Self>) -> BoxFuture<'static, Result<Published>>;
}

/// What a draft has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub length: u64,
    pub sha256: [u8; 32],
}

/// A blob that is open for reading.
pub trait Content: Send + Sync {
    fn length(&self) -> u64;

    /// At least one byte of a range that is not empty.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>>;

    /// All bytes of a range, as they are taken. An `Err` item is the last one.
    fn stream(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>>
    where
        Self: 'static;
}

/// A range, piece by piece: one is read when the one before has been taken.
fn read_on<C: Content + 'static>(content: Arc<C>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    stream::unfold(Some((content, range)), |state| async {
        let (content, range) = state.filter(|(_, range)| !range.is_empty())?;
        match content.read(range.clone()).await {
            Ok(bytes) => {
                let rest = range.start + bytes.len() as u64..range.end;
                Some((Ok(bytes), Some((content, rest))))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}
