//! Names of what can be asked of a video, below its own path: `/{path}.mp4/master.m3u8`,
//! `/{path}.mp4/{rendition}/seg-{n}.m4s`, …. One spelling each; everything else is no asset.

use std::fmt;

use super::language::Language;

/// File name extensions of sources that are looked into.
const VIDEO_EXTENSIONS: [&str; 4] = ["mp4", "m4v", "mov", "m4a"];
/// Those that have nothing but a waveform.
const SOUND_EXTENSIONS: [&str; 7] = ["mp3", "wav", "flac", "ogg", "oga", "opus", "aac"];
/// Sound tracks beyond this are not addressable; `Movie` has at most 64 tracks.
const MAX_AUDIO_TRACKS: u16 = 64;

/// One of the streams of a movie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rendition {
    /// `source`: the video track, as it is.
    Source,
    /// `source-audio`, `source-audio-2`, …: a sound track as it is, counted from 0 here and from 1 in its name.
    SourceAudio(u16),
    /// `480p`: the video track made smaller. Which ones there are depends on the source.
    Rung(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaveformForm {
    Png,
    Json,
}

/// A file of the adaptive presentation of a movie, or a still of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asset {
    /// `master.m3u8`
    Master,
    /// `manifest.mpd`
    Manifest,
    /// `poster.webp`
    Poster,
    /// `storyboard.vtt`: which part of which sprite is for which time.
    Storyboard,
    /// `storyboard-{n}.webp`; n counts from 1.
    Sprite(u32),
    /// `preview.webp`: a few seconds, moving.
    Preview,
    /// `waveform.png`, `waveform.json`
    Waveform(WaveformForm),
    /// `subtitles/{language}.vtt`, of a file beside the source.
    Subtitles(Language),
    /// `subtitles/{language}.m3u8`: the same as a rendition of HLS.
    SubtitlesPlaylist(Language),
    /// `{rendition}/index.m3u8`
    MediaPlaylist(Rendition),
    /// `source/iframes.m3u8`: the keyframes alone, for scrubbing. Of what is not made yet, sizes are not known.
    Keyframes,
    /// `{rendition}/init.mp4`
    Init(Rendition),
    /// `{rendition}/seg-{n}.m4s`; n counts from 1.
    Segment(Rendition, u32),
}

impl Asset {
    /// `path` is what follows `/{path}.mp4/`.
    pub fn parse(path: &str) -> Option<Self> {
        match path.split_once('/') {
            None => match path {
                "master.m3u8" => Some(Self::Master),
                "manifest.mpd" => Some(Self::Manifest),
                "poster.webp" => Some(Self::Poster),
                "storyboard.vtt" => Some(Self::Storyboard),
                "preview.webp" => Some(Self::Preview),
                "waveform.png" => Some(Self::Waveform(WaveformForm::Png)),
                "waveform.json" => Some(Self::Waveform(WaveformForm::Json)),
                _ => {
                    let number = path.strip_prefix("storyboard-")?.strip_suffix(".webp")?;
                    Some(Self::Sprite(positive(number)?))
                }
            },
            Some(("source", "iframes.m3u8")) => Some(Self::Keyframes),
            Some(("subtitles", file)) => match file.split_once('.')? {
                (language, "vtt") => Some(Self::Subtitles(Language::parse(language)?)),
                (language, "m3u8") => Some(Self::SubtitlesPlaylist(Language::parse(language)?)),
                _ => None,
            },
            Some((rendition, file)) => {
                let rendition = Rendition::parse(rendition)?;
                match file {
                    "index.m3u8" => Some(Self::MediaPlaylist(rendition)),
                    "init.mp4" => Some(Self::Init(rendition)),
                    _ => {
                        let number = file.strip_prefix("seg-")?.strip_suffix(".m4s")?;
                        Some(Self::Segment(rendition, positive(number)?))
                    }
                }
            }
        }
    }

    /// Splits a request path into the path of the source and the asset of it, if it names one.
    pub fn locate(path: &str) -> Option<(&str, Self)> {
        // The source has an extension, so most paths are none of ours at a glance.
        let (parent, file) = path.rsplit_once('/').filter(|(parent, _)| parent.contains('.'))?;
        let (source, asset) = match Self::parse(file) {
            Some(asset) => (parent, asset),
            None => {
                let (source, _) = parent.rsplit_once('/')?;
                (source, Self::parse(path.get(source.len() + 1..)?)?)
            }
        };
        let name = source.rsplit('/').next()?;
        let (stem, extension) = name.rsplit_once('.')?;
        let among = |known: &[&str]| known.iter().any(|known| extension.eq_ignore_ascii_case(known));
        let sound = matches!(asset, Self::Waveform(_)) && among(&SOUND_EXTENSIONS);
        ((among(&VIDEO_EXTENSIONS) || sound) && !stem.is_empty()).then_some((source, asset))
    }

    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Master | Self::MediaPlaylist(_) | Self::Keyframes | Self::SubtitlesPlaylist(_) => {
                "application/vnd.apple.mpegurl"
            }
            Self::Storyboard | Self::Subtitles(_) => "text/vtt; charset=utf-8",
            Self::Waveform(WaveformForm::Png) => "image/png",
            Self::Waveform(WaveformForm::Json) => "application/json",
            Self::Manifest => "application/dash+xml",
            Self::Poster | Self::Sprite(_) | Self::Preview => "image/webp",
            Self::Init(Rendition::SourceAudio(_)) | Self::Segment(Rendition::SourceAudio(_), _) => {
                "audio/mp4"
            }
            Self::Init(_) | Self::Segment(..) => "video/mp4",
        }
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master.m3u8"),
            Self::Manifest => f.write_str("manifest.mpd"),
            Self::Poster => f.write_str("poster.webp"),
            Self::Storyboard => f.write_str("storyboard.vtt"),
            Self::Sprite(number) => write!(f, "storyboard-{number}.webp"),
            Self::Preview => f.write_str("preview.webp"),
            Self::Waveform(WaveformForm::Png) => f.write_str("waveform.png"),
            Self::Waveform(WaveformForm::Json) => f.write_str("waveform.json"),
            Self::Subtitles(language) => write!(f, "subtitles/{language}.vtt"),
            Self::SubtitlesPlaylist(language) => write!(f, "subtitles/{language}.m3u8"),
            Self::MediaPlaylist(rendition) => write!(f, "{rendition}/index.m3u8"),
            Self::Keyframes => f.write_str("source/iframes.m3u8"),
            Self::Init(rendition) => write!(f, "{rendition}/init.mp4"),
            Self::Segment(rendition, number) => write!(f, "{rendition}/seg-{number}.m4s"),
        }
    }
}

impl Rendition {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "source" => Some(Self::Source),
            "source-audio" => Some(Self::SourceAudio(0)),
            _ => {
                if let Some(height) = name.strip_suffix('p') {
                    return Some(Self::Rung(u16::try_from(positive(height)?).ok()?));
                }
                let number = positive(name.strip_prefix("source-audio-")?)?;
                let index = u16::try_from(number).ok()?.checked_sub(1)?;
                (1..MAX_AUDIO_TRACKS).contains(&index).then_some(Self::SourceAudio(index))
            }
        }
    }
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::SourceAudio(0) => f.write_str("source-audio"),
            Self::SourceAudio(index) => write!(f, "source-audio-{}", index + 1),
            Self::Rung(height) => write!(f, "{height}p"),
        }
    }
}

/// A decimal number from 1 on, without sign, leading zeros or anything else.
fn positive(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_asset() {
        use Rendition::{Rung, Source, SourceAudio};
        let cases = [
            ("master.m3u8", Asset::Master),
            ("manifest.mpd", Asset::Manifest),
            ("poster.webp", Asset::Poster),
            ("storyboard.vtt", Asset::Storyboard),
            ("storyboard-12.webp", Asset::Sprite(12)),
            ("preview.webp", Asset::Preview),
            ("waveform.png", Asset::Waveform(WaveformForm::Png)),
            ("waveform.json", Asset::Waveform(WaveformForm::Json)),
            ("subtitles/en.vtt", Asset::Subtitles(Language::parse("en").unwrap())),
            ("subtitles/pt-BR.m3u8", Asset::SubtitlesPlaylist(Language::parse("pt-BR").unwrap())),
            ("source/index.m3u8", Asset::MediaPlaylist(Source)),
            ("source/init.mp4", Asset::Init(Source)),
            ("source/iframes.m3u8", Asset::Keyframes),
            ("source/seg-1.m4s", Asset::Segment(Source, 1)),
            ("source/seg-4294967295.m4s", Asset::Segment(Source, u32::MAX)),
            ("source-audio/seg-12.m4s", Asset::Segment(SourceAudio(0), 12)),
            ("source-audio-2/init.mp4", Asset::Init(SourceAudio(1))),
            ("source-audio-64/index.m3u8", Asset::MediaPlaylist(SourceAudio(63))),
            ("480p/init.mp4", Asset::Init(Rung(480))),
            ("1080p/seg-7.m4s", Asset::Segment(Rung(1080), 7)),
        ];
        for (path, asset) in cases {
            assert_eq!(Asset::parse(path), Some(asset), "{path}");
            assert_eq!(asset.to_string(), path);
        }
    }

    #[test]
    fn everything_else_is_no_asset() {
        let cases = [
            "",
            "/",
            "master.m3u8/",
            "/master.m3u8",
            "Master.m3u8",
            "master.m3u8?x",
            "source",
            "source/",
            "source//init.mp4",
            "source/init.mp4/",
            "source/x/init.mp4",
            "source/../source/init.mp4",
            "source/seg-0.m4s",
            "source/seg-01.m4s",
            "source/seg--1.m4s",
            "source/seg-+1.m4s",
            "source/seg-1e9.m4s",
            "source/seg-1e9",
            "source/seg-.m4s",
            "source/seg-1.m4s.m4s",
            "source/seg- 1.m4s",
            "source/seg-4294967296.m4s",
            "source/seg-99999999999999999999.m4s",
            "source/seg-١.m4s",
            "source/SEG-1.m4s",
            "source-audio-0/init.mp4",
            "source-audio-1/init.mp4",
            "source-audio-02/init.mp4",
            "source-audio-65/init.mp4",
            "source-audio-99999/init.mp4",
            "source-audio-/init.mp4",
            "sources/init.mp4",
            "0480p/init.mp4",
            "0p/init.mp4",
            "p/init.mp4",
            "480P/init.mp4",
            "480p/iframes.m3u8",
            "70000p/init.mp4",
            "source/poster.webp",
            "storyboard-0.webp",
            "storyboard-01.webp",
            "storyboard-.webp",
            "storyboard.webp",
            "subtitles/.vtt",
            "subtitles/en.srt",
            "subtitles/en.x.vtt",
            "subtitles/../en.vtt",
            "subtitles/english.vtt",
        ];
        for path in cases {
            assert_eq!(Asset::parse(path), None, "{path}");
        }
    }

    #[test]
    fn request_paths_are_split_at_the_source() {
        let cases = [
            ("/a/b.mp4/master.m3u8", Some(("/a/b.mp4", Asset::Master))),
            ("/a.mp4/manifest.mpd", Some(("/a.mp4", Asset::Manifest))),
            ("/b.MP4/source/init.mp4", Some(("/b.MP4", Asset::Init(Rendition::Source)))),
            ("/d.mp4/b.mov/source/seg-2.m4s", Some(("/d.mp4/b.mov", Asset::Segment(Rendition::Source, 2)))),
            ("b.m4a/poster.webp", Some(("b.m4a", Asset::Poster))),
            ("/b.mp3/waveform.png", Some(("/b.mp3", Asset::Waveform(WaveformForm::Png)))),
            ("/b.mp3/poster.webp", None),
            ("/b.mp3/master.m3u8", None),
            ("/a/b.mp4", None),
            ("/a/b.mp4/", None),
            ("/a/.mp4/master.m3u8", None),
            ("/a/master.m3u8", None),
            ("/a/b.txt/master.m3u8", None),
            ("/a/b.mp4/c/master.m3u8", None),
            ("master.m3u8", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Asset::locate(path), expected, "{path}");
        }
    }
}
