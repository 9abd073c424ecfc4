//! How a stored object looks on its way to a peer: frames, each with its length and a checksum, so that what was cut off or
//! damaged is not taken for an object.
//!
//! The first says in which form entries are, and what the time is; then come the head, with the fields that choose among variants
//! before it, and blocks in order; the last says how many there were.

use std::{hash::Hasher as _, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use foyer::Code;
use millrace_kit::clock::UnixMillis;
use xxhash_rust::xxh3::Xxh3;

use super::{
    Head, Variants,
    entry::{Entry, FORM},
};

pub const CONTENT_TYPE: &str = "application/vnd.millrace.object";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// By the clock of who sends it.
    Begin {
        now: UnixMillis,
    },
    Variants(Arc<Variants>),
    Head(Arc<Head>),
    Block {
        index: u32,
        bytes: Bytes,
    },
    End {
        blocks: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("a frame does not have its checksum")]
    Checksum,
    #[error("a frame says that it is longer than any")]
    Length,
    #[error("a frame of another version")]
    Form,
    #[error("a frame makes no sense")]
    Content,
}

const BEGIN: u8 = 1;
const VARIANTS: u8 = 2;
const HEAD: u8 = 3;
const BLOCK: u8 = 4;
const END: u8 = 5;

/// Kind, number, length.
const PREFIX: usize = 1 + 4 + 4;
const CHECKSUM: usize = 8;
/// A block of 16 MiB, with the head of an object of one block.
const MAX_PAYLOAD: usize = (16 << 20) + (1 << 20);

impl Frame {
    /// In pieces to be sent one after the other. None: there is no such entry.
    pub fn encode(&self) -> Option<[Bytes; 3]> {
        let entry = |entry: Entry| {
            let mut encoded = Vec::with_capacity(entry.estimated_size());
            entry.encode(&mut encoded).ok().map(|()| Bytes::from(encoded))
        };
        let (kind, number, payload) = match self {
            Self::Begin { now } => (BEGIN, FORM, Bytes::copy_from_slice(&now.to_le_bytes())),
            Self::Variants(variants) => (VARIANTS, 0, entry(Entry::Variants(variants.clone()))?),
            Self::Head(head) => (HEAD, 0, entry(Entry::Head(head.clone()))?),
            Self::Block { index, bytes } => (BLOCK, *index, bytes.clone()),
            Self::End { blocks } => (END, *blocks, Bytes::new()),
        };
        let length = u32::try_from(payload.len()).ok().filter(|length| *length as usize <= MAX_PAYLOAD)?;
        let mut prefix = Vec::with_capacity(PREFIX);
        prefix.push(kind);
        prefix.extend_from_slice(&number.to_le_bytes());
        prefix.extend_from_slice(&length.to_le_bytes());
        let checksum = checksum(&prefix, &payload);
        Some([prefix.into(), payload, Bytes::copy_from_slice(&checksum.to_le_bytes())])
    }

    fn decode(kind: u8, number: u32, mut payload: Bytes) -> Result<Self, Damaged> {
        let entry = |payload: &Bytes| Entry::decode(&mut &payload[..]).map_err(|_| Damaged::Content);
        match kind {
            BEGIN if number != FORM => Err(Damaged::Form),
            BEGIN if payload.len() == size_of::<UnixMillis>() => {
                Ok(Self::Begin { now: payload.get_i64_le() })
            }
            VARIANTS | HEAD => match (kind, entry(&payload)?) {
                (VARIANTS, Entry::Variants(variants)) => Ok(Self::Variants(variants)),
                (HEAD, Entry::Head(head)) => Ok(Self::Head(head)),
                _ => Err(Damaged::Content),
            },
            BLOCK => Ok(Self::Block { index: number, bytes: payload }),
            END if payload.is_empty() => Ok(Self::End { blocks: number }),
            _ => Err(Damaged::Content),
        }
    }
}

/// Takes bytes as they come and gives frames.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// None: more has to come.
    pub fn take(&mut self) -> Result<Option<Frame>, Damaged> {
        let Some(prefix) = self.0.first_chunk::<PREFIX>() else { return Ok(None) };
        let [kind, n0, n1, n2, n3, l0, l1, l2, l3] = *prefix;
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Damaged::Length);
        }
        if self.0.len() < PREFIX + length + CHECKSUM {
            self.0.reserve(PREFIX + length + CHECKSUM - self.0.len());
            return Ok(None);
        }
        let prefix = self.0.split_to(PREFIX);
        let payload = self.0.split_to(length);
        if self.0.get_u64_le() != checksum(&prefix, &payload) {
            return Err(Damaged::Checksum);
        }
        // A copy: what is kept for long must not keep the buffer.
        Frame::decode(kind, number, Bytes::copy_from_slice(&payload)).map(Some)
    }
}

fn checksum(prefix: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.write(prefix);
    hash.write(payload);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::{Content, Key, KeySeed, vary::VarySpec};

    fn sample() -> (Vec<Frame>, Vec<u8>) {
        let content = Content::Inline(Bytes::from_static(b"body"));
        let head = Head::new("/a", StatusCode::OK, &HeaderMap::new(), (5, 6), 4, content);
        let variants = Variants::new(&Key::new("/a", KeySeed(1)), VarySpec::from_names(vec!["x".into()]));
        let frames = vec![
            Frame::Begin { now: -7 },
            Frame::Variants(variants.into()),
            Frame::Head(head.into()),
            Frame::Block { index: 3, bytes: Bytes::from_static(b"block") },
            Frame::End { blocks: 1 },
        ];
        let bytes = frames.iter().flat_map(|frame| frame.encode().unwrap().concat()).collect();
        (frames, bytes)
    }

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let (frames, bytes) = sample();
        for size in [1, 7, 1000] {
            let (mut parser, mut back) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                parser.push(piece);
                while let Some(frame) = parser.take().unwrap() {
                    back.push(frame);
                }
            }
            assert_eq!(back, frames);
        }
    }

    /// No byte can be another without being noticed, and what is cut off never ends well.
    #[test]
    fn what_is_damaged_is_noticed() {
        let (frames, bytes) = sample();
        let read = |bytes: &[u8]| {
            let (mut parser, mut back) = (Frames::default(), Vec::new());
            parser.push(bytes);
            while let Some(frame) = parser.take()? {
                back.push(frame);
            }
            Ok::<_, Damaged>(back)
        };
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(read(&wrong).is_err() || read(&wrong).unwrap().len() < frames.len(), "{at}");
            assert!(read(&bytes[..at]).unwrap().len() < frames.len(), "{at}");
        }
        let huge = [&[BLOCK][..], &[0; 4], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(read(&huge), Err(Damaged::Length));
    }
}
