//! How media operations read their input: random access to bytes that somebody else fetches and caches.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// The source could not be read. `detail` is for logs.
#[derive(Debug, Clone, thiserror::Error)]
#[error("reading the source failed: {detail}")]
pub struct ReadError {
    pub detail: String,
}

/// A complete object of known length, of which any part can be read. Reading a part fetches no more than the
/// cache blocks it touches.
pub trait Source: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly the bytes of `range`, which must lie within `0..len()`.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ReadError>>;
}
