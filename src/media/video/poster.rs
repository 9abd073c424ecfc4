//! A still at a time: only the samples from the keyframe to that picture are read and handed to ffmpeg, as a small MP4 on
//! its stdin. Encoding the still is for the image operations.

use bytes::Bytes;

use super::Error;
use super::excerpt::Excerpt;
use super::movie::Movie;
use super::samples::Sample;
use super::track::{Format, Track};
use crate::media::Source;
use crate::media::ffmpeg::{self, Ffmpeg};

/// Compressed bytes read for one still. If the way from the keyframe is longer, the keyframe itself is shown; a
/// keyframe of this size is refused.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;
/// Widths outside are clamped. At the most, a still takes 4096 × 16384 × 3 bytes.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=4096;
const MAX_HEIGHT: u32 = 16384;

/// Why there is no still.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PosterError {
    /// The time is negative or not finite.
    #[error("not a time")]
    InvalidTime,
    #[error(transparent)]
    Video(#[from] Error),
    /// A fault of this server (missing, too slow) or a source that cannot be decoded (`Failed`).
    #[error(transparent)]
    Ffmpeg(#[from] ffmpeg::Error),
}

/// A decoded picture: rows from the top, three bytes a pixel, no padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawImage {
    pub width: u32,
    pub height: u32,
    pub rgb: Bytes,
}

/// The picture shown `seconds` after the start, upright and at most `max_width` wide. Beyond the end, the last one.
///
/// Takes memory for one picture, and reads `MAX_INPUT_BYTES` at the most. `NotFound` when there is no video.
pub async fn poster(
    source: &dyn Source,
    movie: &Movie,
    seconds: f64,
    max_width: u32,
    ffmpeg: &Ffmpeg,
) -> Result<RawImage, PosterError> {
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(PosterError::InvalidTime);
    }
    let track = movie.video.as_ref().ok_or(Error::NotFound)?;
    let Format::Video(format) = track.format else { return Err(Error::NotFound.into()) };
    let shown = shown_at(track, seconds).ok_or(Error::NotFound)?;
    let (excerpt, time) = input(track, &shown)?;

    let (width, height) = format.shown();
    let max_width = max_width.clamp(*WIDTHS.start(), *WIDTHS.end()).min(width.into());
    let max_height = (max_width * u32::from(height)).div_ceil(u32::from(width)) + 1;
    if max_height > MAX_HEIGHT {
        return Err(Error::unsupported(format!("a picture of {width}x{height}")).into());
    }
    // Only numbers made here go into the filter. Without `output_corrupt`, the H.264 decoder keeps back pictures after a
    // keyframe that follows on others.
    let filter = format!("select=gte(pts\\,{}),scale=w={max_width}:h=-1:flags=bicubic", time);
    let arguments = [
        &["-hide_banner", "-v", "error", "-nostats", "-protocol_whitelist", "pipe", "-threads", "1"][..],
        &["-flags", "+output_corrupt", "-copyts", "-f", "mp4", "-i", "pipe:0"],
        &["-map", "0:v:0", "-vf", &filter, "-frames:v", "1"],
        &["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"],
    ];
    let max_output = max_width as usize * max_height as usize * 3 + PPM_HEADER_BYTES;
    let ppm = ffmpeg.run(arguments.concat(), excerpt.read(source), max_output).await?;
    parse_ppm(ppm).ok_or_else(|| Error::malformed("no picture could be decoded").into())
}

/// Which sample is shown at a time, and from where it can be decoded.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    keyframe: u32,
    target: u32,
}

fn shown_at(track: &Track, seconds: f64) -> Option<Shown> {
    // Saturates far beyond any presentation time.
    let wanted = (seconds * f64::from(track.timescale)).round() as i64;
    let range = track.first..track.end;
    // (presentation time, its keyframe, sample); keyframes as (index, presentation time).
    let mut best: Option<(i64, Shown)> = None;
    let mut earliest: Option<(i64, Shown)> = None;
    let (mut key, mut previous) = ((track.first, i64::MIN), track.first);
    for (index, sample) in range.clone().zip(track.samples.iter(range)) {
        let time = track.presentation_time(&sample);
        if sample.keyframe {
            previous = key.0;
            key = (index, time);
        }
        // Pictures of an open GOP that come before its keyframe refer to the one before that.
        let shown = Shown { keyframe: if time < key.1 { previous } else { key.0 }, target: index };
        if time <= wanted && best.as_ref().is_none_or(|best| time > best.0) {
            best = Some((time, shown));
        } else if earliest.as_ref().is_none_or(|earliest| time < earliest.0) {
            earliest = Some((time, shown));
        }
    }
    best.or(earliest).map(|(_, shown)| shown)
}

/// The pictures to decode, and when ffmpeg shows the wanted one.
fn input(track: &Track, shown: &Shown) -> Result<(Excerpt, i64), Error> {
    let mut range = shown.keyframe..shown.target + 1;
    let mut target = shown.target;
    if track.samples.bytes(range.clone()) > MAX_INPUT_BYTES {
        (range.end, target) = (shown.keyframe + 1, shown.keyframe);
        if track.samples.bytes(range.clone()) > MAX_INPUT_BYTES {
            return Err(Error::unsupported("a picture that large"));
        }
    }
    let sample: Sample = track.samples.get(target).ok_or(Error::NotFound)?;
    let excerpt = Excerpt::new(track, range)?;
    let time = excerpt.time_of(&sample);
    Ok((excerpt, time))
}

/// "P6", width, height, 255, each followed by one white-space character.
const PPM_HEADER_BYTES: usize = 32;

fn parse_ppm(ppm: Bytes) -> Option<RawImage> {
    let mut position = 0;
    let mut word = || {
        let rest = ppm.get(position..)?;
        let len = rest.iter().take(PPM_HEADER_BYTES).position(u8::is_ascii_whitespace)?;
        position += len + 1;
        std::str::from_utf8(rest.get(..len)?).ok()
    };
    if word()? != "P6" {
        return None;
    }
    let width: u32 = word()?.parse().ok()?;
    let height: u32 = word()?.parse().ok()?;
    if word()? != "255" {
        return None;
    }
    let len = usize::try_from(u64::from(width).checked_mul(height.into())?.checked_mul(3)?).ok()?;
    let end = position.checked_add(len)?;
    (width > 0 && height > 0 && end <= ppm.len()).then(|| RawImage {
        width,
        height,
        rgb: ppm.slice(position..end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ppm_is_taken_apart() {
        let image = parse_ppm(Bytes::from_static(b"P6\n2 1\n255\nabcdef")).unwrap();
        assert_eq!((image.width, image.height, &image.rgb[..]), (2, 1, &b"abcdef"[..]));
        let bad: [&[u8]; 7] = [
            b"",
            b"P6\n2 1\n255\nabcde",
            b"P5\n2 1\n255\nabcdef",
            b"P6\n0 1\n255\n",
            b"P6\n2 1\n65535\nabcdef",
            b"P6\n4294967295 4294967295\n255\nabcdef",
            b"P6\n-1 1\n255\nabc",
        ];
        for ppm in bad {
            assert!(parse_ppm(Bytes::from_static(ppm)).is_none(), "{}", ppm.escape_ascii());
        }
    }
}
