//! DASH manifest (ISO/IEC 23009-1) over the same segments as the HLS playlists. All URLs are relative.
//!
//! Segment times are those of the presentation, edit lists applied, which is what browsers place media by; so
//! `presentationTimeOffset` stays 0, and encoder delay is not taken off twice.

use std::fmt::Write as _;

use super::asset::{Asset, Rendition};
use super::movie::Movie;
use super::playlist::{frame_rate_milli, pick, rate_of};
use super::segments::{Segment, Segmentation};
use super::track::{Format, Track};

const PROFILES: &str = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019";
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";

/// `manifest.mpd`: one adaptation set for each track.
pub fn manifest(movie: &Movie, segmentation: &Segmentation) -> String {
    let audio = (0u16..).zip(&movie.audio).map(|(index, _)| Rendition::SourceAudio(index));
    let renditions: Vec<Rendition> = movie.video.iter().map(|_| Rendition::Source).chain(audio).collect();
    let picked = renditions.iter().filter_map(|&r| Some((r, pick(movie, segmentation, r).ok()?)));
    let tracks: Vec<_> = picked.map(|(rendition, (track, segments))| (rendition, track, segments)).collect();

    let end = |(_, track, segments): &(Rendition, &Track, &[Segment])| {
        segments.last().map_or(0.0, |last| last.end as f64 / f64::from(track.timescale))
    };
    let duration = tracks.iter().map(end).fold(0.0, f64::max);
    let mut out = String::with_capacity(1024);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"{PROFILES}\" type=\"static\" \
         mediaPresentationDuration=\"PT{duration:.6}S\" minBufferTime=\"PT{:.3}S\">\n<Period id=\"1\" start=\"PT0S\">\n",
        segmentation.target.as_secs_f64(),
    );
    for (id, (rendition, track, segments)) in tracks.iter().enumerate() {
        write_adaptation_set(&mut out, id + 1, *rendition, track, segments);
    }
    out.push_str("</Period>\n</MPD>\n");
    out
}

fn write_adaptation_set(
    out: &mut String,
    id: usize,
    rendition: Rendition,
    track: &Track,
    segments: &[Segment],
) {
    let content = match track.format {
        Format::Video(_) => "video",
        Format::Audio(_) => "audio",
    };
    let _ = write!(
        out,
        "<AdaptationSet id=\"{id}\" contentType=\"{content}\" mimeType=\"{content}/mp4\" segmentAlignment=\"true\" \
         startWithSAP=\"1\""
    );
    // Three letters from a to z.
    if let Some(language) = &track.language {
        let _ = write!(out, " lang=\"{language}\"");
    }
    let bandwidth = rate_of(track, segments).peak;
    let _ = write!(
        out,
        ">\n<Representation id=\"{rendition}\" bandwidth=\"{bandwidth}\" codecs=\"{}\"",
        track.codec
    );
    match track.format {
        Format::Video(format) => {
            let (width, height) = format.shown();
            let _ = write!(out, " width=\"{width}\" height=\"{height}\"");
            match frame_rate_milli(track) {
                Some(milli) if milli % 1000 == 0 => {
                    let _ = write!(out, " frameRate=\"{}\"", milli / 1000);
                }
                Some(milli) => {
                    let _ = write!(out, " frameRate=\"{milli}/1000\"");
                }
                None => {}
            }
            out.push_str(">\n");
        }
        Format::Audio(format) => {
            if format.sample_rate > 0 {
                let _ = write!(out, " audioSamplingRate=\"{}\"", format.sample_rate);
            }
            out.push_str(">\n");
            if format.channels > 0 {
                let _ = writeln!(
                    out,
                    "<AudioChannelConfiguration schemeIdUri=\"{CHANNELS}\" value=\"{}\"/>",
                    format.channels
                );
            }
        }
    }
    write_template(out, rendition, track, segments);
    out.push_str("</Representation>\n</AdaptationSet>\n");
}

fn write_template(out: &mut String, rendition: Rendition, track: &Track, segments: &[Segment]) {
    // The manifest stands beside the folders of the renditions.
    let media = Asset::Segment(rendition, 1).to_string().replace("seg-1.", "seg-$Number$.");
    let _ = writeln!(
        out,
        "<SegmentTemplate timescale=\"{}\" startNumber=\"1\" initialization=\"{}\" media=\"{media}\">\n<SegmentTimeline>",
        track.timescale,
        Asset::Init(rendition),
    );
    let mut segments = segments.iter().peekable();
    let mut first = true;
    while let Some(segment) = segments.next() {
        let mut repeat = 0;
        while segments.next_if(|next| next.duration() == segment.duration()).is_some() {
            repeat += 1;
        }
        out.push_str("<S");
        if first {
            let _ = write!(out, " t=\"{}\"", segment.start.max(0));
            first = false;
        }
        let _ = write!(out, " d=\"{}\"", segment.duration());
        if repeat > 0 {
            let _ = write!(out, " r=\"{repeat}\"");
        }
        out.push_str("/>\n");
    }
    out.push_str("</SegmentTimeline>\n</SegmentTemplate>\n");
}
