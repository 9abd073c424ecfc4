//! Formats in and out, beyond what `pixels` sees.

use image::{ExtendedColorType, ImageEncoder as _};

use super::samples::{Png, scene};
use super::*;

pub(super) fn bmp(raster: &Raster) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = image::codecs::bmp::BmpEncoder::new(&mut out);
    let colour = if raster.channels == 4 { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    encoder.encode(&raster.data, raster.size.width, raster.size.height, colour).unwrap();
    out
}

pub(super) fn tiff(raster: &Raster) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let colour = if raster.channels == 4 { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    image::codecs::tiff::TiffEncoder::new(&mut out)
        .write_image(&raster.data, raster.size.width, raster.size.height, colour)
        .unwrap();
    out.into_inner()
}

#[test]
fn rare_sources_are_read() {
    let picture = scene(60, 45);
    let mut clear = picture.clone().into_rgba();
    for pixel in clear.data.as_chunks_mut::<4>().0 {
        pixel[3] = pixel[0];
    }
    for (name, kind, source, expected) in [
        ("BMP", Kind::Bmp, bmp(&picture), &picture),
        ("BMP with alpha", Kind::Bmp, bmp(&clear), &clear),
        ("TIFF", Kind::Tiff, tiff(&picture), &picture),
        ("TIFF with alpha", Kind::Tiff, tiff(&clear), &clear),
    ] {
        assert_eq!(probe(&source).unwrap().kind(), kind);
        assert_eq!(&variant(&source, "fm=png"), expected, "{name}");
        assert_eq!(variant(&source, "w=20&fm=png"), variant(&Png::of(expected), "w=20&fm=png"), "{name}");
        for cut in [20, 50, 90] {
            if let Err(error) = try_transform(&source[..source.len() * cut / 100], "w=10") {
                assert_eq!(error.fault(), Fault::Source, "{name} cut to {cut} %: {error}");
            }
        }
    }
}

#[test]
fn lossless_loses_nothing() {
    let mut picture = scene(61, 43).into_rgba();
    for (at, pixel) in picture.data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixel[3] = 255 - (at % 200) as u8;
    }
    for picture in [picture.clone().flattened([9, 8, 7]), picture] {
        assert_eq!(variant(&Png::of(&picture), "lossless=1"), picture);
        assert_ne!(variant(&Png::of(&picture), "q=100"), picture);
    }
}

#[test]
fn few_colours_take_few_bytes() {
    let mut picture = scene(200, 150);
    // A grain, as of photos; of the same seed in each run.
    let mut seed = 1_u32;
    for sample in &mut picture.data {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = sample.saturating_add((seed >> 29) as u8);
    }
    let whole = try_transform(&Png::of(&picture), "fm=png").unwrap();
    let few = try_transform(&Png::of(&picture), "fm=png8").unwrap();
    assert_eq!(few.content_type, "image/png");
    // Colour type 3: a palette.
    assert_eq!(
        (few.bytes[25], few.bytes.len() < whole.bytes.len() * 2 / 3),
        (3, true),
        "{}",
        few.bytes.len()
    );
    assert_alike(&decoded(&few.bytes), &picture, 8.0, "png8");
    let clear = variant(&Png::of(&picture), "border-radius=max&fm=png");
    let few = variant(&Png::of(&clear), "fm=png8");
    assert_eq!((few.channels, few.data[3]), (4, 0));
}

#[test]
fn more_effort_takes_fewer_bytes() {
    let jpeg = super::samples::jpeg(&scene(900, 700), turbojpeg::Subsamp::Sub2x2, false);
    let size = |params: &Params| transform(&jpeg, params, &Limits::default()).unwrap().bytes.len();
    let quick = params("q=80");
    assert!(size(&quick.thorough().unwrap()) < size(&quick));
}
