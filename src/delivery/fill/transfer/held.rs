//! Bytes that a transfer holds for the readers close behind it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces with their offsets, ascending and without gaps: completed blocks, then the pieces of the one being filled.
#[derive(Default)]
pub struct Held {
    pieces: VecDeque<(u64, Bytes)>,
}

impl Held {
    pub fn start(&self) -> Option<u64> {
        self.pieces.front().map(|(start, _)| *start)
    }

    pub fn push(&mut self, start: u64, piece: Bytes) {
        self.pieces.push_back((start, piece));
    }

    pub fn clear(&mut self) {
        self.pieces.clear();
    }

    /// The bytes at `offset`, as many as one piece has.
    pub fn at(&self, offset: u64) -> Option<Bytes> {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = self.pieces.get(index.checked_sub(1)?)?;
        let skip = usize::try_from(offset - start).ok()?;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }

    /// All bytes; those of one block that is complete have been joined already.
    pub fn all(&self) -> Bytes {
        match self.pieces.as_slices() {
            ([(_, only)], []) => only.clone(),
            _ => joined(self.pieces.iter().map(|(_, bytes)| bytes)),
        }
    }

    /// Makes one piece of all that begin at `start` or later.
    pub fn join_from(&mut self, start: u64) -> Bytes {
        let first = self.pieces.partition_point(|(offset, _)| *offset < start);
        let block = joined(self.pieces.iter().skip(first).map(|(_, bytes)| bytes));
        self.pieces.truncate(first);
        self.pieces.push_back((start, block.clone()));
        block
    }

    /// Lets go of pieces that begin more than `keep` bytes before `offset`.
    pub fn drop_before(&mut self, offset: u64, keep: u64) {
        while self.start().is_some_and(|oldest| oldest.saturating_add(keep) < offset) {
            self.pieces.pop_front();
        }
    }
}

/// Always a copy: a piece may be a small slice of a large receive buffer, which must not be kept alive.
fn joined<'a>(pieces: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut whole = BytesMut::with_capacity(pieces.clone().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pieces: &[(u64, &'static str)]) -> Held {
        let mut held = Held::default();
        for (start, piece) in pieces {
            held.push(*start, Bytes::from_static(piece.as_bytes()));
        }
        held
    }

    #[test]
    fn bytes_are_found_by_offset() {
        let held = held(&[(10, "abc"), (13, "de")]);
        for (offset, found) in [(9, None), (10, Some("abc")), (12, Some("c")), (13, Some("de")), (15, None)] {
            assert_eq!(held.at(offset), found.map(Bytes::from), "{offset}");
        }
        assert_eq!((held.start(), held.all()), (Some(10), Bytes::from("abcde")));
    }

    #[test]
    fn joining_makes_one_piece_and_leaves_what_is_before() {
        let mut held = held(&[(0, "0123"), (4, "ab"), (6, "cd")]);
        assert_eq!(held.join_from(4), "abcd");
        assert_eq!((held.at(1), held.at(5)), (Some("123".into()), Some("bcd".into())));
        let block = held.join_from(0);
        assert_eq!(held.all().as_ptr(), block.as_ptr(), "not copied again");
    }

    #[test]
    fn as_much_is_kept_as_told() {
        for (keep, start) in [(0, None), (9, None), (10, Some(10)), (19, Some(10)), (20, Some(0))] {
            let mut held = held(&[(0, "0123456789"), (10, "abcdefghij")]);
            held.drop_before(20, keep);
            assert_eq!(held.start(), start, "{keep}");
        }
    }
}
