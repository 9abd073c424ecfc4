//! JPEG headers (ITU T.81 Annex B) up to the first scan: frame, sampling, coding mode, Adobe transform, EXIF
//! orientation.

use super::{Coding, Probe, be16};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::media::image) struct Jpeg {
    pub(in crate::media::image) progressive: bool,
    /// Coefficients of the whole image are held in memory: progressive, or components in separate scans.
    pub(in crate::media::image) multi_scan: bool,
    pub(in crate::media::image) components: u8,
    /// Bytes of coefficients per 64 pixels of the image, if `multi_scan`.
    coefficient_bytes: u32,
    /// An Adobe marker is present: four-component samples are inverted.
    pub(in crate::media::image) adobe: bool,
}

impl Jpeg {
    /// Memory that the decoder holds besides its output.
    pub(in crate::media::image) fn working_bytes(&self, stored: Size) -> u64 {
        if !self.multi_scan {
            return 0;
        }
        // Sides in whole MCUs of up to 32 pixels.
        let blocks = (u64::from(stored.width) + 31) / 8 * ((u64::from(stored.height) + 31) / 8);
        blocks * u64::from(self.coefficient_bytes)
    }
}

/// Segments before the first scan. Real files have some dozens: colour profiles and previews in pieces.
const MAX_SEGMENTS: usize = 2048;

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    let mut frame: Option<(Size, Jpeg)> = None;
    let mut orientation = None;
    let mut adobe = false;
    let mut at = 2;
    for _ in 0..MAX_SEGMENTS {
        let (marker, body, next) = segment(source, at).ok_or_else(|| corrupt("ends within its header"))?;
        match marker {
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                if frame.is_some() {
                    return Err(corrupt("two frame headers"));
                }
                frame = Some(parse_frame(marker, body)?);
            }
            0xe1 if orientation.is_none() && body.starts_with(b"Exif\0\0") => {
                orientation = Some(Orientation::from_tiff(body));
            }
            0xee if body.starts_with(b"Adobe") => adobe = true,
            0xd9 => return Err(corrupt("no image data")),
            0xda => {
                let (stored, mut jpeg) = frame.ok_or_else(|| corrupt("a scan before the frame header"))?;
                let in_scan = body.first().copied().unwrap_or(0);
                jpeg.multi_scan = jpeg.progressive || in_scan < jpeg.components;
                jpeg.adobe = adobe;
                let orientation = orientation.unwrap_or_default();
                return Ok(Probe { stored, orientation, frames: 1, coding: Coding::Jpeg(jpeg) });
            }
            _ => {}
        }
        at = next;
    }
    Err(corrupt("too many segments before the first scan"))
}

/// The next marker at or after `at`, its segment's body, and where the segment ends. Stray bytes between
/// segments are passed over, as every decoder does.
pub(in crate::media::image) fn segment(source: &[u8], mut at: usize) -> Option<(u8, &[u8], usize)> {
    loop {
        at += source.get(at..)?.iter().position(|&b| b == 0xff)? + 1;
        match *source.get(at)? {
            0xff => {}
            0x00 => at += 1,
            // Stand-alone markers: TEM, RSTn, SOI, EOI.
            marker @ (0x01 | 0xd0..=0xd9) => return Some((marker, &[], at + 1)),
            marker => {
                let length = usize::from(be16(source, at + 1)?);
                let end = at.checked_add(1 + length)?;
                return Some((marker, source.get(at + 3..end)?, end));
            }
        }
    }
}

fn parse_frame(marker: u8, body: &[u8]) -> Result<(Size, Jpeg), Error> {
    match marker {
        0xc0..=0xc2 => {}
        0xc3 => return Err(Error::Unsupported { what: "lossless JPEG" }),
        0xc9..=0xcb => return Err(Error::Unsupported { what: "arithmetic-coded JPEG" }),
        _ => return Err(Error::Unsupported { what: "hierarchical JPEG" }),
    }
    let &[precision, h1, h0, w1, w0, components, ref tables @ ..] = body else {
        return Err(corrupt("frame header too short"));
    };
    if precision != 8 {
        return Err(Error::Unsupported { what: "JPEG of more than 8 bits per sample" });
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(Error::Unsupported { what: "JPEG of unusual component count" });
    }
    let (mut blocks, mut widest, mut highest) = (0, 0, 0);
    for component in tables.chunks(3).take(usize::from(components)) {
        let &[_, factors, _] = component else { return Err(corrupt("frame header too short")) };
        let (h, v) = (u32::from(factors >> 4), u32::from(factors & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
            return Err(corrupt("bad sampling factor"));
        }
        blocks += h * v;
        (widest, highest) = (h.max(widest), v.max(highest));
    }
    if tables.len() < usize::from(components) * 3 {
        return Err(corrupt("frame header too short"));
    }
    let size = Size::new(u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    let jpeg = Jpeg {
        progressive: marker == 0xc2,
        components,
        // 64 coefficients of two bytes per block.
        coefficient_bytes: (128 * blocks).div_ceil(widest * highest),
        ..Jpeg::default()
    };
    Ok((size, jpeg))
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("JPEG", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers only: SOI, frame, scan.
    fn headers(sof: u8, w: u16, h: u16, factors: &[u8], in_scan: u8) -> Vec<u8> {
        let n = factors.len() as u8;
        let mut out = vec![0xff, 0xd8, 0xff, sof, 0, 8 + 3 * n, 8];
        out.extend(h.to_be_bytes());
        out.extend(w.to_be_bytes());
        out.push(n);
        for (id, factor) in factors.iter().enumerate() {
            out.extend([id as u8, *factor, 0]);
        }
        out.extend([0xff, 0xda, 0, 3, in_scan, 0]);
        out
    }

    fn coding(source: &[u8]) -> (Size, Jpeg) {
        match probe(source).unwrap() {
            Probe { stored, coding: Coding::Jpeg(jpeg), .. } => (stored, jpeg),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn progressive_and_separate_scans_need_the_whole_image_in_memory() {
        let (size, jpeg) = coding(&headers(0xc0, 4000, 3000, &[0x22, 0x11, 0x11], 3));
        assert_eq!((size, jpeg.progressive, jpeg.working_bytes(size)), (Size::new(4000, 3000), false, 0));
        let (size, jpeg) = coding(&headers(0xc2, 4000, 3000, &[0x22, 0x11, 0x11], 3));
        // 4:2:0 has 1.5 samples per pixel of 2 bytes: 36 MB and the edges.
        assert!((36_000_000..37_000_000).contains(&jpeg.working_bytes(size)), "{}", jpeg.working_bytes(size));
        let (size, jpeg) = coding(&headers(0xc0, 4000, 3000, &[0x11, 0x11, 0x11], 1));
        assert!(!jpeg.progressive && jpeg.multi_scan);
        assert!((72_000_000..74_000_000).contains(&jpeg.working_bytes(size)));
    }

    #[test]
    fn unusable_headers_are_refused() {
        for (source, word) in [
            (headers(0xc3, 8, 8, &[0x11], 1), "lossless"),
            (headers(0xc9, 8, 8, &[0x11], 1), "arithmetic"),
            (headers(0xc5, 8, 8, &[0x11], 1), "hierarchical"),
            (headers(0xc0, 8, 8, &[0x11, 0x11], 2), "component"),
            (headers(0xc0, 8, 8, &[0x51], 1), "sampling"),
            (headers(0xc0, 8, 8, &[0x10], 1), "sampling"),
            (b"\xff\xd8\xff\xda\0\x03\x01\0".to_vec(), "before the frame"),
            (b"\xff\xd8\xff\xd9".to_vec(), "no image data"),
            (b"\xff\xd8\xff\xe0\xff\xff".to_vec(), "ends within"),
            (b"\xff\xd8\xff\xe0\0\0".to_vec(), "ends within"),
            (b"\xff\xd8\xff".to_vec(), "ends within"),
            ([b"\xff\xd8".to_vec(), b"\xff\xe0\0\x02".repeat(3000)].concat(), "too many"),
        ] {
            let error = probe(&source).unwrap_err();
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    }
}
