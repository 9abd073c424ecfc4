//! What the tiers hold: heads, vary specs and blocks, and their form on disk.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use foyer::{Code, Error, ErrorKind};
use http::StatusCode;

use super::{
    Content, Fields, Freshness, Head, Key,
    control::ResponseControl,
    purge::{Seen, Tags},
    vary::VarySpec,
};

/// Names the blocks of one version of one object, so that blocks of different versions never mix. Packed, lest every head is
/// padded for its sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, packed(8))]
pub struct Incarnation(pub u128);

impl Incarnation {
    pub fn new() -> Self {
        Self(fastrand::u128(..))
    }
}

impl Default for Incarnation {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    /// Hash of a key, or an incarnation.
    pub(super) id: u128,
    /// Index of the block; `HEAD` for what is found by key.
    pub(super) part: u32,
}

pub(super) const HEAD: u32 = u32::MAX;

/// The variants of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants {
    /// Text of the resource's key.
    pub(super) key: Box<str>,
    /// The fields that choose among them.
    pub spec: VarySpec,
    /// Part of each variant's key: variants from before an invalidation are not found again.
    pub(super) stamp: u64,
}

impl Variants {
    pub fn new(key: &Key, spec: VarySpec) -> Self {
        Self { key: key.text().into(), spec, stamp: fastrand::u64(..) }
    }
}

/// The round in which a head in memory was last tried to be brought to the disk; 0: never. Only saves work, so it is no
/// part of what the object is.
#[derive(Debug, Default)]
pub struct OnDisk(AtomicU32);

impl OnDisk {
    /// Whether this is the first try in this round.
    pub(super) fn try_in(&self, round: u32) -> bool {
        self.0.load(Ordering::Relaxed) != round && self.0.swap(round, Ordering::Relaxed) != round
    }
}

/// Of another entry nothing has been tried yet.
impl Clone for OnDisk {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for OnDisk {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OnDisk {}

/// Small, and cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Head(Arc<Head>),
    /// Several variants: the fields that choose among them.
    Variants(Arc<Variants>),
    Block(Arc<Bytes>),
    /// What was here is not to be found any more. foyer's own removal does not reach a write that is under way, and
    /// is forgotten at a restart; a newer entry is not.
    Gone,
}

impl Entry {
    pub(super) fn block(&self) -> Option<Bytes> {
        match self {
            Self::Block(bytes) => Some(Bytes::clone(bytes)),
            _ => None,
        }
    }

    /// Of the object with blocks whose head this is.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Head(head) => head.incarnation(),
            _ => None,
        }
    }

    /// Notes that it has been tried to be brought to the disk.
    pub(super) fn tried(&self, round: u32) {
        if let Self::Head(head) = self {
            head.on_disk.try_in(round);
        }
    }

    pub(super) fn weight(&self) -> usize {
        /// The tier's own bookkeeping per entry, and what the allocator rounds up: see `benches/memory.rs`.
        const OVERHEAD: usize = 128;
        OVERHEAD
            + match self {
                Self::Head(head) => head.weight(),
                Self::Variants(variants) => {
                    variants.key.len()
                        + variants.spec.names().iter().map(|name| name.len() + 16).sum::<usize>()
                }
                Self::Block(bytes) => bytes.len(),
                Self::Gone => 0,
            }
    }
}

impl Code for EntryKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        put(writer, &self.id.to_le_bytes())?;
        put(writer, &self.part.to_le_bytes())
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self { id: u128::from_le_bytes(take(reader)?), part: u32::from_le_bytes(take(reader)?) })
    }

    fn estimated_size(&self) -> usize {
        20
    }
}

/// Changes whenever the form of an entry or of [`Fields`] does: directories of another form are not read. The tags change too, so that what
/// is read all the same is a miss, not garbage.
pub(super) const FORM: u32 = 2;

const TAG_HEAD: u8 = 7;
const TAG_VARIANTS: u8 = 5;
const TAG_BLOCK: u8 = 3;
const TAG_GONE: u8 = 4;
const CONTENT_INLINE: u8 = 0;
const CONTENT_BLOCKS: u8 = 1;
/// Beside one of these: the head is loose.
const LOOSE: u8 = 2;

/// No entry is longer: a block, or a head with one block inline.
const MAX_CHUNK: u64 = 64 << 20;

impl Code for Entry {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        match self {
            Self::Head(head) => {
                put(writer, &[TAG_HEAD])?;
                encode_head(head, writer)
            }
            Self::Variants(variants) => {
                put(writer, &[TAG_VARIANTS])?;
                put_chunk(writer, variants.key.as_bytes())?;
                put(writer, &variants.stamp.to_le_bytes())?;
                put(writer, &(variants.spec.names().len() as u64).to_le_bytes())?;
                variants.spec.names().iter().try_for_each(|name| put_chunk(writer, name.as_bytes()))
            }
            Self::Block(bytes) => {
                put(writer, &[TAG_BLOCK])?;
                put_chunk(writer, bytes)
            }
            Self::Gone => put(writer, &[TAG_GONE]),
        }
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        match take::<1>(reader)?[0] {
            TAG_HEAD => Ok(Self::Head(decode_head(reader)?.into())),
            TAG_VARIANTS => {
                let key = take_text(reader)?;
                let stamp = u64::from_le_bytes(take(reader)?);
                let count = u64::from_le_bytes(take(reader)?);
                if count > super::vary::MAX_FIELDS as u64 {
                    return Err(malformed("too many vary fields"));
                }
                let names = (0..count).map(|_| take_text(reader)).collect::<foyer::Result<_>>()?;
                let spec = VarySpec::from_names(names);
                Ok(Self::Variants(Variants { key, spec, stamp }.into()))
            }
            TAG_BLOCK => Ok(Self::Block(Bytes::from(take_chunk(reader)?).into())),
            TAG_GONE => Ok(Self::Gone),
            _ => Err(malformed("unknown entry tag")),
        }
    }

    fn estimated_size(&self) -> usize {
        64 + match self {
            Self::Head(head) => head.weight(),
            Self::Variants(_) => 512,
            Self::Block(bytes) => bytes.len(),
            Self::Gone => 0,
        }
    }
}

fn encode_head(head: &Head, writer: &mut impl Write) -> foyer::Result<()> {
    put_chunk(writer, head.key.as_bytes())?;
    put(writer, &head.status.as_u16().to_le_bytes())?;
    put_chunk(writer, head.fields.encoded())?;
    put(writer, &head.request_time.to_le_bytes())?;
    put(writer, &head.freshness.response_time.to_le_bytes())?;
    // The only generated field whose value matters later.
    put(writer, &head.freshness.initial_age.to_le_bytes())?;
    put(writer, &head.length.to_le_bytes())?;
    put(writer, &head.born.to_le_bytes())?;
    let loose = if head.loose { LOOSE } else { 0 };
    match &head.content {
        Content::Inline(bytes) => {
            put(writer, &[CONTENT_INLINE | loose])?;
            put_chunk(writer, bytes)
        }
        Content::Blocks { incarnation, block_size } => {
            put(writer, &[CONTENT_BLOCKS | loose])?;
            put(writer, &incarnation.0.to_le_bytes())?;
            put(writer, &block_size.to_le_bytes())
        }
    }
}

fn decode_head(reader: &mut impl Read) -> foyer::Result<Head> {
    let key = take_text(reader)?;
    let status = u16::from_le_bytes(take(reader)?);
    let status = StatusCode::from_u16(status).map_err(|_| malformed("status"))?;
    let fields = Fields::decode(take_chunk(reader)?).ok_or_else(|| malformed("fields"))?;
    let request_time = i64::from_le_bytes(take(reader)?);
    let response_time = i64::from_le_bytes(take(reader)?);
    let initial_age = i64::from_le_bytes(take(reader)?);
    let length = u64::from_le_bytes(take(reader)?);
    let born = u64::from_le_bytes(take(reader)?);
    let [kind] = take::<1>(reader)?;
    let content = match kind & !LOOSE {
        CONTENT_INLINE => Content::Inline(take_chunk(reader)?.into()),
        CONTENT_BLOCKS => Content::Blocks {
            incarnation: Incarnation(u128::from_le_bytes(take(reader)?)),
            block_size: u32::from_le_bytes(take(reader)?),
        },
        _ => return Err(malformed("content tag")),
    };
    let control = ResponseControl::parse(&fields);
    let freshness =
        Freshness { initial_age, ..Freshness::of(status, &fields, &control, request_time, response_time) };
    let (tags, seen) = (Tags::of(&fields), Seen::up_to(born));
    let on_disk = OnDisk::default();
    Ok(Head {
        key,
        status,
        fields,
        control,
        freshness,
        length,
        content,
        loose: kind & LOOSE != 0,
        request_time,
        born,
        tags,
        seen,
        on_disk,
    })
}

fn put(writer: &mut impl Write, bytes: &[u8]) -> foyer::Result<()> {
    writer.write_all(bytes).map_err(Error::io_error)
}

fn put_chunk(writer: &mut impl Write, bytes: &[u8]) -> foyer::Result<()> {
    put(writer, &(bytes.len() as u64).to_le_bytes())?;
    put(writer, bytes)
}

fn take<const N: usize>(reader: &mut impl Read) -> foyer::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(bytes)
}

fn take_chunk(reader: &mut impl Read) -> foyer::Result<Vec<u8>> {
    let length = u64::from_le_bytes(take(reader)?);
    if length > MAX_CHUNK {
        return Err(malformed("chunk length"));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    reader.take(length).read_to_end(&mut bytes).map_err(Error::io_error)?;
    if bytes.len() as u64 != length {
        return Err(malformed("short chunk"));
    }
    Ok(bytes)
}

fn take_text(reader: &mut impl Read) -> foyer::Result<Box<str>> {
    let text = take_chunk(reader)?;
    Ok(std::str::from_utf8(&text).map_err(|_| malformed("text"))?.into())
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::cache::KeySeed;

    fn round_trip(entry: &Entry) -> Entry {
        let mut encoded = Vec::new();
        entry.encode(&mut encoded).unwrap();
        for cut in 0..encoded.len() {
            assert!(Entry::decode(&mut &encoded[..cut]).is_err(), "cut at {cut} must not decode");
        }
        Entry::decode(&mut &encoded[..]).unwrap()
    }

    #[test]
    fn heads_survive_the_disk() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
        headers.insert("age", HeaderValue::from_static("7"));
        headers.insert("cache-tag", HeaderValue::from_static("a,b"));
        let inline = Content::Inline(Bytes::from_static(b"body"));
        let blocks = Content::Blocks { incarnation: Incarnation::new(), block_size: 1 << 20 };
        for content in [inline, blocks] {
            let head = Head::new("/a", StatusCode::OK, &headers, (5, 6), 4, content).born_after(7);
            let Entry::Head(back) = round_trip(&Entry::Head(head.clone().into())) else {
                panic!("not a head")
            };
            assert_eq!(*back, head);
        }
    }

    #[test]
    fn variants_and_blocks_survive_the_disk() {
        let spec = VarySpec::from_names(vec!["accept".into(), "x".into()]);
        let variants = Variants::new(&Key::new("/a", KeySeed(1)), spec);
        let Entry::Variants(back) = round_trip(&Entry::Variants(variants.clone().into())) else {
            panic!("not variants")
        };
        assert_eq!(*back, variants);
        let Entry::Block(back) = round_trip(&Entry::Block(Bytes::from_static(b"xyz").into())) else {
            panic!("not a block")
        };
        assert_eq!(&back[..], &b"xyz"[..]);
    }
}
