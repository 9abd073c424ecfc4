//! The sample table of a track (ISO/IEC 14496-12 §8.6, §8.7), kept run-length coded as the file has it: some ten
//! bytes a sample, and at most three times as large as the boxes it came from. Built by `tables`.

use std::ops::Range;

/// One sample as the source has it. Times are in the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where its bytes are in the source.
    pub offset: u64,
    pub size: u32,
    pub decode_time: u64,
    pub duration: u32,
    /// Composition time minus decode time.
    pub composition_offset: i32,
    /// A sync sample: decoding can start here.
    pub keyframe: bool,
}

impl Sample {
    pub fn composition_time(&self) -> i64 {
        // `SampleTable` keeps decode times below 2^54.
        self.decode_time as i64 + i64::from(self.composition_offset)
    }
}

#[derive(Debug)]
pub(super) enum Sizes {
    Same(u32),
    /// `marks[i]`: bytes of the samples before sample `i * MARK_EVERY`.
    Each {
        sizes: Box<[u32]>,
        marks: Box<[u64]>,
    },
}

/// So that adding up sizes takes no more steps than this, even where a chunk holds all samples.
const MARK_EVERY: usize = 256;

impl Sizes {
    pub(super) fn each(sizes: Vec<u32>) -> Self {
        let mut sum = 0;
        let marks = sizes.chunks(MARK_EVERY).map(|chunk| {
            let mark = sum;
            sum += chunk.iter().map(|&size| u64::from(size)).sum::<u64>();
            mark
        });
        Self::Each { marks: marks.collect(), sizes: sizes.into() }
    }

    /// Bytes of the first `count` samples together.
    fn before(&self, count: u32) -> u64 {
        match self {
            Self::Same(size) => u64::from(*size) * u64::from(count),
            Self::Each { sizes, marks } => {
                let count = (count as usize).min(sizes.len());
                let mark = (count / MARK_EVERY).min(marks.len().saturating_sub(1));
                let rest = sizes.get(mark * MARK_EVERY..count).unwrap_or_default();
                marks.get(mark).copied().unwrap_or(0) + rest.iter().map(|&s| u64::from(s)).sum::<u64>()
            }
        }
    }
}

/// From `first_sample` on, samples share a duration.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeRun {
    pub(super) first_sample: u32,
    pub(super) duration: u32,
    pub(super) first_time: u64,
}

/// From `first_sample` on, samples share a composition offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompositionRun {
    pub(super) first_sample: u32,
    pub(super) offset: i32,
}

/// Samples of one track by index in decode order, counted from 0.
///
/// `tables` upholds: `chunks` and `times` are not empty when `count` is not 0 and start at sample 0; all lists ascend
/// by sample; decode times stay below 2^54 and sample bytes lie within the source.
#[derive(Debug)]
pub struct SampleTable {
    pub(super) count: u32,
    pub(super) sizes: Sizes,
    /// First sample of each chunk, and where that chunk is.
    pub(super) chunk_first: Box<[u32]>,
    pub(super) chunk_offset: Box<[u64]>,
    pub(super) times: Box<[TimeRun]>,
    pub(super) compositions: Box<[CompositionRun]>,
    /// Indexes of the sync samples. `None`: every sample is one.
    pub(super) sync: Option<Box<[u32]>>,
}

impl SampleTable {
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn get(&self, index: u32) -> Option<Sample> {
        self.iter(index..index.saturating_add(1)).next()
    }

    /// The samples of `range` (clipped to those that exist) in decode order. Starting costs O(log n).
    pub fn iter(&self, range: Range<u32>) -> Samples<'_> {
        let next = range.start.min(self.count);
        let chunk = self.chunk_first.partition_point(|&first| first <= next).saturating_sub(1);
        let chunk_first = self.chunk_first.get(chunk).copied().unwrap_or(0);
        let chunk_offset = self.chunk_offset.get(chunk).copied().unwrap_or(0);
        Samples {
            table: self,
            next,
            end: range.end.min(self.count),
            chunk,
            offset: chunk_offset + self.bytes(chunk_first..next),
            time: self.times.partition_point(|run| run.first_sample <= next).saturating_sub(1),
            composition: self.compositions.partition_point(|run| run.first_sample <= next),
            sync: self.sync.as_ref().map_or(0, |sync| sync.partition_point(|&s| s < next)),
        }
    }

    /// Bytes of the samples of `range` together.
    pub fn bytes(&self, range: Range<u32>) -> u64 {
        let range = range.start.min(self.count)..range.end.min(self.count);
        self.sizes.before(range.end).saturating_sub(self.sizes.before(range.start))
    }

    /// When sample `index` is decoded; for `count()`, when the last one ends.
    pub fn decode_time(&self, index: u32) -> u64 {
        let index = index.min(self.count);
        let run = self.times.partition_point(|run| run.first_sample <= index).saturating_sub(1);
        self.times
            .get(run)
            .map_or(0, |run| run.first_time + u64::from(run.duration) * u64::from(index - run.first_sample))
    }

    /// The first sample decoded at or after `time`; `count()` if none is.
    pub fn first_at_or_after(&self, time: u64) -> u32 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.decode_time(middle) < time { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let sizes = match &self.sizes {
            Sizes::Same(_) => 0,
            Sizes::Each { sizes, marks } => size_of_val(&**sizes) + size_of_val(&**marks),
        };
        sizes
            + size_of_val(&*self.chunk_first)
            + size_of_val(&*self.chunk_offset)
            + size_of_val(&*self.times)
            + size_of_val(&*self.compositions)
            + self.sync.as_ref().map_or(0, |sync| size_of_val(&**sync))
    }
}

/// Walks a sample table; each step is O(1).
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    table: &'a SampleTable,
    next: u32,
    end: u32,
    chunk: usize,
    offset: u64,
    time: usize,
    /// Index of the next composition run that has not begun yet.
    composition: usize,
    sync: usize,
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.next >= self.end {
            return None;
        }
        let (table, index) = (self.table, self.next);
        if table.chunk_first.get(self.chunk + 1) == Some(&index) {
            self.chunk += 1;
            self.offset = table.chunk_offset.get(self.chunk).copied()?;
        }
        if table.times.get(self.time + 1).is_some_and(|run| run.first_sample <= index) {
            self.time += 1;
        }
        if table.compositions.get(self.composition).is_some_and(|run| run.first_sample <= index) {
            self.composition += 1;
        }
        let keyframe = match &table.sync {
            None => true,
            Some(sync) => {
                let hit = sync.get(self.sync) == Some(&index);
                self.sync += usize::from(hit);
                hit
            }
        };
        let run = table.times.get(self.time)?;
        let size = match &table.sizes {
            Sizes::Same(size) => *size,
            Sizes::Each { sizes, .. } => *sizes.get(index as usize)?,
        };
        let composition = self.composition.checked_sub(1).and_then(|i| table.compositions.get(i));
        let sample = Sample {
            offset: self.offset,
            size,
            decode_time: run.first_time + u64::from(run.duration) * u64::from(index - run.first_sample),
            duration: run.duration,
            composition_offset: composition.map_or(0, |run| run.offset),
            keyframe,
        };
        self.offset += u64::from(size);
        self.next += 1;
        Some(sample)
    }
}
