//! Names of blobs and drafts.

use std::fmt;

use aws_lc_rs::rand;

/// 128 bits of chance in hexadecimal: nobody guesses one, and no two are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(Box<str>);

const LENGTH: usize = 32;

impl BlobId {
    pub fn random() -> Self {
        let mut bytes = [0; LENGTH / 2];
        if rand::fill(&mut bytes).is_err() {
            // The system always has random numbers once it runs; these would still not meet.
            fastrand::fill(&mut bytes);
        }
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// None for what cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let shaped =
            text.len() == LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Spreads files over directories.
    pub(super) fn shard(&self) -> &str {
        self.0.get(..2).unwrap_or_default()
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
