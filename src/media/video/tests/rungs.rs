//! Rungs joined from their segments: every picture once, at the source's times, from sources of all kinds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::fixture::{
    AAC, BOTH, H264, Memory, Packet, clip, complaints, ffmpeg, folder, joined, ordinary, packets, remux,
};
use crate::media::Source;
use crate::media::encodes::Urgency;
use crate::media::ffmpeg::Ffmpeg;
use crate::media::video::boxes::{be_u64, find, require};
use crate::media::video::{
    Asset, Choice, Encoder, Ladder, Movie, Package, Rendition, Step, TranscodeError, Transcoder,
};

const RUNG: u16 = 48;

async fn package(bytes: &Bytes) -> Arc<Package> {
    let movie = Movie::open(&Memory::new(bytes.clone())).await.unwrap();
    let ladder = Ladder::new([Step { height: RUNG, kbps: 100 }]);
    Arc::new(Package::new(movie, Duration::from_secs(2), &ladder).unwrap())
}

async fn transcoder() -> Arc<Transcoder> {
    let ffmpeg = Ffmpeg::new("ffmpeg", Duration::from_secs(60));
    Arc::new(Transcoder::find(&ffmpeg, Choice::Named(Encoder::X264)).await.unwrap().unwrap())
}

struct Made {
    init: Bytes,
    segments: Vec<Bytes>,
    /// Bytes read of the source for each segment.
    read: Vec<u64>,
}

async fn segment(
    transcoder: &Arc<Transcoder>,
    package: &Arc<Package>,
    source: Arc<dyn Source>,
    number: u32,
    entry: Bytes,
) -> Result<Vec<Bytes>, TranscodeError> {
    let made = transcoder.clone().segment(source, package.clone(), (RUNG, number), entry, Urgency::First);
    made.collect::<Vec<_>>().await.into_iter().collect()
}

async fn make(bytes: &Bytes) -> Made {
    let (transcoder, package) = (transcoder().await, package(bytes).await);
    let memory = Memory::new(bytes.clone());
    let entry = transcoder.entry(&memory, &package, RUNG).await.unwrap();
    let init = Transcoder::init(&package, RUNG, &entry).unwrap();
    let (mut segments, mut read) = (Vec::new(), Vec::new());
    for number in 1..=package.segmentation.video.len() as u32 {
        let source = Arc::new(Memory::new(bytes.clone()));
        let pieces = segment(&transcoder, &package, source.clone(), number, entry.clone()).await.unwrap();
        segments.push(pieces.concat().into());
        read.push(source.bytes_read());
    }
    Made { init, segments, read }
}

fn whole(made: &Made) -> Vec<u8> {
    let mut all = made.init.to_vec();
    made.segments.iter().for_each(|segment| all.extend(segment));
    all
}

/// Times of presentation, ascending.
fn shown(packets: &[Packet]) -> Vec<i64> {
    let mut times: Vec<_> = packets.iter().map(|packet| packet.pts).collect();
    times.sort_unstable();
    times
}

/// Decode time of a media segment.
fn decode_time(segment: &[u8]) -> u64 {
    let traf = require(find(segment, *b"moof").unwrap().unwrap().body, *b"traf").unwrap();
    be_u64(require(traf, *b"tfdt").unwrap(), 4).unwrap()
}

/// A rung has the pictures of the source's own rendition.
async fn check(name: &str, bytes: &Bytes, count: usize) -> Made {
    let made = make(bytes).await;
    let package = package(bytes).await;
    let all = whole(&made);
    let found = packets(&all, &format!("rung-of-{name}"), "v:0");
    let source = packets(&joined(&package, bytes, Rendition::Source), &format!("source-of-{name}"), "v:0");
    assert_eq!((source.len(), found.len()), (count, count), "{name}");
    let (times, expected) = (shown(&found), shown(&source));
    let steps = |times: &[i64]| times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    assert_eq!(steps(&times), steps(&expected), "{name}");
    let decoded: Vec<_> = found.iter().map(|packet| packet.dts).collect();
    assert!(decoded.is_sorted_by(|one, next| one < next), "{name}: {decoded:?}");
    assert_eq!(complaints(&all, &format!("rung-of-{name}")), "", "{name}");
    let keys = found.iter().filter(|packet| packet.key).count();
    assert_eq!(keys, made.segments.len(), "{name}: one keyframe for each segment");
    if name != "open.mp4" {
        for (number, segment) in (1..).zip(&made.segments) {
            let own = super::fixture::bytes_of(&package, bytes, Asset::Segment(Rendition::Source, number));
            assert_eq!(decode_time(segment), decode_time(&own), "{name}: segment {number}");
        }
    }
    made
}

#[tokio::test]
async fn ordinary_files() {
    let bytes = ordinary();
    let made = check("ordinary.mp4", &bytes, 200).await;
    assert!(made.segments.len() >= 4);
    // Only the segment's own bytes and the sound between them are read.
    let package = package(&bytes).await;
    for (number, read) in (1..).zip(&made.read) {
        let own = package.asset(&Asset::Segment(Rendition::Source, number)).unwrap().len;
        assert!(*read <= own + 20_000, "{read} bytes for a segment of {own}");
    }
    // Again, the same bytes.
    let again = make(&bytes).await;
    assert!(again.init == made.init && again.segments == made.segments);
    // What playlists say is what was made.
    let (_, rung) = package.rung(RUNG).unwrap();
    let avcc = made.init.windows(4).position(|kind| kind == b"avcC").unwrap() + 4;
    let [profile, constraints, level] = made.init[avcc + 1..avcc + 4] else { unreachable!() };
    assert_eq!(rung.codec(), format!("avc1.{profile:02x}{constraints:02x}{level:02x}"));
    assert_eq!((rung.width, rung.height), (80, 48));
}

#[tokio::test]
async fn first_pieces_leave_before_the_last_are_made() {
    let bytes = ordinary();
    let (transcoder, package) = (transcoder().await, package(&bytes).await);
    let memory = Arc::new(Memory::new(bytes));
    let entry = transcoder.entry(&*memory, &package, RUNG).await.unwrap();
    let pieces = segment(&transcoder, &package, memory, 1, entry).await.unwrap();
    assert!(pieces.len() >= 4, "two seconds in {} pieces", pieces.len());
    assert!(pieces.iter().all(|piece| find(piece, *b"moof").unwrap().is_some()), "each can be played");
}

#[tokio::test]
async fn rates_and_times() {
    let fractional = clip("rung-2997.mp4", 6.0, "30000/1001", &[&BOTH[..], &H264, &AAC].concat());
    check("2997.mp4", &fractional, 180).await;
    let varying = ["-vf", "select=not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,11)\\,5))", "-vsync", "vfr"];
    let varying = clip("rung-vfr.mp4", 6.0, "25", &[&BOTH[..], &varying, &H264, &AAC].concat());
    let count = package(&varying).await.movie.video.as_ref().unwrap().samples.count() as usize;
    assert!(count < 130, "{count}");
    check("vfr.mp4", &varying, count).await;
    let quicktime = clip("rung.mov", 4.0, "24", &[&BOTH[..], &H264, &AAC].concat());
    check("quicktime.mov", &quicktime, 96).await;
}

#[tokio::test]
async fn a_long_segment_has_keyframes_in_it() {
    let rare = ["-map", "0:v", "-g", "300", "-keyint_min", "300"];
    let rare = clip("rung-rare.mp4", 6.0, "25", &[&H264[..], &rare].concat());
    let made = make(&rare).await;
    assert_eq!(made.segments.len(), 1);
    let found = packets(&whole(&made), "rung-of-rare.mp4", "v:0");
    let keys = (0..).zip(&found).filter(|(_, packet)| packet.key).map(|(index, _)| index);
    assert_eq!(keys.collect::<Vec<u32>>(), [0, 50, 100]);
}

#[tokio::test]
async fn pictures_before_their_keyframe() {
    let open = ["-x264-params", "open-gop=1", "-bf", "3", "-g", "60"];
    let open = clip("rung-open.mp4", 8.0, "30000/1001", &[&BOTH[..], &H264, &open, &AAC].concat());
    check("open.mp4", &open, 240).await;
    // Begun at a keyframe in the middle, its first pictures refer to what is not there.
    let package = package(&open).await;
    let track = package.movie.video.as_ref().unwrap();
    let key = package.segmentation.video[1].samples.start;
    let (one, next) = (track.samples.get(key).unwrap(), track.samples.get(key + 1).unwrap());
    assert!(next.composition_time() < one.composition_time(), "this file is not what it should be");
}

#[tokio::test]
async fn edit_lists_and_places_of_the_index() {
    ordinary();
    let front = remux("rung-front.mp4", "ordinary.mp4", &[], &["-movflags", "+faststart"]);
    check("front.mp4", &front, 200).await;
    // From the middle of a group of pictures: an edit list skips what is before.
    let cut = remux("rung-cut.mp4", "ordinary.mp4", &["-ss", "2.5"], &[]);
    let package = package(&cut).await;
    let track = package.movie.video.as_ref().unwrap();
    check("cut.mp4", &cut, (track.end - track.first) as usize).await;
}

#[tokio::test]
async fn turned_pictures_are_made_upright() {
    ordinary();
    let turned = remux("rung-turned.mp4", "ordinary.mp4", &[], &["-metadata:s:v:0", "rotate=90"]);
    check("turned.mp4", &turned, 200).await;
    let package = package(&turned).await;
    let (_, rung) = package.rung(RUNG).unwrap();
    assert_eq!((rung.width, rung.height), (48, 80));
}

#[tokio::test]
async fn with_and_without_sound() {
    let silent = clip("rung-silent.mp4", 4.0, "25", &[&["-map", "0:v"][..], &H264].concat());
    check("silent.mp4", &silent, 100).await;
    let two = clip("rung-two.mp4", 4.0, "25", &[&BOTH[..], &["-map", "1:a"], &H264, &AAC].concat());
    check("two.mp4", &two, 100).await;
    let sound = clip("rung-sound.m4a", 4.0, "25", &[&["-map", "1:a"][..], &AAC].concat());
    assert!(package(&sound).await.rungs.is_empty());
}

#[tokio::test]
async fn other_codecs_and_depths() {
    let deep =
        ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le", "-g", "25", "-threads", "1"];
    let deep = clip("rung-deep.mp4", 4.0, "25", &[&BOTH[..], &deep, &AAC].concat());
    check("deep.mp4", &deep, 100).await;
    let hevc = [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-tag:v",
        "hvc1",
        "-x265-params",
        "log-level=none:keyint=25",
    ];
    let hevc = clip("rung-hevc.mp4", 4.0, "25", &[&BOTH[..], &hevc, &AAC].concat());
    check("hevc.mp4", &hevc, 100).await;
    // A player that cannot play the source finds what it can play in a set of its own.
    let manifest = package(&hevc).await.asset(&Asset::Manifest).unwrap().header;
    let manifest = String::from_utf8(manifest.to_vec()).unwrap();
    let sets: Vec<_> = manifest.split("<AdaptationSet").skip(1).collect();
    assert_eq!(sets.len(), 3, "{manifest}");
    assert!(sets[0].contains("\"hvc1.") && !sets[0].contains("\"avc1."), "{manifest}");
    assert!(sets[1].contains("id=\"48p\"") && sets[1].contains("\"avc1."), "{manifest}");
}

#[tokio::test]
async fn rates_keep_within_what_is_promised() {
    // Noise costs as many bits as it may.
    let noise = ["-f", "lavfi", "-i", "nullsrc=size=320x240:rate=25:duration=8,geq=random(1)*255:128:128"];
    let noise = ffmpeg("rung-noise.mp4", &[&noise[..], &H264].concat());
    let movie = Movie::open(&Memory::new(noise.clone())).await.unwrap();
    let ladder = Ladder::new([Step { height: RUNG, kbps: 300 }]);
    let package = Arc::new(Package::new(movie, Duration::from_secs(2), &ladder).unwrap());
    let transcoder = transcoder().await;
    let source = Arc::new(Memory::new(noise));
    let entry = transcoder.entry(&*source, &package, RUNG).await.unwrap();
    let master = package.asset(&Asset::Master).unwrap().header;
    let master = String::from_utf8(master.to_vec()).unwrap();
    let line = master.lines().find(|line| line.contains("RESOLUTION=64x48")).unwrap();
    let promised: u64 = line.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    for (index, cut) in package.segmentation.video.iter().enumerate() {
        let number = index as u32 + 1;
        let made = segment(&transcoder, &package, source.clone(), number, entry.clone()).await.unwrap();
        let track = package.movie.video.as_ref().unwrap();
        let bits = made.concat().len() as u64 * 8 * u64::from(track.timescale) / cut.duration();
        assert!(bits <= promised, "segment {number}: {bits} of {promised}");
        assert!(bits > promised / 4, "segment {number}: {bits} of {promised}");
    }
}

#[tokio::test]
async fn damaged_sources_end() {
    let mut bytes = ordinary().to_vec();
    let mdat = bytes.windows(4).position(|kind| kind == b"mdat").unwrap();
    let package = package(&bytes.clone().into()).await;
    bytes[mdat + 4..mdat + 60_000].fill(0xa5);
    let transcoder = transcoder().await;
    let source = Arc::new(Memory::new(bytes));
    let made = segment(&transcoder, &package, source, 1, Bytes::new()).await;
    assert!(matches!(made, Err(TranscodeError::NoPictures | TranscodeError::Ffmpeg(_))), "{made:?}");
    assert!(Transcoder::init(&package, 720, b"").is_err());
}

/// A stand-in for ffmpeg that can encode in hardware when tried out, and fails when it comes to it.
fn fake() -> std::path::PathBuf {
    let body = "#!/bin/sh\ncase \"$*\" in\n*lavfi*h264_nvenc*) echo encoded;;\n*h264_nvenc*) cat >/dev/null; echo no >&2; \
                exit 1;;\n*) exec ffmpeg \"$@\";;\nesac\n";
    let path = folder().join("fake-ffmpeg");
    // Another process writes it, or starting it might fail with "text file busy".
    let script = "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let written = std::process::Command::new("sh").args(["-c", script]).arg(&path).arg(body).status();
    assert!(written.unwrap().success());
    path
}

#[tokio::test]
async fn software_takes_over_where_hardware_fails() {
    let ffmpeg = Ffmpeg::new(fake(), Duration::from_secs(60));
    let hardware = Arc::new(Transcoder::find(&ffmpeg, Choice::Auto).await.unwrap().unwrap());
    assert_eq!(hardware.encoder(), Encoder::Nvenc);
    let bytes = ordinary();
    let (package, software) = (package(&bytes).await, transcoder().await);
    let source = Arc::new(Memory::new(bytes));
    let entry = software.entry(&*source, &package, RUNG).await.unwrap();
    let expected = segment(&software, &package, source.clone(), 2, entry.clone()).await.unwrap();
    let made = segment(&hardware, &package, source.clone(), 2, entry.clone()).await.unwrap();
    assert_eq!(made, expected);
    assert_eq!(hardware.encoder(), Encoder::X264, "and stays");
    // What players ask for first is what fails first.
    let hardware = Arc::new(Transcoder::find(&ffmpeg, Choice::Auto).await.unwrap().unwrap());
    assert_eq!(hardware.entry(&*source, &package, RUNG).await.unwrap(), entry);
    assert_eq!(hardware.encoder(), Encoder::X264);
}

#[tokio::test]
async fn another_description_is_sent_along() {
    let bytes = ordinary();
    let (transcoder, package) = (transcoder().await, package(&bytes).await);
    let source = Arc::new(Memory::new(bytes));
    let entry = transcoder.entry(&*source, &package, RUNG).await.unwrap();
    let usual = segment(&transcoder, &package, source.clone(), 1, entry.clone()).await.unwrap().concat();
    // As if players had been told something else.
    let other =
        segment(&transcoder, &package, source, 1, Bytes::from_static(b"other")).await.unwrap().concat();
    assert!(other.len() > usual.len() && other.len() < usual.len() + 100);
    let init = Transcoder::init(&package, RUNG, &entry).unwrap();
    assert_eq!(complaints(&[&init[..], &other].concat(), "rung-repeated.mp4"), "");
}
