//! A few seconds out of a video as small pictures, for an animation: one run of samples is read, from a keyframe on.

use bytes::Bytes;

use super::super::excerpt::Excerpt;
use super::super::movie::Movie;
use super::super::track::{Format, Track};
use super::super::{Error, PosterError};
use crate::media::Source;
use crate::media::ffmpeg::Ffmpeg;

const SECONDS: u32 = 3;
const PER_SECOND: u32 = 8;
/// Of the longer side.
const SIDE: u32 = 320;
/// Compressed bytes read; what begins beyond is left out.
const MAX_INPUT_BYTES: u64 = 32 * 1024 * 1024;

/// Pictures of the same size: rows from the top, three bytes a pixel, no padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrames {
    pub width: u32,
    pub height: u32,
    pub rgb: Bytes,
    /// How long each is shown.
    pub millis: u32,
}

/// Three seconds from the last keyframe in the first third.
pub async fn preview(source: &dyn Source, movie: &Movie, ffmpeg: &Ffmpeg) -> Result<RawFrames, PosterError> {
    let track = movie.video.as_ref().ok_or(Error::NotFound)?;
    let Format::Video(format) = track.format else { return Err(Error::NotFound.into()) };
    let (excerpt, time) = stretch(track)?;
    let (width, height) = size(format.shown());
    // Pictures that are shown before the keyframe refer to what is not there.
    let filter = format!(
        "select=gte(pts\\,{time}),setpts=PTS-STARTPTS,fps={PER_SECOND},scale=w={width}:h={height}:flags=bicubic"
    );
    let most = SECONDS * PER_SECOND;
    let frames = most.to_string();
    let arguments = [
        &["-hide_banner", "-v", "error", "-nostats", "-protocol_whitelist", "pipe", "-threads", "1"][..],
        &["-flags", "+output_corrupt", "-copyts", "-f", "mp4", "-i", "pipe:0", "-map", "0:v:0"],
        &["-vf", &filter, "-frames:v", &frames, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"],
    ];
    let each = width as usize * height as usize * 3;
    let rgb = ffmpeg.run(arguments.concat(), excerpt.read(source), each * most as usize).await?;
    match rgb.len() / each {
        0 => Err(Error::malformed("no picture could be decoded").into()),
        count => Ok(RawFrames { width, height, rgb: rgb.slice(..count * each), millis: 1000 / PER_SECOND }),
    }
}

/// What is read, and when ffmpeg shows the first picture of it.
fn stretch(track: &Track) -> Result<(Excerpt, i64), Error> {
    let range = track.first..track.end;
    let ticks = track.samples.decode_time(track.end) - track.samples.decode_time(track.first);
    let third = i64::try_from(ticks / 3).unwrap_or(0);
    let mut start = None;
    let mut end = track.end;
    for (index, sample) in range.clone().zip(track.samples.iter(range)) {
        let time = track.presentation_time(&sample);
        if sample.keyframe && (start.is_none() || time <= third) {
            start = Some((index, time, sample));
            end = track.end;
        } else if let Some((first, from, _)) = start {
            let over = time - from > i64::from(SECONDS) * i64::from(track.timescale);
            if end == track.end && (over || track.samples.bytes(first..index + 1) > MAX_INPUT_BYTES) {
                end = index;
            }
            if end < track.end && time > third {
                break;
            }
        }
    }
    let (first, _, sample) = start.ok_or(Error::NotFound)?;
    if track.samples.bytes(first..first + 1) > MAX_INPUT_BYTES {
        return Err(Error::unsupported("a picture that large"));
    }
    let excerpt = Excerpt::new(track, first..end.max(first + 1))?;
    let time = excerpt.time_of(&sample);
    Ok((excerpt, time))
}

fn size((width, height): (u16, u16)) -> (u32, u32) {
    let (width, height) = (u32::from(width).max(1), u32::from(height).max(1));
    let longer = width.max(height);
    let side = SIDE.min(longer);
    let scaled = |length: u32| ((length * side + longer / 2) / longer).max(1);
    (scaled(width), scaled(height))
}
