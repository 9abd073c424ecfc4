//! Bombs, lies and damage: refused with the right fault, early, and never by a panic.

use turbojpeg::Subsamp;

use super::samples::{self, Png, scene};
use super::*;

/// One small file of each kind that is decoded.
fn sources() -> Vec<(&'static str, Vec<u8>)> {
    let picture = scene(96, 64);
    let mut clear = Raster::new(picture.size, 4);
    for (to, from) in clear.data.as_chunks_mut::<4>().0.iter_mut().zip(picture.data.as_chunks::<3>().0) {
        *to = [from[0], from[1], from[2], from[0]];
    }
    let opaque = try_transform(&Png::of(&picture), "q=80").unwrap().bytes.to_vec();
    let translucent = try_transform(&Png::of(&clear), "q=80").unwrap().bytes.to_vec();
    let compressed = try_transform(&Png::of(&clear), "fm=png").unwrap().bytes.to_vec();
    vec![
        ("JPEG", samples::with_exif(&samples::jpeg(&picture, Subsamp::Sub2x2, false), 6)),
        ("progressive JPEG", samples::jpeg(&picture, Subsamp::Sub2x1, true)),
        ("PNG", compressed),
        ("animated WebP", samples::animated_webp((96, 64), (0, 0), (96, 64), &opaque)),
        ("WebP", opaque),
        ("WebP with alpha", translucent),
        ("GIF", samples::gif((32, 32), 0, 0, (32, 32), &[0, 1].repeat(512))),
        ("TIFF", super::formats::tiff(&scene(24, 16))),
        ("BMP", super::formats::bmp(&scene(24, 16))),
        ("AVIF", try_transform(&Png::of(&picture), "fm=avif").unwrap().bytes.to_vec()),
        ("AVIF with alpha", try_transform(&Png::of(&clear), "w=40&fm=avif").unwrap().bytes.to_vec()),
        ("animated GIF", animated_gif()),
        ("WebP of many frames", try_transform(&animated_gif(), "q=50").unwrap().bytes.to_vec()),
    ]
}

pub(super) fn animated_gif() -> Vec<u8> {
    let frame = |at: u16| samples::GifFrame {
        place: (at, at, 20, 20),
        pixels: [0, 1, 3, 2].repeat(100),
        dispose: [
            ::gif::DisposalMethod::Keep,
            ::gif::DisposalMethod::Background,
            ::gif::DisposalMethod::Previous,
        ][usize::from(at) % 3],
        delay: at,
    };
    samples::animated_gif((32, 32), Some(0), &[0, 5, 10, 12].map(frame))
}

const QUERIES: [&str; 5] = ["w=10", "w=50&fm=png", "fm=jpg", "fm=gif", "fm=json&keep=all"];

#[test]
fn files_cut_off_anywhere_are_refused_or_shown() {
    for (name, source) in sources() {
        for cut in 0..100 {
            let length = source.len() * cut / 100;
            for query in QUERIES {
                if let Err(error) = try_transform(&source[..length], query) {
                    assert_eq!(error.fault(), Fault::Source, "{name} cut to {cut} %, {query}: {error}");
                } else {
                    // Of an animation the whole frames are shown; the file formats of the rare are not so strict.
                    let lenient =
                        name.contains("nimat") || name.contains("frames") || name == "BMP" || name == "TIFF";
                    assert!(cut > 50 || lenient, "{name} cut to {cut} %, {query}: shown");
                }
            }
        }
    }
}

#[test]
fn flipped_bytes_are_refused_or_shown() {
    // A small linear congruential generator: the same damage in each run.
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let limits = Limits { max_decode_bytes: 16 << 20, max_pixels: 1 << 20, ..Limits::default() };
    for (name, source) in sources() {
        for seed in 0..200 {
            let mut damaged = source.clone();
            for _ in 0..=seed % 8 {
                // Headers more often than the rest.
                let reach = if seed % 2 == 0 { damaged.len() } else { damaged.len().min(200) };
                damaged[random(reach)] = random(256) as u8;
            }
            let query = params(QUERIES[seed % QUERIES.len()]);
            if let Err(error) = transform(&damaged, &query, &limits) {
                assert_ne!(error.fault(), Fault::Internal, "{name}, seed {seed}: {error}");
            }
        }
    }
}

#[test]
fn bombs_are_refused_from_their_headers() {
    let mut png = Png::of(&scene(8, 8));
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let mut progressive = samples::jpeg(&scene(8, 8), Subsamp::Sub2x2, true);
    let frame = progressive.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
    progressive[frame + 5..frame + 9].copy_from_slice(&[0x3e, 0x80, 0x3e, 0x80]);
    let mut gif = samples::gif((8, 8), 0, 0, (1, 1), &[0]);
    gif[6..10].fill(0xff);
    let mut bmp = super::formats::bmp(&scene(8, 8));
    bmp[18..26].copy_from_slice(&[0xff, 0x3f, 0, 0, 0xff, 0x3f, 0, 0]);
    let mut tiff = super::formats::tiff(&scene(8, 8));
    // Width and height: tags 256 and 257, in whichever way their values are written.
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    for entry in (0..usize::from(tiff[directory])).map(|number| directory + 2 + number * 12) {
        if matches!(u16::from_le_bytes([tiff[entry], tiff[entry + 1]]), 256 | 257) {
            tiff[entry + 2..entry + 12].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0xff, 0x3f, 0, 0]);
        }
    }
    let lossless = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0\0\0\0".to_vec();
    for (name, bomb, pixels) in [
        ("PNG", png, 65_535 * 65_535),
        ("progressive JPEG", progressive, 256_000_000),
        ("GIF", gif, 65_535 * 65_535),
        ("WebP", lossless, 16_384 * 16_384),
        ("BMP", bmp, 16_383 * 16_383),
        ("TIFF", tiff, 16_383 * 16_383),
    ] {
        let before = computed();
        let error = try_transform(&bomb, "w=320").unwrap_err();
        assert!(computed() - before < Duration::from_millis(100), "{name}");
        let expected = Error::TooLarge { measure: Measure::SourcePixels, actual: pixels, limit: 100_000_000 };
        assert_eq!(error, expected, "{name}");
        assert_eq!(error.fault(), Fault::Source);

        // The same where so many pixels would be allowed, but not so much memory.
        let limits = Limits { max_pixels: u64::MAX, ..Limits::default() };
        let error = transform(&bomb, &params("w=320"), &limits);
        let memory = matches!(error, Err(Error::TooLarge { measure: Measure::DecodeBytes, .. }));
        // A PNG is decoded row by row; its rows are what is missing here.
        let missing = matches!(name, "PNG" | "TIFF") && matches!(error, Err(Error::Corrupt { .. }));
        assert!(memory || missing, "{name}: {error:?}");
    }
}

#[test]
fn too_many_bytes_or_output_pixels_are_refused() {
    let source = samples::jpeg(&scene(64, 64), Subsamp::Sub2x2, false);
    let limits = Limits { max_source_bytes: 100, ..Limits::default() };
    let error = transform(&source, &params("w=10"), &limits).unwrap_err();
    assert!(matches!(error, Error::TooLarge { measure: Measure::SourceBytes, limit: 100, .. }), "{error}");
    assert_eq!(error.fault(), Fault::Source);

    for (query, measure) in [
        ("w=8192&h=8192&fit=crop", Measure::OutputPixels),
        ("w=8192&fit=scale", Measure::OutputPixels),
        ("w=8192&h=8192&fit=fill", Measure::OutputPixels),
    ] {
        let error = try_transform(&source, query).unwrap_err();
        assert!(matches!(error, Error::TooLarge { measure: got, .. } if got == measure), "{query}: {error}");
        assert_eq!(error.fault(), Fault::Client, "{query}");
    }
    let wide = Png::of(&Raster::new(Size::new(17_000, 1), 3));
    let error = try_transform(&wide, "q=50").unwrap_err();
    assert!(matches!(error, Error::TooLarge { measure: Measure::OutputSide, .. }), "{error}");
    assert_eq!(try_transform(&wide, "w=100").unwrap().height, 1);
}

#[test]
fn a_flat_source_is_stretched_in_bounded_memory() {
    // Down first, this would hold 60,000 × 8192 pixels.
    let flat = Png::of(&Raster::new(Size::new(60_000, 1), 3));
    let thin = Png::of(&Raster::new(Size::new(1, 60_000), 3));
    for (source, query) in [(flat, "w=2&h=8192&fit=scale&fm=png"), (thin, "w=8192&h=2&fit=scale&fm=png")] {
        try_transform(&source, query).unwrap();
        let peak = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 1 << 20, "{kib} KiB");
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    for (source, word) in [
        (b"\0\0\0\x1cftypheic".as_slice(), "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!doctype html><script>", "HTML"),
        (b"not an image", "unknown kind"),
    ] {
        let error = try_transform(source, "w=1").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(word), "{error}");
        assert_eq!(error.fault(), Fault::Source);
    }
}

#[test]
fn too_many_scans_are_refused() {
    let source = samples::jpeg(&scene(64, 64), Subsamp::Sub2x2, true);
    // The last scan again and again; each is a whole pass over the image.
    let last = source.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
    let scan = &source[last..source.len() - 2];
    let bomb = [&source[..source.len() - 2], &scan.repeat(500), &[0xff, 0xd9]].concat();
    for query in ["fm=png", "w=64"] {
        let error = try_transform(&bomb, query).unwrap_err();
        assert!(error.to_string().contains("more than 100 scans"), "{error}");
        assert_eq!(error.fault(), Fault::Source);
    }
    // Where those scans are not looked at, they do no harm.
    assert_eq!(variant(&bomb, "w=4"), variant(&source, "w=4"));
}

#[test]
fn harmless_damage_is_passed_over() {
    let clean = samples::jpeg(&scene(64, 48), Subsamp::Sub2x2, true);
    let expected = variant(&clean, "fm=png");
    // Stray bytes between two scans, and a broken colour profile.
    let second = clean.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
    let stray = [&clean[..second], b"stray", &clean[second..]].concat();
    assert_eq!(variant(&stray, "fm=png"), expected);
    let profile = samples::with_segment(&clean, 0xe2, b"ICC_PROFILE\0\x07\x02broken");
    assert_eq!(variant(&profile, "fm=png"), expected);
    // Rubbish behind the end.
    let tail = [clean.as_slice(), b"PK\x03\x04 a polyglot"].concat();
    assert_eq!(variant(&tail, "fm=png"), expected);
}

/// On which the `png` crate panics.
#[test]
fn a_palette_of_no_whole_colours_is_the_sources_fault() {
    for (length, interlaced) in [(1, false), (4, false), (49, true)] {
        let palette = vec![7; length];
        let rows = vec![0; 3];
        let file =
            Png { size: (2, 1), depth: 8, colour: 3, interlaced, chunks: &[(b"PLTE", &palette)], rows };
        let error = try_transform(&file.file(), "fm=png").unwrap_err();
        assert_eq!((error.fault(), error.as_str()), (Fault::Source, "image_corrupt"), "{length}");
    }
}

/// The decoder takes memory for a list as long as it is said to be, before it reads it.
#[test]
fn lists_of_a_tiff_are_no_longer_than_is_usual() {
    let entries: [(u16, u16, u32, u32); 4] =
        [(256, 3, 1, 8), (257, 3, 1, 8), (277, 3, 8_000_000, 8), (273, 4, 1, 8)];
    let mut file = b"II\x2a\0\x08\0\0\0\x04\0".to_vec();
    for (tag, kind, count, value) in entries {
        file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 4]);
    let (error, taken) = super::counting::peak(|| try_transform(&file, "w=8").unwrap_err());
    assert!(taken < 1 << 20, "{taken} bytes");
    assert_eq!((error.fault(), error.as_str()), (Fault::Source, "image_unsupported"));
}
