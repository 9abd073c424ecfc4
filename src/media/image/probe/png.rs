//! PNG headers (PNG specification, third edition) up to the first image data: size, colour, interlacing,
//! transparency, EXIF orientation. An animated PNG is taken as its default image.

use super::{Coding, Probe, be32};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::media::image) struct Png {
    pub(in crate::media::image) interlaced: bool,
    /// 8-bit samples per pixel once palettes are expanded: 1 to 4.
    pub(in crate::media::image) channels: u8,
    /// Length of its EXIF block.
    pub(in crate::media::image) exif_bytes: u32,
}

/// Chunks before the image data.
const MAX_CHUNKS: usize = 4096;
const SIGNATURE: usize = 8;

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    let mut orientation = Orientation::default();
    let mut header = None;
    let mut transparent = false;
    let mut at = SIGNATURE;
    for _ in 0..MAX_CHUNKS {
        let (name, body, next) = chunk(source, at).ok_or_else(|| corrupt("ends within its header"))?;
        match (name, &mut header) {
            (b"IHDR", None) => header = Some(parse_header(body)?),
            (b"IHDR", _) => return Err(corrupt("two headers")),
            (_, None) => return Err(corrupt("no header at the front")),
            // Three bytes for each colour; the `png` crate takes that for granted.
            (b"PLTE", _) if !body.len().is_multiple_of(3) => return Err(corrupt("a palette cut off")),
            (b"tRNS", _) => transparent = true,
            (b"eXIf", Some((_, png))) => {
                orientation = Orientation::from_tiff(body);
                png.exif_bytes = png.exif_bytes.max(u32::try_from(body.len()).unwrap_or(u32::MAX));
            }
            (b"IEND", _) => return Err(corrupt("no image data")),
            (b"IDAT", Some((stored, png))) => {
                // Gray and colour gain an alpha channel.
                png.channels += u8::from(transparent && png.channels % 2 == 1);
                return Ok(Probe { stored: *stored, orientation, frames: 1, coding: Coding::Png(*png) });
            }
            _ => {}
        }
        at = next;
    }
    Err(corrupt("too many chunks before the image data"))
}

/// Name and body of the chunk at `at`, and where the next begins. Image data may be cut off: that is the
/// decoder's to find.
pub(in crate::media::image) fn chunk(source: &[u8], at: usize) -> Option<(&[u8; 4], &[u8], usize)> {
    let length = be32(source, at)? as usize;
    let name: &[u8; 4] = source.get(at + 4..at + 8)?.try_into().ok()?;
    if name == b"IDAT" {
        return Some((name, &[], at));
    }
    let end = (at + 8).checked_add(length)?;
    Some((name, source.get(at + 8..end)?, end.checked_add(4)?))
}

fn parse_header(body: &[u8]) -> Result<(Size, Png), Error> {
    let &[w3, w2, w1, w0, h3, h2, h1, h0, _depth, colour, _, _, interlace] = body else {
        return Err(corrupt("bad header length"));
    };
    let channels = match colour {
        0 => 1,
        2 | 3 => 3,
        4 => 2,
        6 => 4,
        _ => return Err(corrupt("bad colour type")),
    };
    let size = Size::new(u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    Ok((size, Png { interlaced: interlace != 0, channels, exif_bytes: 0 }))
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("PNG", detail)
}
