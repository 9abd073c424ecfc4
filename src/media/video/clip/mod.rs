//! A stretch of a movie as a progressive MP4 of its own, nothing encoded again: it begins with the last keyframe that is not after
//! the wanted start. The media stays where it is in the source; only an index is written.

use bytes::Bytes;

use super::Error;
use super::movie::Movie;
use super::splice::Splice;
use super::track::Track;

mod part;
mod write;

use part::{Choice, Part};

/// Samples of all tracks of one clip: their index is held in memory.
const MAX_SAMPLES: usize = 1 << 21;

/// Which part of a movie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    pub start_millis: u64,
    /// None: to the end.
    pub end_millis: Option<u64>,
}

/// How to deliver the span: an index followed by ranges of the source. `Unsupported` when nothing of the movie is in it.
pub fn clip(movie: &Movie, span: Span) -> Result<Splice, Error> {
    let start_micros = span.start_millis.saturating_mul(1000);
    let end_micros = span.end_millis.map(|end| end.saturating_mul(1000));
    if end_micros.is_some_and(|end| end <= start_micros) {
        return Err(Error::unsupported("a clip that ends before it starts"));
    }
    let (start, end) = (clamped(start_micros), end_micros.map_or(i64::MAX, clamped));
    let mut choices: Vec<Choice<'_>> = Vec::with_capacity(1 + movie.audio.len());
    // Sound follows the pictures: to their keyframe.
    let mut origin = start;
    if let Some(video) = &movie.video {
        let choice = Choice::of_video(video, start, end).ok_or_else(nothing)?;
        origin = choice.origin_micros();
        choices.push(choice);
    }
    for track in &movie.audio {
        choices.extend(Choice::of_audio(track, origin, end));
    }
    // Before anything is put down of them.
    if choices.iter().map(Choice::count).sum::<usize>() > MAX_SAMPLES {
        return Err(Error::unsupported("a clip that long"));
    }
    if choices.is_empty() {
        return Err(nothing());
    }
    let parts: Vec<Part<'_>> = choices.iter().map(Choice::part).collect();
    let (header, ranges) = write::file(&parts);
    Ok(Splice::new(Bytes::from(header), ranges))
}

fn nothing() -> Error {
    Error::unsupported("a clip beyond the end of the video")
}

fn clamped(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// Ticks of a track, rounded down.
fn ticks(track: &Track, micros: i64) -> i64 {
    let ticks = i128::from(micros) * i128::from(track.timescale) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
