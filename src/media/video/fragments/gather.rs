//! Samples of one track as fragment after fragment tells of them, packed as a sample table is.

use super::super::Error;
use super::super::boxes::be_u32;
use super::super::samples::{CompositionRun, SampleTable, Sizes, TimeRun};
use super::super::tables::MAX_SAMPLES;
use super::Whole;

/// Decode times beyond this are nonsense; below it, sums cannot overflow.
const MAX_TIME: u64 = 1 << 53;
/// Samples without any bytes that a run may claim without a word about each.
const MAX_EMPTY: u32 = 16;
/// `sample_is_non_sync_sample`
const NON_SYNC: u32 = 0x1_0000;

/// A track run (`trun`), not yet taken apart.
#[derive(Debug)]
pub(super) struct Run<'a> {
    flags: u32,
    pub(super) count: u32,
    pub(super) data_offset: Option<i32>,
    first_flags: Option<u32>,
    samples: &'a [u8],
    /// Bytes of each of `samples`.
    each: usize,
}

impl<'a> Run<'a> {
    pub(super) fn parse(trun: &'a [u8]) -> Result<Self, Error> {
        let cut = || Error::malformed("trun is cut off");
        let (flags, count) = (be_u32(trun, 0).ok_or_else(cut)?, be_u32(trun, 4).ok_or_else(cut)?);
        let mut at = 8;
        let mut field = |bit: u32| {
            let value = (flags & bit != 0).then(|| be_u32(trun, at).ok_or_else(cut)).transpose();
            at += usize::from(flags & bit != 0) * 4;
            value
        };
        let data_offset = field(1)?.map(u32::cast_signed);
        let first_flags = field(4)?;
        let each = 4 * (flags & 0xf00).count_ones() as usize;
        let len = (count as usize).checked_mul(each).ok_or_else(cut)?;
        let samples = trun.get(at..).and_then(|rest| rest.get(..len)).ok_or_else(cut)?;
        Ok(Self { flags, count, data_offset, first_flags, samples, each })
    }

    /// A run that says nothing about its samples can claim any number of them. Those of `size` bytes are bounded by the `left` bytes
    /// of the source, and one more, which shows that it breaks off.
    pub(super) fn bound(&mut self, size: u32, left: u64) -> Result<(), Error> {
        if self.each > 0 {
            return Ok(());
        }
        match left.checked_div(size.into()) {
            Some(fit) => {
                self.count = self.count.min(u32::try_from(fit).unwrap_or(u32::MAX).saturating_add(1));
                Ok(())
            }
            None if self.count > MAX_EMPTY => Err(Error::malformed("a fragment of empty samples")),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Gathered {
    sizes: Vec<u32>,
    chunk_first: Vec<u32>,
    chunk_offset: Vec<u64>,
    times: Vec<TimeRun>,
    compositions: Vec<CompositionRun>,
    sync: Vec<u32>,
    first_time: Option<u64>,
    /// When the next sample is decoded, from the first on.
    next_time: u64,
    description: Option<u32>,
}

impl Gathered {
    /// A fragment begins, at that time if it says so.
    pub(super) fn begin(&mut self, description: u32, time: Option<u64>) -> Result<(), Error> {
        if *self.description.get_or_insert(description) != description {
            return Err(Error::unsupported("a track whose codec parameters change"));
        }
        let Some(time) = time else { return Ok(()) };
        if time > MAX_TIME {
            return Err(Error::malformed("a fragment beyond the end of time"));
        }
        let first = *self.first_time.get_or_insert(time);
        // A gap: the last sample before it is shown until it ends. What overlaps follows on what was there.
        let gap = time.saturating_sub(first).saturating_sub(self.next_time);
        if gap > 0 && !self.sizes.is_empty() {
            self.lengthen_last(gap)?;
        }
        Ok(())
    }

    fn lengthen_last(&mut self, gap: u64) -> Result<(), Error> {
        // Not empty: there is a sample.
        let last = self.sizes.len() as u32 - 1;
        let Some(run) = self.times.last_mut() else { return Ok(()) };
        let longer = u32::try_from(u64::from(run.duration) + gap)
            .map_err(|_| Error::unsupported("a gap of hours between fragments"))?;
        if run.first_sample == last {
            run.duration = longer;
        } else {
            let first_time = self.next_time - u64::from(run.duration);
            self.times.push(TimeRun { first_sample: last, duration: longer, first_time });
        }
        self.next_time += gap;
        Ok(())
    }

    /// Returns where the data of the run ends. `defaults` are duration, size and flags.
    pub(super) fn add(
        &mut self,
        run: &Run<'_>,
        defaults: (u32, u32, u32),
        position: u64,
    ) -> Result<u64, Error> {
        if run.count == 0 {
            return Ok(position);
        }
        if self.sizes.len() as u64 + u64::from(run.count) > u64::from(MAX_SAMPLES) {
            return Err(Error::unsupported(format!("more than {MAX_SAMPLES} samples")));
        }
        self.chunk_first.push(self.sizes.len() as u32);
        self.chunk_offset.push(position);
        let mut end = position;
        for number in 0..run.count {
            let fields = run.samples.get(number as usize * run.each..).unwrap_or_default();
            let mut at = 0;
            let mut field = |bit: u32| {
                let value = (run.flags & bit != 0).then(|| be_u32(fields, at)).flatten();
                at += usize::from(run.flags & bit != 0) * 4;
                value
            };
            let duration = field(0x100).unwrap_or(defaults.0);
            let size = field(0x200).unwrap_or(defaults.1);
            let own_flags = field(0x400);
            let offset = field(0x800).unwrap_or(0).cast_signed();
            let flags = run.first_flags.filter(|_| number == 0).or(own_flags).unwrap_or(defaults.2);
            self.push(size, duration, offset, flags & NON_SYNC == 0)?;
            end = end.saturating_add(size.into());
        }
        Ok(end)
    }

    fn push(&mut self, size: u32, duration: u32, offset: i32, keyframe: bool) -> Result<(), Error> {
        // Below MAX_SAMPLES.
        let sample = self.sizes.len() as u32;
        self.sizes.push(size);
        if self.times.last().is_none_or(|run| run.duration != duration) {
            self.times.push(TimeRun { first_sample: sample, duration, first_time: self.next_time });
        }
        if self.compositions.last().map_or(0, |run| run.offset) != offset {
            self.compositions.push(CompositionRun { first_sample: sample, offset });
        }
        if keyframe {
            self.sync.push(sample);
        }
        self.next_time += u64::from(duration);
        if self.next_time > MAX_TIME {
            return Err(Error::malformed("a fragment beyond the end of time"));
        }
        Ok(())
    }

    /// Drops what of the last run lies beyond the end of the file.
    pub(super) fn take_back(&mut self, source_len: u64) {
        let (Some(first), Some(offset)) = (self.chunk_first.last(), self.chunk_offset.last()) else { return };
        let (first, mut end) = (*first, *offset);
        let mut kept = first;
        for size in self.sizes.get(first as usize..).unwrap_or_default() {
            end = end.saturating_add((*size).into());
            if end > source_len {
                break;
            }
            kept += 1;
        }
        self.truncate(kept);
    }

    fn truncate(&mut self, count: u32) {
        self.next_time = time_at(&self.times, count);
        self.sizes.truncate(count as usize);
        self.sync.truncate(self.sync.partition_point(|&sample| sample < count));
        self.times.truncate(self.times.partition_point(|run| run.first_sample < count));
        self.compositions.truncate(self.compositions.partition_point(|run| run.first_sample < count));
        let chunks = self.chunk_first.partition_point(|&first| first < count);
        self.chunk_first.truncate(chunks);
        self.chunk_offset.truncate(chunks);
    }

    /// With those samples in front that the movie has outside of its fragments.
    pub(super) fn finish(
        self,
        before: Option<&SampleTable>,
        description: u32,
    ) -> Result<Option<Whole>, Error> {
        let whole = match before {
            Some(before) => self.after(before)?,
            None => self,
        };
        let count = whole.sizes.len() as u32;
        if count == 0 {
            return Ok(None);
        }
        let sync = (whole.sync.len() as u32 != count).then(|| whole.sync.into_boxed_slice());
        let samples = SampleTable {
            count,
            sizes: Sizes::each(whole.sizes),
            chunk_first: whole.chunk_first.into(),
            chunk_offset: whole.chunk_offset.into(),
            times: whole.times.into(),
            compositions: whole.compositions.into(),
            sync,
        };
        let first_time = whole.first_time.unwrap_or(0);
        Ok(Some(Whole { samples, description: whole.description.unwrap_or(description), first_time }))
    }

    fn after(self, before: &SampleTable) -> Result<Self, Error> {
        let mut whole = Self { description: self.description, first_time: Some(0), ..Self::default() };
        let mut end = None;
        for sample in before.iter(0..before.count()) {
            if end != Some(sample.offset) {
                whole.chunk_first.push(whole.sizes.len() as u32);
                whole.chunk_offset.push(sample.offset);
            }
            end = Some(sample.offset + u64::from(sample.size));
            whole.push(sample.size, sample.duration, sample.composition_offset, sample.keyframe)?;
        }
        let (count, own) = (whole.sizes.len() as u32, self.sizes.len() as u64);
        if u64::from(count) + own > u64::from(MAX_SAMPLES) {
            return Err(Error::unsupported(format!("more than {MAX_SAMPLES} samples")));
        }
        if own == 0 {
            return Ok(whole);
        }
        whole.begin(whole.description.unwrap_or(1), self.first_time)?;
        let time = whole.next_time;
        if time + self.next_time > MAX_TIME {
            return Err(Error::malformed("a fragment beyond the end of time"));
        }
        // Where `moov` ends with an offset, the first without one has to say so.
        let ends_with = whole.compositions.last().map_or(0, |run| run.offset);
        if ends_with != 0 && self.compositions.first().is_none_or(|run| run.first_sample > 0) {
            whole.compositions.push(CompositionRun { first_sample: count, offset: 0 });
        }
        let shifted = |run: TimeRun| TimeRun {
            first_sample: run.first_sample + count,
            first_time: run.first_time + time,
            ..run
        };
        whole.times.extend(self.times.into_iter().map(shifted));
        let shifted = |run: CompositionRun| CompositionRun { first_sample: run.first_sample + count, ..run };
        whole.compositions.extend(self.compositions.into_iter().map(shifted));
        whole.sizes.extend(self.sizes);
        whole.chunk_first.extend(self.chunk_first.into_iter().map(|first| first + count));
        whole.chunk_offset.extend(self.chunk_offset);
        whole.sync.extend(self.sync.into_iter().map(|sample| sample + count));
        whole.next_time += self.next_time;
        Ok(whole)
    }
}

fn time_at(times: &[TimeRun], sample: u32) -> u64 {
    let run = times.partition_point(|run| run.first_sample <= sample).saturating_sub(1);
    let time =
        |run: &TimeRun| run.first_time + u64::from(run.duration) * u64::from(sample - run.first_sample);
    times.get(run).filter(|run| run.first_sample <= sample).map_or(0, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_cost_nothing_are_bounded() {
        // 2^21 samples, without fields.
        let trun = [0, 0, 0, 0, 0, 0x20, 0, 0];
        let mut run = Run::parse(&trun).unwrap();
        assert!(run.bound(0, 1000).is_err());
        run.bound(10, 1000).unwrap();
        assert_eq!(run.count, 101);
        run.bound(0, 0).unwrap_err();
        run.count = 1;
        run.bound(0, 0).unwrap();
    }
}
