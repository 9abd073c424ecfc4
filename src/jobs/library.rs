//! What jobs read and write outside of themselves. They know neither the cache nor how assets are stored; `app` brings them
//! together.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{media::Source, store::AssetKey};

/// Why an attempt did not succeed. What is said of it is shown to who sent the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another attempt would end the same way.
    #[error("{0}")]
    Lasting(String),
    /// Another attempt may succeed.
    #[error("{0}")]
    Passing(String),
    /// There is too much else to do just now.
    #[error("the server is busy")]
    Busy,
}

/// A file that becomes an asset.
#[derive(Debug, Clone)]
pub struct Keeping {
    pub key: AssetKey,
    pub media_type: &'static str,
    pub owner: String,
    pub file: PathBuf,
}

/// An asset that a job has made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Where it is served.
    pub path: String,
    pub key: String,
    pub length: u64,
    pub etag: String,
}

pub trait Library: Send + Sync {
    /// What is at a path or address, as viewers get it.
    fn source<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Arc<dyn Source>, Failure>>;

    /// Has something made and stored that viewers may ask for, after all that somebody waits for. Its first bytes, at most so many.
    fn warm<'a>(&'a self, place: &'a str, most: usize) -> BoxFuture<'a, Result<Bytes, Failure>>;

    /// Puts a file in place as an asset: whole or not at all.
    fn keep(&self, keeping: Keeping) -> BoxFuture<'_, Result<Kept, Failure>>;

    /// Whether assets are kept here at all.
    fn keeps(&self) -> bool;
}
