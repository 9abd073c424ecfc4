//! One sheet of tiles: its keyframes alone are read, decoded by ffmpeg in one run where that is possible, and put side by side.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::super::excerpt::Keyframes;
use super::super::movie::Movie;
use super::super::samples::Sample;
use super::super::track::{Format, Track};
use super::super::{Error, PosterError, RawImage};
use super::storyboard::Storyboard;
use crate::media::ffmpeg::{self, Ffmpeg};
use crate::media::{ReadError, Source};

/// Headers in front of the first slice of a picture are shorter than that.
const PEEKED_BYTES: u64 = 2048;
const PEEKS_AT_A_TIME: usize = 4;
const MUCH_SMALLER: u32 = 4;
/// Pictures that are decoded one by one are given up after this.
const ONE_BY_ONE_TIME: Duration = Duration::from_secs(20);

/// Sprite `number` (from 1) of a movie. `NotFound` when there is none of this number.
pub async fn sprite(
    source: &dyn Source,
    movie: &Movie,
    number: u32,
    ffmpeg: &Ffmpeg,
) -> Result<RawImage, PosterError> {
    let track = movie.video.as_ref().ok_or(Error::NotFound)?;
    let board = Storyboard::of(track)?;
    let sheet = board.sheet(number)?;
    let decoder = Decoder { source, track, ffmpeg, width: board.width, height: board.height };
    let tiles = match are_independent(source, track, &sheet.keyframes).await.map_err(Error::from)? {
        true => decoder.in_one_run(&sheet.keyframes).await?,
        false => decoder.one_by_one(&sheet.keyframes).await?,
    };
    let (width, height) = (board.width * sheet.columns, board.height * sheet.rows);
    let (row, stride) = (board.width as usize * 3, width as usize * 3);
    let mut rgb = vec![0; stride * height as usize];
    for (place, tile) in tiles.iter().enumerate() {
        let (column, line) = (place % sheet.columns as usize, place / sheet.columns as usize);
        let start = line * board.height as usize * stride + column * row;
        for (from, to) in
            tile.chunks_exact(row).zip(rgb.get_mut(start..).unwrap_or_default().chunks_mut(stride))
        {
            if let Some(to) = to.get_mut(..row) {
                to.copy_from_slice(from);
            }
        }
    }
    Ok(RawImage { width, height, rgb: rgb.into() })
}

struct Decoder<'a> {
    source: &'a dyn Source,
    track: &'a Track,
    ffmpeg: &'a Ffmpeg,
    /// Of a tile.
    width: u32,
    height: u32,
}

impl Decoder<'_> {
    /// One picture a second goes in; one that cannot be decoded leaves its place to the one before.
    async fn in_one_run(&self, keyframes: &[u32]) -> Result<Vec<Bytes>, PosterError> {
        let decoded = self.run(keyframes, "fps=1:start_time=0:eof_action=pass,").await?;
        let each = self.bytes();
        let mut tiles: Vec<Bytes> =
            (0..decoded.len() / each).map(|n| decoded.slice(n * each..(n + 1) * each)).collect();
        let last = tiles.last().ok_or_else(nothing)?.clone();
        tiles.resize(keyframes.len(), last);
        Ok(tiles)
    }

    /// A decoder of its own for each.
    async fn one_by_one(&self, keyframes: &[u32]) -> Result<Vec<Bytes>, PosterError> {
        let begun = Instant::now();
        let mut tiles: Vec<Option<Bytes>> = Vec::with_capacity(keyframes.len());
        for keyframe in keyframes {
            let decoded = match begun.elapsed() < ONE_BY_ONE_TIME {
                true => self.run(std::slice::from_ref(keyframe), "").await,
                false => Ok(Bytes::new()),
            };
            let tile = match decoded {
                Ok(tile) => Some(tile).filter(|tile| tile.len() == self.bytes()),
                Err(PosterError::Ffmpeg(ffmpeg::Error::Failed { .. })) => None,
                Err(error) => return Err(error),
            };
            let before = || tiles.last().cloned().flatten();
            tiles.push(tile.or_else(before));
        }
        let first = tiles.iter().flatten().next().ok_or_else(nothing)?.clone();
        Ok(tiles.into_iter().map(|tile| tile.unwrap_or_else(|| first.clone())).collect())
    }

    /// Only numbers made here go into the filter.
    async fn run(&self, keyframes: &[u32], timing: &str) -> Result<Bytes, PosterError> {
        let input = Keyframes::new(self.track, keyframes)?;
        let (width, height) = (self.width, self.height);
        let filter = format!("{timing}scale=w={width}:h={height}:flags=bicubic");
        let count = keyframes.len().to_string();
        let arguments = [
            &["-hide_banner", "-v", "error", "-nostats", "-protocol_whitelist", "pipe", "-threads", "2"][..],
            self.shortcuts(),
            &["-flags", "+output_corrupt", "-f", "mp4", "-i", "pipe:0", "-map", "0:v:0"],
            &["-vf", &filter, "-frames:v", &count, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"],
        ];
        let most = self.bytes() * keyframes.len();
        Ok(self.ffmpeg.run(arguments.concat(), input.read(self.source), most).await?)
    }

    /// Edges of blocks that are not smoothed cannot be seen in a picture that is so much smaller: a fifth of the work.
    fn shortcuts(&self) -> &'static [&'static str] {
        let Format::Video(format) = self.track.format else { return &[] };
        let (width, height) = format.shown();
        match u32::from(width.max(height)) >= MUCH_SMALLER * self.width.max(self.height) {
            true => &["-skip_loop_filter", "all"],
            false => &[],
        }
    }

    fn bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

fn nothing() -> Error {
    Error::malformed("no picture could be decoded")
}

/// Whether each of the pictures begins a sequence of its own. A decoder takes others for pictures out of order, since it has
/// not seen what lies between them, and keeps them back.
async fn are_independent(source: &dyn Source, track: &Track, keyframes: &[u32]) -> Result<bool, ReadError> {
    let Some(coding) = Coding::of(track) else { return Ok(true) };
    let samples: Vec<Sample> =
        keyframes.iter().skip(1).filter_map(|&index| track.samples.get(index)).collect();
    let peeks = samples
        .into_iter()
        .map(|sample| source.read(sample.offset..sample.offset + u64::from(sample.size).min(PEEKED_BYTES)));
    let peeks = stream::iter(peeks).buffered(PEEKS_AT_A_TIME);
    peeks.try_all(|bytes| std::future::ready(coding.is_independent(&bytes))).await
}

/// How pictures lie in samples.
struct Coding {
    /// Of H.265, else of H.264.
    hevc: bool,
    /// Of the length in front of each unit.
    length_bytes: usize,
}

impl Coding {
    /// None: codecs whose keyframes never refer to others.
    fn of(track: &Track) -> Option<Self> {
        let hevc = track.codec.starts_with("hvc1") || track.codec.starts_with("hev1");
        if !hevc && !track.codec.starts_with("avc") {
            return None;
        }
        let (kind, at): (&[u8], usize) = if hevc { (b"hvcC", 21) } else { (b"avcC", 4) };
        let entry = &track.sample_entry;
        let config = entry.windows(4).position(|window| window == kind).map(|at| at + 4);
        let length = config.and_then(|config| entry.get(config + at)).map_or(3, |byte| byte & 3);
        Some(Self { hevc, length_bytes: usize::from(length) + 1 })
    }

    /// By its first slice (ISO/IEC 14496-10 §7.4.1, 23008-2 §7.4.2.2).
    fn is_independent(&self, mut sample: &[u8]) -> bool {
        while let Some((length, rest)) = sample.split_at_checked(self.length_bytes) {
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let Some(header) = rest.first() else { break };
            match (self.hevc, header & 0x1f, header >> 1 & 0x3f) {
                (false, 5, _) | (true, _, 16..=20) => return true,
                (false, 1..=4, _) | (true, _, 0..=15 | 21) => return false,
                _ => {}
            }
            sample = rest.get(length..).unwrap_or_default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slice_tells() {
        let (avc, hevc) = (Coding { hevc: false, length_bytes: 4 }, Coding { hevc: true, length_bytes: 2 });
        assert!(avc.is_independent(b"\0\0\0\x02\x09\xf0\0\0\0\x01\x65"));
        assert!(!avc.is_independent(b"\0\0\0\x02\x06\x05\0\0\0\x01\x41"));
        assert!(hevc.is_independent(b"\0\x02\x40\x01\0\x02\x26\x01"));
        assert!(!hevc.is_independent(b"\0\x02\x40\x01\0\x02\x2a\x01"));
        for cut in [&b""[..], b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff\x06"] {
            assert!(avc.is_independent(cut));
        }
    }
}
