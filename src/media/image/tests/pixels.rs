//! Pixels where they belong.

use turbojpeg::Subsamp;

use super::samples::{self, Png, scene};
use super::*;
use crate::media::image::orientation::tests::exif_block;

#[test]
fn each_orientation_comes_out_upright() {
    // Odd and even sides: chroma planes have half samples at odd edges.
    for (w, h) in [(96, 64), (97, 61)] {
        let upright = scene(w, h);
        for value in 1..=8 {
            let stored = samples::stored_as(&upright, value);
            let jpeg = samples::with_exif(&samples::jpeg(&stored, Subsamp::None, false), value);
            assert_alike(&variant(&jpeg, "fm=png"), &upright, 2.0, &format!("JPEG to PNG, {value}"));
            assert_alike(&variant(&jpeg, "fm=webp&q=100"), &upright, 4.0, &format!("JPEG to WebP, {value}"));

            let mut exif = exif_block(value, false);
            let file = Png { chunks: &[(b"eXIf", &exif.split_off(6))], ..png_of(&stored) }.file();
            assert_eq!(variant(&file, "fm=png"), upright, "PNG, {value}");
        }
    }
}

#[test]
fn crops_follow_the_orientation() {
    let upright = scene(120, 60);
    let expected = variant(&Png::of(&upright), "w=30&h=40&fit=crop&fm=png");
    for value in 1..=8 {
        let stored = samples::stored_as(&upright, value);
        let jpeg = samples::with_exif(&samples::jpeg(&stored, Subsamp::None, false), value);
        for query in ["w=30&h=40&fit=crop&fm=png", "w=30&h=40&fit=crop&q=100"] {
            assert_alike(&variant(&jpeg, query), &expected, 4.0, &format!("{value} {query}"));
        }
    }
}

/// The planes of a JPEG are padded, subsampled in several ways and of another range than WebP's; each slip
/// there shifts, stretches or fades the picture.
#[test]
fn planes_give_the_same_picture_as_rgb() {
    // At 1/8, 296 rows become 37, of which a padded plane has 38.
    for (w, h) in [(400, 296), (401, 299), (399, 293)] {
        let picture = scene(w, h);
        for subsamp in
            [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray]
        {
            let jpeg = samples::jpeg(&picture, subsamp, false);
            for size in ["w=25", "w=51", "w=110", "w=401", "w=17&h=39&fit=crop", "w=32&h=15&fit=scale"] {
                let through_planes = variant(&jpeg, &format!("{size}&q=100"));
                let through_rgb = variant(&jpeg, &format!("{size}&fm=png"));
                let what = format!("{w}×{h} {subsamp:?} {size}");
                assert_alike(&luma(&through_planes), &luma(&through_rgb), 2.0, &what);
                // Halving chroma alone blurs the small and colourful this much.
                assert_alike(&through_planes, &through_rgb, 6.5, &what);
            }
        }
    }
}

#[test]
fn shrinking_in_the_decoder_moves_nothing() {
    let picture = scene(403, 297);
    let webp = try_transform(&Png::of(&picture), "q=100").unwrap().bytes;
    let sources = [
        ("PNG", Png::of(&picture)),
        ("baseline", samples::jpeg(&picture, Subsamp::None, false)),
        ("progressive", samples::jpeg(&picture, Subsamp::None, true)),
        ("WebP", webp.to_vec()),
    ];
    for query in ["w=25&fm=png", "w=45&fm=png", "w=95&fm=png", "w=21&h=21&fit=crop&fm=png"] {
        let plan = plan(Area::whole(picture.size), &params(query));
        let whole = resize(picture.view(), plan.crop, plan.content).unwrap();
        for (name, source) in &sources {
            assert_alike(&variant(source, query), &whole, 2.5, &format!("{name} {query}"));
        }
    }
}

#[test]
fn leaving_out_fine_scans_hardly_shows() {
    let picture = scene(640, 480);
    for subsamp in [Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::None, Subsamp::Gray] {
        let file = samples::jpeg(&picture, subsamp, true);
        let Coding::Jpeg(coding) = probe(&file).unwrap().coding else { panic!() };
        assert!(coding.progressive);
        let mut whole = coding;
        whole.progressive = false;
        for (shrink, rgb_mean, planes_mean) in [(8, 0.3, 0.0), (4, 1.0, 1.0)] {
            let what = format!("{subsamp:?} 1/{shrink}");
            let rgb = |coding| jpeg::decode(&file, coding, picture.size, shrink, None).unwrap().raster;
            assert_alike(&rgb(&coding), &rgb(&whole), rgb_mean, &what);
            let planes = |coding| {
                let planes = jpeg::decode_planes(&file, coding, picture.size, shrink).unwrap().unwrap();
                planes.resized(
                    Rect::whole(picture.size),
                    picture.size,
                    Size::new(80, 60),
                    Orientation::default(),
                )
            };
            let (got, expected) = (planes(&coding).unwrap(), planes(&whole).unwrap());
            assert_alike(&got.y, &expected.y, planes_mean, &what);
            assert_alike(&got.u, &expected.u, planes_mean, &what);
            assert_alike(&got.v, &expected.v, planes_mean, &what);
            let shrink = scans::Shrink { luma: shrink, chroma: shrink };
            assert!(scans::coarse(&file, shrink).unwrap().len() < file.len() * 2 / 3, "{what}");
        }
        assert!(scans::coarse(&file, scans::Shrink { luma: 2, chroma: 2 }).is_none());
    }
}

#[test]
fn every_kind_of_png_is_read() {
    let grey16: Vec<u8> = [0, 0x12, 0x34, 0xab, 0xcd].to_vec();
    type Chunks = &'static [(&'static [u8; 4], &'static [u8])];
    type Row = (&'static str, u8, u8, Chunks, Vec<u8>, &'static [u8]);
    let table: &[Row] = &[
        ("1-bit grey", 1, 0, &[], vec![0, 0b0100_0000], &[0, 0, 0, 255, 255, 255]),
        ("16-bit grey", 16, 0, &[], grey16, &[0x12, 0x12, 0x12, 0xab, 0xab, 0xab]),
        (
            "grey with a transparent shade",
            8,
            0,
            &[(b"tRNS", &[0, 7])],
            vec![0, 7, 9],
            &[7, 7, 7, 0, 9, 9, 9, 255],
        ),
        ("grey and alpha", 8, 4, &[], vec![0, 7, 100, 9, 200], &[7, 7, 7, 100, 9, 9, 9, 200]),
        ("palette", 8, 3, &[(b"PLTE", &[1, 2, 3, 4, 5, 6])], vec![0, 1, 0], &[4, 5, 6, 1, 2, 3]),
        (
            "palette with alpha",
            8,
            3,
            &[(b"PLTE", &[1, 2, 3, 4, 5, 6]), (b"tRNS", &[50])],
            vec![0, 1, 0],
            &[4, 5, 6, 255, 1, 2, 3, 50],
        ),
        ("RGB", 8, 2, &[], vec![0, 1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]),
        ("RGBA", 8, 6, &[], vec![0, 1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (name, depth, colour, chunks, rows, expected) in table {
        let file = Png {
            size: (2, 1),
            depth: *depth,
            colour: *colour,
            interlaced: false,
            chunks,
            rows: rows.clone(),
        };
        assert_eq!(variant(&file.file(), "fm=png").data, *expected, "{name}");
    }
}

#[test]
fn interlaced_png_is_read() {
    let picture = scene(37, 23);
    let file = Png { interlaced: true, rows: samples::adam7(&picture), ..png_of(&picture) }.file();
    assert_eq!(variant(&file, "fm=png"), picture);
    assert_alike(&variant(&file, "w=9&fm=png"), &variant(&Png::of(&picture), "w=9&fm=png"), 0.0, "shrunk");
}

#[test]
fn invisible_colour_never_shows() {
    // Opaque red at the left, wholly transparent green at the right.
    let mut picture = Raster::new(Size::new(64, 32), 4);
    for (at, pixel) in picture.data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *pixel = if at % 64 < 31 { [255, 0, 0, 255] } else { [0, 255, 0, 0] };
    }
    let png = Png::of(&picture);
    let webp = try_transform(&png, "q=100").unwrap().bytes;
    // 6 shrinks by boxes that straddle the border, 30 by Lanczos alone.
    for source in [png.as_slice(), &webp] {
        for query in ["w=6&fm=png", "w=30&fm=png", "w=13&h=13&fit=fill&fm=png"] {
            let out = variant(source, query);
            assert_eq!(out.channels, 4);
            for [r, g, _, a] in out.data.as_chunks::<4>().0 {
                assert!(*a < 16 || (*r > 200 && *g < 24), "{query}: {r} {g} {a}");
            }
        }
        let out = variant(source, "w=6&fm=jpg&q=100");
        let (left, right) = (&out.data[..3], &out.data[15..18]);
        assert!(left[0] > 230 && left[1] < 40, "red stays red: {left:?}");
        assert!(right.iter().all(|v| *v > 230), "transparent becomes white: {right:?}");
    }
}

#[test]
fn an_opaque_alpha_channel_is_dropped() {
    let picture = Raster { size: Size::new(2, 1), channels: 4, data: vec![1, 2, 3, 255, 4, 5, 6, 255] };
    assert_eq!(variant(&Png::of(&picture), "fm=png").channels, 3);
}

#[test]
fn fill_pads_transparent_or_white() {
    let jpeg = samples::jpeg(&scene(60, 30), Subsamp::Sub2x2, false);
    for query in ["w=40&h=40&fit=fill", "w=40&h=40&fit=fill&fm=png"] {
        let out = variant(&jpeg, query);
        assert_eq!((out.size, out.channels), (Size::new(40, 40), 4));
        let alpha = |x: usize, y: usize| out.data[(y * 40 + x) * 4 + 3];
        assert_eq!([alpha(20, 9), alpha(20, 10), alpha(20, 29), alpha(20, 30)], [0, 255, 255, 0], "{query}");
    }
    let out = variant(&jpeg, "w=40&h=40&fit=fill&fm=jpg&q=100");
    assert!(out.data[..40 * 3 * 8].iter().all(|v| *v > 245));
}

#[test]
fn nothing_is_enlarged_unasked() {
    let jpeg = samples::jpeg(&scene(60, 30), Subsamp::Sub2x2, false);
    for (query, size) in [
        ("w=600", (60, 30)),
        ("w=600&fit=max&dpr=3", (60, 30)),
        ("w=120&fit=scale", (120, 60)),
        ("w=90&h=90&fit=crop", (90, 90)),
    ] {
        let out = try_transform(&jpeg, query).unwrap();
        assert_eq!((out.width, out.height), size, "{query}");
    }
}

#[test]
fn cmyk_is_ink_on_white() {
    // Stored inverted, as Adobe does: 255 is no ink. Cyan, then nothing, then black.
    let data = [[0, 255, 255, 255], [255, 255, 255, 255], [255, 255, 255, 0]];
    let data = data.iter().flat_map(|ink| ink.repeat(256)).collect();
    let picture = Raster { size: Size::new(16, 48), channels: 4, data };
    let jpeg = samples::jpeg(&picture, Subsamp::None, false);
    let out = variant(&jpeg, "fm=png");
    for (row, expected) in [(8, [0, 255, 255]), (24, [255, 255, 255]), (40, [0, 0, 0])] {
        let got = &out.data[row * 48..row * 48 + 3];
        assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 6), "row {row}: {got:?}");
    }
    assert_eq!(variant(&jpeg, "w=8").size, Size::new(8, 24));
}

#[test]
fn first_frames_stand_on_their_canvas() {
    let gif = samples::gif((4, 3), 1, 1, (2, 1), &[0, 1]);
    let mut expected = vec![0; 48];
    expected[20..28].copy_from_slice(&[255, 0, 0, 255, 0, 0, 255, 255]);
    assert_eq!(variant(&gif, "fm=png").data, expected);
    // A frame that reaches beyond the screen is cut.
    let gif = samples::gif((2, 1), 1, 0, (2, 2), &[0, 1, 1, 1]);
    assert_eq!(variant(&gif, "fm=png").data, [0, 0, 0, 0, 255, 0, 0, 255]);

    let still = try_transform(&Png::of(&scene(16, 8)), "q=100").unwrap().bytes;
    let out = variant(&samples::animated_webp((32, 16), (4, 6), (16, 8), &still), "fm=png");
    assert_eq!((out.size, out.channels), (Size::new(32, 16), 4));
    let frame = decoded(&still);
    for y in 0..16 {
        for x in 0..32 {
            let inside = (4..20).contains(&x) && (6..14).contains(&y);
            let pixel = &out.data[(y * 32 + x) * 4..][..4];
            if inside {
                assert_eq!(pixel[..3], frame.data[((y - 6) * 16 + x - 4) * 3..][..3]);
            }
            assert_eq!(pixel[3], if inside { 255 } else { 0 }, "{x} {y}");
        }
    }
}

#[test]
fn raw_frames_become_posters() {
    let picture = scene(64, 36);
    let encoded = encode_rgb(64, 36, &picture.data, &params("w=32&q=90")).unwrap();
    assert_eq!((encoded.content_type, encoded.width, encoded.height), ("image/webp", 32, 18));
    assert_alike(
        &decoded(&encode_rgb(64, 36, &picture.data, &params("fm=png")).unwrap().bytes),
        &picture,
        0.0,
        "PNG",
    );
    for (w, h) in [(0, 0), (64, 35), (u32::MAX, u32::MAX)] {
        assert!(encode_rgb(w, h, &picture.data, &Params::default()).is_err(), "{w}×{h}");
    }
}

#[test]
fn quality_and_format_are_what_was_asked() {
    let jpeg = samples::jpeg(&scene(200, 150), Subsamp::Sub2x2, false);
    let size = |query| try_transform(&jpeg, query).unwrap().bytes.len();
    assert!(size("q=20") < size("q=80") && size("q=80") < size("q=100"));
    assert!(size("fm=jpg&q=20") < size("fm=jpg&q=80"));
    for (query, kind, content_type) in [
        ("fm=webp", Kind::Webp, "image/webp"),
        ("fm=jpg", Kind::Jpeg, "image/jpeg"),
        ("fm=png", Kind::Png, "image/png"),
    ] {
        let encoded = try_transform(&jpeg, query).unwrap();
        assert_eq!((Kind::of(&encoded.bytes), encoded.content_type), (kind, content_type));
        let steps: Vec<_> = encoded.steps.iter().map(|(name, _)| *name).collect();
        assert_eq!(steps, ["probe", "decode", "resize", "encode"]);
    }
}

fn luma(rgb: &Raster) -> Raster {
    let (pixels, _) = rgb.data.as_chunks::<3>();
    let data = pixels
        .iter()
        .map(|&[r, g, b]| ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 1000) as u8)
        .collect();
    Raster { size: rgb.size, channels: 1, data }
}

fn png_of(raster: &Raster) -> Png<'static> {
    let rows = raster.data.chunks(raster.stride()).flat_map(|row| [&[0], row].concat()).collect();
    Png {
        size: (raster.size.width, raster.size.height),
        depth: 8,
        colour: 2,
        interlaced: false,
        chunks: &[],
        rows,
    }
}
