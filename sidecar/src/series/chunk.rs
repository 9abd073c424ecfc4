//! Up to [`MAX_SAMPLES`] samples of one series, compressed as in Facebook's Gorilla paper (VLDB 2015, §4.1):
//! timestamps by delta of delta, values by XOR with their predecessor. Regular scrapes cost 1–2 bytes a sample.

use super::bits::{Reader, Writer};
use crate::model::Sample;

/// Few enough that a query decodes little in vain, enough that the header does not matter.
pub(super) const MAX_SAMPLES: usize = 240;

/// Prefix codes of the delta of delta: number of ones before the zero → payload bits. Millisecond jitter fits the
/// first, a missed scrape the second.
const DELTA_CLASSES: [u8; 4] = [0, 10, 18, 64];

#[derive(Debug, Clone)]
pub(super) struct Chunk {
    first_at: i64,
    count: u16,
    bits: Writer,
    tail: Tail,
}

/// What the next sample is written relative to.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    at: i64,
    delta: i64,
    value: u64,
    /// The window of meaningful bits that the last XOR used; `None` before the first.
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    leading: u8,
    trailing: u8,
}

impl Chunk {
    pub(super) fn new(first: Sample) -> Self {
        let tail = Tail { at: first.at, value: first.value.to_bits(), ..Tail::default() };
        let mut bits = Writer::default();
        bits.push(first.value.to_bits(), 64);
        Self { first_at: first.at, count: 1, bits, tail }
    }

    /// The caller keeps times ascending and looks at [`Chunk::is_full`].
    pub(super) fn push(&mut self, sample: Sample) {
        let delta = sample.at.wrapping_sub(self.tail.at);
        write_delta(&mut self.bits, delta.wrapping_sub(self.tail.delta));
        let value = sample.value.to_bits();
        let window = write_xor(&mut self.bits, value ^ self.tail.value, self.tail.window);
        self.tail = Tail { at: sample.at, delta, value, window };
        self.count += 1;
        if self.is_full() {
            self.bits.shrink();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        usize::from(self.count) >= MAX_SAMPLES
    }

    pub(super) fn first_at(&self) -> i64 {
        self.first_at
    }

    pub(super) fn last_at(&self) -> i64 {
        self.tail.at
    }

    pub(super) fn last(&self) -> Sample {
        Sample { at: self.tail.at, value: f64::from_bits(self.tail.value) }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Heap bytes, roughly.
    pub(super) fn memory(&self) -> usize {
        self.bits.capacity() + size_of::<Self>()
    }

    pub(super) fn iter(&self) -> Samples<'_> {
        Samples {
            reader: Reader::new(self.bits.bytes()),
            left: self.count,
            first: true,
            tail: Tail { at: self.first_at, ..Tail::default() },
        }
    }

    /// For snapshots: everything that [`Chunk::decode`] needs.
    pub(super) fn encode(&self) -> (i64, u16, u8, &[u8]) {
        (self.first_at, self.count, self.bits.free(), self.bits.bytes())
    }

    /// None when the bytes do not hold `count` samples in ascending order.
    pub(super) fn decode(first_at: i64, count: u16, free: u8, bytes: Vec<u8>) -> Option<Self> {
        if count == 0 || usize::from(count) > MAX_SAMPLES {
            return None;
        }
        let mut chunk = Self { first_at, count, bits: Writer::resume(bytes, free), tail: Tail::default() };
        let mut samples = chunk.iter();
        let mut before: Option<i64> = None;
        let mut decoded = 0;
        for sample in samples.by_ref() {
            if before.is_some_and(|before| sample.at <= before) {
                return None;
            }
            before = Some(sample.at);
            decoded += 1;
        }
        let tail = samples.tail;
        chunk.tail = tail;
        (decoded == count).then_some(chunk)
    }
}

pub(super) struct Samples<'a> {
    reader: Reader<'a>,
    left: u16,
    first: bool,
    tail: Tail,
}

impl Samples<'_> {
    fn step(&mut self) -> Option<Sample> {
        if self.first {
            self.tail.value = self.reader.pull(64)?;
            self.first = false;
        } else {
            let change = read_delta(&mut self.reader)?;
            self.tail.delta = self.tail.delta.wrapping_add(change);
            self.tail.at = self.tail.at.wrapping_add(self.tail.delta);
            self.tail.value ^= read_xor(&mut self.reader, &mut self.tail.window)?;
        }
        Some(Sample { at: self.tail.at, value: f64::from_bits(self.tail.value) })
    }
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        self.step()
    }
}

fn write_delta(bits: &mut Writer, change: i64) {
    let fits = |width: u8| match width {
        0 => change == 0,
        64 => true,
        _ => (-(1i64 << (width - 1))..1i64 << (width - 1)).contains(&change),
    };
    for (class, width) in DELTA_CLASSES.into_iter().enumerate() {
        if fits(width) {
            // `class` ones, then a zero, which the last class can do without.
            for _ in 0..class {
                bits.push_bit(true);
            }
            if class + 1 < DELTA_CLASSES.len() {
                bits.push_bit(false);
            }
            bits.push(change as u64, width);
            return;
        }
    }
}

fn read_delta(bits: &mut Reader<'_>) -> Option<i64> {
    let mut class = 0;
    while class + 1 < DELTA_CLASSES.len() && bits.pull_bit()? {
        class += 1;
    }
    let width = DELTA_CLASSES[class];
    let raw = bits.pull(width)?;
    if width == 0 {
        return Some(0);
    }
    // Sign-extend.
    let shift = 64 - u32::from(width);
    Some(((raw << shift) as i64) >> shift)
}

/// `0`: same value. `10`: meaningful bits in the window of before. `11`: a new window (5 bits leading zeros, 6 bits
/// length − 1).
fn write_xor(bits: &mut Writer, xor: u64, window: Option<Window>) -> Option<Window> {
    if xor == 0 {
        bits.push_bit(false);
        return window;
    }
    bits.push_bit(true);
    let leading = (xor.leading_zeros() as u8).min(31);
    let trailing = xor.trailing_zeros() as u8;
    if let Some(window) = window.filter(|window| leading >= window.leading && trailing >= window.trailing) {
        bits.push_bit(false);
        bits.push(xor >> window.trailing, 64 - window.leading - window.trailing);
        return Some(window);
    }
    let length = 64 - leading - trailing;
    bits.push_bit(true);
    bits.push(u64::from(leading), 5);
    bits.push(u64::from(length - 1), 6);
    bits.push(xor >> trailing, length);
    Some(Window { leading, trailing })
}

fn read_xor(bits: &mut Reader<'_>, window: &mut Option<Window>) -> Option<u64> {
    if !bits.pull_bit()? {
        return Some(0);
    }
    if bits.pull_bit()? {
        let leading = bits.pull(5)? as u8;
        let length = bits.pull(6)? as u8 + 1;
        let trailing = 64u8.checked_sub(leading + length)?;
        *window = Some(Window { leading, trailing });
    }
    let Window { leading, trailing } = (*window)?;
    Some(bits.pull(64 - leading - trailing)? << trailing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN;

    fn filled(samples: &[Sample]) -> Chunk {
        let mut chunk = Chunk::new(samples[0]);
        for sample in &samples[1..] {
            chunk.push(*sample);
        }
        chunk
    }

    #[test]
    fn a_regular_counter_costs_little() {
        let samples: Vec<_> = (0..MAX_SAMPLES as i64)
            .map(|n| Sample { at: 1_700_000_000_000 + n * 15_000, value: (1_000_000 + n * 37) as f64 })
            .collect();
        let chunk = filled(&samples);
        let per_sample = chunk.bits.bytes().len() as f64 / samples.len() as f64;
        assert!(per_sample < 3.2, "{per_sample} bytes");
        let constant: Vec<_> = samples.iter().map(|sample| Sample { value: 7.0, ..*sample }).collect();
        assert!(filled(&constant).bits.bytes().len() < 75);
    }

    #[test]
    fn stale_markers_keep_their_bits() {
        let samples = [Sample { at: 0, value: 1.0 }, Sample { at: 5, value: STALE_NAN }];
        assert_eq!(filled(&samples).iter().collect::<Vec<_>>(), samples);
    }

    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let value = prop_oneof![
            any::<f64>(),
            any::<u64>().prop_map(f64::from_bits),
            (0..1000i32).prop_map(f64::from),
            Just(STALE_NAN),
        ];
        let step = prop_oneof![1..100_000i64, Just(15_000), 1..i64::MAX / 1_000];
        (any::<i32>(), proptest::collection::vec((step, value), 1..MAX_SAMPLES)).prop_map(|(start, steps)| {
            let mut at = i64::from(start);
            let mut samples = Vec::new();
            for (step, value) in steps {
                at = at.saturating_add(step);
                if samples.last().is_none_or(|last: &Sample| last.at < at) {
                    samples.push(Sample { at, value });
                }
            }
            samples
        })
    }

    proptest! {
        #[test]
        fn every_sample_comes_back(samples in any_samples()) {
            let chunk = filled(&samples);
            prop_assert_eq!(chunk.iter().collect::<Vec<_>>(), samples.clone());
            let (first_at, count, free, bytes) = chunk.encode();
            let mut copy = Chunk::decode(first_at, count, free, bytes.to_vec()).unwrap();
            prop_assert_eq!(copy.last(), *samples.last().unwrap());
            let next = Sample { at: copy.last_at().saturating_add(9), value: 0.1 };
            copy.push(next);
            prop_assert_eq!(copy.iter().last(), Some(next));
        }

        #[test]
        fn decoding_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in any::<u16>(), free in any::<u8>()) {
            if let Some(chunk) = Chunk::decode(0, count, free, bytes) {
                prop_assert_eq!(chunk.iter().count(), usize::from(count));
            }
        }
    }
}
