//! Playlists say what the segments are, and a player that follows them gets everything.

use std::process::Command;

use bytes::Bytes;

use super::fixture::{AAC, BOTH, H264, bytes_of, clip, folder, open, ordinary};
use crate::media::video::boxes::find;
use crate::media::video::{Asset, Package, Rendition};

async fn text(source: &Bytes, asset: Asset) -> String {
    String::from_utf8(bytes_of(&open(source).await, source, asset)).unwrap()
}

/// The attributes of the first line that starts with `tag`.
fn attribute(playlist: &str, tag: &str, name: &str) -> Option<String> {
    let line = playlist.lines().find_map(|line| line.strip_prefix(tag)?.strip_prefix(':'))?;
    let mut rest = line;
    while let Some((key, tail)) = rest.split_once('=') {
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => tail.split_at(tail.find(',').unwrap_or(tail.len())),
        };
        if key == name {
            return Some(value.to_owned());
        }
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    None
}

#[tokio::test]
async fn master_names_what_is_there() {
    let source = ordinary();
    let master = text(&source, Asset::Master).await;
    let variant = |name| attribute(&master, "#EXT-X-STREAM-INF", name);
    assert!(master.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"));
    assert_eq!(variant("RESOLUTION").as_deref(), Some("160x96"));
    assert_eq!(variant("FRAME-RATE").as_deref(), Some("25.000"));
    assert_eq!(variant("AUDIO").as_deref(), Some("audio"));
    assert_eq!(attribute(&master, "#EXT-X-MEDIA", "CHANNELS").as_deref(), Some("1"));
    assert_eq!(attribute(&master, "#EXT-X-MEDIA", "URI").as_deref(), Some("source-audio/index.m3u8"));
    assert!(master.ends_with("\nsource/index.m3u8\n"));
    // x264 made High profile at its lowest level.
    assert_eq!(variant("CODECS").as_deref(), Some("avc1.64000b,mp4a.40.2"));

    // Peaks: the biggest segment of each rendition; nothing shorter is delivered.
    let package = open(&source).await;
    let peak = |rendition| {
        let len = |n| package.asset(&Asset::Segment(rendition, n)).map(|splice| splice.len);
        (1..).map_while(|n| len(n).ok()).max().unwrap() * 8 / 2
    };
    let bandwidth: u64 = variant("BANDWIDTH").unwrap().parse().unwrap();
    let expected = peak(Rendition::Source) + peak(Rendition::SourceAudio(0));
    assert!(bandwidth.abs_diff(expected) < expected / 50, "{bandwidth} against {expected}");
    let average: u64 = variant("AVERAGE-BANDWIDTH").unwrap().parse().unwrap();
    assert!(average <= bandwidth && average > bandwidth / 4);
}

#[tokio::test]
async fn media_playlist_adds_up_to_the_microsecond() {
    let arguments = [&BOTH[..], &H264, &["-g", "45", "-bf", "3", "-movflags", "+faststart"], &AAC].concat();
    let source = clip("rational.mp4", 7.0, "30000/1001", &arguments);
    let playlist = text(&source, Asset::MediaPlaylist(Rendition::Source)).await;
    let durations: Vec<&str> =
        playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:")?.strip_suffix(',')).collect();
    // Keyframes every 45 pictures (1.5015 s): the first ones at or after 2 s, 4 s and 6 s.
    assert_eq!(durations, ["3.003000", "1.501500", "1.501500", "1.001000"]);
    assert!(playlist.contains("#EXT-X-TARGETDURATION:4\n"));
    assert!(playlist.contains("#EXT-X-MAP:URI=\"init.mp4\"\n"));
    assert!(playlist.ends_with("seg-4.m4s\n#EXT-X-ENDLIST\n"));
    assert!(!playlist.contains("seg-0.m4s") && !playlist.contains("seg-5.m4s"));

    let sound = text(&source, Asset::MediaPlaylist(Rendition::SourceAudio(0))).await;
    let total: f64 = sound
        .lines()
        .filter_map(|l| l.strip_prefix("#EXTINF:")?.strip_suffix(','))
        .map(|d| d.parse::<f64>().unwrap())
        .sum();
    assert!((total - 7.0).abs() < 1024.0 / 48000.0, "sound of {total} s");
}

#[tokio::test]
async fn sound_alone_is_a_variant_of_its_own() {
    let source = clip("sound.m4a", 5.0, "25", &[&["-map", "1:a"], &AAC[..]].concat());
    let master = text(&source, Asset::Master).await;
    assert!(!master.contains("#EXT-X-MEDIA"));
    assert_eq!(attribute(&master, "#EXT-X-STREAM-INF", "CODECS").as_deref(), Some("mp4a.40.2"));
    assert_eq!(attribute(&master, "#EXT-X-STREAM-INF", "RESOLUTION"), None);
    assert!(master.ends_with("\nsource-audio/index.m3u8\n"));
}

#[tokio::test]
async fn sound_of_two_codecs_makes_two_groups() {
    let codecs = ["-map", "1:a", "-c:a:0", "aac", "-c:a:1", "libopus", "-strict", "-2"];
    let source = clip("two-codecs.mp4", 4.0, "25", &[&BOTH[..], &codecs, &H264].concat());
    let master = text(&source, Asset::Master).await;
    let variants: Vec<_> = master.lines().filter(|l| l.starts_with("#EXT-X-STREAM-INF")).collect();
    assert_eq!(variants.len(), 2);
    assert!(variants[0].contains("mp4a.40.2\",AUDIO=\"audio\""), "{}", variants[0]);
    assert!(variants[1].contains("opus\",AUDIO=\"audio-2\""), "{}", variants[1]);
}

/// Writes all files of a presentation into a folder as a server would lay them out.
fn write_out(package: &Package, source: &Bytes, name: &str) -> std::path::PathBuf {
    let root = folder().join(name);
    let write = |asset: Asset| {
        let path = root.join(asset.to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes_of(package, source, asset)).unwrap();
    };
    write(Asset::Master);
    write(Asset::Manifest);
    for rendition in [Rendition::Source, Rendition::SourceAudio(0)] {
        write(Asset::MediaPlaylist(rendition));
        write(Asset::Init(rendition));
        (1..).take_while(|&n| package.asset(&Asset::Segment(rendition, n)).is_ok()).for_each(|n| {
            write(Asset::Segment(rendition, n));
        });
    }
    root
}

#[tokio::test]
async fn a_player_that_follows_the_playlists_gets_everything() {
    let source = ordinary();
    let package = open(&source).await;
    let root = write_out(&package, &source, "presentation");
    let count = |file: &str, stream: &str| -> usize {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-allowed_extensions", "ALL", "-select_streams", stream])
            .args(["-show_entries", "packet=pts", "-of", "csv=p=0"])
            .arg(root.join(file))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output.stdout.iter().filter(|&&byte| byte == b'\n').count()
    };
    for file in ["master.m3u8", "manifest.mpd"] {
        assert_eq!(count(file, "v:0"), 200, "{file}");
        assert_eq!(count(file, "a:0"), package.movie.audio[0].samples.count() as usize, "{file}");
    }
}

#[tokio::test]
async fn manifest_lists_the_same_segments() {
    let languages = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"];
    let arguments =
        [&BOTH[..], &["-map", "1:a", "-filter:a:1", "volume=0.5"], &H264, &AAC, &languages].concat();
    let source = clip("bilingual.mp4", 4.0, "25", &arguments);
    let manifest = text(&source, Asset::Manifest).await;
    for expected in [
        "mediaPresentationDuration=\"PT4.",
        "<Representation id=\"source\" bandwidth=\"",
        " codecs=\"avc1.64000b\" width=\"160\" height=\"96\" frameRate=\"25\">",
        "timescale=\"12800\" startNumber=\"1\" initialization=\"source/init.mp4\" media=\"source/seg-$Number$.m4s\"",
        "<S t=\"0\" d=\"25600\" r=\"1\"/>",
        "lang=\"deu\"",
        "media=\"source-audio-2/seg-$Number$.m4s\"",
    ] {
        assert!(manifest.contains(expected), "{expected} in {manifest}");
    }
    assert_eq!(manifest.matches("<AdaptationSet ").count(), 3);
    // Sound: as many segments as there are, and their durations add up to the whole.
    let package = open(&source).await;
    let sound =
        manifest.split("id=\"source-audio\"").nth(1).unwrap().split("</Representation>").next().unwrap();
    let value = |element: &str, name: &str| -> Option<u64> {
        element.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok()
    };
    let (mut count, mut ticks) = (0, 0);
    for element in sound.lines().filter(|line| line.starts_with("<S ")) {
        let times = value(element, "r").unwrap_or(0) + 1;
        count += times;
        ticks += times * value(element, "d").unwrap();
    }
    let segments = &package.segmentation.audio[0];
    assert_eq!(count, segments.len() as u64);
    assert_eq!(ticks as i64, segments.last().unwrap().end - segments[0].start);
}

#[tokio::test]
async fn keyframes_can_be_had_alone() {
    let source = ordinary();
    let master = text(&source, Asset::Master).await;
    let keyframes = |name| attribute(&master, "#EXT-X-I-FRAME-STREAM-INF", name);
    assert_eq!(keyframes("URI").as_deref(), Some("source/iframes.m3u8"));
    assert_eq!(keyframes("RESOLUTION").as_deref(), Some("160x96"));
    let playlist = text(&source, Asset::Keyframes).await;
    assert!(playlist.contains("#EXT-X-I-FRAMES-ONLY\n"), "{playlist}");
    let package = open(&source).await;
    let lengths =
        playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:")?.strip_suffix("@0"));
    let lengths: Vec<usize> = lengths.map(|length| length.parse().unwrap()).collect();
    assert_eq!(lengths.len(), package.segmentation.video.len());
    for (number, length) in (1..).zip(lengths) {
        let segment = bytes_of(&package, &source, Asset::Segment(Rendition::Source, number));
        let data = find(&segment, *b"mdat").unwrap().unwrap().body_start;
        let first = package.segmentation.video[number as usize - 1].samples.start;
        let picture = package.movie.video.as_ref().unwrap().samples.get(first).unwrap();
        assert!(picture.keyframe);
        assert_eq!(length, data + picture.size as usize, "segment {number}");
    }
}
