//! GIF's logical screen and its frames (GIF89a §18, §20), counted without decoding one.

use super::{Coding, MAX_FRAMES, Probe, le16};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::media::image) struct Gif {
    /// Pixels of the largest frame, which may exceed the screen.
    pub(in crate::media::image) largest: u64,
    /// Pixels of all frames together, as far as they were counted.
    pub(in crate::media::image) total: u64,
}

/// Sub-blocks of at most 255 bytes that are stepped over while frames are counted.
const MAX_BLOCKS: u32 = 1 << 20;

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    let (width, height) = le16(source, 6)
        .zip(le16(source, 8))
        .ok_or_else(|| Error::corrupt("GIF", "ends within its header"))?;
    let (frames, gif) = frames(source);
    Ok(Probe {
        stored: Size::new(width.into(), height.into()),
        orientation: Orientation::default(),
        frames: frames.max(1),
        coding: Coding::Gif(gif),
    })
}

/// Their number and pixels. Where the file ends early or makes no sense, so far; the decoder judges it.
fn frames(source: &[u8]) -> (u32, Gif) {
    let (mut frames, mut gif, mut budget) = (0, Gif::default(), MAX_BLOCKS);
    let mut at = 13 + source.get(10).map_or(0, |flags| table_bytes(*flags));
    while frames < MAX_FRAMES {
        let blocks = match source.get(at) {
            Some(&EXTENSION) => at + 2,
            Some(&IMAGE) => {
                let Some(((width, height), flags)) =
                    le16(source, at + 5).zip(le16(source, at + 7)).zip(source.get(at + 9))
                else {
                    break;
                };
                frames += 1;
                let pixels = u64::from(width) * u64::from(height);
                gif.largest = gif.largest.max(pixels);
                gif.total += pixels;
                at + 11 + table_bytes(*flags)
            }
            _ => break,
        };
        let Some(next) = end_of_blocks(source, blocks, &mut budget) else { break };
        at = next;
    }
    (frames, gif)
}

/// Length of a colour table, by the flags that tell of it.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn end_of_blocks(source: &[u8], mut at: usize, budget: &mut u32) -> Option<usize> {
    loop {
        *budget = budget.checked_sub(1)?;
        match *source.get(at)? {
            0 => return Some(at + 1),
            length => at += 1 + usize::from(length),
        }
    }
}
