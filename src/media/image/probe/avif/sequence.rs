//! AV1's own headers (AV1 §5.5): size, depth and colours of what will be decoded. The file around them may say what it likes; the
//! decoder believes these.

use moxcms::ColorProfile;

use super::{Place, corrupt};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;

const MAX_UNITS: usize = 4096;

const SEQUENCE: u8 = 1;
const DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const TILES: u8 = 4;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const PADDING: u8 = 15;

/// Rows and columns of tiles, each.
const MAX_TILES: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::media::image) struct Sequence {
    /// 8, 10 or 12.
    pub(in crate::media::image) depth: u32,
    pub(in crate::media::image) grey: bool,
    /// 0: 4:2:0, 1: 4:4:4, 2: 4:2:2, or anything with 12 bits.
    profile: u32,
    /// Primaries, transfer and matrix (ITU-T H.273).
    pub(in crate::media::image) cicp: [u8; 3],
    pub(in crate::media::image) full_range: bool,
    /// Side of the largest blocks, of which a tile has at least one.
    superblock: u32,
    /// Frames may be coded narrower than they are shown.
    narrowed: bool,
    /// Frames may be shown with grain that is not coded.
    pub(in crate::media::image) grain: bool,
}

/// With what it takes to read the header of a frame behind it.
struct Header {
    sequence: Sequence,
    size: Size,
    /// That of a still picture, whose frame header leaves out what goes without saying.
    reduced: bool,
    /// Bits of a frame's time, and of its number.
    time: u32,
    number: u32,
    /// Whether there are tools for pictures of screens, and whole motion vectors; None: each frame says so.
    screen: Option<bool>,
    integer: Option<bool>,
}

impl Sequence {
    /// Of the picture in this place, which must have this size.
    pub(super) fn of(source: &[u8], place: Place, size: Size) -> Result<Self, Error> {
        let data =
            source.get(place.0..place.1.min(source.len())).ok_or_else(|| corrupt("picture cut off"))?;
        let (_, header) =
            units(data).find(|(kind, _)| *kind == SEQUENCE).ok_or_else(|| corrupt("no sequence header"))?;
        let header = Header::read(header).ok_or_else(|| corrupt("header cut off"))?;
        if header.size != size {
            return Err(corrupt("two different sizes"));
        }
        Ok(header.sequence)
    }

    /// What is neither HDR nor coded in a way that hardly anybody uses.
    pub(super) fn admit_colours(&self) -> Result<(), Error> {
        let [_, transfer, matrix] = self.cicp;
        match (transfer, matrix) {
            (16 | 18, _) => Err(Error::Unsupported { what: "an AVIF of high dynamic range" }),
            (_, 0 | 1 | 2 | 4..=7 | 9) => Ok(()),
            _ => Err(Error::Unsupported { what: "an AVIF of this make" }),
        }
    }

    /// Of colours that are named by a number and are not sRGB's.
    pub(in crate::media::image) fn profile(&self) -> Option<Vec<u8>> {
        let profile = match self.cicp[0] {
            9 => ColorProfile::new_bt2020(),
            12 => ColorProfile::new_display_p3(),
            _ => return None,
        };
        profile.encode().ok()
    }

    /// Bytes of the pictures that decoding one frame of this size takes, sides being those of the decoder's planes.
    pub(in crate::media::image) fn picture_bytes(&self, planes: Size) -> u64 {
        let halves = match (self.grey, self.profile) {
            (true, _) => 2,
            (_, 0) => 3,
            _ => 6,
        };
        let pictures = 1 + u64::from(self.narrowed) + u64::from(self.grain);
        planes.pixels() * halves * self.sample_bytes() / 2 * pictures
    }

    pub(in crate::media::image) fn sample_bytes(&self) -> u64 {
        if self.depth > 8 { 2 } else { 1 }
    }

    /// Tiles that a frame of this size can have at most (AV1 §5.9.15).
    pub(in crate::media::image) fn max_tiles(&self, size: Size) -> u64 {
        let along = |side: u32| u64::from(side.div_ceil(self.superblock).min(MAX_TILES));
        along(size.width) * along(size.height)
    }
}

/// Refuses what is not one frame of the size that its sequence header names. The decoder would give memory to each further frame, to a
/// second header, and to a frame that says another size for itself; none of them is in a still picture.
pub(in crate::media::image) fn admit_frame(data: &[u8]) -> Result<(), Error> {
    let mut first: Option<(&[u8], Header)> = None;
    let mut frames = 0;
    for (number, (kind, body)) in units(data).enumerate() {
        match (kind, &first) {
            (SEQUENCE, None) => {
                first = Some((body, Header::read(body).ok_or_else(|| corrupt("header cut off"))?));
            }
            (SEQUENCE, Some((same, _))) if *same == body => {}
            (SEQUENCE, _) => return Err(corrupt("two different headers")),
            (FRAME | FRAME_HEADER, Some((_, header))) => {
                frames += 1;
                if frames > 1 {
                    return Err(Error::Unsupported { what: "an AVIF of several frames" });
                }
                if !header.is_whole(body).ok_or_else(|| corrupt("header cut off"))? {
                    return Err(Error::Unsupported { what: "an AVIF of this make" });
                }
            }
            (DELIMITER | TILES | METADATA | PADDING, _) => {}
            _ => return Err(corrupt("parts in no order")),
        }
        if number + 1 == MAX_UNITS {
            return Err(corrupt("too many parts"));
        }
    }
    if frames == 1 { Ok(()) } else { Err(corrupt("no picture")) }
}

/// Kinds and bodies of open bitstream units.
fn units(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    let next = move || {
        let (head, mut body) = rest.split_first()?;
        if head & 0x04 != 0 {
            body = body.get(1..)?;
        }
        let mut length = body.len();
        if head & 0x02 != 0 {
            let mut said = 0_u64;
            for number in 0..8 {
                let (byte, more) = body.split_first()?;
                body = more;
                said |= u64::from(byte & 0x7f) << (7 * number);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            length = usize::try_from(said).ok()?.min(body.len());
        }
        let (body, more) = body.split_at_checked(length)?;
        rest = more;
        Some((head >> 3 & 15, body))
    };
    std::iter::from_fn(next).take(MAX_UNITS)
}

impl Header {
    /// `sequence_header_obu`
    fn read(bytes: &[u8]) -> Option<Self> {
        let bits = &mut Bits { bytes, at: 0 };
        let profile = bits.take(3)?;
        bits.take(1)?;
        let reduced = bits.flag()?;
        let mut time = 0;
        if reduced {
            bits.take(5)?;
        } else {
            time = operating_points(bits)?;
        }
        let (across, down) = (bits.take(4)? + 1, bits.take(4)? + 1);
        let size = Size::new(bits.take(across)?.checked_add(1)?, bits.take(down)?.checked_add(1)?);
        let number = if !reduced && bits.flag()? { bits.take(4)? + 2 + bits.take(3)? + 1 } else { 0 };
        let superblock = if bits.flag()? { 128 } else { 64 };
        bits.take(2)?;
        let (mut screen, mut integer) = (None, None);
        if !reduced {
            bits.take(4)?;
            let ordered = bits.flag()?;
            if ordered {
                bits.take(2)?;
            }
            screen = if bits.flag()? { None } else { Some(bits.flag()?) };
            if screen != Some(false) && !bits.flag()? {
                integer = Some(bits.flag()?);
            }
            if ordered {
                bits.take(3)?;
            }
        }
        let narrowed = bits.flag()?;
        bits.take(2)?;
        // `color_config`
        let mut depth = if bits.flag()? { 10 } else { 8 };
        if profile == 2 && depth == 10 && bits.flag()? {
            depth = 12;
        }
        let grey = profile != 1 && bits.flag()?;
        let mut cicp = [2; 3];
        if bits.flag()? {
            for code in &mut cicp {
                *code = bits.take(8)? as u8;
            }
        }
        // sRGB as it is: no range is said, it is full.
        let is_rgb = !grey && cicp == [1, 13, 0];
        let full_range = is_rgb || bits.flag()?;
        if !grey {
            let halved = match profile {
                _ if is_rgb => false,
                0 => true,
                2 if depth == 12 => bits.flag()? && bits.flag()?,
                _ => false,
            };
            if halved {
                bits.take(2)?;
            }
            bits.take(1)?;
        }
        let grain = bits.flag()?;
        let sequence = Sequence { depth, grey, profile, cicp, full_range, superblock, narrowed, grain };
        Some(Self { sequence, size, reduced, time, number, screen, integer })
    }

    /// Whether the frame with this header is a key frame, is shown, and names no size of its own (`uncompressed_header`).
    fn is_whole(&self, bytes: &[u8]) -> Option<bool> {
        if self.reduced {
            return Some(true);
        }
        let bits = &mut Bits { bytes, at: 0 };
        let is_shown_again = bits.flag()?;
        if is_shown_again || bits.take(2)? != 0 || !bits.flag()? {
            return Some(false);
        }
        bits.take(self.time)?;
        bits.take(1)?;
        let screen = match self.screen {
            Some(screen) => screen,
            None => bits.flag()?,
        };
        if screen && self.integer.is_none() {
            bits.take(1)?;
        }
        bits.take(self.number)?;
        bits.flag().map(|has_own_size| !has_own_size)
    }
}

/// Up to the operating points; bits of a frame's time.
fn operating_points(bits: &mut Bits<'_>) -> Option<u32> {
    let (mut delay_bits, mut time) = (None, 0);
    if bits.flag()? {
        bits.take(32)?;
        bits.take(32)?;
        let is_even = bits.flag()?;
        if is_even {
            // uvlc
            let zeros = (0..32).take_while(|_| bits.flag() == Some(false)).count() as u32;
            if zeros == 32 {
                return None;
            }
            bits.take(zeros)?;
        }
        if bits.flag()? {
            delay_bits = Some(bits.take(5)? + 1);
            bits.take(32)?;
            bits.take(5)?;
            time = bits.take(5)? + 1;
            if is_even {
                time = 0;
            }
        }
    }
    let delays = bits.flag()?;
    for _ in 0..=bits.take(5)? {
        bits.take(12)?;
        if bits.take(5)? > 7 {
            bits.take(1)?;
        }
        if let Some(delay) = delay_bits
            && bits.flag()?
        {
            bits.take(delay)?;
            bits.take(delay)?;
            bits.take(1)?;
        }
        if delays && bits.flag()? {
            bits.take(4)?;
        }
    }
    Some(time)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// At most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            number = number << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(number)
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }
}
