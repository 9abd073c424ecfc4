//! Where the segments of a movie begin and end. Pure: the same movie and target always give the same cuts, so that
//! playlists and segments made at different times or places fit together.

use std::ops::Range;
use std::time::Duration;

use super::Error;
use super::movie::Movie;
use super::track::Track;

/// Segments of one rendition. At six seconds each these are a week.
const MAX_SEGMENTS: usize = 100_000;

/// A run of samples that is fetched as one. Times are presentation times in ticks of the track; a segment ends where
/// the next one starts, so that durations add up exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub samples: Range<u32>,
    pub start: i64,
    pub end: i64,
}

impl Segment {
    /// Ticks of the track.
    pub fn duration(&self) -> u64 {
        u64::try_from(self.end - self.start).unwrap_or(0)
    }
}

/// The segments of all tracks of one movie.
#[derive(Debug)]
pub struct Segmentation {
    pub target: Duration,
    /// Empty when there is no video.
    pub video: Box<[Segment]>,
    /// For each sound track of the movie.
    pub audio: Box<[Box<[Segment]>]>,
}

impl Segmentation {
    /// Video segment k begins at the first keyframe at or after k × `target` (intervals without a keyframe make no
    /// segment of their own). Sound is cut at the same times, at the next boundary between packets; without video,
    /// and beyond its end, every `target`.
    pub fn new(movie: &Movie, target: Duration) -> Result<Self, Error> {
        let target = target.max(Duration::from_millis(100));
        let video: Box<[Segment]> = match &movie.video {
            Some(track) => cut_video(track, target)?.into(),
            None => Box::default(),
        };
        let video_scale = movie.video.as_ref().map_or(1, |track| track.timescale);
        let audio = movie.audio.iter().map(|track| {
            let cuts = audio_cuts(track, &video, video_scale, target)?;
            Ok(cut_audio(track, &cuts).into())
        });
        Ok(Self { target, audio: audio.collect::<Result<_, Error>>()?, video })
    }

    pub(super) fn weight(&self) -> usize {
        let audio: usize = self.audio.iter().map(|segments| size_of_val(&**segments)).sum();
        size_of::<Self>() + size_of_val(&*self.video) + audio
    }
}

fn cut_video(track: &Track, target: Duration) -> Result<Vec<Segment>, Error> {
    let mut segments: Vec<Segment> = Vec::new();
    let range = track.first..track.end;
    let (mut origin, mut next_cut, mut end) = (0, 0, i64::MIN);
    for (index, sample) in range.clone().zip(track.samples.iter(range)) {
        let time = track.presentation_time(&sample);
        if index == track.first {
            origin = time;
        }
        if index == track.first || (sample.keyframe && time >= next_cut) {
            if let Some(last) = segments.last_mut() {
                (last.samples.end, last.end) = (index, time);
            }
            segments.push(Segment { samples: index..track.end, start: time, end: time });
            check_count(segments.len())?;
            next_cut = origin + next_multiple(time - origin, target, track.timescale);
            end = time;
        }
        end = end.max(time + i64::from(sample.duration));
    }
    if let Some(last) = segments.last_mut() {
        last.end = end;
    }
    Ok(segments)
}

/// The first multiple of `target` after `time`, in ticks, rounded up.
fn next_multiple(time: i64, target: Duration, timescale: u32) -> i64 {
    let per_target = target.as_nanos() as i128 * i128::from(timescale);
    let k = i128::from(time) * 1_000_000_000 / per_target + 1;
    let ticks = (k * per_target + 999_999_999) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX / 2)
}

/// Times at which sound is cut, in its own ticks; the first one stands for its beginning.
fn audio_cuts(
    track: &Track,
    video: &[Segment],
    video_scale: u32,
    target: Duration,
) -> Result<Vec<i64>, Error> {
    let (scale, video_scale) = (i128::from(track.timescale), i128::from(video_scale));
    let to_ticks = |time: i64| {
        let ticks = (i128::from(time) * scale + video_scale - 1).div_euclid(video_scale);
        i64::try_from(ticks).unwrap_or(i64::MAX / 2)
    };
    let mut cuts: Vec<i64> = video.iter().map(|segment| to_ticks(segment.start)).collect();
    let end = track.samples.decode_time(track.end) as i64 + track.decode_shift - track.edit_media_time;
    let mut covered = video.last().map_or(0, |segment| to_ticks(segment.end));
    let origin = covered;
    // Sound that ends a little after the pictures stays in their last segment.
    let spare = if video.is_empty() { 0 } else { next_multiple(0, target, track.timescale) / 2 };
    while cuts.is_empty() || end.saturating_sub(covered) > if covered == origin { spare } else { 0 } {
        cuts.push(covered);
        check_count(cuts.len())?;
        covered = origin + next_multiple(covered - origin, target, track.timescale);
    }
    Ok(cuts)
}

fn cut_audio(track: &Track, cuts: &[i64]) -> Vec<Segment> {
    // Decode time in the source, of a presentation time in the output.
    let shift = track.edit_media_time - track.decode_shift;
    let mut segments: Vec<Segment> = Vec::new();
    for &cut in cuts {
        let first = match segments.is_empty() {
            true => track.first,
            false => {
                let time = u64::try_from(cut.saturating_add(shift)).unwrap_or(0);
                track.samples.first_at_or_after(time).clamp(track.first, track.end)
            }
        };
        let start = track.samples.decode_time(first) as i64 - shift;
        if let Some(last) = segments.last_mut() {
            if first <= last.samples.start || first >= track.end {
                continue;
            }
            (last.samples.end, last.end) = (first, start);
        }
        // What the edit list swallows is not presented.
        let start = if segments.is_empty() { start + track.edit_media_time } else { start };
        let end = track.samples.decode_time(track.end) as i64 - shift;
        segments.push(Segment { samples: first..track.end, start, end });
    }
    segments
}

fn check_count(count: usize) -> Result<(), Error> {
    match count > MAX_SEGMENTS {
        true => Err(Error::unsupported(format!("more than {MAX_SEGMENTS} segments"))),
        false => Ok(()),
    }
}
