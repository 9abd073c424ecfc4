//! Clips are files of their own: ffprobe finds the packets of the source in them, and decoders have nothing to complain about.

use bytes::Bytes;

use super::fixture::{AAC, BOTH, H264, Memory, clip as make, complaints, ordinary, packets, remux};
use crate::media::video::{Error, Movie, Piece, Span, clip};

async fn cut(bytes: &Bytes, start: f64, end: Option<f64>) -> Result<Vec<u8>, Error> {
    let movie = Movie::open(&Memory::new(bytes.clone())).await?;
    let millis = |seconds: f64| (seconds * 1000.0) as u64;
    let splice = clip(&movie, Span { start_millis: millis(start), end_millis: end.map(millis) })?;
    let mut out = Vec::new();
    for piece in splice.pieces(0..splice.len) {
        match piece {
            Piece::Bytes(bytes) => out.extend(bytes),
            Piece::Source(stretch) => out.extend(stretch.cut(0, bytes).concat()),
        }
    }
    assert_eq!(out.len() as u64, splice.len);
    Ok(out)
}

fn hashes(bytes: &[u8], name: &str, stream: &str) -> Vec<String> {
    packets(bytes, name, stream).into_iter().map(|packet| packet.hash).collect()
}

/// Seconds of the first and the end of the last packet.
fn span(bytes: &[u8], stream: &str, timescale: f64) -> (f64, f64) {
    let packets = packets(bytes, "clip-span.mp4", stream);
    let first = packets.iter().map(|packet| packet.pts).min().unwrap();
    let last = packets.iter().map(|packet| packet.pts + packet.duration).max().unwrap();
    (first as f64 / timescale, last as f64 / timescale)
}

#[tokio::test]
async fn from_keyframe_to_end() {
    let source = ordinary();
    let all = hashes(&source, "clip-source.mp4", "v:0");
    for (start, end, first, last) in [
        (0.0, None, 0, 200),
        (2.0, Some(4.0), 50, 100),
        (2.9, Some(4.0), 50, 100),
        (7.99, None, 175, 200),
        (0.0, Some(0.04), 0, 1),
    ] {
        let made = cut(&source, start, end).await.unwrap();
        let found = hashes(&made, "clip.mp4", "v:0");
        // B-frames: the last pictures in decoding order may be shown later than the end.
        assert!(found.len().abs_diff(last - first) <= 2, "{start}-{end:?}: {} pictures", found.len());
        assert!(found == all[first..first + found.len()], "{start}-{end:?}");
        assert_eq!(complaints(&made, "clip-decoded.mp4"), "", "{start}-{end:?}");
        let (begins, ends) = span(&made, "v:0", 12800.0);
        let seconds = (last - first) as f64 / 25.0;
        assert!(begins.abs() < 0.001 && (ends - seconds).abs() <= 0.081, "{start}-{end:?}: {begins}-{ends}");
        // Sound begins with the picture, to a thousandth: what comes earlier is passed over.
        let (_, sound_ends) = span(&made, "a:0", 48000.0);
        let wanted = end.unwrap_or(8.0) - first as f64 / 25.0;
        assert!(
            (sound_ends - wanted).abs() < 0.03,
            "{start}-{end:?}: sound until {sound_ends}, not {wanted}"
        );
    }
}

#[tokio::test]
async fn sound_stays_with_the_picture() {
    // A flash and a click at each whole second.
    let flash = [
        "-filter_complex",
        "[0:v]geq=lum='if(lt(mod(T,1),0.04),235,16)':cb=128:cr=128[v];[1:a]volume='if(lt(mod(t,1),0.04),1,0)':eval=frame[a]",
    ];
    let source =
        make("flash.mp4", 8.0, "25", &[&flash[..], &["-map", "[v]", "-map", "[a]"], &H264, &AAC].concat());
    let made = cut(&source, 3.5, Some(7.0)).await.unwrap();
    let path = super::fixture::folder().join("flash-clip.mp4");
    std::fs::write(&path, &made).unwrap();
    let decode = |arguments: &[&str]| {
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(&path).args(arguments);
        ffmpeg.output().unwrap().stdout
    };
    let sound = decode(&["-map", "0:a", "-ac", "1", "-ar", "8000", "-f", "u8", "-"]);
    let first = sound.iter().position(|value| value.abs_diff(128) > 10).unwrap();
    assert!(first < 8000 / 20, "the first click after {} s", first as f64 / 8000.0);
    let second = sound[4000..].iter().position(|value| value.abs_diff(128) > 10).unwrap() + 4000;
    assert!((second as f64 / 8000.0 - 1.0).abs() < 0.05, "the second after {} s", second as f64 / 8000.0);
    let picture = decode(&["-map", "0:v", "-vf", "scale=1:1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]);
    assert!(picture[0] > 150 && picture[10] < 60 && picture[25] > 150, "{:?}", &picture[..30]);
}

#[tokio::test]
async fn all_kinds_of_sources() {
    ordinary();
    let open_gop = ["-x264-params", "open-gop=1:scenecut=0", "-bf", "3"];
    let sources = [
        ("no sound", make("clip-mute.mp4", 6.0, "30000/1001", &[&["-map", "0:v"], &H264[..]].concat())),
        ("sound alone", make("clip-sound.m4a", 6.0, "25", &[&["-map", "1:a"], &AAC[..]].concat())),
        ("open GOPs", make("clip-open.mp4", 6.0, "25", &[&BOTH[..], &H264, &AAC, &open_gop].concat())),
        (
            "fragments",
            remux("clip-frag.mp4", "ordinary.mp4", &[], &["-movflags", "+frag_keyframe+empty_moov"]),
        ),
        ("turned", remux("portrait.mp4", "ordinary.mp4", &[], &["-metadata:s:v:0", "rotate=90"])),
    ];
    for (what, source) in sources {
        for (start, end) in [(0.0, None), (2.3, Some(5.0)), (5.5, None)] {
            let made =
                cut(&source, start, end).await.unwrap_or_else(|error| panic!("{what} {start}: {error}"));
            assert_eq!(complaints(&made, "clip-kind.mp4"), "", "{what} from {start}");
            // Clips of clips.
            let again = cut(&made.clone().into(), 0.0, None).await.unwrap();
            assert_eq!(complaints(&again, "clip-again.mp4"), "", "{what} from {start}");
        }
        for (start, end) in [(9.0, None), (1e6, None), (3.0, Some(3.0)), (4.0, Some(3.0))] {
            assert!(
                matches!(cut(&source, start, end).await, Err(Error::Unsupported { .. })),
                "{what} {start}"
            );
        }
    }
}
