//! Fragmented sources (ISO/IEC 14496-12 §8.8): all `moof` boxes are read, one after the other, and what they say of samples is put
//! into one table a track, as if it had stood in `moov`. What comes of it is kept like any other index.

use std::collections::BTreeMap;

use super::Error;
use super::boxes::{Header, be_u32, be_u64, children, find, name, require};
use super::samples::SampleTable;
use super::scan::{TopBox, Window};
use crate::media::Source;

mod gather;

use gather::{Gathered, Run};

/// Boxes at the top level that are passed over. Half-second fragments of ten hours, each of a few boxes, are 360,000.
const MAX_BOXES: u32 = 500_000;
/// A fragment of many samples has some hundred kilobytes.
const MAX_MOOF_BYTES: u64 = 8 << 20;
/// All of them together.
const MAX_ALL_BYTES: u64 = 256 << 20;
/// Samples of all tracks of one source.
const MAX_SAMPLES: u32 = 1 << 22;
const MAX_TRACKS: usize = 64;

/// What a track has when its fragments do not say (`trex`), or its samples do not (`tfhd`).
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    description: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

/// The samples of all fragments, by track.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    tracks: BTreeMap<u32, (Defaults, Gathered)>,
    samples: u32,
}

/// The samples of a track whose decode times begin at 0.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) samples: SampleTable,
    pub(super) description: u32,
    /// When the first is decoded on the track's own clock.
    pub(super) first_time: u64,
}

impl Fragments {
    /// `moov` is the body of that box, which has `mvex`; fragments are looked for from `position` on.
    pub(super) async fn read(source: &dyn Source, moov: &[u8], mut position: u64) -> Result<Self, Error> {
        let mut fragments = Self::default();
        fragments.add_defaults(moov)?;
        let mut window = Window::new(source);
        let mut bytes = 0;
        for _ in 0..MAX_BOXES {
            let Some(header) = Header::parse(&window.at(position).await?)? else { return Ok(fragments) };
            let len = header.len.unwrap_or(source.len() - position);
            let found = TopBox {
                kind: header.kind,
                start: position,
                header_len: header.header_len,
                end: position.saturating_add(len),
            };
            if found.kind == *b"moof" {
                if len > MAX_MOOF_BYTES || bytes + len > MAX_ALL_BYTES {
                    return Err(Error::unsupported("fragments with that much of an index"));
                }
                bytes += len;
                // A recording that broke off ends with the last whole fragment.
                if found.end > source.len() {
                    return Ok(fragments);
                }
                let moof = source.read(found.start + found.header_len..found.end).await?;
                fragments.add(&moof, found.start, source.len())?;
            }
            position = found.end;
        }
        Err(Error::unsupported(format!("more than {MAX_BOXES} boxes")))
    }

    fn add_defaults(&mut self, moov: &[u8]) -> Result<(), Error> {
        for child in children(require(moov, *b"mvex")?) {
            let child = child?;
            if child.kind != *b"trex" {
                continue;
            }
            let field = |at| be_u32(child.body, at).ok_or_else(|| Error::malformed("trex is cut off"));
            let (description, duration) = (field(8)?, field(12)?);
            let defaults = Defaults { description, duration, size: field(16)?, flags: field(20)? };
            if self.tracks.len() >= MAX_TRACKS {
                return Err(Error::unsupported(format!("more than {MAX_TRACKS} tracks")));
            }
            self.tracks.insert(field(4)?, (defaults, Gathered::default()));
        }
        Ok(())
    }

    /// `moof` is the body of the box that begins at `start`.
    fn add(&mut self, moof: &[u8], start: u64, source_len: u64) -> Result<(), Error> {
        // Data of a track fragment that does not say where follows that of the one before.
        let mut follows = start;
        for child in children(moof) {
            let child = child?;
            if child.kind == *b"traf" {
                follows = self.add_track(child.body, start, follows, source_len)?;
            }
        }
        Ok(())
    }

    fn add_track(&mut self, traf: &[u8], moof: u64, follows: u64, source_len: u64) -> Result<u64, Error> {
        let cut = || Error::malformed("a fragment is cut off");
        let tfhd = require(traf, *b"tfhd")?;
        let (flags, id) = (be_u32(tfhd, 0).ok_or_else(cut)?, be_u32(tfhd, 4).ok_or_else(cut)?);
        let (defaults, gathered) = self
            .tracks
            .get_mut(&id)
            .ok_or_else(|| Error::malformed("a fragment of a track that is not there"))?;
        let mut at = 8;
        let base = match flags {
            _ if flags & 1 != 0 => {
                at += 8;
                be_u64(tfhd, 8).ok_or_else(cut)?
            }
            // default-base-is-moof
            _ if flags & 0x2_0000 != 0 => moof,
            _ => follows,
        };
        let mut field = |bit: u32, default: u32| {
            if flags & bit == 0 {
                return Ok(default);
            }
            at += 4;
            be_u32(tfhd, at - 4).ok_or_else(cut)
        };
        let description = field(2, defaults.description)?;
        let defaults = Defaults {
            description,
            duration: field(8, defaults.duration)?,
            size: field(0x10, defaults.size)?,
            flags: field(0x20, defaults.flags)?,
        };
        if find(traf, *b"senc")?.is_some() || find(traf, *b"saio")?.is_some() {
            return Err(Error::unsupported("encrypted fragments"));
        }
        let time = match find(traf, *b"tfdt")? {
            Some(tfdt) => {
                let time = match tfdt.body.first() {
                    Some(1) => be_u64(tfdt.body, 4),
                    _ => be_u32(tfdt.body, 4).map(u64::from),
                };
                Some(time.ok_or_else(cut)?)
            }
            None => None,
        };
        gathered.begin(description, time)?;
        let mut position = base;
        for child in children(traf) {
            let child = child?;
            if child.kind == *b"trun" {
                let mut run = Run::parse(child.body)?;
                if let Some(offset) = run.data_offset {
                    let start = base.checked_add_signed(offset.into());
                    position = start.ok_or_else(|| Error::malformed("a fragment before the file"))?;
                }
                run.bound(defaults.size, source_len.saturating_sub(position))?;
                self.samples = self.samples.saturating_add(run.count);
                if self.samples > MAX_SAMPLES {
                    return Err(Error::unsupported(format!("more than {MAX_SAMPLES} samples")));
                }
                // Each takes a byte of media, or some of the index.
                if u64::from(self.samples) > source_len {
                    return Err(Error::malformed("more samples than bytes"));
                }
                position =
                    gathered.add(&run, (defaults.duration, defaults.size, defaults.flags), position)?;
                if position > source_len {
                    // The last fragment of a recording that broke off.
                    gathered.take_back(source_len);
                    return Ok(source_len);
                }
            }
        }
        Ok(position)
    }

    /// What there is of a track, after the samples that `moov` itself has. None: nothing.
    pub(super) fn take(&mut self, id: u32, before: Option<&SampleTable>) -> Result<Option<Whole>, Error> {
        match self.tracks.remove(&id) {
            Some((defaults, gathered)) => gathered.finish(before, defaults.description),
            None => Ok(None),
        }
    }
}

/// The number of a track (`tkhd`).
pub(super) fn track_id(trak: &[u8]) -> Result<u32, Error> {
    let tkhd = require(trak, *b"tkhd")?;
    let at = if tkhd.first() == Some(&1) { 20 } else { 12 };
    be_u32(tkhd, at).ok_or_else(|| Error::malformed(format!("{} is cut off", name(*b"tkhd"))))
}
