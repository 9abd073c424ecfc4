//! Stills are the very pictures that ffmpeg finds in the whole file, from a few reads.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;

use super::fixture::{AAC, BOTH, H264, Memory, clip, folder, ordinary, remux};
use crate::media::ffmpeg::{self, Ffmpeg};
use crate::media::video::{Error, Movie, PosterError, RawImage, poster};

fn real() -> Ffmpeg {
    Ffmpeg::new("ffmpeg", Duration::from_secs(30))
}

async fn still(bytes: &Bytes, seconds: f64, max_width: u32) -> Result<RawImage, PosterError> {
    let source = Memory::new(bytes.clone());
    let movie = Movie::open(&source).await.unwrap();
    poster(&source, &movie, seconds, max_width, &real()).await
}

/// Picture `number` (from 0, in presentation order) of a whole file, turned upright.
fn picture(name: &str, number: u32) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(folder().join(name))
        .args(["-map", "0:v:0", "-vf", &format!("select=eq(n\\,{number})"), "-frames:v", "1"])
        .args(["-vsync", "0", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn assert_picture(name: &str, source: &Bytes, seconds: f64, number: u32) {
    let image = still(source, seconds, 4096).await.unwrap_or_else(|e| panic!("{name} at {seconds}: {e}"));
    let expected = picture(name, number);
    assert_eq!(image.rgb.len(), expected.len(), "{name} at {seconds}");
    assert!(image.rgb == expected, "{name} at {seconds} is not picture {number}");
}

#[tokio::test]
async fn the_picture_at_a_time() {
    let source = ordinary();
    // Within one GOP with B-frames, at both ends, and beyond.
    let cases = [(0.0, 0), (0.039, 0), (0.04, 1), (0.2, 5), (1.0, 25), (3.3, 82), (3.36, 84), (7.96, 199)];
    for (seconds, number) in cases {
        assert_picture("ordinary.mp4", &source, seconds, number).await;
    }
    for seconds in [8.0, 1e9, f64::MAX] {
        assert_picture("ordinary.mp4", &source, seconds, 199).await;
    }
}

#[tokio::test]
async fn pictures_before_the_keyframe_of_an_open_gop() {
    let open_gop = ["-x264-params", "open-gop=1:scenecut=0", "-bf", "3"];
    let source = clip("open-gop.mp4", 6.0, "25", &[&["-map", "0:v"], &H264[..], &open_gop].concat());
    for number in 20..32 {
        assert_picture("open-gop.mp4", &source, f64::from(number) / 25.0, number).await;
    }
}

#[tokio::test]
async fn rotation_is_applied() {
    ordinary();
    let source = remux("portrait.mp4", "ordinary.mp4", &[], &["-metadata:s:v:0", "rotate=90"]);
    let image = still(&source, 1.0, 4096).await.unwrap();
    assert_eq!((image.width, image.height), (96, 160));
    assert_picture("portrait.mp4", &source, 1.0, 25).await;
    let image = still(&source, 1.0, 48).await.unwrap();
    assert_eq!((image.width, image.height), (48, 80));
}

#[tokio::test]
async fn width_is_bounded_and_never_above_the_source() {
    let source = ordinary();
    for (max_width, expected) in [(80, (80, 48)), (0, (16, 10)), (u32::MAX, (160, 96)), (81, (81, 49))] {
        let image = still(&source, 2.0, max_width).await.unwrap();
        assert_eq!((image.width, image.height), expected);
        assert_eq!(image.rgb.len() as u32, image.width * image.height * 3);
    }
}

#[tokio::test]
async fn only_the_samples_needed_are_read() {
    let bytes = clip("long.mp4", 12.0, "25", &[&BOTH[..], &H264, &AAC].concat());
    let source = Memory::new(bytes);
    let movie = Movie::open(&source).await.unwrap();
    source.reads.lock().clear();
    poster(&source, &movie, 6.0, 160, &real()).await.unwrap();
    // The picture is a keyframe.
    let key = movie.video.as_ref().unwrap().samples.get(150).unwrap();
    assert!(key.keyframe);
    let expected = key.offset..key.offset + u64::from(key.size);
    assert_eq!(*source.reads.lock(), vec![expected]);
}

#[tokio::test]
async fn what_is_no_time_or_no_picture() {
    let source = ordinary();
    for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001] {
        assert!(matches!(still(&source, seconds, 160).await, Err(PosterError::InvalidTime)), "{seconds}");
    }
    let sound = clip("sound.m4a", 5.0, "25", &[&["-map", "1:a"], &AAC[..]].concat());
    assert!(matches!(still(&sound, 0.0, 160).await, Err(PosterError::Video(Error::NotFound))));
}

#[tokio::test]
async fn garbage_in_place_of_pictures_is_an_error() {
    let source = ordinary();
    let movie = Movie::open(&Memory::new(source.clone())).await.unwrap();
    let mut garbage = source.to_vec();
    let moov = source.windows(4).rposition(|window| window == b"moov").unwrap();
    garbage[48..moov - 4].fill(0xa5);
    let result = poster(&Memory::new(garbage), &movie, 3.0, 160, &real()).await;
    assert!(
        matches!(
            &result,
            Err(PosterError::Ffmpeg(ffmpeg::Error::Failed { .. })
                | PosterError::Video(Error::Malformed { .. }))
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn without_ffmpeg_the_error_says_so() {
    let source = Memory::new(ordinary());
    let movie = Movie::open(&source).await.unwrap();
    let missing = Ffmpeg::new("/nowhere/ffmpeg", Duration::from_secs(1));
    let result = poster(&source, &movie, 0.0, 160, &missing).await;
    assert!(matches!(result, Err(PosterError::Ffmpeg(ffmpeg::Error::Missing { .. }))));
}
