//! Which keyframes stand for which times, and where on which sprite they are to be found. Pure: cues and sprites made at different
//! times fit together.

use std::fmt::Write as _;

use super::super::track::{Format, Track};
use super::super::{Asset, Error};

/// No more tiles than this, however long the video.
const MAX_TILES: u64 = 400;
/// Tiles are this many seconds apart, or more; an hour has one each ten seconds.
const STEPS_SECS: [u64; 12] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800];
const COLUMNS: usize = 5;
const PER_SPRITE: usize = COLUMNS * 5;
/// Of a tile's longer side.
const TILE_SIDE: u32 = 160;

/// The tiles of a video, in the order of their times.
#[derive(Debug, PartialEq, Eq)]
pub struct Storyboard {
    tiles: Vec<Tile>,
    end_millis: u64,
    /// Of each tile.
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    /// Sample of the track.
    keyframe: u32,
    from_millis: u64,
}

/// What is on one sprite.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) keyframes: Vec<u32>,
    pub(super) columns: u32,
    pub(super) rows: u32,
}

impl Storyboard {
    /// `NotFound` when the track has no keyframe.
    pub fn of(track: &Track) -> Result<Self, Error> {
        let Format::Video(format) = track.format else { return Err(Error::NotFound) };
        let millis =
            |ticks: i64| ticks.max(0).unsigned_abs().saturating_mul(1000) / u64::from(track.timescale);
        let range = track.first..track.end;
        let (mut keyframes, mut end_millis) = (Vec::new(), 0);
        for (index, sample) in range.clone().zip(track.samples.iter(range)) {
            let time = track.presentation_time(&sample);
            end_millis = end_millis.max(millis(time + i64::from(sample.duration)));
            if sample.keyframe {
                keyframes.push((millis(time), index));
            }
        }
        keyframes.sort_unstable();
        let step_millis = 1000 * step_secs(end_millis);
        let mut tiles: Vec<Tile> = Vec::new();
        let mut next = keyframes.iter().copied().peekable();
        let mut shown = next.peek().ok_or(Error::NotFound)?.1;
        let mut from_millis = 0;
        while from_millis < end_millis.max(1) {
            while let Some((_, index)) = next.next_if(|(time, _)| *time <= from_millis) {
                shown = index;
            }
            if tiles.last().is_none_or(|last| last.keyframe != shown) {
                tiles.push(Tile { keyframe: shown, from_millis });
            }
            from_millis += step_millis;
        }
        let (width, height) = tile_size(format.shown());
        Ok(Self { tiles, end_millis, width, height })
    }

    /// `storyboard.vtt`: which part of which sprite is for which time.
    pub fn cues(&self) -> String {
        let mut out = String::from("WEBVTT\n");
        for (index, tile) in self.tiles.iter().enumerate() {
            let until = self.tiles.get(index + 1).map_or(self.end_millis, |next| next.from_millis);
            let (sprite, place) = (index / PER_SPRITE, index % PER_SPRITE);
            let (column, row) = ((place % COLUMNS) as u32, (place / COLUMNS) as u32);
            // Writing to a String cannot fail. Names count from 1, and there are no more than MAX_TILES.
            let _ = write!(
                out,
                "\n{} --> {}\n{}#xywh={},{},{},{}\n",
                stamp(tile.from_millis),
                stamp(until),
                Asset::Sprite(sprite as u32 + 1),
                column * self.width,
                row * self.height,
                self.width,
                self.height
            );
        }
        out
    }

    /// Sprite `number`, from 1.
    pub(super) fn sheet(&self, number: u32) -> Result<Sheet, Error> {
        let index = (number as usize).checked_sub(1).ok_or(Error::NotFound)?;
        let tiles = self.tiles.chunks(PER_SPRITE).nth(index).ok_or(Error::NotFound)?;
        let (columns, rows) = (tiles.len().min(COLUMNS) as u32, tiles.len().div_ceil(COLUMNS) as u32);
        Ok(Sheet { keyframes: tiles.iter().map(|tile| tile.keyframe).collect(), columns, rows })
    }
}

fn step_secs(end_millis: u64) -> u64 {
    let seconds = end_millis.div_ceil(1000);
    let fits = |step: &u64| seconds.div_ceil(*step) <= MAX_TILES;
    STEPS_SECS.into_iter().find(fits).unwrap_or(seconds.div_ceil(MAX_TILES))
}

fn tile_size((width, height): (u16, u16)) -> (u32, u32) {
    let (width, height) = (u32::from(width).max(1), u32::from(height).max(1));
    let longer = width.max(height);
    let scaled = |side: u32| ((side * TILE_SIDE + longer / 2) / longer).max(1);
    (scaled(width), scaled(height))
}

/// `hh:mm:ss.ttt`
fn stamp(millis: u64) -> String {
    let seconds = millis / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_bounded_and_sized() {
        for (seconds, step) in
            [(0, 1), (12, 1), (400, 1), (401, 2), (3600, 10), (36_000, 120), (10_000_000, 25_000)]
        {
            assert_eq!(step_secs(seconds * 1000), step, "{seconds} s");
        }
        assert_eq!(tile_size((1920, 1080)), (160, 90));
        assert_eq!(tile_size((1080, 1920)), (90, 160));
        assert_eq!(tile_size((65535, 1)), (160, 1));
        assert_eq!(stamp(3_723_004), "01:02:03.004");
    }

    #[test]
    fn the_last_sprite_is_as_small_as_it_can_be() {
        let tiles = (0..57).map(|n| Tile { keyframe: n * 2, from_millis: u64::from(n) * 1000 }).collect();
        let board = Storyboard { tiles, end_millis: 57_500, width: 160, height: 90 };
        assert_eq!(board.sheet(1).unwrap().keyframes.len(), 25);
        let last = board.sheet(3).unwrap();
        assert_eq!((last.keyframes, last.columns, last.rows), ((50..57).map(|n| n * 2).collect(), 5, 2));
        assert!(board.sheet(0).is_err() && board.sheet(4).is_err() && board.sheet(u32::MAX).is_err());
        let cues = board.cues();
        assert!(
            cues.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nstoryboard-1.webp#xywh=0,0,160,90\n")
        );
        assert!(
            cues.ends_with("00:00:56.000 --> 00:00:57.500\nstoryboard-3.webp#xywh=160,90,160,90\n"),
            "{cues}"
        );
    }
}
