//! Takes apart what ffmpeg writes, as it comes: the sample entry once, then fragments of encoded pictures.

use bytes::{Buf as _, Bytes, BytesMut};

use super::super::Error;
use super::super::boxes::{Header, be_u32, be_u64, children, find, name, require};

/// A fragment lasts half a second.
const MAX_BOX_BYTES: u64 = 64 << 20;
/// At 240 pictures a second, four minutes.
const MAX_PICTURES: u32 = 60_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The sample entry that describes the pictures.
    Entry(Bytes),
    Pictures(Vec<Picture>, Bytes),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) size: u32,
    /// When it is shown.
    pub(super) time: i64,
    pub(super) keyframe: bool,
}

#[derive(Debug, Default)]
pub(super) struct Fragments {
    buffer: BytesMut,
    /// Of a `moof` whose `mdat` has not come whole.
    pictures: Option<Vec<Picture>>,
}

impl Fragments {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part that has come whole.
    pub(super) fn next(&mut self) -> Result<Option<Part>, Error> {
        loop {
            let Some(header) = Header::parse(&self.buffer)? else { return Ok(None) };
            let len = header.len.filter(|len| *len <= MAX_BOX_BYTES);
            let len = len.ok_or_else(|| Error::malformed(format!("a {} that large", name(header.kind))))?;
            // Bounded just now.
            if self.buffer.len() < len as usize {
                return Ok(None);
            }
            let mut whole = self.buffer.split_to(len as usize).freeze();
            whole.advance(header.header_len as usize);
            match &header.kind {
                b"moov" => return Ok(Some(Part::Entry(sample_entry(&whole)?))),
                b"moof" => self.pictures = Some(pictures(&whole)?),
                b"mdat" => {
                    let pictures =
                        self.pictures.take().ok_or_else(|| Error::malformed("mdat without moof"))?;
                    let bytes: u64 = pictures.iter().map(|picture| u64::from(picture.size)).sum();
                    if bytes != whole.len() as u64 {
                        return Err(Error::malformed("an mdat of another size than its pictures"));
                    }
                    return Ok(Some(Part::Pictures(pictures, whole)));
                }
                _ => {}
            }
        }
    }
}

fn sample_entry(moov: &Bytes) -> Result<Bytes, Error> {
    let stbl = require(require(require(require(moov, *b"trak")?, *b"mdia")?, *b"minf")?, *b"stbl")?;
    let entries = require(stbl, *b"stsd")?.get(8..).unwrap_or_default();
    let entry = children(entries).next().ok_or_else(|| Error::malformed("no sample entry"))??;
    if entry.kind != *b"avc1" {
        return Err(Error::malformed(format!("made {} instead of avc1", name(entry.kind))));
    }
    Ok(moov.slice_ref(entry.raw))
}

/// The body of a `moof` with a single track fragment (ISO/IEC 14496-12 §8.8).
fn pictures(moof: &[u8]) -> Result<Vec<Picture>, Error> {
    let cut = || Error::malformed("a fragment is cut off");
    let traf = require(moof, *b"traf")?;
    let tfhd = require(traf, *b"tfhd")?;
    let flags = be_u32(tfhd, 0).ok_or_else(cut)?;
    let mut at = 8 + usize::from(flags & 1 != 0) * 8 + usize::from(flags & 2 != 0) * 4;
    let mut default = |bit: u32| {
        let value = (flags & bit != 0).then(|| be_u32(tfhd, at).ok_or_else(cut)).transpose();
        at += usize::from(flags & bit != 0) * 4;
        value
    };
    let (duration, size, default_flags) = (default(0x8)?, default(0x10)?, default(0x20)?);
    let tfdt = require(traf, *b"tfdt")?;
    let start = match tfdt.first() {
        Some(1) => be_u64(tfdt, 4),
        _ => be_u32(tfdt, 4).map(u64::from),
    };
    let mut decode = i64::try_from(start.ok_or_else(cut)?).map_err(|_| cut())?;
    let mut pictures = Vec::new();
    for child in children(traf) {
        let child = child?;
        if child.kind != *b"trun" {
            continue;
        }
        let trun = child.body;
        let flags = be_u32(trun, 0).ok_or_else(cut)?;
        let count = be_u32(trun, 4).filter(|count| *count <= MAX_PICTURES).ok_or_else(cut)?;
        let mut at = 8 + usize::from(flags & 1 != 0) * 4;
        let mut field = |present: bool| {
            let value = present.then(|| be_u32(trun, at).ok_or_else(cut)).transpose();
            at += usize::from(present) * 4;
            value
        };
        let first_flags = field(flags & 4 != 0)?;
        for index in 0..count {
            let own_duration = field(flags & 0x100 != 0)?.or(duration).unwrap_or(0);
            let size = field(flags & 0x200 != 0)?.or(size).unwrap_or(0);
            let own_flags = field(flags & 0x400 != 0)?;
            let offset = field(flags & 0x800 != 0)?.unwrap_or(0).cast_signed();
            let own_flags = first_flags.filter(|_| index == 0).or(own_flags).or(default_flags).unwrap_or(0);
            let keyframe = own_flags & 0x1_0000 == 0;
            pictures.push(Picture { size, time: decode + i64::from(offset), keyframe });
            decode += i64::from(own_duration);
        }
    }
    Ok(pictures)
}

/// Parameter sets of a sample entry as they stand in front of a picture: where the initialisation that a player has is not
/// the one these pictures were made with.
pub(super) fn parameter_sets(entry: &[u8]) -> Option<Vec<u8>> {
    let boxes = entry.get(8 + 78..)?;
    let config = find(boxes, *b"avcC").ok()??.body;
    let mut at = 5;
    let mut sets = Vec::new();
    for mask in [0x1f, 0xff] {
        let count = config.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let len = usize::from(u16::from_be_bytes([*config.get(at)?, *config.get(at + 1)?]));
            // Lengths of four bytes, as ffmpeg writes them.
            sets.extend_from_slice(&(len as u32).to_be_bytes());
            sets.extend_from_slice(config.get(at + 2..at + 2 + len)?);
            at += 2 + len;
        }
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use super::super::super::boxes::Writer;
    use super::*;

    fn fragment(sizes: &[u32]) -> Vec<u8> {
        let mut w = Writer::default();
        w.nest(*b"moof", |w| {
            w.nest(*b"traf", |w| {
                w.nest_full(*b"tfhd", 0, 0x02_0028, |w| {
                    [1, 40, 0x0101_0000].into_iter().for_each(|n| w.u32(n))
                });
                w.nest_full(*b"tfdt", 1, 0, |w| w.u64(1000));
                w.nest_full(*b"trun", 1, 0xa05, |w| {
                    [sizes.len() as u32, 0, 0x0200_0000].into_iter().for_each(|n| w.u32(n));
                    for size in sizes {
                        w.u32(*size);
                        w.i32(-20);
                    }
                });
            });
        });
        w.nest(*b"mdat", |w| w.zeros(5));
        w.finish()
    }

    #[test]
    fn pictures_come_out_whole_however_they_come_in() {
        let bytes = fragment(&[3, 2]);
        for step in 1..bytes.len() {
            let mut fragments = Fragments::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                fragments.push(piece);
                found.extend(fragments.next().unwrap());
            }
            let pictures = vec![
                Picture { size: 3, time: 980, keyframe: true },
                Picture { size: 2, time: 1020, keyframe: false },
            ];
            assert_eq!(found, [Part::Pictures(pictures, Bytes::from_static(&[0; 5]))]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for sizes in [&[3, 3][..], &[u32::MAX], &[]] {
            let mut fragments = Fragments::default();
            fragments.push(&fragment(sizes));
            assert!(fragments.next().is_err(), "{sizes:?}");
        }
        let mut fragments = Fragments::default();
        fragments.push(b"\x7f\0\0\0mdat");
        assert!(fragments.next().is_err(), "a box of 2 GiB");
        let mut fragments = Fragments::default();
        fragments.push(b"\0\0\0\x09mdatx");
        assert!(fragments.next().is_err(), "pictures without times");
    }
}
