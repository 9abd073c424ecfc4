//! Up to [`MAX_SAMPLES`] samples of one series. While it is written to, a chunk is compressed as in Facebook's Gorilla paper
//! (VLDB 2015, §4.1): timestamps by delta of delta, values by XOR with their predecessor. A chunk that begins with a whole
//! number holds only such, by delta of delta too: counters, whose XOR is long, take about half of the room then. When it is
//! full it is sealed: whole numbers at regular times are [`packed`], which reads several times as fast.

use super::bits::{Reader, Writer};
use crate::model::Sample;

mod codes;
mod packed;

use codes::{DELTA_CLASSES, STEP_CLASSES, Window, read_classed, read_xor, whole, write_classed, write_xor};

/// Few enough that a query decodes little in vain, enough that the header does not matter.
pub(super) const MAX_SAMPLES: usize = 240;

/// How the bytes of a chunk are to be read, beside the number of free bits in the last one.
const WHOLE: u8 = 0x80;
const PACKED: u8 = 0x40;
const FREE_BITS: u8 = 0x07;

/// Is written to.
#[derive(Debug, Clone)]
pub(super) struct Open {
    first_at: i64,
    tail: Tail,
    bits: Writer,
    count: u16,
    /// Holds only whole numbers.
    whole: bool,
}

/// Does not change any more.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    first_at: i64,
    last_at: i64,
    bytes: Box<[u8]>,
    count: u16,
    coding: u8,
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

impl Open {
    pub(super) fn new(first: Sample) -> Self {
        let whole = whole(first.value);
        let value = whole.map_or(first.value.to_bits(), |whole| whole as u64);
        let mut bits = Writer::default();
        bits.push(value, 64);
        let tail = Tail { at: first.at, value, ..Tail::default() };
        Self { first_at: first.at, count: 1, whole: whole.is_some(), bits, tail }
    }

    /// Goes on with a sealed chunk; gives back what has no room left.
    pub(super) fn resume(sealed: Sealed) -> Result<Self, Sealed> {
        if sealed.coding & PACKED != 0 || usize::from(sealed.count) >= MAX_SAMPLES {
            return Err(sealed);
        }
        let mut samples = sealed.samples();
        samples.by_ref().for_each(drop);
        let tail = samples.tail;
        Ok(Self {
            first_at: sealed.first_at,
            tail,
            bits: Writer::resume(sealed.bytes.into_vec(), sealed.coding & FREE_BITS),
            count: sealed.count,
            whole: sealed.coding & WHOLE != 0,
        })
    }

    /// Whether there is room, and the value is of the chunk's kind.
    pub(super) fn takes(&self, value: f64) -> bool {
        usize::from(self.count) < MAX_SAMPLES && (!self.whole || whole(value).is_some())
    }

    /// The caller keeps times ascending and looks at [`Open::takes`].
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
    }

    pub(super) fn seal(self) -> Sealed {
        let (first_at, last_at, count) = (self.first_at, self.tail.at, self.count);
        if self.whole {
            let samples: Vec<Sample> = self.samples().collect();
            // Somewhat longer is well worth the speed.
            let most = self.bits.bytes().len() / 4 * 5;
            if let Some(bytes) = packed::pack(&samples).filter(|bytes| bytes.len() <= most) {
                return Sealed { first_at, last_at, bytes: bytes.into(), count, coding: PACKED };
            }
        }
        let coding = self.coding();
        Sealed { first_at, last_at, bytes: self.bits.into_bytes().into(), count, coding }
    }

    pub(super) fn first_at(&self) -> i64 {
        self.first_at
    }

    pub(super) fn last(&self) -> Sample {
        self.tail.sample(self.whole)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Heap bytes.
    pub(super) fn memory(&self) -> usize {
        self.bits.capacity()
    }

    pub(super) fn samples(&self) -> Samples<'_> {
        Samples::new(self.first_at, self.count, self.whole, self.bits.bytes())
    }

    /// For snapshots: everything that [`Sealed::decode`] needs.
    pub(super) fn encode(&self) -> (i64, u16, u8, &[u8]) {
        (self.first_at, self.count, self.coding(), self.bits.bytes())
    }

    fn coding(&self) -> u8 {
        self.bits.free() | if self.whole { WHOLE } else { 0 }
    }
}

impl Sealed {
    pub(super) fn first_at(&self) -> i64 {
        self.first_at
    }

    pub(super) fn last_at(&self) -> i64 {
        self.last_at
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    pub(super) fn append_to(&self, samples: &mut Vec<Sample>) {
        if self.coding & PACKED == 0 {
            samples.extend(self.samples());
        } else {
            // Was whole when it was made or read.
            let _ = packed::unpack(self.first_at, self.count, &self.bytes, samples);
        }
    }

    pub(super) fn encode(&self) -> (i64, u16, u8, &[u8]) {
        (self.first_at, self.count, self.coding, &self.bytes)
    }

    /// None when the bytes do not hold `count` samples in ascending order.
    pub(super) fn decode(first_at: i64, count: u16, coding: u8, bytes: Vec<u8>) -> Option<Self> {
        if count == 0 || usize::from(count) > MAX_SAMPLES {
            return None;
        }
        let mut sealed = Self { first_at, last_at: first_at, bytes: bytes.into(), count, coding };
        let mut samples = Vec::with_capacity(sealed.len());
        sealed.append_to(&mut samples);
        let ascending = samples.windows(2).all(|pair| pair[0].at < pair[1].at);
        sealed.last_at = samples.last()?.at;
        (ascending && samples.len() == sealed.len()).then_some(sealed)
    }

    /// Of a chunk that is not packed.
    fn samples(&self) -> Samples<'_> {
        Samples::new(self.first_at, self.count, self.coding & WHOLE != 0, &self.bytes)
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

impl<'a> Samples<'a> {
    fn new(first_at: i64, count: u16, whole: bool, bytes: &'a [u8]) -> Self {
        let tail = Tail { at: first_at, ..Tail::default() };
        Self { reader: Reader::new(bytes), left: count, first: true, whole, tail }
    }

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

#[cfg(test)]
mod tests;
