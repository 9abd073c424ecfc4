//! Media segments (CMAF, ISO/IEC 23000-19 §7.3): `styp`, `moof` and the header of `mdat`, followed by ranges of the source.

use std::ops::Range;

use bytes::Bytes;

use super::boxes::Writer;
use super::samples::Sample;
use super::segments::Segment;
use super::splice::Splice;
use super::track::{Format, Track};

pub(super) const TRACK_ID: u32 = 1;
/// `sample_depends_on` = 2: an I picture, or sound.
pub(super) const SYNC_FLAGS: u32 = 0x0200_0000;
/// `sample_depends_on` = 1 and `sample_is_non_sync_sample`.
pub(super) const NON_SYNC_FLAGS: u32 = 0x0101_0000;
pub(super) const STYP: &[u8] = b"\0\0\0\x18stypmsdh\0\0\0\0msdhcmfs";

/// Segment `number` (from 1) of a track.
pub(super) fn segment(track: &Track, segment: &Segment, number: u32) -> Splice {
    let time = track.samples.decode_time(segment.samples.start) as i64 + track.decode_shift;
    let time = u64::try_from(time).unwrap_or(0);
    samples(track, segment.samples.clone(), number, track.composition_shift, time)
}

/// Any run of samples as a segment, with `composition_shift` taken from their composition offsets, and the first one decoded
/// at `time`.
pub(super) fn samples(
    track: &Track,
    range: Range<u32>,
    number: u32,
    composition_shift: i64,
    time: u64,
) -> Splice {
    let layout = Layout::of(track, &range, composition_shift);
    let data_len = track.samples.bytes(range.clone());
    let mut w = Writer::with_capacity(layout.header_len(data_len));
    w.raw(STYP);
    let moof_start = w.position();
    let mut data_offset_at = 0;
    w.nest(*b"moof", |w| {
        w.nest_full(*b"mfhd", 0, 0, |w| w.u32(number));
        w.nest(*b"traf", |w| {
            layout.write_tfhd(w);
            w.nest_full(*b"tfdt", 1, 0, |w| w.u64(time));
            data_offset_at = layout.write_trun(w, track, range.clone());
        });
    });
    // From the start of moof to the first byte after the header of mdat; below 2^26 by MAX_SAMPLES.
    let data_offset = (w.position() - moof_start + mdat_header_len(data_len)) as u32;
    w.patch_u32(data_offset_at, data_offset);
    write_mdat_header(&mut w, data_len);
    let ranges = track.samples.iter(range).map(|s| s.offset..s.offset + u64::from(s.size));
    Splice::new(Bytes::from(w.finish()), ranges)
}

/// Keyframes from anywhere, each shown for `duration`, without what lies between them.
pub(super) fn keyframes(samples: &[Sample], duration: u32) -> Splice {
    let data_len = samples.iter().map(|sample| u64::from(sample.size)).sum();
    let mut w = Writer::with_capacity(128 + samples.len() * 4);
    w.raw(STYP);
    let moof_start = w.position();
    let mut data_offset_at = 0;
    w.nest(*b"moof", |w| {
        w.nest_full(*b"mfhd", 0, 0, |w| w.u32(1));
        w.nest(*b"traf", |w| {
            // default-base-is-moof, and defaults for duration and flags
            w.nest_full(*b"tfhd", 0, 0x02_0028, |w| {
                [TRACK_ID, duration, SYNC_FLAGS].iter().for_each(|&n| w.u32(n))
            });
            w.nest_full(*b"tfdt", 1, 0, |w| w.u64(0));
            w.nest_full(*b"trun", 1, 0x201, |w| {
                // Callers have a few dozen at most.
                w.u32(samples.len() as u32);
                data_offset_at = w.position();
                w.u32(0);
                samples.iter().for_each(|sample| w.u32(sample.size));
            });
        });
    });
    let data_offset = (w.position() - moof_start + mdat_header_len(data_len)) as u32;
    w.patch_u32(data_offset_at, data_offset);
    write_mdat_header(&mut w, data_len);
    Splice::new(Bytes::from(w.finish()), samples.iter().map(|s| s.offset..s.offset + u64::from(s.size)))
}

/// How long `segment` would be, without making it.
pub(super) fn segment_len(track: &Track, segment: &Segment) -> u64 {
    let data_len = track.samples.bytes(segment.samples.clone());
    let layout = Layout::of(track, &segment.samples, track.composition_shift);
    layout.header_len(data_len) as u64 + data_len
}

/// Which fields each sample needs, and which are the same for all.
#[derive(Debug)]
struct Layout {
    count: u32,
    duration: Shared,
    size: Shared,
    flags: Flags,
    /// Composition offsets that are not all zero, and what is taken from them. `None` for sound.
    composition_shift: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    All(u32),
    Differs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flags {
    All(u32),
    /// The first is a sync sample, the others are not.
    FirstSync,
    Differs,
}

impl Shared {
    fn of(all: Option<u32>) -> Self {
        all.map_or(Self::Differs, Self::All)
    }
}

impl Layout {
    fn of(track: &Track, range: &Range<u32>, composition_shift: i64) -> Self {
        let mut samples = track.samples.iter(range.clone());
        let first = samples.next();
        let mut duration = first.map(|s| s.duration);
        let mut size = first.map(|s| s.size);
        let first_sync = first.is_some_and(|s| s.keyframe);
        let shifted = |s: &Sample| i64::from(s.composition_offset) != composition_shift;
        let mut composition = first.is_some_and(|s| shifted(&s));
        let (mut others, mut others_sync) = (0u32, 0u32);
        for sample in samples {
            duration = duration.filter(|&d| d == sample.duration);
            size = size.filter(|&s| s == sample.size);
            composition |= shifted(&sample);
            others += 1;
            others_sync += u32::from(sample.keyframe);
        }
        let flags = match (first_sync, others_sync) {
            (true, n) if n == others => Flags::All(SYNC_FLAGS),
            (false, 0) => Flags::All(NON_SYNC_FLAGS),
            (true, 0) => Flags::FirstSync,
            _ => Flags::Differs,
        };
        let count = range.end.min(track.samples.count()).saturating_sub(range.start);
        let composition = composition && matches!(track.format, Format::Video(_));
        let composition_shift = composition.then_some(composition_shift);
        Self { count, duration: Shared::of(duration), size: Shared::of(size), flags, composition_shift }
    }

    /// `styp`, `moof` and the header of `mdat`.
    fn header_len(&self, data_len: u64) -> usize {
        STYP.len() + 8 + 16 + 8 + self.tfhd_len() + 20 + self.trun_len() + mdat_header_len(data_len)
    }

    fn tfhd_len(&self) -> usize {
        16 + 4 * [
            matches!(self.duration, Shared::All(_)),
            matches!(self.size, Shared::All(_)),
            self.flags != Flags::Differs,
        ]
        .into_iter()
        .filter(|&present| present)
        .count()
    }

    fn trun_len(&self) -> usize {
        let first_flags = usize::from(self.flags == Flags::FirstSync) * 4;
        20 + first_flags + self.count as usize * 4 * self.fields()
    }

    fn fields(&self) -> usize {
        [
            self.duration == Shared::Differs,
            self.size == Shared::Differs,
            self.flags == Flags::Differs,
            self.composition_shift.is_some(),
        ]
        .into_iter()
        .filter(|&present| present)
        .count()
    }

    fn write_tfhd(&self, w: &mut Writer) {
        let default_flags = match self.flags {
            Flags::All(flags) => Some(flags),
            Flags::FirstSync => Some(NON_SYNC_FLAGS),
            Flags::Differs => None,
        };
        let defaults = [(0x08, all(self.duration)), (0x10, all(self.size)), (0x20, default_flags)];
        let present = defaults.iter().filter(|(_, value)| value.is_some());
        // default-base-is-moof
        let flags = present.fold(0x02_0000, |flags, (flag, _)| flags | flag);
        w.nest_full(*b"tfhd", 0, flags, |w| {
            w.u32(TRACK_ID);
            for value in defaults.iter().filter_map(|(_, value)| *value) {
                w.u32(value);
            }
        });
    }

    /// Returns where the data offset stands, which is known only once `moof` is complete.
    fn write_trun(&self, w: &mut Writer, track: &Track, range: Range<u32>) -> usize {
        let fields = [
            (0x004, self.flags == Flags::FirstSync),
            (0x100, self.duration == Shared::Differs),
            (0x200, self.size == Shared::Differs),
            (0x400, self.flags == Flags::Differs),
            (0x800, self.composition_shift.is_some()),
        ];
        let flags = fields.iter().filter(|field| field.1).fold(0x001, |flags, field| flags | field.0);
        let mut data_offset_at = 0;
        // Version 1: composition offsets are signed.
        w.nest_full(*b"trun", 1, flags, |w| {
            w.u32(self.count);
            data_offset_at = w.position();
            w.u32(0);
            if self.flags == Flags::FirstSync {
                w.u32(SYNC_FLAGS);
            }
            for sample in track.samples.iter(range) {
                if self.duration == Shared::Differs {
                    w.u32(sample.duration);
                }
                if self.size == Shared::Differs {
                    w.u32(sample.size);
                }
                if self.flags == Flags::Differs {
                    w.u32(if sample.keyframe { SYNC_FLAGS } else { NON_SYNC_FLAGS });
                }
                if let Some(shift) = self.composition_shift {
                    // Those who choose the shift have checked that all fit: `Track::place_video` and `poster`.
                    w.i32((i64::from(sample.composition_offset) - shift) as i32);
                }
            }
        });
        data_offset_at
    }
}

fn all(shared: Shared) -> Option<u32> {
    match shared {
        Shared::All(value) => Some(value),
        Shared::Differs => None,
    }
}

fn mdat_header_len(data_len: u64) -> usize {
    if data_len + 8 > u64::from(u32::MAX) { 16 } else { 8 }
}

fn write_mdat_header(w: &mut Writer, data_len: u64) {
    match mdat_header_len(data_len) {
        16 => {
            w.u32(1);
            w.raw(b"mdat");
            w.u64(data_len + 16);
        }
        _ => {
            w.u32((data_len + 8) as u32);
            w.raw(b"mdat");
        }
    }
}
