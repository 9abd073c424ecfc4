//! What of a track belongs to a clip, with the tables that describe it.

use std::ops::Range;

use super::super::playlist::micros;
use super::super::samples::Sample;
use super::super::track::{Format, Track};
use super::ticks;

/// Sound before the first packet that is heard: overlapping transforms need it.
const AUDIO_PREROLL: u32 = 1;
/// Tracks alternate this often.
const CHUNK_MICROS: i64 = 1_000_000;

/// Which samples of a track a clip has; nothing is put down of them yet.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    track: &'a Track,
    samples: Range<u32>,
    /// In ticks: when the first picture is shown in the source; of sound, when it is to be heard, by its decode time.
    origin: i64,
}

/// The samples of one track, as boxes describe them.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) track: &'a Track,
    pub(super) sizes: Vec<u32>,
    /// (samples, ticks each)
    pub(super) times: Vec<(u32, u32)>,
    /// (samples, composition offset from 0); empty: none has one.
    pub(super) compositions: Vec<(u32, u32)>,
    /// Numbers of keyframes, from 1. None: all are.
    pub(super) sync: Option<Vec<u32>>,
    pub(super) chunks: Vec<Chunk>,
    /// What is passed over at the start, in ticks.
    pub(super) media_time: i64,
    /// Before it starts, in millionths of a second.
    pub(super) wait_micros: i64,
    /// Of all samples, in ticks.
    pub(super) lasts: u64,
}

/// Samples of a track that stand together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) at_micros: i64,
    pub(super) samples: u32,
    pub(super) bytes: u64,
    pub(super) ranges: Vec<Range<u64>>,
}

impl<'a> Choice<'a> {
    /// None when no picture is shown in that time.
    pub(super) fn of_video(track: &'a Track, start_micros: i64, end_micros: i64) -> Option<Self> {
        let (start, end) = (ticks(track, start_micros), ticks(track, end_micros));
        let all = track.first..track.end;
        let mut key = None;
        let mut last = None;
        let mut reaches = false;
        for (index, sample) in all.clone().zip(track.samples.iter(all)) {
            let time = track.presentation_time(&sample);
            reaches |= time + i64::from(sample.duration) > start;
            if key.is_none() || (sample.keyframe && time <= start) {
                key = Some((index, time));
            }
            if time < end {
                last = Some(index);
            }
        }
        let (first, origin) = key.filter(|_| reaches)?;
        let last = last.filter(|last| *last >= first)?;
        Some(Self { track, samples: first..last + 1, origin })
    }

    /// None when there is no sound in that time.
    pub(super) fn of_audio(track: &'a Track, start_micros: i64, end_micros: i64) -> Option<Self> {
        // Decode time in the source, of a presentation time.
        let shift = track.edit_media_time - track.decode_shift;
        let source_time = |micros| ticks(track, micros).saturating_add(shift);
        let at = |time: i64| u64::try_from(time).unwrap_or(0);
        let begins = source_time(start_micros);
        let heard = track.samples.first_at_or_after(at(begins.saturating_add(1))).saturating_sub(1);
        let first = heard.saturating_sub(AUDIO_PREROLL).max(track.first);
        let end = match end_micros {
            i64::MAX => track.end,
            end => track.samples.first_at_or_after(at(source_time(end))).min(track.end),
        };
        if first >= end || begins >= track.samples.decode_time(track.end) as i64 {
            return None;
        }
        Some(Self { track, samples: first..end, origin: begins })
    }

    /// When the first picture is shown in the source.
    pub(super) fn origin_micros(&self) -> i64 {
        micros(self.origin, self.track.timescale)
    }

    /// Samples, at most.
    pub(super) fn count(&self) -> usize {
        self.samples.len()
    }

    pub(super) fn part(&self) -> Part<'a> {
        match self.track.format {
            Format::Video(_) => self.pictures(),
            Format::Audio(_) => self.sound(),
        }
    }

    fn pictures(&self) -> Part<'a> {
        let (track, origin) = (self.track, self.origin);
        // Pictures that are shown before the keyframe refer to what is not there.
        let kept = |sample: &Sample| track.presentation_time(sample) >= origin;
        let samples = || track.samples.iter(self.samples.clone()).filter(kept);
        let begun = track.samples.decode_time(self.samples.start) as i64;
        let offset =
            |sample: &Sample| track.presentation_time(sample) - origin - (sample.decode_time as i64 - begun);
        // The keyframe is always among them.
        let least = samples().map(|sample| offset(&sample)).min().unwrap_or(0);
        let mut part = Part::empty(track);
        part.media_time = -least;
        let end_time = track.samples.decode_time(self.samples.end);
        part.fill(samples(), end_time, |sample| offset(sample) - least);
        part
    }

    fn sound(&self) -> Part<'a> {
        let (track, begins) = (self.track, self.origin);
        let mut part = Part::empty(track);
        let first_time = track.samples.decode_time(self.samples.start) as i64;
        part.media_time = (begins - first_time).max(0);
        part.wait_micros = micros((first_time - begins).max(0), track.timescale);
        let end_time = track.samples.decode_time(self.samples.end);
        part.fill(track.samples.iter(self.samples.clone()), end_time, |_| 0);
        part
    }
}

impl<'a> Part<'a> {
    fn empty(track: &'a Track) -> Self {
        Self {
            track,
            sizes: Vec::new(),
            times: Vec::new(),
            compositions: Vec::new(),
            sync: None,
            chunks: Vec::new(),
            media_time: 0,
            wait_micros: 0,
            lasts: 0,
        }
    }

    /// `end` is when the last sample ends; each lasts until the next one, so that what is left out leaves no gap.
    fn fill(&mut self, samples: impl Iterator<Item = Sample>, end: u64, offset: impl Fn(&Sample) -> i64) {
        let mut samples = samples.peekable();
        let begun = samples.peek().map_or(0, |first| first.decode_time);
        let (mut sync, mut all_sync, mut composed) = (Vec::new(), true, false);
        while let Some(sample) = samples.next() {
            let next = samples.peek().map_or(end, |next| next.decode_time);
            let lasts = u32::try_from(next.saturating_sub(sample.decode_time)).unwrap_or(u32::MAX);
            self.sizes.push(sample.size);
            count(&mut self.times, lasts);
            // Decode times and offsets of a track that was accepted lie within 32 bits of each other.
            let offset = u32::try_from(offset(&sample)).unwrap_or(0);
            composed |= offset != 0;
            count(&mut self.compositions, offset);
            all_sync &= sample.keyframe;
            if sample.keyframe {
                // At most MAX_SAMPLES of a source.
                sync.push(self.sizes.len() as u32);
            }
            self.lasts += u64::from(lasts);
            let elapsed = sample.decode_time.saturating_sub(begun);
            self.place(&sample, micros(i64::try_from(elapsed).unwrap_or(i64::MAX), self.track.timescale));
        }
        self.sync = (!all_sync).then_some(sync);
        if !composed {
            self.compositions = Vec::new();
        }
    }

    fn place(&mut self, sample: &Sample, at_micros: i64) {
        let begins = self.chunks.last().is_none_or(|last| at_micros >= last.at_micros + CHUNK_MICROS);
        if begins {
            let at_micros = at_micros / CHUNK_MICROS * CHUNK_MICROS;
            self.chunks.push(Chunk { at_micros, samples: 0, bytes: 0, ranges: Vec::new() });
        }
        let Some(chunk) = self.chunks.last_mut() else { return };
        chunk.samples += 1;
        chunk.bytes += u64::from(sample.size);
        let range = sample.offset..sample.offset + u64::from(sample.size);
        match chunk.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => chunk.ranges.push(range),
        }
    }
}

/// One more of the same, or the first of another.
fn count(runs: &mut Vec<(u32, u32)>, value: u32) {
    match runs.last_mut() {
        Some((count, last)) if *last == value => *count += 1,
        _ => runs.push((1, value)),
    }
}
