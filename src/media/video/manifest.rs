//! DASH manifest (ISO/IEC 23009-1) over the same segments as the HLS playlists. All URLs are relative.
//!
//! Segment times are those of the presentation, edit lists applied, which is what browsers place media by; so
//! `presentationTimeOffset` stays 0, and encoder delay is not taken off twice.

use std::fmt::Write as _;

use super::asset::{Asset, Rendition};
use super::ladder::Rung;
use super::language::Language;
use super::package::Package;
use super::playlist::{frame_rate_milli, rate_of};
use super::segments::Segment;
use super::track::{Format, Track};

const PROFILES: &str = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019";
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";

/// `manifest.mpd`: one adaptation set for all pictures of one codec, and one for each sound track.
pub(super) fn manifest(package: &Package, subtitles: &[Language]) -> String {
    let Package { movie, segmentation, rungs } = package;
    let video = movie.video.as_ref().map(|track| (track, &*segmentation.video));
    let audio: Vec<_> = (0u16..).zip(movie.audio.iter().zip(&segmentation.audio)).collect();
    let duration = package.duration_micros() as f64 / 1e6;
    let mut out = String::with_capacity(1024);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"{PROFILES}\" type=\"static\" \
         mediaPresentationDuration=\"PT{duration:.6}S\" minBufferTime=\"PT{:.3}S\">\n<Period id=\"1\" start=\"PT0S\">\n",
        segmentation.target.as_secs_f64(),
    );
    let mut id = 0;
    if let Some((track, segments)) = video {
        let mut sets = vec![vec![Pictures::source(track, segments)]];
        let made: Vec<_> = rungs.iter().filter(|rung| rung.listed).map(Pictures::made).collect();
        // Players do not change between codecs within a set.
        match sets.first_mut().filter(|_| track.codec.starts_with("avc1")) {
            Some(set) => set.extend(made),
            None if made.is_empty() => {}
            None => sets.push(made),
        }
        for set in sets {
            id += 1;
            begin_adaptation_set(&mut out, id, "video", track);
            set.iter().for_each(|pictures| pictures.write(&mut out, track, segments));
            out.push_str("</AdaptationSet>\n");
        }
    }
    for (index, (track, segments)) in audio {
        id += 1;
        begin_adaptation_set(&mut out, id, "audio", track);
        write_sound(&mut out, Rendition::SourceAudio(index), track, segments);
        out.push_str("</AdaptationSet>\n");
    }
    for language in subtitles {
        id += 1;
        write_subtitles(&mut out, id, *language);
    }
    out.push_str("</Period>\n</MPD>\n");
    out
}

fn begin_adaptation_set(out: &mut String, id: usize, content: &str, track: &Track) {
    let _ = write!(
        out,
        "<AdaptationSet id=\"{id}\" contentType=\"{content}\" mimeType=\"{content}/mp4\" segmentAlignment=\"true\" \
         startWithSAP=\"1\""
    );
    // Three letters from a to z.
    if let Some(language) = &track.language {
        let _ = write!(out, " lang=\"{language}\"");
    }
    out.push_str(">\n");
}

/// A representation of the pictures.
struct Pictures {
    rendition: Rendition,
    bandwidth: u64,
    codec: String,
    size: (u16, u16),
    rate_milli: Option<u64>,
}

impl Pictures {
    fn source(track: &Track, segments: &[Segment]) -> Self {
        let size = match track.format {
            Format::Video(format) => format.shown(),
            Format::Audio(_) => (0, 0),
        };
        Self {
            rendition: Rendition::Source,
            bandwidth: rate_of(track, segments).peak,
            codec: track.codec.clone(),
            size,
            rate_milli: frame_rate_milli(track),
        }
    }

    fn made(rung: &Rung) -> Self {
        Self {
            rendition: Rendition::Rung(rung.name),
            bandwidth: rung.peak(),
            codec: rung.codec(),
            size: (rung.width, rung.height),
            rate_milli: Some(rung.rate_milli),
        }
    }

    fn write(&self, out: &mut String, track: &Track, segments: &[Segment]) {
        let Self { rendition, bandwidth, codec, size: (width, height), rate_milli } = self;
        let _ = write!(
            out,
            "<Representation id=\"{rendition}\" bandwidth=\"{bandwidth}\" codecs=\"{codec}\" width=\"{width}\" \
             height=\"{height}\""
        );
        match rate_milli {
            Some(milli) if milli % 1000 == 0 => {
                let _ = write!(out, " frameRate=\"{}\"", milli / 1000);
            }
            Some(milli) => {
                let _ = write!(out, " frameRate=\"{milli}/1000\"");
            }
            None => {}
        }
        out.push_str(">\n");
        write_template(out, *rendition, track, segments);
        out.push_str("</Representation>\n");
    }
}

fn write_sound(out: &mut String, rendition: Rendition, track: &Track, segments: &[Segment]) {
    let Format::Audio(format) = track.format else { return };
    let bandwidth = rate_of(track, segments).peak;
    let _ = write!(
        out,
        "<Representation id=\"{rendition}\" bandwidth=\"{bandwidth}\" codecs=\"{}\"",
        track.codec
    );
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
    write_template(out, rendition, track, segments);
    out.push_str("</Representation>\n");
}

/// A file of its own, whose times are those of the period.
fn write_subtitles(out: &mut String, id: usize, language: Language) {
    let _ = write!(
        out,
        "<AdaptationSet id=\"{id}\" contentType=\"text\" mimeType=\"text/vtt\" lang=\"{language}\">\n\
         <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"subtitle\"/>\n\
         <Representation id=\"subtitles-{language}\" bandwidth=\"1000\">\n<BaseURL>{}</BaseURL>\n</Representation>\n\
         </AdaptationSet>\n",
        Asset::Subtitles(language)
    );
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
