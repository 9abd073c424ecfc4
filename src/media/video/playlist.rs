//! HLS playlists (RFC 8216, version 7: fragmented MP4). All URIs are relative, so a movie can be served below any path.

use std::fmt::Write as _;

use super::Error;
use super::asset::{Asset, Rendition};
use super::bitrate::{self, Bitrate};
use super::keyframes::write_keyframes;
use super::ladder::Rung;
use super::language::Language;
use super::movie::Movie;
use super::package::Package;
use super::segments::{Segment, Segmentation};
use super::track::{Format, Track, VideoFormat};

/// The group of all subtitles.
const SUBTITLES: &str = "subtitles";

/// `master.m3u8`. Sound tracks form one group for each codec, since a variant names the codecs of all it may play. The source
/// comes first: it costs nothing to make, and players begin with what comes first.
pub(super) fn master_playlist(package: &Package, subtitles: &[Language]) -> String {
    let Package { movie, segmentation, rungs } = package;
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let groups = audio_groups(movie, segmentation);
    // A single sound track without video needs no group: the variant is that track.
    let alone = movie.video.is_none() && movie.audio.len() == 1;
    if !alone {
        for group in &groups {
            write_media(&mut out, movie, group);
        }
    }
    for language in subtitles {
        write_subtitles(&mut out, *language);
    }
    let texts = !subtitles.is_empty();
    match &movie.video {
        Some(video) => {
            if let Format::Video(format) = video.format {
                write_keyframes(&mut out, video, &segmentation.video, format.shown());
            }
            let listed = rungs.iter().filter(|rung| rung.listed).map(VariantVideo::made);
            for variant in std::iter::once(VariantVideo::source(video, &segmentation.video)).chain(listed) {
                match groups.is_empty() {
                    true => write_variant(&mut out, Some(&variant), None, variant.rendition, false, texts),
                    false => groups.iter().for_each(|g| {
                        write_variant(&mut out, Some(&variant), Some(g), variant.rendition, true, texts)
                    }),
                }
            }
        }
        None => {
            for group in &groups {
                let first = Rendition::SourceAudio(group.first());
                write_variant(&mut out, None, Some(group), first, !alone, texts);
            }
        }
    }
    out
}

/// `{rendition}/index.m3u8`
pub(super) fn media_playlist(package: &Package, rendition: Rendition) -> Result<String, Error> {
    let (track, segments) = package.pick(rendition)?;
    let mut out = String::with_capacity(160 + segments.len() * 40);
    out.push_str("#EXTM3U\n#EXT-X-VERSION:7\n");
    let target = target_seconds(track, segments);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "#EXT-X-TARGETDURATION:{target}");
    out.push_str("#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    out.push_str("#EXT-X-MAP:URI=\"init.mp4\"\n");
    for (index, segment) in segments.iter().enumerate() {
        // Differences of rounded times, so that rounding never adds up.
        let micros = micros(segment.end, track.timescale) - micros(segment.start, track.timescale);
        let _ = writeln!(out, "#EXTINF:{}.{:06},", micros / 1_000_000, micros % 1_000_000);
        let _ = writeln!(out, "seg-{}.m4s", index + 1);
    }
    out.push_str("#EXT-X-ENDLIST\n");
    Ok(out)
}

/// `subtitles/{language}.m3u8`: the whole text as one segment, which RFC 8216 §6.2.4 allows of subtitles.
pub(super) fn subtitles_playlist(package: &Package, language: Language) -> String {
    let micros = package.duration_micros();
    let target = micros.unsigned_abs().div_ceil(1_000_000).max(1);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:1\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:{seconds}.{fraction:06},\n{language}.vtt\n#EXT-X-ENDLIST\n"
    )
}

fn write_subtitles(out: &mut String, language: Language) {
    let uri = Asset::SubtitlesPlaylist(language);
    let _ = writeln!(
        out,
        "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"{SUBTITLES}\",NAME=\"{}\",LANGUAGE=\"{language}\",DEFAULT=NO,\
         AUTOSELECT=YES,FORCED=NO,URI=\"{uri}\"",
        language.name()
    );
}

/// Pictures per second on average, in thousandths.
pub(super) fn frame_rate_milli(track: &Track) -> Option<u64> {
    let ticks = track.samples.decode_time(track.end) - track.samples.decode_time(track.first);
    let pictures = u64::from(track.end - track.first);
    // Below 2^21 × 2^32 × 1000 < 2^63.
    let scaled = pictures * u64::from(track.timescale) * 1000;
    scaled.checked_add(ticks / 2)?.checked_div(ticks)
}

pub(super) fn rate_of(track: &Track, segments: &[Segment]) -> Bitrate {
    bitrate::of(track, segments, target_seconds(track, segments))
}

struct AudioGroup {
    id: String,
    codec: String,
    rate: Bitrate,
    tracks: Vec<u16>,
}

impl AudioGroup {
    fn first(&self) -> u16 {
        self.tracks.first().copied().unwrap_or(0)
    }
}

/// What a variant says of its pictures.
struct VariantVideo {
    rendition: Rendition,
    rate: Bitrate,
    size: Option<(u16, u16)>,
    rate_milli: Option<u64>,
    codec: String,
}

impl VariantVideo {
    fn source(track: &Track, segments: &[Segment]) -> Self {
        let size = match track.format {
            Format::Video(format) => Some(VideoFormat::shown(&format)),
            Format::Audio(_) => None,
        };
        Self {
            rendition: Rendition::Source,
            rate: rate_of(track, segments),
            size,
            rate_milli: frame_rate_milli(track),
            codec: track.codec.clone(),
        }
    }

    fn made(rung: &Rung) -> Self {
        Self {
            rendition: Rendition::Rung(rung.name),
            rate: Bitrate { peak: rung.peak(), average: rung.average() },
            size: Some((rung.width, rung.height)),
            rate_milli: Some(rung.rate_milli),
            codec: rung.codec(),
        }
    }
}

fn audio_groups(movie: &Movie, segmentation: &Segmentation) -> Vec<AudioGroup> {
    let mut groups: Vec<AudioGroup> = Vec::new();
    for (index, (track, segments)) in (0u16..).zip(movie.audio.iter().zip(&segmentation.audio)) {
        let rate = rate_of(track, segments);
        match groups.iter_mut().find(|group| group.codec == track.codec) {
            Some(group) => {
                group.rate.peak = group.rate.peak.max(rate.peak);
                group.rate.average = group.rate.average.max(rate.average);
                group.tracks.push(index);
            }
            None => {
                let id = match groups.len() {
                    0 => "audio".to_owned(),
                    n => format!("audio-{}", n + 1),
                };
                groups.push(AudioGroup { id, codec: track.codec.clone(), rate, tracks: vec![index] });
            }
        }
    }
    groups
}

fn write_media(out: &mut String, movie: &Movie, group: &AudioGroup) {
    for &index in &group.tracks {
        let Some(track) = movie.audio.get(usize::from(index)) else { continue };
        let default = if index == group.first() { "YES" } else { "NO" };
        let number = index + 1;
        let name = match &track.language {
            Some(language) => format!("{language} {number}"),
            None => format!("Audio {number}"),
        };
        let _ = write!(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{name}\"", group.id);
        if let Some(language) = &track.language {
            let _ = write!(out, ",LANGUAGE=\"{language}\"");
        }
        let _ = write!(out, ",DEFAULT={default},AUTOSELECT=YES");
        if let Format::Audio(audio) = track.format
            && audio.channels > 0
        {
            let _ = write!(out, ",CHANNELS=\"{}\"", audio.channels);
        }
        let uri = Asset::MediaPlaylist(Rendition::SourceAudio(index));
        let _ = writeln!(out, ",URI=\"{uri}\"");
    }
}

fn write_variant(
    out: &mut String,
    video: Option<&VariantVideo>,
    audio: Option<&AudioGroup>,
    rendition: Rendition,
    grouped: bool,
    texts: bool,
) {
    let rates = [video.map(|v| v.rate), audio.map(|a| a.rate)];
    let rates = rates.into_iter().flatten();
    let total = rates.fold(Bitrate::default(), |sum, rate| Bitrate {
        peak: sum.peak.saturating_add(rate.peak),
        average: sum.average.saturating_add(rate.average),
    });
    let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}", total.peak, total.average);
    if let Some(video) = video {
        if let Some((width, height)) = video.size {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(milli) = video.rate_milli {
            let _ = write!(out, ",FRAME-RATE={}.{:03}", milli / 1000, milli % 1000);
        }
    }
    let codecs = [video.map(|v| v.codec.as_str()), audio.map(|a| a.codec.as_str())];
    let codecs: Vec<&str> = codecs.into_iter().flatten().collect();
    let _ = write!(out, ",CODECS=\"{}\"", codecs.join(","));
    if let Some(group) = audio.filter(|_| grouped) {
        let _ = write!(out, ",AUDIO=\"{}\"", group.id);
    }
    if texts {
        let _ = write!(out, ",SUBTITLES=\"{SUBTITLES}\"");
    }
    let _ = writeln!(out, "\n{}", Asset::MediaPlaylist(rendition));
}

/// The longest segment in seconds, rounded up.
pub(super) fn target_seconds(track: &Track, segments: &[Segment]) -> u64 {
    let longest = segments.iter().map(Segment::duration).max().unwrap_or(0);
    longest.div_ceil(u64::from(track.timescale)).max(1)
}

pub(super) fn micros(ticks: i64, timescale: u32) -> i64 {
    let scale = i128::from(timescale);
    let micros = (i128::from(ticks) * 1_000_000 + scale / 2).div_euclid(scale);
    // Ticks are below 2^56, and a timescale of 1 makes them at most 2^76 here.
    i64::try_from(micros).unwrap_or(i64::MAX / 2)
}
