//! What a source says of itself beside its pixels: where its colour profile and its EXIF block are, and how what is kept of them
//! gets into a variant.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::exif;
use super::geometry::Size;
use super::params::Keep;
use super::probe::{Avif, Coding, Probe, jpeg_segment, png_chunk, webp_chunk};
use super::rare;

/// What a compressed profile may become.
const MAX_PROFILE: u64 = 4 << 20;
const MAX_EXIF: usize = 1 << 20;
/// Of a JPEG segment's body: profiles are cut in pieces.
const MAX_SEGMENT: usize = 65_533;

const ICC_NAME: &[u8] = b"ICC_PROFILE\0";
const EXIF_NAME: &[u8] = b"Exif\0\0";

/// Of a source.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    pub(super) icc: Option<Cow<'a, [u8]>>,
    /// A TIFF block.
    pub(super) exif: Option<&'a [u8]>,
}

/// For a variant.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) icc: Option<Vec<u8>>,
    pub(super) exif: Option<Vec<u8>>,
}

impl<'a> Metadata<'a> {
    /// Reads headers that have been read before: what is not where it should be is not there.
    pub(super) fn of(source: &'a [u8], probe: &Probe) -> Self {
        let mut found = match probe.coding {
            Coding::Jpeg(_) => Self::of_jpeg(source),
            Coding::Png(_) => Self::of_png(source),
            Coding::Webp(_) => Self::of_webp(source),
            Coding::Gif(_) => Self::default(),
            Coding::Avif(avif) => Self::of_avif(source, &avif),
            Coding::Rare(coding) => Self { icc: rare::profile(source, coding.kind), exif: None },
        };
        found.exif = found.exif.filter(|block| block.len() <= MAX_EXIF);
        found
    }

    fn of_jpeg(source: &'a [u8]) -> Self {
        let mut found = Self::default();
        // Pieces have a number from 1 and their count in front.
        let mut pieces: Vec<(u8, &[u8])> = Vec::new();
        let mut at = 2;
        while let Some((marker, body, next)) = jpeg_segment(source, at) {
            match marker {
                0xe1 if found.exif.is_none() => found.exif = body.strip_prefix(EXIF_NAME),
                0xe2 => {
                    if let Some([number, _, piece @ ..]) = body.strip_prefix(ICC_NAME)
                        && pieces.len() < usize::from(u8::MAX)
                    {
                        pieces.push((*number, piece));
                    }
                }
                0xd9 | 0xda => break,
                _ => {}
            }
            at = next;
        }
        pieces.sort_by_key(|(number, _)| *number);
        found.icc = match pieces.as_slice() {
            [] => None,
            [(_, whole)] => Some(Cow::Borrowed(*whole)),
            _ => Some(pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect()),
        };
        found
    }

    fn of_png(source: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut at = 8;
        while let Some((name, body, next)) = png_chunk(source, at) {
            match name {
                b"iCCP" => found.icc = inflated(body).map(Cow::Owned),
                b"eXIf" => found.exif = Some(body),
                b"IDAT" | b"IEND" => break,
                _ => {}
            }
            at = next;
        }
        found
    }

    fn of_webp(source: &'a [u8]) -> Self {
        /// An animation has its EXIF block behind its frames.
        const MAX_CHUNKS: usize = 4200;
        let mut found = Self::default();
        let mut at = 12;
        for _ in 0..MAX_CHUNKS {
            let Some((name, place, next)) = webp_chunk(source, at) else { break };
            let body = &source[place];
            match name {
                b"ICCP" => found.icc = Some(Cow::Borrowed(body)),
                b"EXIF" => found.exif = Some(body.strip_prefix(EXIF_NAME).unwrap_or(body)),
                _ => {}
            }
            at = next;
        }
        found
    }

    fn of_avif(source: &'a [u8], avif: &Avif) -> Self {
        let at = |(start, end): (usize, usize)| source.get(start..end.min(source.len()));
        let icc = avif.icc.and_then(at).map(Cow::Borrowed);
        let icc = icc.or_else(|| avif.colour.sequence.profile().map(Cow::Owned));
        // In front stands where its block begins.
        let exif = avif.exif.and_then(at).and_then(|item| {
            let (start, block) = item.split_first_chunk::<4>()?;
            block.get(u32::from_be_bytes(*start) as usize..)
        });
        Self { icc, exif }
    }

    /// What is asked for of it. A profile stays only with the colours that it is about.
    pub(super) fn kept(&self, keep: Keep) -> Kept {
        let exif =
            self.exif.filter(|_| keep.copyright || keep.place).and_then(|block| exif::kept(block, keep));
        let icc = self.icc.as_deref().filter(|icc| keep.icc && is_of_colour(icc)).map(<[u8]>::to_vec);
        Kept { icc, exif }
    }
}

/// By the profile's header (ICC.1 §7.2.6).
fn is_of_colour(icc: &[u8]) -> bool {
    icc.get(16..20) == Some(b"RGB ")
}

/// A name, a zero, the method and what zlib made of it.
fn inflated(body: &[u8]) -> Option<Vec<u8>> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mut profile = Vec::new();
    ZlibDecoder::new(body.get(end + 2..)?).take(MAX_PROFILE).read_to_end(&mut profile).ok()?;
    Some(profile)
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.icc.is_none() && self.exif.is_none()
    }

    /// Behind the JFIF header, if there is one.
    pub(super) fn added_to_jpeg(&self, file: Vec<u8>) -> Vec<u8> {
        let at = match jpeg_segment(&file, 2) {
            Some((0xe0, _, next)) => next,
            _ => 2,
        };
        let mut out = file[..at].to_vec();
        let mut segment = |marker: u8, parts: [&[u8]; 3]| {
            let body = parts.concat();
            // At most `MAX_SEGMENT`.
            out.extend([0xff, marker]);
            out.extend((body.len() as u16 + 2).to_be_bytes());
            out.extend(body);
        };
        if let Some(exif) = self.exif.as_ref().filter(|exif| exif.len() + EXIF_NAME.len() <= MAX_SEGMENT) {
            segment(0xe1, [EXIF_NAME, exif, &[]]);
        }
        if let Some(icc) = &self.icc {
            let pieces = icc.chunks(MAX_SEGMENT - ICC_NAME.len() - 2);
            if let Ok(count) = u8::try_from(pieces.len()) {
                for (number, piece) in (1..=count).zip(pieces) {
                    segment(0xe2, [ICC_NAME, &[number, count], piece]);
                }
            }
        }
        out.extend_from_slice(&file[at..]);
        out
    }

    /// In the extended layout (RFC 9649 §2.7), with the profile in front and EXIF at the end.
    pub(super) fn added_to_webp(&self, file: Vec<u8>, size: Size) -> Vec<u8> {
        const ICC: u8 = 0x20;
        const ALPHA: u8 = 0x10;
        const EXIF: u8 = 0x08;
        let (mut flags, mut chunks, mut at) = (0, Vec::new(), 12);
        while let Some((name, place, next)) = webp_chunk(&file, at) {
            let body = &file[place];
            match name {
                b"VP8X" => flags |= body.first().copied().unwrap_or(0),
                b"VP8L" if body.get(4).is_some_and(|byte| byte & 0x10 != 0) => flags |= ALPHA,
                _ => {}
            }
            if name != b"VP8X" {
                chunks.push((*name, body));
            }
            at = next;
        }
        if let Some(icc) = &self.icc {
            flags |= ICC;
            chunks.insert(0, (*b"ICCP", icc));
        }
        if let Some(exif) = &self.exif {
            flags |= EXIF;
            chunks.push((*b"EXIF", exif));
        }
        // Sides less one, of three bytes each.
        let [width, height] = [size.width - 1, size.height - 1].map(u32::to_le_bytes);
        let header = [&[flags, 0, 0, 0], &width[..3], &height[..3]].concat();
        chunks.insert(0, (*b"VP8X", &header));
        let mut out = b"RIFF\0\0\0\0WEBP".to_vec();
        for (name, body) in chunks {
            out.extend(name);
            out.extend((body.len() as u32).to_le_bytes());
            out.extend(body);
            out.resize(out.len().next_multiple_of(2), 0);
        }
        let length = (out.len() as u32 - 8).to_le_bytes();
        out[4..8].copy_from_slice(&length);
        out
    }
}
