//! Init and media segments joined give exactly the packets and times of the source.

use bytes::Bytes;
use mp4_atom::{Any, DecodeMaybe as _, Moof};

use super::fixture::{AAC, BOTH, H264, clip, complaints, joined, open, ordinary, packets, remux};
use crate::media::video::{Asset, Error, Rendition};

/// Decode and presentation time of each sample, and whether decoding can start there, as the fragments say it.
fn fragment_times(joined: &[u8]) -> Vec<(i64, i64, bool)> {
    let mut times = Vec::new();
    let mut rest = joined;
    let mut media_time = 0;
    while let Some(found) = Any::decode_maybe(&mut rest).unwrap() {
        match found {
            Any::Moov(moov) => {
                assert_eq!(moov.trak.len(), 1);
                let elst = moov.trak[0].edts.as_ref().and_then(|edts| edts.elst.as_ref());
                media_time = elst.map_or(0, |elst| elst.entries[0].media_time.unwrap() as i64);
            }
            Any::Moof(Moof { traf, .. }) => {
                let mut decode = traf[0].tfdt.as_ref().unwrap().base_media_decode_time as i64;
                let tfhd = &traf[0].tfhd;
                for entry in &traf[0].trun[0].samples {
                    let flags = entry.flags.or(tfhd.default_sample_flags).unwrap();
                    let presented = decode + entry.cts.unwrap_or(0) - media_time;
                    times.push((decode, presented, flags & 0x1_0000 == 0));
                    decode += i64::from(entry.duration.or(tfhd.default_sample_duration).unwrap());
                }
            }
            _ => {}
        }
    }
    times
}

/// Joins `rendition` and compares it with stream `stream` of the source, packet by packet: bytes, flags, times less one
/// constant. Presentation times are later than those of the source by `shift`.
async fn assert_same(name: &str, source: &Bytes, rendition: Rendition, stream: &str, shift: i64) {
    let joined = joined(&open(source).await, source, rendition);
    let expected = packets(source, &format!("{name}-source.mp4"), stream);
    let actual = packets(&joined, &format!("{name}-{rendition}.mp4"), "0");
    assert_eq!(actual.len(), expected.len(), "{name}: packets");
    // ffprobe moves all presentation times when composition offsets are negative; the exact ones are compared below.
    let (decode_offset, offset) = (actual[0].dts - expected[0].dts, actual[0].pts - expected[0].pts);
    for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        assert_eq!(actual.hash, expected.hash, "{name}: bytes of packet {i}");
        assert_eq!(actual.pts - expected.pts, offset, "{name}: presentation time of packet {i}");
        assert_eq!(actual.dts - expected.dts, decode_offset, "{name}: decode time of packet {i}");
        assert_eq!(actual.key, expected.key, "{name}: flags of packet {i}");
    }
    let times = fragment_times(&joined);
    assert_eq!(times.len(), expected.len(), "{name}: samples");
    for (i, (time, expected)) in times.iter().zip(&expected).enumerate() {
        assert_eq!(time.1 - expected.pts, shift, "{name}: exact presentation time of sample {i}");
        assert_eq!(time.2, expected.key, "{name}: flags of sample {i}");
    }
    assert_eq!(complaints(&joined, &format!("{name}-{rendition}.mp4")), "", "{name}: decoding");
}

#[tokio::test]
async fn ordinary_video_and_sound_are_complete() {
    let source = ordinary();
    assert_same("ordinary", &source, Rendition::Source, "v:0", 0).await;
    assert_same("ordinary", &source, Rendition::SourceAudio(0), "a:0", 0).await;
    let package = open(&source).await;
    assert_eq!(package.segmentation.video.len(), 4);
    assert_eq!(package.segmentation.audio[0].len(), 4);
    // Two seconds each, and the first picture at zero in both orders.
    let video = package.movie.video.as_ref().unwrap();
    let ends: Vec<_> = package.segmentation.video.iter().map(|s| (s.start, s.end)).collect();
    let two = i64::from(video.timescale) * 2;
    assert_eq!(ends, [(0, two), (two, two * 2), (two * 2, two * 3), (two * 3, two * 4)]);
    let times = fragment_times(&joined(&package, &source, Rendition::Source));
    assert_eq!((times[0].0, times[0].1), (0, 0));
    assert!(times.iter().any(|time| time.1 < time.0), "B-frames make offsets negative");
}

#[tokio::test]
async fn rational_rates_long_gops_and_front_moov() {
    let arguments = [&BOTH[..], &H264, &["-g", "45", "-bf", "3", "-movflags", "+faststart"], &AAC].concat();
    let source = clip("rational.mp4", 7.0, "30000/1001", &arguments);
    assert_same("rational", &source, Rendition::Source, "v:0", 0).await;
    assert_same("rational", &source, Rendition::SourceAudio(0), "a:0", 0).await;
}

#[tokio::test]
async fn video_alone_and_sound_alone() {
    let source = clip("mute.mp4", 5.0, "25", &[&["-map", "0:v"], &H264[..]].concat());
    assert_same("mute", &source, Rendition::Source, "v:0", 0).await;
    let package = open(&source).await;
    let asset = Asset::Init(Rendition::SourceAudio(0));
    assert!(matches!(package.asset(&asset), Err(Error::NotFound)));

    let source = clip("sound.m4a", 5.0, "25", &[&["-map", "1:a"], &AAC[..]].concat());
    assert_same("sound", &source, Rendition::SourceAudio(0), "a:0", 0).await;
    let package = open(&source).await;
    assert_eq!(package.segmentation.audio[0].len(), 3, "cut every two seconds");
    assert!(matches!(package.asset(&Asset::Init(Rendition::Source)), Err(Error::NotFound)));
}

#[tokio::test]
async fn two_sound_tracks_are_two_renditions() {
    let languages = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"];
    let arguments =
        [&BOTH[..], &["-map", "1:a", "-filter:a:1", "volume=0.5"], &H264, &AAC, &languages].concat();
    let source = clip("bilingual.mp4", 4.0, "25", &arguments);
    assert_same("bilingual", &source, Rendition::SourceAudio(0), "a:0", 0).await;
    assert_same("bilingual", &source, Rendition::SourceAudio(1), "a:1", 0).await;
    let movie = open(&source).await.movie;
    let languages: Vec<_> = movie.audio.iter().map(|track| track.language.as_deref()).collect();
    assert_eq!(languages, [Some("eng"), Some("deu")]);
}

#[tokio::test]
async fn open_gops_and_variable_rates_keep_every_picture() {
    let open_gop = ["-x264-params", "open-gop=1:scenecut=0", "-bf", "3"];
    let source = clip("open-gop.mp4", 6.0, "25", &[&["-map", "0:v"], &H264[..], &open_gop].concat());
    assert_same("open-gop", &source, Rendition::Source, "v:0", 0).await;

    // Drops pictures at random, so that durations differ.
    let drop = ["-vf", "select='not(eq(mod(n,7),3))*not(eq(mod(n,11),5))'", "-vsync", "vfr"];
    let source = clip("variable.mp4", 6.0, "30", &[&["-map", "0:v"], &drop[..], &H264].concat());
    assert_same("variable", &source, Rendition::Source, "v:0", 0).await;
}

#[tokio::test]
async fn signed_composition_offsets_need_no_edit_list() {
    let flags = ["-movflags", "+negative_cts_offsets"];
    let source = clip("signed.mp4", 4.0, "25", &[&["-map", "0:v"], &H264[..], &flags].concat());
    assert_same("signed", &source, Rendition::Source, "v:0", 0).await;
}

#[tokio::test]
async fn other_codecs_pass_through() {
    let x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-pix_fmt", "yuv420p10le"];
    let quiet = ["-x265-params", "log-level=none:keyint=25:pools=1:frame-threads=1"];
    let source = clip("hevc.mp4", 3.0, "25", &[&["-map", "0:v"], &x265[..], &quiet].concat());
    assert_same("hevc", &source, Rendition::Source, "v:0", 0).await;
    let codec = open(&source).await.movie.video.unwrap().codec;
    assert!(codec.starts_with("hvc1.2.4.L30."), "{codec}");

    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"];
    let opus = ["-map", "1:a", "-c:a", "libopus", "-map", "1:a", "-c:a:1", "flac", "-strict", "-2"];
    let source = clip("vp9.mp4", 3.0, "25", &[&["-map", "0:v"], &vp9[..], &opus].concat());
    assert_same("vp9", &source, Rendition::Source, "v:0", 0).await;
    assert_same("vp9-opus", &source, Rendition::SourceAudio(0), "a:0", 0).await;
    assert_same("vp9-flac", &source, Rendition::SourceAudio(1), "a:1", 0).await;
    let movie = open(&source).await.movie;
    assert_eq!(movie.video.unwrap().codec, "vp09.00.10.08");
    assert_eq!(movie.audio[0].codec, "opus");
    assert_eq!(movie.audio[1].codec, "fLaC");
}

#[tokio::test]
async fn quicktime_files_become_iso_files() {
    let source = clip("quick.mov", 4.0, "25", &[&BOTH[..], &H264, &AAC].concat());
    assert_same("quick", &source, Rendition::Source, "v:0", 0).await;
    assert_same("quick", &source, Rendition::SourceAudio(0), "a:0", 0).await;
}

#[tokio::test]
async fn rotation_is_reported_and_kept() {
    ordinary();
    for (degrees, shown) in [(90, (96, 160)), (180, (160, 96)), (270, (96, 160))] {
        // ffmpeg counts anticlockwise.
        let metadata = ["-metadata:s:v:0", &format!("rotate={}", 360 - degrees)];
        let source = remux(&format!("turned-{degrees}.mp4"), "ordinary.mp4", &[], &metadata);
        let package = open(&source).await;
        let crate::media::video::Format::Video(format) = package.movie.video.as_ref().unwrap().format else {
            panic!("not a video")
        };
        assert_eq!(format.rotation, degrees);
        assert_eq!(format.shown(), shown);
        let name = format!("turned-{degrees}");
        assert_same(&name, &source, Rendition::Source, "v:0", 0).await;
    }
}

#[tokio::test]
async fn a_late_track_stays_late() {
    ordinary();
    let late = ["-itsoffset", "1.5", "-i"];
    let folder = super::fixture::folder().join("ordinary.mp4");
    let path = folder.to_str().unwrap();
    let arguments = [&["-i", path], &late[..], &[path, "-map", "0:v", "-map", "1:a", "-c", "copy"]].concat();
    let source = super::fixture::ffmpeg("late-sound.mp4", &arguments);
    assert_same("late-sound", &source, Rendition::Source, "v:0", 0).await;
    assert_same("late-sound", &source, Rendition::SourceAudio(0), "a:0", 0).await;
    let package = open(&source).await;
    // 1.5 s, less what ffmpeg moved the first packet forward when it copied it.
    let first = packets(&source, "late-sound-source.mp4", "a:0")[0].pts;
    assert!(first > 48_000);
    assert_eq!(package.segmentation.audio[0][0].start, first);
}

#[tokio::test]
async fn what_an_edit_list_cuts_away_is_not_shown() {
    ordinary();
    // Starts at 2.3 s: ffmpeg keeps all from the keyframe at 2 s on, and tells players to skip 0.3 s.
    let source = remux("trimmed.mp4", "ordinary.mp4", &["-ss", "2.3"], &[]);
    let package = open(&source).await;
    let video = package.movie.video.as_ref().unwrap();
    let times = fragment_times(&joined(&package, &source, Rendition::Source));
    assert_eq!((times[0].0, times[0].1), (0, 0), "starts with the keyframe");
    assert_eq!(times.len() as u32, video.end - video.first);

    // Sound is where it was relative to the pictures.
    let sound = fragment_times(&joined(&package, &source, Rendition::SourceAudio(0)));
    let pictures = packets(&source, "trimmed-source.mp4", "v:0");
    let packets = packets(&source, "trimmed-source.mp4", "a:0");
    let kept = packets.len() - sound.len();
    assert!(kept <= 64, "only sound before the start is left out");
    let audio_scale = f64::from(package.movie.audio[0].timescale);
    let video_scale = f64::from(video.timescale);
    // What ffmpeg says of the first picture is rounded to a multiple of picture durations.
    let first_picture = -0.3;
    assert!((pictures[0].pts as f64 / video_scale - first_picture).abs() < 0.04);
    for (sound, packet) in sound.iter().zip(&packets[kept..]) {
        let (ours, theirs) = (sound.1 as f64 / audio_scale, packet.pts as f64 / audio_scale);
        assert!((ours - (theirs - first_picture)).abs() < 0.002, "{ours} against {theirs} - {first_picture}");
    }
}
