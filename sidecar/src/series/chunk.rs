//! Up to [`MAX_SAMPLES`] samples of one series, compressed as in Facebook's Gorilla paper (VLDB 2015, §4.1):
//! timestamps by delta of delta, values by XOR with their predecessor. A chunk that begins with a whole number holds only such,
//! by delta of delta too: counters, whose XOR is long, take about half of the room then. Regular scrapes cost 1–2 bytes a sample.

use super::bits::{Reader, Writer};
use crate::model::Sample;

/// Few enough that a query decodes little in vain, enough that the header does not matter.
pub(super) const MAX_SAMPLES: usize = 240;

/// Prefix codes of the delta of delta: number of ones before the zero → payload bits. Millisecond jitter fits the
/// first, a missed scrape the second.
const DELTA_CLASSES: [u8; 4] = [0, 10, 18, 64];

/// The same for the delta of delta of whole numbers: from counters that hardly move to bytes of a busy server.
const STEP_CLASSES: [u8; 8] = [0, 4, 8, 11, 14, 18, 26, 64];

/// Marks chunks of whole numbers in snapshots, beside the free bits.
const WHOLE: u8 = 0x80;

#[derive(Debug, Clone)]
pub(super) struct Chunk {
    first_at: i64,
    count: u16,
    /// Holds only whole numbers.
    whole: bool,
    bits: Writer,
    tail: Tail,
}

/// What the next sample is written relative to.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    at: i64,
    delta: i64,
    /// The bits of a float, or a whole number.
    value: u64,
    /// Between the last two whole numbers.
    step: i64,
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
        let whole = whole(first.value);
        let value = whole.map_or(first.value.to_bits(), |whole| whole as u64);
        let mut bits = Writer::default();
        bits.push(value, 64);
        let tail = Tail { at: first.at, value, ..Tail::default() };
        Self { first_at: first.at, count: 1, whole: whole.is_some(), bits, tail }
    }

    /// Whether there is room, and the value is of the chunk's kind.
    pub(super) fn takes(&self, value: f64) -> bool {
        !self.is_full() && (!self.whole || whole(value).is_some())
    }

    /// The caller keeps times ascending and looks at [`Chunk::takes`].
    pub(super) fn push(&mut self, sample: Sample) {
        let delta = sample.at.wrapping_sub(self.tail.at);
        write_classed(&mut self.bits, delta.wrapping_sub(self.tail.delta), &DELTA_CLASSES);
        let mut tail = Tail { at: sample.at, delta, ..self.tail };
        if self.whole {
            tail.value = whole(sample.value).unwrap_or_default() as u64;
            tail.step = (tail.value as i64).wrapping_sub(self.tail.value as i64);
            write_classed(&mut self.bits, tail.step.wrapping_sub(self.tail.step), &STEP_CLASSES);
        } else {
            tail.value = sample.value.to_bits();
            tail.window = write_xor(&mut self.bits, tail.value ^ self.tail.value, self.tail.window);
        }
        self.tail = tail;
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
        self.tail.sample(self.whole)
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
            whole: self.whole,
            tail: Tail { at: self.first_at, ..Tail::default() },
        }
    }

    /// For snapshots: everything that [`Chunk::decode`] needs.
    pub(super) fn encode(&self) -> (i64, u16, u8, &[u8]) {
        let mark = if self.whole { WHOLE } else { 0 };
        (self.first_at, self.count, self.bits.free() | mark, self.bits.bytes())
    }

    /// None when the bytes do not hold `count` samples in ascending order.
    pub(super) fn decode(first_at: i64, count: u16, free: u8, bytes: Vec<u8>) -> Option<Self> {
        if count == 0 || usize::from(count) > MAX_SAMPLES {
            return None;
        }
        let whole = free & WHOLE != 0;
        let bits = Writer::resume(bytes, free & !WHOLE);
        let mut chunk = Self { first_at, count, whole, bits, tail: Tail::default() };
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
    whole: bool,
    tail: Tail,
}

impl Tail {
    fn sample(&self, whole: bool) -> Sample {
        let value = if whole { self.value as i64 as f64 } else { f64::from_bits(self.value) };
        Sample { at: self.at, value }
    }
}

impl Samples<'_> {
    fn step(&mut self) -> Option<Sample> {
        if self.first {
            self.tail.value = self.reader.pull(64)?;
            self.first = false;
        } else {
            let change = read_classed(&mut self.reader, &DELTA_CLASSES)?;
            self.tail.delta = self.tail.delta.wrapping_add(change);
            self.tail.at = self.tail.at.wrapping_add(self.tail.delta);
            if self.whole {
                let change = read_classed(&mut self.reader, &STEP_CLASSES)?;
                self.tail.step = self.tail.step.wrapping_add(change);
                self.tail.value = self.tail.value.wrapping_add(self.tail.step as u64);
            } else {
                self.tail.value ^= read_xor(&mut self.reader, &mut self.tail.window)?;
            }
        }
        Some(self.tail.sample(self.whole))
    }
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        self.step()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

/// As a whole number that is the same float again, bit by bit: not −0, no NaN, nothing beyond 2⁵³.
fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    let same = (whole as f64).to_bits() == value.to_bits();
    (same && whole.unsigned_abs() < 1 << 53).then_some(whole)
}

/// The number of the class in ones, a zero, which the last class can do without, and as many bits as the class has.
fn write_classed(bits: &mut Writer, change: i64, classes: &[u8]) {
    let fits = |width: u8| match width {
        0 => change == 0,
        64 => true,
        _ => (-(1i64 << (width - 1))..1i64 << (width - 1)).contains(&change),
    };
    let last = classes.len() - 1;
    let class = classes.iter().position(|width| fits(*width)).unwrap_or(last);
    bits.push((1 << class) - 1, class as u8);
    if class < last {
        bits.push_bit(false);
    }
    bits.push(change as u64, classes[class]);
}

fn read_classed(bits: &mut Reader<'_>, classes: &[u8]) -> Option<i64> {
    let class = bits.pull_ones((classes.len() - 1) as u8)?;
    let width = classes[usize::from(class)];
    if width == 0 {
        return Some(0);
    }
    let raw = bits.pull(width)?;
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
            assert!(chunk.takes(sample.value));
            chunk.push(*sample);
        }
        chunk
    }

    #[test]
    fn a_chunk_of_whole_numbers_takes_nothing_else() {
        let chunk = Chunk::new(Sample { at: 0, value: 3.0 });
        for (value, taken) in [
            (-4.0, true),
            (0.0, true),
            (-0.0, false),
            (0.5, false),
            (STALE_NAN, false),
            (f64::INFINITY, false),
            (9_007_199_254_740_991.0, true),
            (9_007_199_254_740_992.0, false),
        ] {
            assert_eq!(chunk.takes(value), taken, "{value}");
        }
        assert!(Chunk::new(Sample { at: 0, value: 0.5 }).takes(3.0));
    }

    #[test]
    fn a_regular_counter_costs_little() {
        let samples: Vec<_> = (0..MAX_SAMPLES as i64)
            .map(|n| Sample { at: 1_700_000_000_000 + n * 15_000, value: (1_000_000 + n * 37) as f64 })
            .collect();
        let chunk = filled(&samples);
        let per_sample = chunk.bits.bytes().len() as f64 / samples.len() as f64;
        assert!(per_sample < 0.4, "{per_sample} bytes");
        let uneven: Vec<_> = samples
            .iter()
            .scan(0.0, |sum, sample| {
                *sum += ((sample.at / 15_000).wrapping_mul(2_654_435_761) % 997) as f64;
                Some(Sample { value: *sum, ..*sample })
            })
            .collect();
        let per_sample = filled(&uneven).bits.bytes().len() as f64 / samples.len() as f64;
        assert!(per_sample < 2.2, "{per_sample} bytes");
        let constant: Vec<_> = samples.iter().map(|sample| Sample { value: 7.0, ..*sample }).collect();
        assert!(filled(&constant).bits.bytes().len() < 75);
    }

    #[test]
    fn stale_markers_keep_their_bits() {
        let samples = [Sample { at: 0, value: 1.5 }, Sample { at: 5, value: STALE_NAN }];
        assert_eq!(filled(&samples).iter().collect::<Vec<_>>(), samples);
    }

    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let value = prop_oneof![
            any::<f64>(),
            any::<u64>().prop_map(f64::from_bits),
            (0..1000i32).prop_map(f64::from),
            Just(STALE_NAN),
        ];
        let number = prop_oneof![0..1000i64, any::<i32>().prop_map(i64::from), -(1i64 << 53) + 1..1 << 53];
        // A chunk that begins with a fraction takes anything, one that begins with a whole number only such.
        prop_oneof![
            samples_of(value.boxed(), Some(0.25)),
            samples_of(number.prop_map(|number| number as f64).boxed(), None),
        ]
    }

    fn samples_of(value: BoxedStrategy<f64>, first: Option<f64>) -> impl Strategy<Value = Vec<Sample>> {
        let step = prop_oneof![1..100_000i64, Just(15_000), 1..i64::MAX / 1_000];
        (any::<i32>(), proptest::collection::vec((step, value), 1..MAX_SAMPLES)).prop_map(
            move |(start, steps)| {
                let mut at = i64::from(start);
                let mut samples = Vec::new();
                for (index, (step, value)) in steps.into_iter().enumerate() {
                    let value = first.filter(|_| index == 0).unwrap_or(value);
                    at = at.saturating_add(step);
                    if samples.last().is_none_or(|last: &Sample| last.at < at) {
                        samples.push(Sample { at, value });
                    }
                }
                samples
            },
        )
    }

    proptest! {
        #[test]
        fn every_sample_comes_back(samples in any_samples()) {
            let chunk = filled(&samples);
            prop_assert_eq!(chunk.iter().collect::<Vec<_>>(), samples.clone());
            let (first_at, count, free, bytes) = chunk.encode();
            let mut copy = Chunk::decode(first_at, count, free, bytes.to_vec()).unwrap();
            prop_assert_eq!(copy.last(), *samples.last().unwrap());
            prop_assert_eq!(copy.whole, chunk.whole);
            let next = Sample { at: copy.last_at().saturating_add(9), value: samples[0].value };
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
