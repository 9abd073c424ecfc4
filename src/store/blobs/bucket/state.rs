//! How far a draft has come: one object, written at once, so that it is always true. A line of JSON, and behind it the bytes that are
//! not yet as many as a part has.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, digest::common::hazmat::SerializableState};

use super::{Error, Result};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Bytes of each part.
    pub part: u64,
    /// The name of the upload in parts, when there is one.
    pub upload: Option<String>,
    /// Entity tags of the parts that count, in order.
    pub parts: Vec<String>,
    /// The hash of these parts, as far as it has come.
    hash: String,
    /// The first bytes, which are in a part that cannot be read.
    head: String,
    /// Attempts to make an object of it that S3 has failed at.
    #[serde(default)]
    pub failures: Failures,
    #[serde(skip)]
    pub tail: Bytes,
    /// Of the object that this was read from.
    #[serde(skip)]
    pub tag: Option<String>,
}

/// How often, and since when, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failures {
    pub times: u32,
    pub since: u64,
}

/// An object that S3 has failed to make so often, and for so long, it will not make any more. It has kept a note of each failure
/// meanwhile, so it was there.
const MOST_FAILURES: u32 = 4;
const LONGEST_FAILURE: u64 = 60;

impl Failures {
    pub fn add(&mut self, now: u64) {
        if self.times == 0 {
            self.since = now;
        }
        self.times = self.times.saturating_add(1);
    }

    pub fn are_final(self, now: u64) -> bool {
        self.times >= MOST_FAILURES && now.saturating_sub(self.since) >= LONGEST_FAILURE
    }
}

impl State {
    pub fn new(part: u64) -> Self {
        Self { part, ..Self::default() }
    }

    pub fn length(&self) -> u64 {
        self.part.saturating_mul(self.parts.len() as u64).saturating_add(self.tail.len() as u64)
    }

    pub fn hash(&self) -> Sha256 {
        let saved = STANDARD.decode(&self.hash).ok();
        let saved = saved.and_then(|bytes| bytes.as_slice().try_into().ok());
        saved.and_then(|saved| Sha256::deserialize(&saved).ok()).unwrap_or_default()
    }

    pub fn set_hash(&mut self, hash: &Sha256) {
        self.hash = STANDARD.encode(hash.serialize());
    }

    pub fn head(&self) -> Vec<u8> {
        STANDARD.decode(&self.head).unwrap_or_default()
    }

    pub fn set_head(&mut self, head: &[u8]) {
        self.head = STANDARD.encode(head);
    }

    pub fn write(&self) -> Result<Bytes> {
        let line = serde_json::to_vec(self).map_err(|error| wrong(&error))?;
        let mut bytes = BytesMut::with_capacity(line.len() + 1 + self.tail.len());
        bytes.put_slice(&line);
        bytes.put_u8(b'\n');
        bytes.put_slice(&self.tail);
        Ok(bytes.freeze())
    }

    pub fn read((mut saved, tag): (Bytes, Option<String>)) -> Result<Self> {
        let cut_off = || Error::Io { what: "reading a draft", detail: "it is cut off".to_owned() };
        let end = saved.iter().position(|byte| *byte == b'\n').ok_or_else(cut_off)?;
        let line = saved.split_to(end + 1);
        let state: Self = serde_json::from_slice(&line).map_err(|error| wrong(&error))?;
        if state.part == 0 {
            return Err(cut_off());
        }
        Ok(Self { tail: saved, tag, ..state })
    }
}

fn wrong(error: &serde_json::Error) -> Error {
    Error::Io { what: "the state of a draft", detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut hash = Sha256::new();
        hash.update([b'x'; 100]);
        let mut state = State::new(10);
        state.parts = vec!["\"a\"".to_owned(), "\"b\"".to_owned()];
        state.upload = Some("up\nload".to_owned());
        state.tail = Bytes::from_static(b"tail\n1");
        state.set_hash(&hash);
        state.set_head(b"head");
        let read = State::read((state.write().unwrap(), None)).unwrap();
        assert_eq!((read.length(), read.head(), &read.tail), (26, b"head".to_vec(), &state.tail));
        assert_eq!((read.parts.clone(), read.upload.clone()), (state.parts, state.upload));
        assert_eq!(read.hash().finalize(), hash.finalize());
        assert!(State::read((Bytes::from_static(b"{}"), None)).is_err());
        assert!(State::read((Bytes::from_static(b"{}\n"), None)).is_err());
    }
}
