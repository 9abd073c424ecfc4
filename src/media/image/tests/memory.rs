//! What is reserved for a job against what it takes. Counted is what Rust code on the test's own thread asks for, so that of the codecs
//! those of AVIF are.

use super::avif::{file, non_reduced, sides};
use super::counting::peak;
use super::samples::{Png, scene};
use super::*;

/// Peak and what was reserved; None where it was refused by its headers.
fn taken(source: &[u8], query: &str) -> Option<(u64, u64)> {
    let params = params(query);
    let (reserved, probing) = peak(|| weigh(source, &params, &Limits::default()));
    assert!(probing < 1 << 20, "{query}: {probing} bytes for headers");
    let (_, taken) = peak(|| transform(source, &params, &Limits::default()));
    match reserved {
        Ok(reserved) => Some((taken, reserved)),
        Err(_) => {
            assert!(taken < 1 << 20, "{query}: {taken} bytes for what was refused");
            None
        }
    }
}

/// What took more than was reserved, one in each line.
#[derive(Default)]
struct Excess(String);

impl Excess {
    fn of(&mut self, source: &[u8], query: &str, what: &str) {
        if let Some((taken, reserved)) = taken(source, query)
            && taken > reserved
        {
            self.0 += &format!("{what}, {query}: {taken} bytes taken, {reserved} reserved\n");
        }
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(self.0.is_empty(), "{}", self.0);
    }
}

fn made(picture: &Raster, query: &str) -> Vec<u8> {
    try_transform(&Png::of(picture), query).unwrap().bytes.to_vec()
}

/// With a transparent bar at its left.
fn clear(picture: &Raster) -> Raster {
    let canvas = Size::new(picture.size.width + 8, picture.size.height);
    picture.clone().padded(canvas, (8, 0))
}

#[test]
fn an_avif_takes_what_is_reserved_for_it() {
    let mut excess = Excess::default();
    for (width, height) in [(1, 1), (64, 48), (500, 300), (400, 9), (9, 400)] {
        let picture = scene(width, height);
        let (file, clear) = (made(&picture, "fm=avif"), made(&clear(&picture), "fm=avif"));
        for query in ["w=40&fm=png", "fm=png"] {
            excess.of(&file, query, &format!("{width}x{height}"));
            excess.of(&clear, query, &format!("{width}x{height} with alpha"));
        }
        excess.of(&Png::of(&picture), "fm=avif", &format!("PNG {width}x{height}"));
    }
    excess.assert_none();
}

#[test]
fn a_damaged_avif_takes_no_more() {
    let picture = scene(96, 64);
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut excess = Excess::default();
    for source in [made(&picture, "fm=avif"), made(&clear(&picture), "fm=avif&q=30")] {
        // The boxes stand in front, then the pictures, whose headers say most.
        let mdat = source.windows(4).position(|w| w == b"mdat").unwrap();
        for seed in 0..100 {
            let mut damaged = source.clone();
            for _ in 0..=seed % 4 {
                let place = match seed % 3 {
                    0 => random(damaged.len()),
                    1 => mdat + random(24),
                    _ => random(mdat),
                };
                damaged[place] ^= 1 << random(8);
            }
            excess.of(&damaged, "w=40&fm=png", &format!("seed {seed}"));
        }
    }
    excess.assert_none();
}

/// The decoder goes by the frame's own size, and holds its limit against the number of pixels alone, of which it pads each row and column
/// to 128: 18 MB for such a frame.
#[test]
fn a_frame_with_a_size_of_its_own_gets_no_memory() {
    for (width, height) in [(65_536, 4), (4, 65_536)] {
        let data = non_reduced((640, 426), Some((width, height)));
        let source = file(b"avif", b"av01", &[sides(640, 426)], &data);
        let (_, taken) = peak(|| try_transform(&source, "w=40").unwrap_err());
        assert!(taken < 1 << 20, "{width}x{height}: {taken} bytes");
    }
}

/// The `png` crate, which reads what has a palette, keeps it.
#[test]
fn a_png_with_a_long_exif_block_takes_what_is_reserved() {
    let mut excess = Excess::default();
    let exif = [b"MM\0\x2a\0\0\0\x08".as_slice(), &vec![0; 5 << 20]].concat();
    for colour in [2, 3] {
        let chunks: &[(&[u8; 4], &[u8])] = &[(b"PLTE", &[7; 6]), (b"eXIf", &exif)];
        let rows = vec![0; if colour == 2 { 7 } else { 3 }];
        let file = Png { size: (2, 1), depth: 8, colour, interlaced: false, chunks, rows }.file();
        assert!(try_transform(&file, "fm=png").is_ok());
        excess.of(&file, "fm=png", &format!("colour {colour}"));
    }
    excess.assert_none();
}

#[test]
fn any_picture_takes_what_is_reserved_for_it() {
    let (picture, clear) = (scene(700, 500), clear(&scene(700, 500)));
    let turned = samples::with_exif(&samples::jpeg(&picture, turbojpeg::Subsamp::None, false), 6);
    let sources = [
        ("clear PNG", Png::of(&clear)),
        ("turned JPEG", turned),
        ("clear WebP", made(&clear, "fm=webp&q=30")),
        ("GIF", made(&picture, "fm=gif")),
    ];
    let mut excess = Excess::default();
    for (name, source) in &sources {
        for query in [
            "w=690&fm=png8",
            "w=690&fm=gif",
            "w=300&fm=png",
            "w=690&border-radius=9",
            "w=690&trim=auto",
            "fm=json",
            "w=10&h=3000&fit=scale&fm=png",
        ] {
            excess.of(source, query, name);
        }
    }
    excess.assert_none();
}
