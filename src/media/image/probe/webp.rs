//! WebP container and bitstream headers (RFC 9649): size, alpha, animation, EXIF orientation, and the first
//! frame of an animation.

use std::ops::Range;

use super::{Coding, MAX_FRAMES, Probe, le16, le24, le32};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::media::image) struct Webp {
    pub(in crate::media::image) alpha: bool,
    /// Some part is lossless-coded, so that the decoder holds the whole image.
    pub(in crate::media::image) lossless: bool,
    /// Where an animation's first frame lies on the canvas; its chunks begin at `data`.
    pub(in crate::media::image) first_frame: Option<Frame>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::media::image) struct Frame {
    pub(in crate::media::image) offset: (u32, u32),
    pub(in crate::media::image) size: Size,
    pub(in crate::media::image) data: (usize, usize),
}

/// Chunks looked at; animations have one per frame, and few besides.
const MAX_CHUNKS: usize = MAX_FRAMES as usize + 16;
const ANIMATION: u8 = 0x02;
const ALPHA: u8 = 0x10;

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    let mut found = Found::default();
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let Some((name, body, next)) = chunk(source, at) else { break };
        found.chunk(source, name, body)?;
        at = next;
    }
    found.finish()
}

/// Four-character code and place of the chunk at `at`, and where the next begins. The last chunk may be cut
/// off: that is the decoder's to find.
pub(in crate::media::image) fn chunk(source: &[u8], at: usize) -> Option<(&[u8; 4], Range<usize>, usize)> {
    let name = source.get(at..at + 4)?.try_into().ok()?;
    let length = le32(source, at + 4)? as usize;
    let body = at + 8;
    let end = body.checked_add(length)?;
    Some((name, body..end.min(source.len()), end.checked_add(length & 1)?))
}

#[derive(Default)]
struct Found {
    canvas: Option<Size>,
    bitstream: Option<Size>,
    animated: bool,
    frames: u32,
    webp: Webp,
    orientation: Orientation,
}

impl Found {
    fn chunk(&mut self, source: &[u8], name: &[u8; 4], place: Range<usize>) -> Result<(), Error> {
        let body = &source[place.clone()];
        match name {
            b"VP8X" if self.canvas.is_none() && self.bitstream.is_none() => {
                let flags = *body.first().ok_or_else(|| corrupt("header cut off"))?;
                self.animated = flags & ANIMATION != 0;
                self.webp.alpha = flags & ALPHA != 0;
                let (w, h) = le24(body, 4).zip(le24(body, 7)).ok_or_else(|| corrupt("header cut off"))?;
                self.canvas = Some(Size::new(w + 1, h + 1));
            }
            b"VP8 " | b"VP8L" | b"ALPH" => self.bitstream_chunk(name, body)?,
            b"ANMF" => {
                self.frames += 1;
                if self.webp.first_frame.is_none() {
                    self.frame(source, place)?;
                }
            }
            b"EXIF" => self.orientation = Orientation::from_tiff(body),
            _ => {}
        }
        Ok(())
    }

    fn bitstream_chunk(&mut self, name: &[u8; 4], body: &[u8]) -> Result<(), Error> {
        if name == b"ALPH" {
            (self.webp.alpha, self.webp.lossless) = (true, true);
        } else if self.bitstream.is_none() {
            let (size, alpha) = if name == b"VP8 " { (lossy_size(body), false) } else { lossless_size(body) };
            self.webp.alpha |= alpha;
            self.webp.lossless |= name == b"VP8L";
            self.bitstream = Some(size.ok_or_else(|| corrupt("bad bitstream header"))?);
        }
        Ok(())
    }

    /// ANMF: offset/2, size−1, duration and flags, then the frame's own chunks.
    fn frame(&mut self, source: &[u8], place: Range<usize>) -> Result<(), Error> {
        let body = &source[place.clone()];
        let field = |at| le24(body, at).ok_or_else(|| corrupt("animation frame cut off"));
        let frame = Frame {
            offset: (field(0)? * 2, field(3)? * 2),
            size: Size::new(field(6)? + 1, field(9)? + 1),
            data: (place.start + 16, place.end),
        };
        let mut at = place.start + 16;
        for _ in 0..3 {
            let Some((name, inner, next)) = chunk(&source[..place.end], at) else { break };
            if matches!(name, b"VP8 " | b"VP8L" | b"ALPH") {
                self.bitstream_chunk(name, &source[inner])?;
            }
            at = next;
        }
        self.webp.first_frame = Some(frame);
        Ok(())
    }

    fn finish(mut self) -> Result<Probe, Error> {
        let bitstream = self.bitstream.ok_or_else(|| corrupt("no image data"))?;
        let stored = self.canvas.unwrap_or(bitstream);
        match self.webp.first_frame {
            Some(frame) if self.animated => {
                let right = u64::from(frame.offset.0) + u64::from(frame.size.width);
                let bottom = u64::from(frame.offset.1) + u64::from(frame.size.height);
                let outside = right > stored.width.into() || bottom > stored.height.into();
                if outside || frame.size != bitstream || frame.data.0 > frame.data.1 {
                    return Err(corrupt("an animation frame that does not fit"));
                }
                // What the frame leaves uncovered is transparent.
                self.webp.alpha |= frame.size != stored;
            }
            _ if self.animated => return Err(corrupt("an animation without frames")),
            _ => {
                self.webp.first_frame = None;
                if stored != bitstream {
                    return Err(corrupt("canvas and image differ in size"));
                }
            }
        }
        let frames = if self.animated { self.frames.max(1) } else { 1 };
        Ok(Probe { stored, orientation: self.orientation, frames, coding: Coding::Webp(self.webp) })
    }
}

/// RFC 6386 §9.1: frame tag, start code, 14 bits each of width and height.
fn lossy_size(body: &[u8]) -> Option<Size> {
    if body.first()? & 1 != 0 || body.get(3..6)? != b"\x9d\x01\x2a" {
        return None;
    }
    Some(Size::new(u32::from(le16(body, 6)? & 0x3fff), u32::from(le16(body, 8)? & 0x3fff)))
}

/// RFC 9649 §3.4: signature, 14 bits each of width−1 and height−1, alpha hint.
fn lossless_size(body: &[u8]) -> (Option<Size>, bool) {
    match (body.first(), le32(body, 1)) {
        (Some(0x2f), Some(bits)) => {
            (Some(Size::new((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)), bits >> 28 & 1 == 1)
        }
        _ => (None, false),
    }
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("WebP", detail)
}
