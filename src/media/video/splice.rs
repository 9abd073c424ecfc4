//! An answer made of bytes written here followed by ranges of the source, so that nobody has to hold the media data.

use std::ops::Range;

use bytes::Bytes;

use super::stretch::{Stretch, stretches};

/// `header`, then the source's `ranges` in this order. Neighbouring ranges that touch are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    pub header: Bytes,
    pub ranges: Vec<Range<u64>>,
    /// Length of the whole answer in bytes.
    pub len: u64,
}

/// A part of a splice, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    Source(Stretch),
}

impl Splice {
    pub(super) fn new(header: Bytes, ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut merged: Vec<Range<u64>> = Vec::new();
        let mut len = header.len() as u64;
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            len += range.end - range.start;
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => merged.push(range),
            }
        }
        Self { header, ranges: merged, len }
    }

    /// Only bytes, nothing of the source.
    pub(super) fn whole(header: impl Into<Bytes>) -> Self {
        Self::new(header.into(), [])
    }

    /// The pieces that make up bytes `part` of this answer; what lies beyond `len` is left out.
    pub fn pieces(&self, part: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let header_len = self.header.len() as u64;
        if part.start < header_len.min(part.end) {
            // Both bounds are at most `header_len`, which is a usize.
            let bytes = self.header.slice(part.start as usize..part.end.min(header_len) as usize);
            pieces.push(Piece::Bytes(bytes));
        }
        let mut position = header_len;
        let within = self.ranges.iter().filter_map(|range| {
            let len = range.end - range.start;
            let start = part.start.saturating_sub(position).min(len);
            let end = part.end.saturating_sub(position).min(len);
            position += len;
            (start < end).then(|| range.start + start..range.start + end)
        });
        pieces.extend(stretches(within).into_iter().map(Piece::Source));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_touching_ranges_and_adds_up() {
        let splice = Splice::new(Bytes::from_static(b"head"), [10..20, 20..25, 25..25, 40..41, 30..31]);
        assert_eq!(splice.ranges, vec![10..25, 40..41, 30..31]);
        assert_eq!(splice.len, 4 + 15 + 1 + 1);
    }

    #[test]
    fn any_part_equals_that_part_of_the_whole() {
        let source: Vec<u8> = (0..100).collect();
        let splice = Splice::new(Bytes::from_static(b"head"), [10..20, 50..53, 5..6]);
        let join = |part: Range<u64>| -> Vec<u8> {
            let pieces = splice.pieces(part).into_iter();
            pieces
                .flat_map(|piece| match piece {
                    Piece::Bytes(bytes) => bytes.to_vec(),
                    Piece::Source(stretch) => {
                        let covered = stretch.covered();
                        let bytes = &source[covered.start as usize..covered.end as usize];
                        stretch.cut(covered.start, &Bytes::copy_from_slice(bytes)).concat()
                    }
                })
                .collect()
        };
        let whole = join(0..splice.len);
        assert_eq!(whole.len() as u64, splice.len);
        for start in 0..=splice.len {
            for end in start..=splice.len + 2 {
                let clipped = end.min(splice.len) as usize;
                assert_eq!(join(start..end), whole[start as usize..clipped], "{start}..{end}");
            }
        }
    }
}
