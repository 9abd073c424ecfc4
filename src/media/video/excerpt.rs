//! A run of pictures as ffmpeg is given it: a small MP4 of its own on a pipe. ffmpeg never sees the source, and of the source
//! only the bytes of these pictures are read.

use std::future::ready;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::samples::Sample;
use super::splice::Splice;
use super::track::Track;
use super::{Error, fmp4, init};
use crate::media::{ReadError, Source};

/// Sound that lies between pictures is read with them and dropped: one read of the source instead of hundreds.
const MAX_GAP_BYTES: u64 = 256 * 1024;

/// Keyframes for one run of ffmpeg, together.
const MAX_KEYFRAME_BYTES: u64 = 128 * 1024 * 1024;
/// Keyframes asked for at a time.
const KEYFRAMES_AHEAD: usize = 4;

#[derive(Debug)]
pub(super) struct Excerpt {
    init: Bytes,
    media: Splice,
    /// Added to composition times.
    shift: i64,
}

impl Excerpt {
    pub(super) fn new(track: &Track, range: Range<u32>) -> Result<Self, Error> {
        // ffmpeg moves all times when composition offsets are negative, so they are not.
        let offsets = track.samples.iter(range.clone()).map(|s| i64::from(s.composition_offset));
        let (least, most) = offsets.fold((i64::MAX, i64::MIN), |(low, high), o| (low.min(o), high.max(o)));
        if most - least > i64::from(i32::MAX) {
            return Err(Error::malformed("composition times far from decode times"));
        }
        // The first picture is decoded late enough for an encoder to put others before it.
        let begin = i64::from(track.timescale) * 16;
        let shift = begin - track.samples.decode_time(range.start) as i64 - least;
        let media = fmp4::samples(track, range, 1, least, begin.unsigned_abs());
        Ok(Self { init: init::segment(track), media, shift })
    }

    /// When ffmpeg shows a picture of the excerpt, in ticks of the track.
    pub(super) fn time_of(&self, sample: &Sample) -> i64 {
        sample.composition_time() + self.shift
    }

    /// Its bytes, read as they are wanted.
    pub(super) fn read<'a>(
        &self,
        source: &'a dyn Source,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<'a> {
        let header = stream::iter([Ok(self.init.clone()), Ok(self.media.header.clone())]);
        let parts = stream::iter(stretches(&self.media.ranges));
        header
            .chain(parts.flat_map(move |stretch| {
                let mut position = stretch.start();
                let read = source.stream(stretch.covered());
                read.flat_map(move |item| {
                    let cut = item.map(|bytes| {
                        let start = position;
                        position += bytes.len() as u64;
                        stretch.cut(start, &bytes)
                    });
                    stream::iter(match cut {
                        Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    })
                })
            }))
            .filter(|item| ready(item.as_ref().map_or(true, |bytes| !bytes.is_empty())))
    }
}

/// Pictures that need no others, as ffmpeg is given them: one a second, in this order.
#[derive(Debug)]
pub(super) struct Keyframes {
    init: Bytes,
    media: Splice,
}

impl Keyframes {
    /// `indexes` are samples of the track.
    pub(super) fn new(track: &Track, indexes: &[u32]) -> Result<Self, Error> {
        let samples: Vec<Sample> = indexes.iter().filter_map(|&index| track.samples.get(index)).collect();
        let bytes: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
        if bytes > MAX_KEYFRAME_BYTES {
            return Err(Error::unsupported("pictures that large"));
        }
        Ok(Self { init: init::segment(track), media: fmp4::keyframes(&samples, track.timescale) })
    }

    /// They lie far apart: some are fetched while others are decoded.
    pub(super) fn read<'a>(
        &self,
        source: &'a dyn Source,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<'a> {
        let header = stream::iter([Ok(self.init.clone()), Ok(self.media.header.clone())]);
        let reads = self.media.ranges.clone().into_iter().map(move |range| source.read(range));
        header.chain(stream::iter(reads).buffered(KEYFRAMES_AHEAD))
    }
}

/// Ranges of the source that are read in one go.
#[derive(Debug, PartialEq, Eq)]
struct Stretch(Vec<Range<u64>>);

impl Stretch {
    fn start(&self) -> u64 {
        self.0.first().map_or(0, |range| range.start)
    }

    fn covered(&self) -> Range<u64> {
        self.start()..self.0.last().map_or(0, |range| range.end)
    }

    /// Of bytes that stand at `start` of the source, those that are in the ranges.
    fn cut(&self, start: u64, bytes: &Bytes) -> Vec<Bytes> {
        let end = start + bytes.len() as u64;
        let first = self.0.partition_point(|range| range.end <= start);
        let touched = self.0.iter().skip(first).take_while(|range| range.start < end);
        touched
            // Both ends lie within the bytes.
            .map(|range| {
                bytes.slice((range.start.max(start) - start) as usize..(range.end.min(end) - start) as usize)
            })
            .collect()
    }
}

fn stretches(ranges: &[Range<u64>]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for range in ranges {
        match stretches.last_mut() {
            Some(Stretch(last))
                if last
                    .last()
                    .is_some_and(|last| (last.end..=last.end + MAX_GAP_BYTES).contains(&range.start)) =>
            {
                last.push(range.clone());
            }
            _ => stretches.push(Stretch(vec![range.clone()])),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_gaps_are_read_over_and_dropped() {
        let far = 20 + MAX_GAP_BYTES;
        let found =
            stretches(&[0..10, 12..20, far..far + 5, far + MAX_GAP_BYTES + 6..far + MAX_GAP_BYTES + 9, 3..4]);
        let ranges = |ranges: &[Range<u64>]| Stretch(ranges.to_vec());
        let one = |range: Range<u64>| Stretch(Vec::from([range]));
        let late = far + MAX_GAP_BYTES + 6;
        assert_eq!(found, [ranges(&[0..10, 12..20, far..far + 5]), one(late..late + 3), one(3..4)]);

        let stretch = ranges(&[10..13, 15..17]);
        assert_eq!(stretch.covered(), 10..17);
        let bytes = Bytes::from_static(b"abcdefg");
        assert_eq!(stretch.cut(10, &bytes), [Bytes::from("abc"), Bytes::from("fg")]);
        // However it comes in pieces.
        for size in 1..7 {
            let cut = (0..7)
                .step_by(size)
                .flat_map(|at| stretch.cut(10 + at as u64, &bytes.slice(at..7.min(at + size))));
            assert_eq!(cut.collect::<Vec<_>>().concat(), b"abcfg");
        }
    }
}
