//! What is told of a picture: in JSON, as a BlurHash, as a placeholder.

use serde_json::Value;
use turbojpeg::Subsamp;

use super::samples::{self, Png, scene};
use super::*;

fn told(source: &[u8], query: &str) -> Value {
    let made = try_transform(source, query).unwrap();
    assert_eq!(made.content_type, "application/json");
    serde_json::from_slice(&made.bytes).unwrap()
}

#[test]
fn json_tells_what_is_known() {
    let exif = [b"Exif\0\0".as_slice(), &samples::camera_exif()].concat();
    let jpeg = samples::with_segment(&samples::jpeg(&scene(300, 200), Subsamp::Sub2x2, false), 0xe1, &exif);
    let told = self::told(&jpeg, "w=100&fm=json");
    // Turned by a quarter.
    assert_eq!((&told["width"], &told["height"]), (&100.into(), &150.into()));
    let original = &told["original"];
    assert_eq!((&original["width"], &original["height"]), (&200.into(), &300.into()));
    assert_eq!((&original["format"], &original["orientation"]), (&"image/jpeg".into(), &6.into()));
    assert_eq!(original["file_size"], jpeg.len());
    assert_eq!((&told["frames"], &told["has_alpha"]), (&1.into(), &false.into()));
    assert_eq!((&told["exif"]["Make"], &told["exif"]["Copyright"]), (&"Maker".into(), &"(c) Nobody".into()));
    assert_eq!(told["exif"]["FNumber"], "2.8");
    assert!(!told.to_string().contains("degrees"), "a place: {told}");
    let palette = told["palette"].as_array().unwrap();
    assert!((2..=6).contains(&palette.len()), "{palette:?}");
    assert_eq!(palette[0]["hex"], told["dominant_color"]);
    assert_eq!(told["blurhash"].as_str().unwrap().len(), 28);
    assert!(told["lqip"].as_str().unwrap().starts_with("data:image/webp;base64,UklGR"));
}

#[test]
fn what_is_clear_or_moves_is_told() {
    let clear = Png::of(&Raster::new(Size::new(8, 8), 4));
    let told = told(&clear, "fm=json");
    assert_eq!((&told["has_alpha"], &told["palette"]), (&true.into(), &Value::Array(Vec::new())));
    let plain = Raster { size: Size::new(9, 5), channels: 3, data: [10, 20, 30].repeat(45) };
    assert_eq!(self::told(&Png::of(&plain), "fm=json")["dominant_color"], "#0a141e");
    let frame = |colour| samples::GifFrame {
        place: (0, 0, 2, 2),
        pixels: vec![colour; 4],
        dispose: ::gif::DisposalMethod::Keep,
        delay: 9,
    };
    let gif = samples::animated_gif((2, 2), None, &[frame(0), frame(1), frame(2)]);
    assert_eq!(self::told(&gif, "fm=json")["frames"], 3);
}

#[test]
fn placeholders_are_small_and_alike() {
    let picture = scene(640, 480);
    let jpeg = samples::jpeg(&picture, Subsamp::Sub2x2, false);
    let made = try_transform(&jpeg, "fm=lqip").unwrap();
    assert_eq!((made.content_type, made.width, made.height), ("image/webp", 32, 24));
    assert!(made.bytes.len() < 400, "{} bytes", made.bytes.len());
    assert_alike(&decoded(&made.bytes), &variant(&jpeg, "w=32&fm=png"), 12.0, "placeholder");
    let upright = try_transform(&jpeg, "w=100&h=300&fit=crop&fm=lqip").unwrap();
    assert_eq!((upright.width, upright.height), (11, 32));
    let frame = encode_rgb(640, 480, &picture.data, &params("fm=lqip")).unwrap();
    assert_eq!((frame.content_type, frame.width), ("image/webp", 32));
}

#[test]
fn blurhash_is_that_of_its_makers() {
    let plain = Raster { size: Size::new(64, 48), channels: 3, data: [255, 255, 255].repeat(64 * 48) };
    let made = try_transform(&Png::of(&plain), "fm=blurhash").unwrap();
    assert_eq!(made.content_type, "text/plain; charset=utf-8");
    let text = String::from_utf8(made.bytes.to_vec()).unwrap();
    // Four by three components: "L"; white: "TSUA" in 83 digits.
    assert!(text.starts_with('L') && &text[2..6] == "TSUA", "{text}");
    let upright = variant(&Png::of(&plain), "rot=90&fm=png");
    let text = try_transform(&Png::of(&upright), "fm=blurhash").unwrap().bytes;
    assert_eq!(text[0], b'T', "three by four");
}
