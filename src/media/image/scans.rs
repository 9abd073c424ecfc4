//! Leaves out of a progressive JPEG what a strongly reduced decode would not show. A picture shrunk by 8 uses
//! the DC coefficients alone, one shrunk by 4 little more than the lowest few; yet their scans are a small part
//! of the bytes, and entropy decoding is most of the time.

use super::probe::jpeg_segment;

/// Highest first coefficient, in zigzag order, of an AC scan that is kept at a shrink of 4. Encoders send 1–5
/// first (jpeg_simple_progression).
const LOWEST_BAND: u8 = 5;
/// The decoder estimates coefficients that have not come yet, and with them smooths over real detail, unless a
/// quantiser among the first ten is zero. This one belongs to no coefficient kept here.
const SMOOTHING_SWITCH: usize = 9;

/// The same image without the scans that a decode shrunk by `shrink` can do without. `None` where nothing can
/// be gained or the file is in any way unusual: then the whole goes to the decoder, which judges it.
pub(super) fn coarse(source: &[u8], shrink: u32) -> Option<Vec<u8>> {
    if shrink < 4 {
        return None;
    }
    let mut out = Vec::with_capacity(source.len() / 2);
    out.extend_from_slice(source.get(..2)?);
    let mut dropped = false;
    let mut at = 2;
    loop {
        let (marker, body, next) = jpeg_segment(source, at)?;
        let start = next - body.len() - 4;
        match marker {
            // End of image. A file cut off before it is not for us to judge.
            0xd9 => {
                out.extend_from_slice(&[0xff, 0xd9]);
                return dropped.then_some(out);
            }
            0xda => {
                let end = next + entropy_coded(source.get(next..)?)?;
                if is_needed(body, shrink)? {
                    out.extend_from_slice(source.get(start..end)?);
                } else {
                    dropped = true;
                }
                at = end;
                continue;
            }
            0xdb => {
                let tables = out.len() + 4;
                out.extend_from_slice(source.get(start..next)?);
                switch_smoothing_off(out.get_mut(tables..)?)?;
            }
            // Profiles, previews, comments; but the colour transform stays (APP0, APP14).
            0xe1..=0xed | 0xef | 0xfe => {}
            0x01 | 0xd0..=0xd8 => return None,
            _ => out.extend_from_slice(source.get(start..next)?),
        }
        at = next;
    }
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

/// By the scan header (T.81 §B.2.3): first coefficient, and whether the scan is a refinement.
fn is_needed(header: &[u8], shrink: u32) -> Option<bool> {
    let &[.., first, _last, approximation] = header else { return None };
    let refines = approximation >> 4 != 0;
    Some(first == 0 || (shrink == 4 && first <= LOWEST_BAND && !refines))
}

/// Zeroes one quantiser in each table of a DQT segment (T.81 §B.2.4.1).
fn switch_smoothing_off(mut tables: &mut [u8]) -> Option<()> {
    while let Some((&mut kind, rest)) = tables.split_first_mut() {
        let width = if kind >> 4 == 0 { 1 } else { 2 };
        let (table, rest) = rest.split_at_mut_checked(64 * width)?;
        table.get_mut(SMOOTHING_SWITCH * width..(SMOOTHING_SWITCH + 1) * width)?.fill(0);
        tables = rest;
    }
    Some(())
}
