//! How media operations read their input: random access to bytes that somebody else fetches and caches.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};

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

    /// The same in pieces, in order.
    fn stream(&self, range: Range<u64>) -> BoxStream<'_, Result<Bytes, ReadError>> {
        let count = range.end.saturating_sub(range.start).div_ceil(PIECE_BYTES);
        let pieces = (0..count).map(move |index| {
            let start = range.start + index * PIECE_BYTES;
            start..(start + PIECE_BYTES).min(range.end)
        });
        stream::iter(pieces).then(|piece| self.read(piece)).boxed()
    }
}

const PIECE_BYTES: u64 = 256 * 1024;
