//! The file of a clip: `ftyp`, `moov` and the header of `mdat`, in which chunks of all tracks alternate.

use std::ops::Range;

use super::super::boxes::Writer;
use super::super::init::{self, Described};
use super::super::playlist::micros;
use super::part::Part;

const TIMESCALE: u32 = 1000;
/// Always with a size of 64 bits, so that nothing moves when it grows.
const MDAT_HEADER_BYTES: u64 = 16;

/// What is written, and which ranges of the source follow it.
pub(super) fn file(parts: &[Part<'_>]) -> (Vec<u8>, Vec<Range<u64>>) {
    // (time, part, chunk): the order in which they stand.
    let mut order: Vec<(i64, usize, usize)> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        order.extend(part.chunks.iter().enumerate().map(|(number, chunk)| (chunk.at_micros, index, number)));
    }
    order.sort_unstable();
    let chunk_of = |part: usize, number: usize| parts.get(part).and_then(|part| part.chunks.get(number));
    let chunks = || order.iter().filter_map(|&(_, part, number)| Some((part, chunk_of(part, number)?)));

    // Offsets from the first byte of media; the index has the same length wherever that is.
    let mut offsets: Vec<Vec<u64>> = parts.iter().map(|part| Vec::with_capacity(part.chunks.len())).collect();
    let mut position = 0;
    for (part, chunk) in chunks() {
        if let Some(offsets) = offsets.get_mut(part) {
            offsets.push(position);
        }
        position += chunk.bytes;
    }
    let length = header(parts, &offsets, 0).len() as u64;
    let mut w = Writer::default();
    w.raw(&header(parts, &offsets, length + MDAT_HEADER_BYTES));
    w.u32(1);
    w.raw(b"mdat");
    w.u64(position + MDAT_HEADER_BYTES);
    (w.finish(), chunks().flat_map(|(_, chunk)| chunk.ranges.iter().cloned()).collect())
}

fn header(parts: &[Part<'_>], offsets: &[Vec<u64>], base: u64) -> Vec<u8> {
    let lasts = |part: &Part<'_>| {
        let heard = i64::try_from(part.lasts).unwrap_or(i64::MAX).saturating_sub(part.media_time).max(0);
        // In thousandths of a second.
        (micros(heard, part.track.timescale) / 1000).unsigned_abs()
    };
    let wait = |part: &Part<'_>| (part.wait_micros / 1000).unsigned_abs();
    let whole = parts.iter().map(|part| lasts(part) + wait(part)).max().unwrap_or(0);
    let mut w = Writer::default();
    w.nest(*b"ftyp", |w| w.raw(b"isom\0\0\x02\0isomiso2mp41"));
    w.nest(*b"moov", |w| {
        init::mvhd(w, TIMESCALE, whole, parts.len() as u32 + 1);
        for ((id, part), offsets) in (1..).zip(parts).zip(offsets) {
            let mut edits = Vec::new();
            if wait(part) > 0 {
                edits.push((wait(part), -1));
            }
            if part.media_time > 0 || !edits.is_empty() {
                edits.push((lasts(part), part.media_time));
            }
            let tables = |w: &mut Writer| tables(w, part, offsets, base);
            let lasts = (lasts(part) + wait(part), part.lasts);
            let described = Described::with_samples(part.track, id, lasts, edits, &tables);
            w.nest(*b"trak", |w| init::trak(w, &described));
        }
    });
    w.finish()
}

fn tables(w: &mut Writer, part: &Part<'_>, offsets: &[u64], base: u64) {
    let runs = |w: &mut Writer, runs: &[(u32, u32)]| {
        // Counts are those of samples: at most 2^21.
        w.u32(runs.len() as u32);
        for (count, value) in runs {
            w.u32(*count);
            w.u32(*value);
        }
    };
    w.nest_full(*b"stts", 0, 0, |w| runs(w, &part.times));
    if !part.compositions.is_empty() {
        w.nest_full(*b"ctts", 0, 0, |w| runs(w, &part.compositions));
    }
    if let Some(sync) = &part.sync {
        w.nest_full(*b"stss", 0, 0, |w| {
            w.u32(sync.len() as u32);
            sync.iter().for_each(|number| w.u32(*number));
        });
    }
    w.nest_full(*b"stsc", 0, 0, |w| {
        let mut entries: Vec<(u32, u32)> = Vec::new();
        for (number, chunk) in (1..).zip(&part.chunks) {
            if entries.last().is_none_or(|(_, samples)| *samples != chunk.samples) {
                entries.push((number, chunk.samples));
            }
        }
        w.u32(entries.len() as u32);
        for (first, samples) in entries {
            [first, samples, 1].into_iter().for_each(|value| w.u32(value));
        }
    });
    w.nest_full(*b"stsz", 0, 0, |w| {
        w.u32(0);
        w.u32(part.sizes.len() as u32);
        part.sizes.iter().for_each(|size| w.u32(*size));
    });
    w.nest_full(*b"co64", 0, 0, |w| {
        w.u32(offsets.len() as u32);
        offsets.iter().for_each(|offset| w.u64(base + offset));
    });
}
