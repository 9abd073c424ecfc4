//! Assets as the catalogue knows them, and what changes of them are asked for.

use super::{
    super::{AssetKey, BlobId},
    Turn,
};

/// A stored asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    pub key: AssetKey,
    pub blob: BlobId,
    pub length: u64,
    pub sha256: [u8; 32],
    /// As its content says.
    pub media_type: String,
    /// To be saved rather than shown.
    pub attachment: bool,
    pub tags: Vec<String>,
    pub owner: String,
    /// 1 for the first of this key, and one more with each change; deleting counts too.
    pub version: u64,
    /// Milliseconds since 1970.
    pub created: i64,
    pub modified: i64,
    /// None: nobody has looked into it yet.
    pub probed: Option<Probed>,
}

/// What was found in an asset that has been looked into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    pub duration_ms: Option<u64>,
    /// As shown, in pixels.
    pub size: Option<(u32, u32)>,
    /// As in RFC 6381, such as `avc1.64001f`.
    pub codecs: Vec<String>,
}

/// One to be stored.
#[derive(Debug, Clone)]
pub struct NewAsset {
    pub key: AssetKey,
    pub blob: BlobId,
    pub length: u64,
    pub sha256: [u8; 32],
    pub media_type: String,
    pub attachment: bool,
    pub tags: Vec<String>,
    pub owner: String,
    pub now: i64,
    /// There is nothing in it to be looked for.
    pub plain: bool,
}

/// What must be in an asset's place (RFC 9110 §13.1.1, §13.1.2). Entity tags as they are in fields, with quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    pub if_match: Option<Tags>,
    pub if_none_match: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    Any,
    Of(Vec<String>),
}

/// To put an asset in its place, if that is as the condition says. Its blob must be durable.
pub struct Commit {
    pub new: NewAsset,
    pub condition: Condition,
    /// Bytes that its owner may have stored.
    pub quota: Option<u64>,
    pub turn: Turn,
    /// The upload that ends with it: done with the commit, gone with a refusal. So whoever tries it again, or at the same time
    /// elsewhere, learns what has become of it.
    pub ends: Option<BlobId>,
}

/// What came of a commit.
#[derive(Debug, Clone)]
pub struct Replaced {
    pub asset: Asset,
    /// The one before. None also when it had been put in place already.
    pub old: Option<Asset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Condition,
    Quota,
    /// Its owner has as many unfinished uploads as may be.
    TooMany,
    /// All owners together have.
    Crowded,
    /// A request that came later has changed the key already.
    Overtaken,
    /// The upload has become an asset before, which something else has taken the place of since.
    Finished,
    /// The upload is not there any more.
    Ended,
}

impl Asset {
    /// A strong entity tag, with quotes.
    pub fn etag(&self) -> String {
        let hex: String = self.sha256[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }
}

impl Condition {
    pub fn holds(&self, current: Option<&Asset>) -> bool {
        let tag = current.map(Asset::etag);
        let named = |tags: &Tags| match (tags, &tag) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Of(tags), Some(tag)) => tags.contains(tag),
        };
        self.if_match.as_ref().is_none_or(named) && !self.if_none_match.as_ref().is_some_and(named)
    }
}
