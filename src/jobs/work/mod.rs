//! What a job can be asked to do, as it is said in JSON: presets with typed values in bounds. Nothing of it reaches ffmpeg as
//! it was written.

use serde::{Deserialize, Serialize};

use crate::store::AssetKey;

mod arguments;
mod filters;
mod sound;

#[cfg(test)]
mod tests;

pub use arguments::{Facts, Setup, Step, plan};
pub use filters::{AudioFilter, VideoFilter};

/// By `preset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "preset", rename_all = "kebab-case")]
pub enum Work {
    Ladder(Ladder),
    #[serde(rename = "crop-9x16")]
    Crop(Crop),
    Speed(Speed),
    Trim(Trim),
    Compress(Compress),
    Concat(Concat),
    ThumbnailSet(ThumbnailSet),
    Custom(Custom),
}

/// Has what viewers will ask for made and stored before they do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    pub source: String,
    /// Names such as `480p`; none: all that are made rather than passed on.
    #[serde(default)]
    pub renditions: Vec<String>,
    #[serde(default = "Part::all")]
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Poster,
    Playlists,
    Segments,
}

/// Upright, around a focus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    pub source: String,
    pub output: String,
    #[serde(default)]
    pub focus: Focus,
    /// Of the output, at most.
    #[serde(default = "full_height")]
    pub height: u16,
    #[serde(default = "good")]
    pub crf: u8,
}

/// Where in the picture, from 0 to 1 of its sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Focus {
    pub x: f64,
    pub y: f64,
}

/// Faster or slower, at the same pitch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    pub source: String,
    pub output: String,
    pub factor: f64,
    #[serde(default = "good")]
    pub crf: u8,
}

/// From one time to another, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trim {
    pub source: String,
    pub output: String,
    #[serde(default)]
    pub start: f64,
    pub end: f64,
    /// Else from the keyframe before, without encoding.
    #[serde(default = "yes")]
    pub exact: bool,
    #[serde(default = "good")]
    pub crf: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compress {
    pub source: String,
    pub output: String,
    /// Of the shorter side, at most.
    #[serde(default)]
    pub height: Option<u16>,
    #[serde(default = "small")]
    pub crf: u8,
    #[serde(default = "audio_kbps")]
    pub audio_kbps: u16,
    #[serde(default)]
    pub effort: Effort,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    Fast,
    #[default]
    Medium,
    Slow,
}

/// One after the other, in the shape of the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    pub sources: Vec<String>,
    pub output: String,
    #[serde(default = "good")]
    pub crf: u8,
}

/// Stills, evenly spread: `{output}/0001.jpg`, …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThumbnailSet {
    pub source: String,
    pub output: String,
    #[serde(default = "ten")]
    pub count: u16,
    #[serde(default = "thumbnail_width")]
    pub width: u16,
    #[serde(default)]
    pub format: Still,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Still {
    #[default]
    Jpg,
    Webp,
    Png,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    pub source: String,
    pub output: String,
    #[serde(default)]
    pub video: Vec<VideoFilter>,
    #[serde(default)]
    pub audio: Vec<AudioFilter>,
    #[serde(default = "good")]
    pub crf: u8,
}

const MAX_PLACE: usize = 2048;
const MAX_SOURCES: usize = 16;
const MAX_FILTERS: usize = 16;
/// Beyond a day no video of ours goes.
const MAX_SECONDS: f64 = 86_400.0;

impl Part {
    pub fn all() -> Vec<Self> {
        vec![Self::Poster, Self::Playlists, Self::Segments]
    }
}

impl Default for Focus {
    fn default() -> Self {
        Self { x: 0.5, y: 0.5 }
    }
}

fn full_height() -> u16 {
    1920
}

fn good() -> u8 {
    21
}

fn small() -> u8 {
    28
}

fn audio_kbps() -> u16 {
    96
}

fn ten() -> u16 {
    10
}

fn thumbnail_width() -> u16 {
    320
}

fn yes() -> bool {
    true
}

impl Work {
    /// For metrics and lists.
    pub fn preset(&self) -> &'static str {
        match self {
            Self::Ladder(_) => "ladder",
            Self::Crop(_) => "crop-9x16",
            Self::Speed(_) => "speed",
            Self::Trim(_) => "trim",
            Self::Compress(_) => "compress",
            Self::Concat(_) => "concat",
            Self::ThumbnailSet(_) => "thumbnail-set",
            Self::Custom(_) => "custom",
        }
    }

    /// Paths or addresses of what is read.
    pub fn sources(&self) -> Vec<&str> {
        match self {
            Self::Ladder(work) => vec![&work.source],
            Self::Crop(work) => vec![&work.source],
            Self::Speed(work) => vec![&work.source],
            Self::Trim(work) => vec![&work.source],
            Self::Compress(work) => vec![&work.source],
            Self::Concat(work) => work.sources.iter().map(String::as_str).collect(),
            Self::ThumbnailSet(work) => vec![&work.source],
            Self::Custom(work) => vec![&work.source],
        }
    }

    /// Key of the asset that it becomes; of a set, what keys begin with.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Ladder(_) => None,
            Self::Crop(work) => Some(&work.output),
            Self::Speed(work) => Some(&work.output),
            Self::Trim(work) => Some(&work.output),
            Self::Compress(work) => Some(&work.output),
            Self::Concat(work) => Some(&work.output),
            Self::ThumbnailSet(work) => Some(&work.output),
            Self::Custom(work) => Some(&work.output),
        }
    }

    /// The output is sound alone, as its name says.
    pub fn is_sound(&self) -> bool {
        let named = |output: &str| {
            output.rsplit_once('.').is_some_and(|(_, kind)| kind.eq_ignore_ascii_case(sound::EXTENSION))
        };
        match self {
            Self::Ladder(_) | Self::Crop(_) | Self::ThumbnailSet(_) => false,
            Self::Custom(work) => work.video.is_empty() && named(&work.output),
            _ => self.output().is_some_and(named),
        }
    }

    /// All that is out of bounds, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        for source in self.sources() {
            let begins = ["/", "http://", "https://"].iter().any(|start| source.starts_with(start));
            let shaped = begins && !source.contains(['?', '#']);
            faults.unless(shaped && source.len() <= MAX_PLACE, || {
                format!("source: a path such as /assets/a.mp4, of at most {MAX_PLACE} bytes, is wanted")
            });
        }
        if let Some(output) = self.output() {
            match AssetKey::parse(output) {
                Err(wrong) => faults.0.push(format!("output: {wrong}")),
                Ok(key) => {
                    let set = matches!(self, Self::ThumbnailSet(_));
                    let named = set || self.is_sound() || key.extension().eq_ignore_ascii_case("mp4");
                    faults.unless(named, || {
                        "output: its name must end in .mp4, or of what is only sound in .m4a".to_owned()
                    });
                }
            }
        }
        match self {
            Self::Ladder(work) => {
                faults.unless(!work.parts.is_empty(), || "parts: none is named".to_owned());
                let named = work.renditions.len() <= 32
                    && work.renditions.iter().all(|name| {
                        name.len() <= 32
                            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    });
                faults.unless(named, || "renditions: names such as 480p are wanted".to_owned());
            }
            Self::Crop(work) => {
                faults.within("focus.x", work.focus.x, 0.0, 1.0);
                faults.within("focus.y", work.focus.y, 0.0, 1.0);
                faults.within("height", work.height.into(), 64.0, 4320.0);
                faults.crf(work.crf);
            }
            Self::Speed(work) => {
                faults.within("factor", work.factor, 0.25, 4.0);
                faults.crf(work.crf);
            }
            Self::Trim(work) => {
                faults.within("start", work.start, 0.0, MAX_SECONDS);
                faults.within("end", work.end, 0.0, MAX_SECONDS);
                faults.unless(work.end - work.start >= 0.1, || {
                    "end: must lie at least 0.1 behind start".to_owned()
                });
                faults.crf(work.crf);
            }
            Self::Compress(work) => {
                if let Some(height) = work.height {
                    faults.within("height", height.into(), 64.0, 4320.0);
                }
                faults.within("audio_kbps", work.audio_kbps.into(), 24.0, 512.0);
                faults.crf(work.crf);
            }
            Self::Concat(work) => {
                let count = work.sources.len();
                faults.unless((2..=MAX_SOURCES).contains(&count), || {
                    format!("sources: 2 to {MAX_SOURCES} are possible")
                });
                faults.crf(work.crf);
            }
            Self::ThumbnailSet(work) => {
                faults.within("count", work.count.into(), 1.0, 100.0);
                faults.within("width", work.width.into(), 16.0, 3840.0);
            }
            Self::Custom(work) => {
                faults.unless(!work.video.is_empty() || !work.audio.is_empty(), || {
                    "video, audio: no filter is named".to_owned()
                });
                faults.unless(work.video.len() <= MAX_FILTERS && work.audio.len() <= MAX_FILTERS, || {
                    format!("video, audio: at most {MAX_FILTERS} filters of each are possible")
                });
                for filter in &work.video {
                    filter.check(&mut faults);
                }
                for filter in &work.audio {
                    filter.check(&mut faults);
                }
                faults.crf(work.crf);
            }
        }
        faults.0
    }
}

#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, good: bool, said: impl FnOnce() -> String) {
        if !good {
            self.0.push(said());
        }
    }

    fn within(&mut self, name: &str, value: f64, least: f64, most: f64) {
        // Also of what is no number.
        self.unless((least..=most).contains(&value), || format!("{name}: must be from {least} to {most}"));
    }

    fn crf(&mut self, crf: u8) {
        self.within("crf", crf.into(), 14.0, 40.0);
    }
}
