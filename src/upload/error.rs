//! Why an upload was not taken.

use crate::store::{self, BadAssetKey};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Key(#[from] BadAssetKey),
    /// Something else that the client said makes no sense.
    #[error("{0}")]
    Bad(String),
    #[error("the body is not what its digest says")]
    Digest,
    #[error("the body ended early")]
    Short,
    #[error("nothing more of the body came in time")]
    Stalled,
    #[error("the body comes more slowly than the {0} bytes a second that are wanted")]
    Slow(u64),
    #[error("its owner has the {0} unfinished uploads that are allowed")]
    TooMany(u64),
    #[error("it has more than the {0} bytes that are allowed")]
    TooLarge(u64),
    #[error("with it, its owner would have stored more than the {0} bytes that are allowed")]
    Quota(u64),
    #[error("{0}")]
    Type(String),
    #[error("what is there is not as the request's preconditions want it")]
    Condition,
    #[error("a request that came later has changed it already")]
    Overtaken,
    #[error("there is no such upload")]
    NoUpload,
    #[error("the time of this upload is over")]
    Expired,
    #[error("it has become an asset already, which something else has taken the place of since")]
    Finished,
    #[error("the upload has {0} bytes, so it goes on there")]
    Offset(u64),
    #[error("another request is writing to this upload")]
    Locked,
    #[error("the piece is not what its checksum says")]
    Checksum,
    #[error("this cannot be done to this kind of upload")]
    Kind,
    #[error("too many uploads are under way")]
    Busy,
    #[error("the server is stopping")]
    Stopping,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// There is no room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(store::Error::Full))
    }

    /// Another attempt at the same upload cannot go better.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Store(store::Error::Lost)) || !matches!(self, Self::Store(_) | Self::Stopping)
    }

    /// For metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Bad(_) | Self::Kind => "bad",
            Self::Digest | Self::Checksum => "digest",
            Self::Short | Self::Stalled | Self::Slow(_) => "broken",
            Self::TooLarge(_) | Self::Quota(_) => "too-large",
            Self::Type(_) => "type",
            Self::Condition | Self::Overtaken | Self::Finished | Self::Offset(_) | Self::Locked => "conflict",
            Self::NoUpload | Self::Expired | Self::Store(store::Error::Lost) => "gone",
            Self::Busy | Self::Stopping | Self::TooMany(_) => "busy",
            Self::Store(store::Error::Full) => "full",
            Self::Store(_) => "failed",
        }
    }
}
