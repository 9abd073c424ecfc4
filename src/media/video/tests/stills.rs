//! Storyboards, previews and loudness, from the bytes that they need.

use std::time::Duration;

use bytes::Bytes;

use super::fixture::{AAC, BOTH, H264, Memory, clip, open, ordinary, remux};
use crate::media::ffmpeg::Ffmpeg;
use crate::media::video::{Asset, Error, Movie, PosterError, loudness, preview, sprite};

fn real() -> Ffmpeg {
    Ffmpeg::new("ffmpeg", Duration::from_secs(30))
}

async fn cues(bytes: &Bytes) -> String {
    let package = open(bytes).await;
    let splice = package.asset(&Asset::Storyboard).unwrap();
    String::from_utf8(splice.header.to_vec()).unwrap()
}

/// Average of a tile, to tell colours apart.
fn average(rgb: &[u8], width: u32, (x, y, w, h): (u32, u32, u32, u32)) -> [u32; 3] {
    let mut sums = [0; 3];
    for row in y..y + h {
        for column in x..x + w {
            let at = ((row * width + column) * 3) as usize;
            sums.iter_mut().zip(&rgb[at..at + 3]).for_each(|(sum, value)| *sum += u32::from(*value));
        }
    }
    sums.map(|sum| sum / (w * h))
}

#[tokio::test]
async fn each_tile_shows_its_time() {
    // The brightness counts the seconds.
    let ramp = ["-map", "0:v", "-vf", "geq=lum='16+floor(T)*7':cb=128:cr=128"];
    let bytes = clip("ramp.mp4", 30.0, "25", &[&ramp[..], &H264].concat());
    let cues = cues(&bytes).await;
    assert_eq!(cues.matches(" --> ").count(), 30, "{cues}");
    assert!(cues.contains("00:00:26.000 --> 00:00:27.000\nstoryboard-2.webp#xywh=160,0,160,96"), "{cues}");
    let source = Memory::new(bytes.clone());
    let movie = Movie::open(&source).await.unwrap();
    source.reads.lock().clear();
    for (number, tiles) in [(1, 25), (2, 5)] {
        let sheet = sprite(&source, &movie, number, &real()).await.unwrap();
        assert_eq!((sheet.width, sheet.height), (800, 96 * tiles / 5));
        for tile in 0..tiles {
            let second = (number - 1) * 25 + tile;
            let [red, _, _] = average(&sheet.rgb, 800, (tile % 5 * 160 + 20, tile / 5 * 96 + 20, 100, 50));
            let expected = second * 7 * 255 / 219;
            assert!(red.abs_diff(expected) <= 5, "second {second}: {red}, not {expected}");
        }
    }
    // Keyframes alone have been read.
    let track = movie.video.as_ref().unwrap();
    let keyframes: u64 =
        track.samples.iter(0..track.end).filter(|s| s.keyframe).map(|s| u64::from(s.size)).sum();
    // Their first slices are looked at once before.
    assert!(source.bytes_read() <= 2 * keyframes, "{} bytes", source.bytes_read());
    assert!(matches!(sprite(&source, &movie, 3, &real()).await, Err(PosterError::Video(Error::NotFound))));
}

#[tokio::test]
async fn tiles_of_open_gops_and_turned_pictures() {
    let open_gop = ["-x264-params", "open-gop=1:scenecut=0", "-bf", "3"];
    let ramp = ["-map", "0:v", "-vf", "geq=lum='16+floor(T+0.02)*30':cb=128:cr=128"];
    let bytes = clip("open-gop-ramp.mp4", 6.0, "25", &[&ramp[..], &H264, &open_gop].concat());
    let movie = Movie::open(&Memory::new(bytes.clone())).await.unwrap();
    let sheet = sprite(&Memory::new(bytes), &movie, 1, &real()).await.unwrap();
    assert_eq!((sheet.width, sheet.height), (800, 192), "six tiles");
    let tiles: Vec<_> =
        (0..6).map(|n| average(&sheet.rgb, 800, (n % 5 * 160 + 20, n / 5 * 96 + 20, 100, 50))[0]).collect();
    assert!(tiles.is_sorted_by(|one, next| one + 20 < *next), "{tiles:?}");

    ordinary();
    let portrait = remux("portrait.mp4", "ordinary.mp4", &[], &["-metadata:s:v:0", "rotate=90"]);
    assert!(cues(&portrait).await.contains("#xywh=96,0,96,160"));
    let movie = Movie::open(&Memory::new(portrait.clone())).await.unwrap();
    let sheet = sprite(&Memory::new(portrait), &movie, 1, &real()).await.unwrap();
    assert_eq!((sheet.width, sheet.height), (480, 320));
}

#[tokio::test]
async fn a_tile_that_cannot_be_decoded_moves_no_other() {
    let ramp = ["-map", "0:v", "-vf", "geq=lum='16+floor(T)*7':cb=128:cr=128"];
    let good = clip("ramp.mp4", 30.0, "25", &[&ramp[..], &H264].concat());
    let movie = Movie::open(&Memory::new(good.clone())).await.unwrap();
    let track = movie.video.as_ref().unwrap();
    let broken = track.samples.iter(0..track.end).filter(|sample| sample.keyframe).nth(4).unwrap();
    let mut bytes = good.to_vec();
    bytes[broken.offset as usize..broken.offset as usize + broken.size as usize].fill(0xff);
    let sheet = sprite(&Memory::new(bytes), &movie, 1, &real()).await.unwrap();
    let red = |tile: u32| average(&sheet.rgb, 800, (tile % 5 * 160 + 20, tile / 5 * 96 + 20, 100, 50))[0];
    for tile in [0, 3, 5, 24] {
        assert!(red(tile).abs_diff(tile * 7 * 255 / 219) <= 5, "tile {tile}: {}", red(tile));
    }
}

#[tokio::test]
async fn previews_move() {
    let source = Memory::new(ordinary());
    let movie = Movie::open(&source).await.unwrap();
    source.reads.lock().clear();
    let frames = preview(&source, &movie, &real()).await.unwrap();
    assert_eq!((frames.width, frames.height, frames.millis), (160, 96, 125));
    let each = 160 * 96 * 3;
    let count = frames.rgb.len() / each;
    assert!((23..=24).contains(&count), "{count} pictures");
    assert!(frames.rgb.chunks(each).is_sorted_by(|one, next| one != next), "all are different");
    assert!(source.bytes_read() < 600_000, "{} bytes", source.bytes_read());
    // Shorter than three seconds.
    let short = clip("short.mp4", 1.0, "25", &[&BOTH[..], &H264, &AAC].concat());
    let movie = Movie::open(&Memory::new(short.clone())).await.unwrap();
    let frames = preview(&Memory::new(short), &movie, &real()).await.unwrap();
    assert_eq!(frames.rgb.len() / each, 8);
}

#[tokio::test]
async fn loudness_follows_the_sound() {
    let fade = ["-map", "1:a", "-af", "volume='if(lt(t,4),0.02,4)':eval=frame"];
    let sound = clip("loud.m4a", 8.0, "25", &[&fade[..], &AAC].concat());
    let movie = Movie::open(&Memory::new(sound.clone())).await.unwrap();
    let peaks = loudness(&Memory::new(sound), &movie, &real()).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&peaks.json(8)).unwrap();
    let high: Vec<i64> =
        json["data"].as_array().unwrap().iter().skip(1).step_by(2).map(|v| v.as_i64().unwrap()).collect();
    assert!(
        high[..3].iter().all(|value| *value < 5) && high[5..].iter().all(|value| *value > 40),
        "{high:?}"
    );
    let silent = clip("pictures.mp4", 2.0, "25", &[&["-map", "0:v"], &H264[..]].concat());
    let movie = Movie::open(&Memory::new(silent.clone())).await.unwrap();
    let none = loudness(&Memory::new(silent), &movie, &real()).await;
    assert!(matches!(none, Err(PosterError::Video(Error::NotFound))));
}
