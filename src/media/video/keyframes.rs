//! The playlist of keyframes alone (RFC 8216 §4.3.3.6), by which players show pictures while somebody scrubs: the beginning of
//! each segment of the source, up to the end of its first picture.

use std::fmt::Write as _;

use super::asset::{Asset, Rendition};
use super::package::Package;
use super::playlist::{micros, target_seconds};
use super::segments::Segment;
use super::track::Track;
use super::{Error, fmp4};

/// `source/iframes.m3u8`
pub(super) fn keyframe_playlist(package: &Package) -> Result<String, Error> {
    let (track, segments) = package.pick(Rendition::Source)?;
    let mut out = String::with_capacity(160 + segments.len() * 64);
    out.push_str("#EXTM3U\n#EXT-X-VERSION:7\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "#EXT-X-TARGETDURATION:{}", target_seconds(track, segments));
    out.push_str("#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n");
    out.push_str("#EXT-X-MAP:URI=\"init.mp4\"\n");
    for (index, segment) in segments.iter().enumerate() {
        let micros = micros(segment.end, track.timescale) - micros(segment.start, track.timescale);
        let _ = writeln!(out, "#EXTINF:{}.{:06},", micros / 1_000_000, micros % 1_000_000);
        let _ = writeln!(out, "#EXT-X-BYTERANGE:{}@0", beginning(track, segment));
        let _ = writeln!(out, "seg-{}.m4s", index + 1);
    }
    out.push_str("#EXT-X-ENDLIST\n");
    Ok(out)
}

/// The line of the master playlist that leads there.
pub(super) fn write_keyframes(
    out: &mut String,
    track: &Track,
    segments: &[Segment],
    (width, height): (u16, u16),
) {
    let rates = segments.iter().map(|segment| {
        let bits = u128::from(beginning(track, segment)) * 8 * u128::from(track.timescale);
        bits.div_ceil(u128::from(segment.duration()).max(1))
    });
    let _ = writeln!(
        out,
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},RESOLUTION={width}x{height},CODECS=\"{}\",URI=\"{}\"",
        rates.max().unwrap_or(0),
        track.codec,
        Asset::Keyframes
    );
}

/// Bytes of a segment up to the end of its first picture.
fn beginning(track: &Track, segment: &Segment) -> u64 {
    let all = track.samples.bytes(segment.samples.clone());
    let first = track.samples.bytes(segment.samples.start..segment.samples.start + 1);
    fmp4::segment_len(track, segment) - all + first
}
