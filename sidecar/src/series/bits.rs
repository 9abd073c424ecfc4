//! A stream of bits, most significant first. Reading past the end gives `None`.

/// Of a word that is read at any bit.
const SURE_BITS: u8 = 57;

/// Bytes.
const LEAST_GROWTH: usize = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits still free in the last byte.
    free: u8,
}

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Writer {
    /// Continues after `bytes`, of which the last has `free` unused bits.
    pub(super) fn resume(bytes: Vec<u8>, free: u8) -> Self {
        Self { bytes, free: free.min(7) }
    }

    /// The lowest `count` (at most 64) bits of `value`.
    pub(super) fn push(&mut self, value: u64, count: u8) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.grow();
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let chunk = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (chunk << (self.free - take)) as u8;
            }
            self.free -= take;
            left -= take;
        }
    }

    pub(super) fn push_bit(&mut self, bit: bool) {
        self.push(u64::from(bit), 1);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn free(&self) -> u8 {
        self.free
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// In small steps: of the chunks that are written to there is one per series, each half empty if it doubled.
    fn grow(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve_exact((self.bytes.len() / 4).max(LEAST_GROWTH));
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bits from the most significant down; at least [`SURE_BITS`] of them are right, zeros beyond the end.
    fn peek(&self) -> u64 {
        let from = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match from.first_chunk::<8>() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => {
                let mut bytes = [0; 8];
                bytes[..from.len()].copy_from_slice(from);
                u64::from_be_bytes(bytes)
            }
        };
        word << (self.at % 8)
    }

    /// `count` is at most 64.
    pub(super) fn pull(&mut self, count: u8) -> Option<u64> {
        if count > 56 {
            let high = self.pull(count - 32)?;
            return Some(high << 32 | self.pull(32)?);
        }
        let end = self.at + usize::from(count);
        if end > self.bytes.len() * 8 {
            return None;
        }
        // Shifted in two steps, since a shift by 64 is none.
        let value = self.peek() >> 1 >> (63 - count);
        self.at = end;
        Some(value)
    }

    /// As many numbers of `width` bits, at most 56, as there is room for.
    pub(super) fn fill(&mut self, width: u8, numbers: &mut [u64]) -> Option<()> {
        let end = self.at + usize::from(width) * numbers.len();
        if end > self.bytes.len() * 8 {
            return None;
        }
        if width == 0 {
            numbers.fill(0);
            return Some(());
        }
        // What is read at once holds several.
        for several in numbers.chunks_mut(usize::from(SURE_BITS / width)) {
            let mut word = self.peek();
            for number in several.iter_mut() {
                *number = word >> (64 - width);
                word <<= width;
            }
            self.at += usize::from(width) * several.len();
        }
        Some(())
    }

    /// Ones up to the first zero, at most `most`, which needs no zero after it.
    pub(super) fn pull_ones(&mut self, most: u8) -> Option<u8> {
        let ones = (self.peek().leading_ones() as u8).min(most);
        let end = self.at + usize::from(ones) + usize::from(ones < most);
        if end > self.bytes.len() * 8 {
            return None;
        }
        self.at = end;
        Some(ones)
    }

    pub(super) fn pull_bit(&mut self) -> Option<bool> {
        self.pull(1).map(|bit| bit == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_in_order_and_then_end() {
        let mut writer = Writer::default();
        let written = [(1, 1), (0, 1), (0x5a5, 11), (u64::MAX, 64), (3, 2), (0, 7)];
        for (value, count) in written {
            writer.push(value, count);
        }
        let mut reader = Reader::new(writer.bytes());
        for (value, count) in written {
            assert_eq!(reader.pull(count), Some(value));
        }
        assert_eq!(reader.pull(8), None);
    }

    #[test]
    fn many_numbers_are_read_like_one_after_the_other() {
        for width in 0..=56 {
            let mut writer = Writer::default();
            writer.push(1, 3);
            let written: Vec<u64> =
                (1..=31u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7 >> (57 - width)).collect();
            written.iter().for_each(|number| writer.push(*number, width));
            writer.push(5, 3);
            let mut reader = Reader::new(writer.bytes());
            let mut numbers = [7; 31];
            assert_eq!((reader.pull(3), reader.fill(width, &mut numbers)), (Some(1), Some(())));
            assert_eq!((numbers.as_slice(), reader.pull(3)), (written.as_slice(), Some(5)), "{width}");
            assert!(width == 0 || reader.fill(width, &mut numbers).is_none());
        }
    }

    #[test]
    fn ones_are_counted_up_to_a_bound() {
        let mut writer = Writer::default();
        writer.push(0b1_1011_1100, 9);
        let mut reader = Reader::new(writer.bytes());
        assert_eq!(reader.pull_ones(3), Some(2));
        assert_eq!(reader.pull_ones(3), Some(3));
        assert_eq!(reader.pull_ones(3), Some(1));
        assert_eq!(reader.pull_ones(3), Some(0));
        assert_eq!(Reader::new(&[0xff]).pull_ones(9), None);
    }
}
