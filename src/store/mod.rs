//! What we own: the bytes of uploaded assets ([`blobs`]), and what is known of them ([`catalogue`]); and how a [`database`] is reached.
//! Knows neither HTTP nor who may do what.
//!
//! A blob never changes and is named by chance. The catalogue says which blob is an asset's; so a commit is one row, and whoever
//! reads has the old asset or the new one. Bytes are durable before the row is, and the row before anybody is told.

pub mod blobs;
pub mod catalogue;
pub mod database;
mod id;
mod key;

pub use blobs::{Blobs, Content, Draft};
pub use catalogue::Catalogue;
pub use id::BlobId;
pub use key::{AssetKey, BadAssetKey};

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the disk or the quota of its owner is full")]
    Full,
    #[error("{what}: {detail}")]
    Io { what: &'static str, detail: String },
    #[error("the catalogue: {0}")]
    Catalogue(String),
    /// It may be there again soon.
    #[error("it cannot be reached: {0}")]
    Unavailable(String),
    #[error("another server is using {0}")]
    InUse(String),
    #[error("{0} was written by a later version")]
    TooNew(String),
    /// Of a draft whose bytes somebody else has removed.
    #[error("what had come of it has been removed from the store")]
    Lost,
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { what, detail: error.to_string() },
        }
    }
}
