//! Uploads that go on over several requests, as the catalogue knows them.

use super::super::BlobId;

/// An upload that has begun. Its bytes are a lasting draft of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub id: BlobId,
    /// Of the asset that it will be.
    pub key: String,
    /// None: not said yet.
    pub length: Option<u64>,
    /// Bytes that it had when this was noted.
    pub received: u64,
    /// As the client gave it.
    pub metadata: String,
    pub owner: String,
    pub kind: Kind,
    /// What a final upload is put together from.
    pub parts: Vec<BlobId>,
    /// A piece that is not checked yet begins here: to be taken back when whoever sends it is gone.
    pub checked: Option<u64>,
    pub created: i64,
    pub expires: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    /// To be put together with others.
    Partial,
    Final,
    /// It has become an asset.
    Done,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partial => "partial",
            Self::Final => "final",
            Self::Done => "done",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        match word {
            "partial" => Self::Partial,
            "final" => Self::Final,
            "done" => Self::Done,
            _ => Self::Whole,
        }
    }
}

/// How many uploads may be unfinished, and how many bytes they and what is stored may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub overall: u64,
    pub per_owner: u64,
    /// Of one owner.
    pub quota: Option<u64>,
}
