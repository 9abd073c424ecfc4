//! Operations beyond size and format, seen in the pixels that come out.

use turbojpeg::Subsamp;

use super::samples::{self, Png, scene};
use super::*;

/// The same operation by way of each kind of source agrees with what is expected of the picture.
#[track_caller]
fn assert_makes(picture: &Raster, query: &str, expected: &Raster) {
    for (name, source) in [("PNG", Png::of(picture)), ("JPEG", samples::jpeg(picture, Subsamp::None, false))]
    {
        assert_alike(
            &variant(&source, &format!("{query}&fm=png")),
            expected,
            2.5,
            &format!("{name} {query}"),
        );
        let webp = variant(&source, &format!("{query}&q=100"));
        assert_alike(&webp, expected, 5.0, &format!("{name} {query} as WebP"));
    }
}

fn cut(picture: &Raster, left: u32, top: u32, width: u32, height: u32) -> Raster {
    let rows = picture.data.chunks(picture.stride()).skip(top as usize).take(height as usize);
    let columns = left as usize * 3..(left + width) as usize * 3;
    let data = rows.flat_map(|row| row[columns.clone()].to_vec()).collect();
    Raster { size: Size::new(width, height), channels: 3, data }
}

#[test]
fn turning_and_flipping() {
    let picture = scene(96, 64);
    for (query, exif) in [
        ("rot=90", 8),
        ("rot=180", 3),
        ("rot=270", 6),
        ("flip=h", 2),
        ("flip=v", 4),
        ("flip=hv", 3),
        ("orient=90", 6),
        ("orient=5", 5),
    ] {
        assert_makes(&picture, query, &picture.clone().oriented(Orientation::from_exif(exif)));
    }
    let turned_by_exif = samples::with_exif(&samples::jpeg(&picture, Subsamp::None, false), 6);
    assert_alike(&variant(&turned_by_exif, "orient=1&fm=png"), &picture, 2.0, "orient=1 in place of EXIF");
    let upright_again = variant(&turned_by_exif, "rot=90&fm=png");
    assert_alike(&upright_again, &picture, 2.0, "EXIF and then rot");
}

#[test]
fn parts() {
    let picture = scene(120, 80);
    assert_makes(&picture, "rect=20,10,60,40", &cut(&picture, 20, 10, 60, 40));
    assert_makes(&picture, "rect=100,70,60,40", &cut(&picture, 100, 70, 20, 10));
    // Which has nothing of the picture.
    for rect in ["120,0,1,1", "0,80,500,500", "100000,100000,2,2"] {
        let error = try_transform(&Png::of(&picture), &format!("rect={rect}&fm=png")).unwrap_err();
        assert_eq!((error.fault(), error.as_str()), (Fault::Client, "image_outside"), "{rect}");
        assert!(error.to_string().contains("120 by 80"), "{error}");
    }
    assert_makes(&picture, "w=80&h=80&fit=crop&crop=left", &cut(&picture, 0, 0, 80, 80));
    assert_makes(&picture, "w=80&h=80&fit=crop&crop=right,bottom", &cut(&picture, 40, 0, 80, 80));
    assert_makes(&picture, "w=80&h=80&fit=crop&fp-x=0.5&fp-y=0", &cut(&picture, 20, 0, 80, 80));
    // The part is of the upright picture.
    let turned =
        samples::with_exif(&samples::jpeg(&samples::stored_as(&picture, 6), Subsamp::None, false), 6);
    let part = variant(&turned, "rect=20,10,60,40&fm=png");
    assert_alike(&part, &cut(&picture, 20, 10, 60, 40), 3.0, "rect of a turned source");
}

#[test]
fn even_borders_are_trimmed() {
    let picture = scene(60, 40);
    let on_white = picture.clone().padded(Size::new(100, 90), (25, 30)).flattened([250; 3]);
    for exif in [1, 6] {
        let stored = samples::stored_as(&on_white, exif);
        let png = samples::with_exif(&samples::jpeg(&stored, Subsamp::None, false), exif);
        let trimmed = variant(&png, "trim=auto&fm=png");
        let (width, height) = (trimmed.size.width, trimmed.size.height);
        assert!((57..=62).contains(&width) && (37..=42).contains(&height), "{exif}: {width}×{height}");
    }
    let exact = variant(&Png::of(&on_white), "trim=auto&w=30&fm=png");
    let expected = variant(&Png::of(&picture), "w=30&fm=png");
    assert!(exact.size.width == 30 && exact.size.height.abs_diff(expected.size.height) <= 1);
}

#[test]
fn frames() {
    let picture = Raster { size: Size::new(40, 20), channels: 3, data: [200, 0, 0].repeat(800) };
    let source = Png::of(&picture);
    let at = |raster: &Raster, x: u32, y: u32| {
        let start = (y * raster.size.width + x) as usize * raster.channels;
        raster.data[start..start + raster.channels].to_vec()
    };
    let padded = variant(&source, "pad=5&bg=00f&fm=png");
    assert_eq!((padded.size.width, padded.size.height), (50, 30));
    assert_eq!((at(&padded, 0, 0), at(&padded, 25, 15)), (vec![0, 0, 255], vec![200, 0, 0]));
    let clear = variant(&source, "pad=5&fm=png");
    assert_eq!((at(&clear, 0, 0)[3], at(&clear, 25, 15)), (0, vec![200, 0, 0, 255]));
    let filled = variant(&source, "w=40&h=40&fit=fill&bg=80ff0000&fm=png");
    assert_eq!(at(&filled, 0, 0), [255, 0, 0, 128]);
    let round = variant(&source, "border-radius=max&fm=png");
    assert_eq!((at(&round, 0, 0)[3], at(&round, 20, 10)), (0, vec![200, 0, 0, 255]));
    let flat = variant(&source, "border-radius=max&bg=0f0&fm=jpg&q=100");
    assert!(at(&flat, 0, 0)[1] > 200, "{:?}", at(&flat, 0, 0));
}

#[test]
fn the_plainest_format_is_chosen_by_the_picture() {
    let opaque = Png::of(&scene(16, 16));
    let baseline = params("w=16").negotiated(Newest::Baseline);
    let made = |source: &[u8], params: &Params| transform(source, params, &Limits::default()).unwrap();
    assert_eq!(made(&opaque, &baseline).content_type, "image/jpeg");
    let transparent = variant(&opaque, "border-radius=8&fm=png");
    let transparent = try_transform(&Png::of(&transparent), "fm=png").unwrap();
    assert_eq!(made(&transparent.bytes, &baseline).content_type, "image/png");
    assert_eq!(made(&opaque, &params("w=16").negotiated(Newest::Webp)).content_type, "image/webp");
}

/// Nobody waits for AVIF who did not ask for it in so many words.
#[test]
fn who_takes_avif_gets_it_where_nobody_waits() {
    // Waves are what it is good at.
    let mut waves = Raster::new(Size::new(96, 72), 3);
    for (at, pixel) in waves.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = ((at % 96) as f32, (at / 96) as f32);
        let v = 128.0 + 60.0 * (x / 5.0 + y / 7.0).sin() + 40.0 * (x / 3.0 - y / 11.0).sin();
        *pixel = [v as u8, (v + 20.0 * (x / 20.0).sin()) as u8, (v - 20.0) as u8];
    }
    let waves = Png::of(&waves);
    let made = |source: &[u8], params: Params| transform(source, &params, &Limits::default()).unwrap();
    let newest = |query: &str| params(query).negotiated(Newest::Avif);
    assert_eq!(made(&waves, newest("q=80")).bytes, made(&waves, params("q=80")).bytes);
    let better = made(&waves, newest("q=80").thorough().unwrap());
    assert_eq!((better.content_type, Kind::of(&better.bytes)), ("image/avif", Kind::Avif));
    assert!(better.bytes.len() < made(&waves, params("q=80").thorough().unwrap()).bytes.len());
    for (query, why) in
        [("lossless=1", "every pixel"), ("keep=icc", "a profile"), ("w=2400&h=1800&fit=scale&q=1", "large")]
    {
        assert_eq!(made(&waves, newest(query).thorough().unwrap()).content_type, "image/webp", "{why}");
    }
    let small = Png::of(&scene(16, 16));
    assert_eq!(made(&small, newest("q=80").thorough().unwrap()).content_type, "image/webp", "no shorter");
    let moving = super::hostile::animated_gif();
    assert_eq!(made(&moving, newest("w=16").thorough().unwrap()).content_type, "image/webp", "it moves");
}

#[test]
fn looks_reach_the_output() {
    let picture = scene(64, 48);
    for (query, look) in [
        ("bri=20&con=-30", Look { brightness: 20, contrast: -30, ..Look::default() }),
        ("sat=-100", Look { saturation: -100, ..Look::default() }),
        ("blur=60", Look { blur: 60, ..Look::default() }),
        ("sharp=50", Look { sharpen: 50, ..Look::default() }),
        ("mono=336699", Look { mono: Some([0x33, 0x66, 0x99]), ..Look::default() }),
    ] {
        let mut expected = picture.clone();
        look::apply(&look, &mut expected);
        assert_eq!(variant(&Png::of(&picture), &format!("{query}&fm=png")), expected, "{query}");
    }
}
