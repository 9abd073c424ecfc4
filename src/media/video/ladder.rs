//! Which smaller renditions a movie gets: sizes, bit rates and codec levels. Pure, so that every server that looks at the same
//! source lists and makes the same ones.

use std::fmt;

use super::codec::pixel_aspect;
use super::playlist::{frame_rate_milli, rate_of, target_seconds};
use super::segments::Segment;
use super::track::{Format, Track};

/// A rendition as the operator wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Of the shorter side of the picture: `480` is 854x480, and 480x854 held upright.
    pub height: u16,
    pub kbps: u32,
}

/// All renditions that may be made, largest first. Empty: sources are passed on as they are, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ladder(Box<[Step]>);

/// All that tells two ladders apart: `720:2800,480:1400,`.
impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "{}:{},", step.height, step.kbps))
    }
}

impl Ladder {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut steps: Vec<Step> = steps.into_iter().collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.height));
        Self(steps.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rungs for one movie, largest first.
    pub(super) fn of(&self, track: &Track, segments: &[Segment]) -> Box<[Rung]> {
        let Format::Video(format) = track.format else { return Box::default() };
        let (width, height) = format.shown();
        let aspect = pixel_aspect(&track.sample_entry);
        // Pixels that are not square lie along the coded picture, which may be turned.
        let aspect = if format.rotation.is_multiple_of(180) { aspect } else { (aspect.1, aspect.0) };
        let source = Shape {
            width: f64::from(width) * f64::from(aspect.0) / f64::from(aspect.1),
            height: height.into(),
        };
        let average = rate_of(track, segments).average;
        let longest = target_seconds(track, segments);
        let rate = frame_rate_milli(track).unwrap_or(25_000).clamp(1_000, 240_000);
        let plays_everywhere = is_plain(&track.codec);
        self.0
            .iter()
            .filter(|step| f64::from(step.height) <= source.shorter())
            .filter_map(|step| {
                let (width, height) = source.at(step.height)?;
                let shrunk = f64::from(width) * f64::from(height) / (source.width * source.height);
                // More bits than the source itself has for as many pixels would only be padding.
                let worth = average as f64 * shrunk.powf(0.75) * if plays_everywhere { 1.0 } else { 2.0 };
                let bits = (u64::from(step.kbps) * 1000).min(worth as u64).max(LEAST_BITS);
                let level = level(width, height, rate, bits)?;
                let same_size = f64::from(step.height) >= source.shorter();
                let listed = !same_size || !plays_everywhere || bits * 5 < average * 4;
                let height_of = step.height;
                Some(Rung { name: height_of, width, height, bits, level, rate_milli: rate, listed, longest })
            })
            .collect()
    }
}

/// Below this, pictures fall apart.
const LEAST_BITS: u64 = 64_000;

/// A rendition of one movie that is made on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// `480` in `480p`.
    pub name: u16,
    pub width: u16,
    pub height: u16,
    /// Bits per second on average.
    pub bits: u64,
    /// As in the sequence parameter set: 30 is level 3.
    pub level: u8,
    /// Pictures per second, in thousandths.
    pub rate_milli: u64,
    /// Whether playlists name it: not where the source itself does as well.
    pub listed: bool,
    /// Seconds of the longest segment.
    longest: u64,
}

impl Rung {
    /// What the encoder may not exceed over its buffer of one second.
    pub fn most_bits(&self) -> u64 {
        self.bits + self.bits / 14
    }

    /// High profile (RFC 6381 §3.3).
    pub fn codec(&self) -> String {
        format!("avc1.6400{:02x}", self.level)
    }

    /// Bytes of boxes around the pictures, per second: 16 for each, and two fragments.
    fn boxes(&self) -> u64 {
        (16 * self.rate_milli / 1000 + 2 * 120) * 8
    }

    /// Of whole segments: each may begin with a full buffer, and they may be half as long as the longest.
    pub(super) fn peak(&self) -> u64 {
        self.most_bits() + self.bits * 9 / 5 / self.longest.max(1) + self.boxes()
    }

    pub(super) fn average(&self) -> u64 {
        self.bits + self.boxes()
    }
}

struct Shape {
    width: f64,
    height: f64,
}

impl Shape {
    fn shorter(&self) -> f64 {
        self.width.min(self.height)
    }

    /// Even numbers, since colour has half the resolution.
    fn at(&self, shorter: u16) -> Option<(u16, u16)> {
        let scale = f64::from(shorter) / self.shorter();
        let even = |side: f64| {
            let half = (side * scale / 2.0).round();
            (1.0..=8192.0).contains(&half).then(|| half as u16 * 2)
        };
        Some((even(self.width)?, even(self.height)?))
    }
}

/// H.264 with eight bits and half colour, which every player decodes.
fn is_plain(codec: &str) -> bool {
    let profile = codec.strip_prefix("avc1.").or_else(|| codec.strip_prefix("avc3."));
    profile.is_some_and(|profile| ["42", "4d", "58", "64"].iter().any(|plain| profile.starts_with(plain)))
}

/// Level, macroblocks per second, per picture and in all kept pictures, bits per second (ISO/IEC 14496-10, table A-1).
const LEVELS: [(u8, u64, u64, u64, u64); 14] = [
    (11, 3_000, 396, 900, 192_000),
    (12, 6_000, 396, 2_376, 384_000),
    (13, 11_880, 396, 2_376, 768_000),
    (20, 11_880, 396, 2_376, 2_000_000),
    (21, 19_800, 792, 4_752, 4_000_000),
    (22, 20_250, 1_620, 8_100, 4_000_000),
    (30, 40_500, 1_620, 8_100, 10_000_000),
    (31, 108_000, 3_600, 18_000, 14_000_000),
    (32, 216_000, 5_120, 20_480, 20_000_000),
    (40, 245_760, 8_192, 32_768, 20_000_000),
    (42, 522_240, 8_704, 34_816, 50_000_000),
    (50, 589_824, 22_080, 110_400, 135_000_000),
    (51, 983_040, 36_864, 184_320, 240_000_000),
    (52, 2_073_600, 36_864, 184_320, 240_000_000),
];

/// Pictures that the encoder's reordering makes a decoder keep.
const KEPT_PICTURES: u64 = 4;

/// The lowest level that allows this.
fn level(width: u16, height: u16, rate_milli: u64, bits: u64) -> Option<u8> {
    let blocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    let fits = |(_, per_second, per_picture, kept, rate): &&(u8, u64, u64, u64, u64)| {
        blocks * rate_milli <= per_second * 1000
            && blocks <= *per_picture
            && blocks * KEPT_PICTURES <= *kept
            // High profile allows a quarter more.
            && bits + bits / 14 <= rate + rate / 4
    };
    LEVELS.iter().find(fits).map(|level| level.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_shorter_side() {
        let at = |width: f64, height: f64, step| Shape { width, height }.at(step).unwrap();
        assert_eq!(at(1920.0, 1080.0, 480), (854, 480));
        assert_eq!(at(1080.0, 1920.0, 480), (480, 854));
        assert_eq!(at(1920.0, 1080.0, 240), (426, 240));
        assert_eq!(at(641.0, 479.0, 360), (482, 360));
        assert_eq!(at(1080.0, 1080.0, 720), (720, 720));
        assert!(Shape { width: 60_000.0, height: 10.0 }.at(240).is_none(), "a strip");
    }

    #[test]
    fn levels_are_the_lowest_that_allow_it() {
        for (width, height, rate, bits, expected) in [
            (426, 240, 25_000, 400_000, Some(21)),
            (640, 360, 25_000, 800_000, Some(30)),
            (854, 480, 30_000, 1_400_000, Some(31)),
            (1280, 720, 25_000, 2_800_000, Some(31)),
            (1280, 720, 60_000, 4_000_000, Some(32)),
            (1920, 1080, 25_000, 5_000_000, Some(40)),
            (1920, 1080, 60_000, 8_000_000, Some(42)),
            (3840, 2160, 60_000, 20_000_000, Some(52)),
            (16384, 16384, 25_000, 5_000_000, None),
        ] {
            assert_eq!(level(width, height, rate, bits), expected, "{width}x{height}");
        }
    }

    #[test]
    fn codecs_that_play_everywhere() {
        for (codec, plain) in
            [("avc1.640028", true), ("avc3.4d401e", true), ("avc1.6e0028", false), ("hvc1.1.6.L93", false)]
        {
            assert_eq!(is_plain(codec), plain, "{codec}");
        }
    }
}
