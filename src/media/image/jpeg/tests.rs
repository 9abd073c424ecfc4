//! The quick way beside libjpeg-turbo's.

use turbojpeg::Subsamp;

use super::super::orientation::Orientation;
use super::super::tests::samples::{self, scene, with_segment};
use super::*;

/// What libjpeg-turbo makes of it.
fn whole(file: &[u8], stored: Size, shrink: u32) -> Result<Planes, Error> {
    Decoder::open(file.into(), stored, shrink)?.planes()
}

fn skimmed(file: &[u8], shrink: usize) -> Option<Planes> {
    skim::planes(file, shrink).unwrap()
}

/// Bits from the first on, with what keeps 0xff apart from markers.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    bits: u32,
    count: u32,
}

impl Writer {
    fn put(&mut self, bits: u32, count: u32) {
        for at in (0..count).rev() {
            (self.bits, self.count) = (self.bits << 1 | bits >> at & 1, self.count + 1);
            if self.count == 8 {
                self.out.push(self.bits as u8);
                if self.bits == 0xff {
                    self.out.push(0);
                }
                (self.bits, self.count) = (0, 0);
            }
        }
    }

    fn marker(&mut self, marker: u8) {
        while self.count > 0 {
            self.put(1, 1);
        }
        self.out.extend([0xff, marker]);
    }

    fn value(&mut self, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let bits = if value < 0 { value + (1 << size) - 1 } else { value };
        self.put(bits as u32, size);
    }
}

/// A grey picture of 640 by 480 with a restart after so many blocks. Codes of AC are of all lengths up to 16; the coefficients come from
/// `next`, a number below what it is asked for.
fn grey(restart: u16, next: &mut impl FnMut(u32) -> u32) -> Vec<u8> {
    // Symbols of DC are sizes, in four bits each; of AC there is one of each length, that of two bits ends the block.
    let dc: Vec<u8> = (0..12).collect();
    let ac: Vec<u8> =
        vec![0x01, 0x00, 0x11, 0x02, 0x21, 0x03, 0x31, 0x12, 0x41, 0x04, 0xf0, 0x22, 0x05, 0xa1, 0x0a, 0x51];
    let table = |kind: u8, counts: [u8; 16], symbols: &[u8]| [&[kind], counts.as_slice(), symbols].concat();
    let mut file = vec![0xff, 0xd8, 0xff, 0xd9];
    for (marker, body) in [
        (0xda, vec![1, 1, 0, 0, 63, 0]),
        (0xdd, restart.to_be_bytes().to_vec()),
        (0xc4, table(0x10, [1; 16], &ac)),
        (0xc4, table(0x00, [0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &dc)),
        (0xc0, vec![8, 1, 224, 2, 128, 1, 1, 0x11, 0]),
        (0xdb, [0].into_iter().chain(3..67).collect()),
    ] {
        file = with_segment(&file, marker, &body);
    }
    file.truncate(file.len() - 2);
    let mut writer = Writer { out: file, ..Writer::default() };
    let (mut until, mut restarts, mut mean) = (restart, 0, 0);
    for _ in 0..80 * 60 {
        if restart > 0 {
            if until == 0 {
                writer.marker(0xd0 + restarts);
                (until, restarts, mean) = (restart, (restarts + 1) % 8, 0);
            }
            until -= 1;
        }
        let change = next(600) as i32 - 300 - mean;
        mean += change;
        let size = 32 - change.unsigned_abs().leading_zeros();
        writer.put(size, 4);
        writer.value(change);
        let mut place = 1;
        while place < 64 {
            let length = next(16);
            let symbol = ac[length as usize];
            let (run, size) = (i32::from(symbol >> 4), symbol & 15);
            if symbol != 0 && place + run > 63 {
                continue;
            }
            // Ones, and a zero behind them.
            writer.put(((1 << length) - 1) << 1, length + 1);
            match symbol {
                0 => break,
                0xf0 => {}
                _ => writer.value((1 << (size - 1)) * if next(2) == 0 { 1 } else { -1 }),
            }
            place += run + 1;
        }
    }
    writer.marker(0xd9);
    writer.out
}

/// Numbers that only look random.
fn numbers(mut state: u64) -> impl FnMut(u32) -> u32 {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % below
    }
}

#[test]
fn means_are_the_same_to_the_bit() {
    let picture = scene(800, 592);
    for subsamp in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray] {
        let file = samples::jpeg(&picture, subsamp, false);
        let skimmed = skimmed(&file, 8).unwrap();
        assert_eq!(skimmed, whole(&file, picture.size, 8).unwrap(), "{subsamp:?}");
    }
    let size = Size::new(640, 480);
    for restart in [0, 1, 7, 80, 4799] {
        let file = grey(restart, &mut numbers(restart.into()));
        assert_eq!(skimmed(&file, 8).unwrap(), whole(&file, size, 8).unwrap(), "restart after {restart}");
        assert!(skimmed(&file, 4).is_some(), "restart after {restart}");
    }
}

#[test]
fn four_of_a_block_show_what_all_do() {
    for (width, height) in [(800, 592), (801, 595), (797, 589)] {
        let picture = scene(width, height);
        for subsamp in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray] {
            let file = samples::jpeg(&picture, subsamp, false);
            let part = Rect { left: 8.0, top: 16.0, width: 720.0, height: 560.0 };
            let small = |planes: Planes| {
                planes.resized(part, picture.size, Size::new(90, 70), Orientation::default())
            };
            let (got, expected) = (
                small(skimmed(&file, 4).unwrap()).unwrap(),
                small(whole(&file, picture.size, 4).unwrap()).unwrap(),
            );
            for (got, expected) in [(got.y, expected.y), (got.u, expected.u), (got.v, expected.v)] {
                super::super::tests::assert_alike(
                    &got,
                    &expected,
                    1.0,
                    &format!("{width}×{height} {subsamp:?}"),
                );
            }
        }
    }
}

/// What is damaged is left to libjpeg-turbo, unless nothing shows the damage: then that lets it pass, too.
#[test]
fn damage_is_judged_by_libjpeg() {
    let picture = scene(800, 592);
    let photo = samples::jpeg(&picture, Subsamp::Sub2x2, false);
    let mut next = numbers(5);
    let noise = grey(9, &mut next);
    let (mut refused, mut read) = (0, 0);
    for seed in 0..120 {
        let (source, size) =
            if seed % 2 == 0 { (&photo, picture.size) } else { (&noise, Size::new(640, 480)) };
        let mut file = source.clone();
        if seed % 5 == 0 {
            file.truncate(next(file.len() as u32) as usize);
        } else {
            let place = next(if seed % 3 == 0 { 700 } else { file.len() as u32 }) as usize;
            file[place] ^= 1 << next(8);
        }
        match skimmed(&file, 8) {
            None => refused += 1,
            Some(_) => {
                read += 1;
                // What the caller looks at before: it wants the header as it was.
                if Decoder::open(file.as_slice().into(), size, 8).is_ok() {
                    assert!(whole(&file, size, 8).is_ok(), "seed {seed}");
                }
            }
        }
        let _ = skimmed(&file, 4);
    }
    assert!(refused > 30 && read > 5, "{refused} refused, {read} read");
    for end in [0, 2, 100, photo.len() / 2, photo.len() - 2] {
        assert!(skimmed(&photo[..end], 8).is_none(), "{end}");
    }
}

#[test]
fn it_stops_when_nobody_waits() {
    use super::super::super::checkpoint::{Stop, Token};
    let file = samples::jpeg(&scene(800, 592), Subsamp::Sub2x2, false);
    let token = Token::new(None);
    token.abandon();
    assert_eq!(token.run(|| skim::planes(&file, 8)).err(), Some(Error::Stopped(Stop::Abandoned)));
}

#[test]
fn codes_that_are_none_are_refused() {
    let codes = |first: &[u8], symbols: &[u8]| {
        let mut counts = [0; 16];
        counts[..first.len()].copy_from_slice(first);
        huffman::Codes::new(&counts, symbols).is_some()
    };
    assert!(codes(&[1, 1, 1], &[1, 2, 3]));
    // All ones; more than there are; too few symbols, and too many.
    for (counts, symbols) in
        [(&[2][..], &[1, 2][..]), (&[0, 5], &[1, 2, 3, 4, 5]), (&[1, 1], &[1]), (&[1], &[1, 2])]
    {
        assert!(!codes(counts, symbols), "{counts:?}");
    }
}
