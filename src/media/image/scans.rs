//! Rewrites a JPEG for the decoder, without touching coded data: leaves out what a strongly reduced decode of a
//! progressive image would not show, and headers that trouble the decoder. A picture shrunk by 8 uses the DC
//! coefficients alone, one shrunk by 4 little more than the lowest few; yet their scans are a small part of the
//! bytes, and entropy decoding is most of the time.

use std::ops::Range;

use super::probe::jpeg_segment;

/// Highest first coefficient, in zigzag order, of an AC scan that is kept at a shrink of 4. Encoders send 1–5
/// first (jpeg_simple_progression).
const LOWEST_BAND: u8 = 5;
/// The decoder estimates coefficients that have not come yet, and with them smooths over real detail, unless
/// one of the first ten quantisers of a component is zero. This one is hardly used by what is kept.
const SMOOTHING_SWITCH: usize = 9;

/// By how much a decoder shrinks each kind of component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shrink {
    pub(super) luma: u32,
    pub(super) chroma: u32,
}

/// The same image without the scans that such a decode can do without. `None` where nothing can be gained or
/// the file is in any way unusual: then the whole goes to the decoder, which judges it.
pub(super) fn coarse(source: &[u8], shrink: Shrink) -> Option<Vec<u8>> {
    if shrink.luma < 4 {
        return None;
    }
    let mut out = Vec::with_capacity(source.len() / 2);
    out.extend_from_slice(source.get(..2)?);
    let mut tables = Vec::new();
    let mut components = Vec::new();
    let mut dropped = false;
    let mut at = 2;
    loop {
        let (marker, body, next) = jpeg_segment(source, at)?;
        let start = next - body.len() - 4;
        match marker {
            // End of image. A file cut off before it is not for us to judge.
            0xd9 => {
                switch_smoothing_off(&mut out, &tables, &components, shrink)?;
                out.extend_from_slice(&[0xff, 0xd9]);
                return dropped.then_some(out);
            }
            0xda => {
                let luma = *components.first()?;
                let end = next + entropy_coded(source.get(next..)?)?;
                if is_needed(body, luma, shrink)? {
                    out.extend_from_slice(source.get(start..end)?);
                } else {
                    dropped = true;
                }
                at = end;
                continue;
            }
            0x01 | 0xd0..=0xd8 => return None,
            _ if is_metadata(marker) => {}
            _ => {
                match marker {
                    0xdb => tables.push(out.len() + 4..out.len() + 4 + body.len()),
                    // The frame: identifier and quantiser table of each component (T.81 §B.2.2).
                    0xc2 => components = body.get(6..)?.chunks_exact(3).map(|c| (c[0], c[2])).collect(),
                    _ => {}
                }
                out.extend_from_slice(source.get(start..next)?);
            }
        }
        at = next;
    }
}

/// The same image without its metadata: a broken colour profile makes the decoder refuse the whole.
pub(super) fn bare(source: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(source.len());
    out.extend_from_slice(source.get(..2)?);
    let mut at = 2;
    loop {
        let (marker, body, next) = jpeg_segment(source, at)?;
        let start = next.checked_sub(body.len() + 4)?;
        if marker == 0xda {
            out.extend_from_slice(source.get(start..)?);
            return Some(out);
        }
        if !is_metadata(marker) {
            out.extend_from_slice(source.get(start..next)?);
        }
        at = next;
    }
}

/// Profiles, previews, comments; not what tells the colour transform (APP0, APP14).
fn is_metadata(marker: u8) -> bool {
    matches!(marker, 0xe1..=0xed | 0xef | 0xfe)
}

/// Length of entropy-coded data: up to the next marker other than a restart.
fn entropy_coded(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += data.get(at..)?.iter().position(|&b| b == 0xff)?;
        match *data.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

/// By the scan header (T.81 §B.2.3): component, first coefficient, and whether the scan is a refinement. A scan
/// of several components is of DC.
fn is_needed(header: &[u8], luma: (u8, u8), shrink: Shrink) -> Option<bool> {
    let &[_, component, .., first, _last, approximation] = header else { return None };
    let refines = approximation >> 4 != 0;
    let shrink = if component == luma.0 { shrink.luma } else { shrink.chroma };
    Some(first == 0 || shrink < 4 || (shrink == 4 && first <= LOWEST_BAND && !refines))
}

/// Zeroes one quantiser of luma (T.81 §B.2.4.1), unless chroma has the same table and shows that coefficient.
fn switch_smoothing_off(
    out: &mut [u8],
    segments: &[Range<usize>],
    components: &[(u8, u8)],
    shrink: Shrink,
) -> Option<()> {
    let ((_, luma), chroma) = components.split_first()?;
    if shrink.chroma < 4 && chroma.iter().any(|(_, table)| table == luma) {
        return None;
    }
    for segment in segments {
        let mut tables = out.get_mut(segment.clone())?;
        while let Some((&mut kind, rest)) = tables.split_first_mut() {
            let width = if kind >> 4 == 0 { 1 } else { 2 };
            let (table, rest) = rest.split_at_mut_checked(64 * width)?;
            if kind & 15 == *luma {
                table.get_mut(SMOOTHING_SWITCH * width..(SMOOTHING_SWITCH + 1) * width)?.fill(0);
            }
            tables = rest;
        }
    }
    Some(())
}
