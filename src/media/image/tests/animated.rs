//! Animations: that they stay what they were, frame by frame, and that they have bounds.

use super::super::{gif, webp};
use super::samples::{self, GifFrame, Png, scene};
use super::*;

const RED: u8 = 0;
const BLUE: u8 = 1;
const GREEN: u8 = 2;
const CLEAR: u8 = 3;
const SHADES: [[u8; 4]; 4] = [[255, 0, 0, 255], [0, 0, 255, 255], [0, 200, 0, 255], [0; 4]];

/// Frames as a viewer sees them, with the time that each stays, and how often the whole is played.
fn played(file: &[u8]) -> (Vec<(Raster, u32)>, u32) {
    let probe = probe(file).unwrap();
    let mut shown = Vec::new();
    let loops = match Kind::of(file) {
        Kind::Gif => {
            let mut frames = gif::Frames::open(file, probe.stored, 1 << 30).unwrap();
            while let Some((canvas, millis)) = frames.next().unwrap() {
                shown.push((canvas.clone(), millis));
            }
            frames.loops()
        }
        _ => {
            let mut frames = webp::animated::Frames::open(file, probe.stored).unwrap();
            while let Some((canvas, millis)) = frames.next().unwrap() {
                shown.push((canvas.to_raster(), millis));
            }
            frames.loops
        }
    };
    (shown, loops)
}

/// Four frames of 40×30, each told by what it does with those before: a green block on a clear ground, a blue one beside it that is
/// wiped away, a red one below that gives back what was there, and nothing but one pixel.
fn moving() -> Vec<u8> {
    use ::gif::DisposalMethod as D;
    let block = |left, top, colour, dispose, delay| GifFrame {
        place: (left, top, 10, 10),
        pixels: vec![colour; 100],
        dispose,
        delay,
    };
    samples::animated_gif(
        (40, 30),
        Some(0),
        &[
            block(0, 0, GREEN, D::Keep, 10),
            block(20, 0, BLUE, D::Background, 20),
            block(0, 15, RED, D::Previous, 30),
            block(30, 20, CLEAR, D::Keep, 0),
        ],
    )
}

/// What is seen in the middle of each block, frame by frame.
fn blocks(raster: &Raster) -> [[u8; 4]; 3] {
    let raster = raster.clone().into_rgba();
    let scale = raster.size.width / 40;
    [(5, 5), (25, 5), (5, 20)].map(|(x, y)| {
        let at = ((y * scale * raster.size.width + x * scale) * 4) as usize;
        raster.data[at..at + 4].try_into().unwrap()
    })
}

fn alike(got: [[u8; 4]; 3], expected: [u8; 3], tolerance: u8) -> bool {
    got.iter().zip(expected).all(|(got, colour)| {
        let colour = SHADES[usize::from(colour)];
        let close = got.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= tolerance);
        // What is not there has no colour.
        close || (colour[3] == 0 && got[3] <= tolerance)
    })
}

const SEEN: [[u8; 3]; 4] =
    [[GREEN, CLEAR, CLEAR], [GREEN, BLUE, CLEAR], [GREEN, CLEAR, RED], [GREEN, CLEAR, CLEAR]];

#[test]
fn an_animation_stays_one() {
    let source = moving();
    assert_eq!(probe(&source).unwrap().frames, 4);
    for (query, kind, tolerance) in [
        ("fm=gif", Kind::Gif, 0),
        ("lossless=1", Kind::Webp, 0),
        ("q=100", Kind::Webp, 40),
        ("w=80&fit=scale&lossless=1", Kind::Webp, 40),
        ("w=80&fit=scale&fm=gif", Kind::Gif, 40),
    ] {
        let made = try_transform(&source, query).unwrap();
        assert_eq!((Kind::of(&made.bytes), made.content_type), (kind, kind.media_type()), "{query}");
        let (frames, loops) = played(&made.bytes);
        assert_eq!((frames.len(), loops), (4, 0), "{query}");
        for (number, ((raster, millis), (seen, expected))) in
            frames.iter().zip(SEEN.iter().zip([100, 200, 300, 100])).enumerate()
        {
            assert_eq!((raster.size.width, raster.size.height), (made.width, made.height));
            assert!(alike(blocks(raster), *seen, tolerance), "{query}, frame {number}: {:?}", blocks(raster));
            assert_eq!(*millis, expected, "{query}, frame {number}");
        }
    }
}

#[test]
fn from_webp_as_from_gif() {
    let webp = try_transform(&moving(), "lossless=1").unwrap().bytes;
    assert_eq!(probe(&webp).unwrap().frames, 4);
    for query in ["fm=gif", "lossless=1", "w=40&q=100"] {
        let (frames, loops) = played(&try_transform(&webp, query).unwrap().bytes);
        assert_eq!((frames.len(), loops), (4, 0), "{query}");
        for ((raster, _), seen) in frames.iter().zip(SEEN) {
            assert!(alike(blocks(raster), seen, 40), "{query}: {:?}", blocks(raster));
        }
    }
}

#[test]
fn how_often_it_plays_is_kept() {
    let frame = |colour| GifFrame {
        place: (0, 0, 4, 4),
        pixels: vec![colour; 16],
        dispose: ::gif::DisposalMethod::Keep,
        delay: 7,
    };
    for (repeat, loops) in [(None, 1), (Some(0), 0), (Some(4), 5)] {
        let source = samples::animated_gif((4, 4), repeat, &[frame(RED), frame(BLUE)]);
        for query in ["fm=gif", "fm=webp"] {
            let made = try_transform(&source, query).unwrap().bytes;
            let (frames, got) = played(&made);
            assert_eq!((got, frames[0].1), (loops, 70), "{query} {repeat:?}");
            assert_eq!(
                played(&try_transform(&made, "fm=gif").unwrap().bytes).1,
                loops,
                "{query} {repeat:?} again"
            );
        }
    }
}

#[test]
fn what_cannot_move_shows_a_frame() {
    let source = moving();
    for query in ["fm=png", "fm=png8", "frame=1&fm=webp&lossless=1", "frame=1&fm=gif"] {
        let still = variant(&source, query);
        assert!(alike(blocks(&still), SEEN[0], 0), "{query}: {:?}", blocks(&still));
        assert_eq!(probe(&try_transform(&source, query).unwrap().bytes).unwrap().frames, 1, "{query}");
    }
    assert!(alike(blocks(&variant(&source, "frame=2&fm=png")), SEEN[1], 0));
    assert!(alike(blocks(&variant(&source, "frame=3&fm=png")), SEEN[2], 0));
    // There are four.
    assert!(alike(blocks(&variant(&source, "frame=9&fm=png")), SEEN[3], 0));
    let webp = try_transform(&source, "lossless=1").unwrap().bytes;
    assert!(alike(blocks(&variant(&webp, "frame=2&fm=png")), SEEN[1], 0));
}

#[test]
fn clients_without_webp_get_a_moving_gif() {
    let baseline = params("w=40").negotiated(Newest::Baseline);
    let made = transform(&moving(), &baseline, &Limits::default()).unwrap();
    assert_eq!(made.content_type, "image/gif");
    assert_eq!(played(&made.bytes).0.len(), 4);
}

#[test]
fn every_operation_reaches_every_frame() {
    let source = moving();
    for (query, size) in [
        ("rot=90&fm=gif", (30, 40)),
        ("w=20&h=20&fit=crop&crop=left&fm=gif", (20, 20)),
        ("pad=5&bg=fff&fm=gif", (50, 40)),
        ("rect=0,0,10,10&fm=gif", (10, 10)),
        ("sat=-100&fm=webp", (40, 30)),
        ("w=20&h=20&fit=crop&crop=entropy", (20, 20)),
    ] {
        let made = try_transform(&source, query).unwrap();
        assert_eq!((made.width, made.height), size, "{query}");
        let (frames, _) = played(&made.bytes);
        assert_eq!(frames.len(), 4, "{query}");
        assert!(frames.iter().all(|(raster, _)| (raster.size.width, raster.size.height) == size), "{query}");
    }
}

#[test]
fn many_colours_survive_a_gif() {
    let picture = scene(64, 48);
    let still = try_transform(&Png::of(&picture), "fm=gif").unwrap();
    assert_eq!(still.content_type, "image/gif");
    assert_alike(&decoded(&still.bytes).flattened([255; 3]), &picture, 6.0, "GIF");
}

#[test]
fn too_much_animation_is_refused_from_headers() {
    let frame =
        GifFrame { place: (0, 0, 1, 1), pixels: vec![RED], dispose: ::gif::DisposalMethod::Keep, delay: 2 };
    let one = samples::animated_gif((640, 480), None, std::slice::from_ref(&frame));
    // The frame again and again, behind the header and its table of four colours.
    let (head, body) = one.split_at(13 + 12);
    let body = &body[..body.len() - 1];
    let many = [head, &body.repeat(1_000_000), b";"].concat();
    let before = computed();
    let error = try_transform(&many, "w=64").unwrap_err();
    let took = computed() - before;
    assert!(took < Duration::from_millis(250), "{took:?}");
    assert!(matches!(error, Error::TooLarge { measure: Measure::Frames, limit: 1000, .. }), "{error}");
    assert_eq!(error.fault(), Fault::Source);
    // One of them can be had.
    assert_eq!(try_transform(&many, "w=64&fm=jpg").unwrap().width, 64);

    let heavy = [head, &body.repeat(900), b";"].concat();
    let error = try_transform(&heavy, "w=64").unwrap_err();
    assert!(matches!(error, Error::TooLarge { measure: Measure::AnimationPixels, .. }), "{error}");
    // Frames may be larger than what shows of them, and take as long.
    let mut beyond = samples::animated_gif((4, 4), None, std::slice::from_ref(&frame));
    let place = beyond.iter().rposition(|byte| *byte == b',').unwrap();
    beyond[place + 5..place + 9].copy_from_slice(&[0x10, 0x27, 0x10, 0x27]);
    let (head, body) = beyond.split_at(13 + 12);
    let beyond = [head, &body[..body.len() - 1].repeat(3), b";"].concat();
    let error = try_transform(&beyond, "w=64").unwrap_err();
    assert!(matches!(error, Error::TooLarge { actual: 300_000_000, .. }), "{error}");
    let (head, body) = one.split_at(13 + 12);
    let body = &body[..body.len() - 1];
    assert_eq!(played(&try_transform(&[head, &body.repeat(20), b";"].concat(), "w=64").unwrap().bytes).1, 1);
}
