//! A run of pictures as ffmpeg is given it: a small MP4 of its own on a pipe. ffmpeg never sees the source, and of the source
//! only the bytes of these pictures are read.

use std::future::ready;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::samples::Sample;
use super::splice::Splice;
use super::stretch::stretches;
use super::track::Track;
use super::{Error, fmp4, init};
use crate::media::{ReadError, Source};

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
        let parts = stream::iter(stretches(self.media.ranges.iter().cloned()));
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
