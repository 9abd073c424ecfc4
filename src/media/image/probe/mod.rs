//! What a source is and what decoding it would cost, from its headers alone. Everything here is linear in the
//! length of the headers, allocates nothing that the source controls, and decodes no pixel.

mod avif;
mod gif;
mod jpeg;
mod png;
mod rare;
mod webp;

pub(super) use avif::{Avif, Picture as AvifPicture, Sequence, admit_frame};
pub(super) use gif::Gif;
pub(super) use jpeg::{Jpeg, segment as jpeg_segment};
pub(super) use png::{Png, chunk as png_chunk};
pub(super) use rare::Rare;
pub(super) use webp::{Webp, chunk as webp_chunk};

use super::error::Error;
use super::geometry::Size;
use super::orientation::Orientation;
use super::sniff::Kind;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Pixels as stored, before `orientation`.
    pub stored: Size,
    pub orientation: Orientation,
    /// Of an animation, as far as they were counted; 1 of what stands still.
    pub frames: u32,
    pub(super) coding: Coding,
}

/// What only one format has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coding {
    Jpeg(Jpeg),
    Png(Png),
    Webp(Webp),
    Gif(Gif),
    Avif(Avif),
    /// Read by the library for all kinds.
    Rare(Rare),
}

/// Frames that are counted; what has more is beyond every limit.
const MAX_FRAMES: u32 = 4096;

impl Probe {
    pub fn kind(&self) -> Kind {
        match self.coding {
            Coding::Jpeg(_) => Kind::Jpeg,
            Coding::Png(_) => Kind::Png,
            Coding::Webp(_) => Kind::Webp,
            Coding::Gif(_) => Kind::Gif,
            Coding::Avif(_) => Kind::Avif,
            Coding::Rare(rare) => rare.kind,
        }
    }

    pub fn is_animated(&self) -> bool {
        self.frames > 1
    }

    /// Size as a viewer sees it.
    pub fn size(&self) -> Size {
        self.orientation.apply(self.stored)
    }
}

/// Reads the headers. Sizes have no zero side.
pub fn probe(source: &[u8]) -> Result<Probe, Error> {
    if source.is_empty() {
        return Err(Error::corrupt("empty", "it has no bytes"));
    }
    let kind = Kind::of(source);
    let probe = match kind {
        Kind::Jpeg => jpeg::probe(source)?,
        Kind::Png => png::probe(source)?,
        Kind::Webp => webp::probe(source)?,
        Kind::Gif => gif::probe(source)?,
        Kind::Avif => avif::probe(source)?,
        Kind::Bmp | Kind::Tiff => rare::probe(source, kind)?,
        other => return Err(Error::Unsupported { what: other.as_str() }),
    };
    if probe.stored.width == 0 || probe.stored.height == 0 {
        return Err(Error::corrupt(kind.as_str(), "a side of zero pixels"));
    }
    Ok(probe)
}

/// Big-endian numbers at a place that may lie outside.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = bytes.get(at..at.checked_add(3)?)?.try_into().ok()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
