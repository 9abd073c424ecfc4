//! The sound of a movie for measuring how loud it is: all packets of its first sound track, read in order.

use std::time::Duration;

use super::excerpt::Excerpt;
use super::movie::Movie;
use super::{Error, PosterError};
use crate::media::Source;
use crate::media::ffmpeg::{Ffmpeg, Limits};
use crate::media::waveform::{Container, Peaks, measure};

/// Decoding sound takes about a hundredth of its duration; reading it may take longer.
const LEAST_TIME: Duration = Duration::from_secs(60);
const MOST_TIME: Duration = Duration::from_secs(900);
const TIMES_FASTER: u64 = 10;

/// How loud the first sound track is over time. `NotFound` when there is none.
pub async fn loudness(source: &dyn Source, movie: &Movie, ffmpeg: &Ffmpeg) -> Result<Peaks, PosterError> {
    let track = movie.audio.first().ok_or(Error::NotFound)?;
    let ticks = track.samples.decode_time(track.end) - track.samples.decode_time(track.first);
    let seconds = ticks / u64::from(track.timescale);
    let time = Duration::from_secs(seconds / TIMES_FASTER).clamp(LEAST_TIME, MOST_TIME);
    let excerpt = Excerpt::new(track, track.first..track.end)?;
    Ok(measure(&ffmpeg.with(Limits::within(time)), Container::Mp4, excerpt.read(source)).await?)
}
