//! Work that nobody waits for ends within its step.

use super::super::super::checkpoint::{Stop, Token};
use super::super::{gif, png, webp};
use super::samples::{self, GifFrame, scene};
use super::*;

/// What becomes of a step whose job has been given up.
fn abandoned<T>(step: impl FnOnce() -> Result<T, Error>) -> Option<Error> {
    let token = Token::new(None);
    token.abandon();
    token.run(step).err()
}

#[test]
fn an_encoder_gives_up() {
    let picture = scene(200, 150);
    for lossless in [false, true] {
        let tuning = webp::Tuning { quality: 80, lossless, effort: Effort::Quick };
        let stopped = abandoned(|| webp::encode(&picture, tuning));
        assert_eq!(stopped, Some(Error::Stopped(Stop::Abandoned)), "lossless: {lossless}");
        assert!(webp::encode(&picture, tuning).is_ok());
    }
    // A palette is looked for, and a colour of it for each pixel.
    for (name, stopped) in [
        ("GIF", abandoned(|| gif::encode(&picture))),
        ("PNG", abandoned(|| png::encode_indexed(&picture, &Kept::default()))),
    ] {
        assert_eq!(stopped, Some(Error::Stopped(Stop::Abandoned)), "{name}");
    }
}

#[test]
fn decoders_give_up() {
    let file = samples::png_with(&scene(200, 150), &[]);
    let size = Size::new(200, 150);
    assert_eq!(abandoned(|| png::decode(&file, size, 1)), Some(Error::Stopped(Stop::Abandoned)));
    let frame = || GifFrame {
        place: (0, 0, 8, 8),
        pixels: vec![1; 64],
        dispose: ::gif::DisposalMethod::Keep,
        delay: 10,
    };
    let file = samples::animated_gif((8, 8), None, &[frame(), frame()]);
    let last = || gif::decode(&file, Size::new(8, 8), 1 << 20, 1);
    assert_eq!(abandoned(last), Some(Error::Stopped(Stop::Abandoned)));
    assert!(last().is_ok());
}
