//! The reader of rows beside the `png` crate, which reads all that it does, and what it refuses.

use png::{BitDepth, ColorType, Encoder, Filter};
use proptest::prelude::*;

use super::rows::{Header, Rows};
use super::{Source, Unusual};
use crate::media::image::geometry::Size;

const FILTERS: [Filter; 6] =
    [Filter::NoFilter, Filter::Sub, Filter::Up, Filter::Avg, Filter::Paeth, Filter::Adaptive];
const COLOURS: [(ColorType, usize); 4] =
    [(ColorType::Grayscale, 1), (ColorType::GrayscaleAlpha, 2), (ColorType::Rgb, 3), (ColorType::Rgba, 4)];

fn file(size: Size, colour: ColorType, filter: Filter, pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, size.width, size.height);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    out
}

/// Slopes with noise on them, so that every filter has something to predict.
fn pixels(size: Size, channels: usize, seed: u64) -> Vec<u8> {
    let mut noise = fastrand::Rng::with_seed(seed);
    let stride = size.width as usize * channels;
    (0..stride * size.height as usize)
        .map(|at| ((at % stride) * 3 + (at / stride) * 5) as u8 ^ (noise.u8(..) >> noise.u8(2..9).min(7)))
        .collect()
}

fn all(mut rows: impl Source, height: u32) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for _ in 0..height {
        out.extend_from_slice(rows.next().map_err(|error| error.to_string())?);
    }
    Ok(out)
}

fn read(file: &[u8], height: u32) -> Result<Vec<u8>, String> {
    let (_, rows) = Rows::open(file)?.expect("a PNG of the usual kind");
    all(rows, height)
}

/// Bytes of a chunk: its data's length, name, data, checksum.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(name);
    out.extend_from_slice(data);
    out.extend_from_slice(&crc32fast::hash(&out[4..]).to_be_bytes());
    out
}

/// The stream of the image data, and what stands in front of its chunks.
fn stream(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut at, mut front, mut stream) = (8, file[..8].to_vec(), Vec::new());
    while at < file.len() {
        let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        match &file[at + 4..at + 8] {
            b"IDAT" => stream.extend_from_slice(&file[at + 8..at + 8 + length]),
            b"IEND" => {}
            _ => front.extend_from_slice(&file[at..at + 12 + length]),
        }
        at += 12 + length;
    }
    (front, stream)
}

fn around(front: &[u8], chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = front.to_vec();
    out.extend(chunks.into_iter().flatten());
    out.extend(chunk(b"IEND", b""));
    out
}

const SIZE: Size = Size { width: 37, height: 23 };

fn sample() -> Vec<u8> {
    file(SIZE, ColorType::Rgb, Filter::Adaptive, &pixels(SIZE, 3, 7))
}

#[test]
fn every_filter_of_every_usual_colour_is_undone() {
    for (colour, channels) in COLOURS {
        for filter in FILTERS {
            for size in [Size::new(1, 1), Size::new(2, 9), Size::new(3, 2), Size::new(501, 64), SIZE] {
                let pixels = pixels(size, channels, u64::from(size.width));
                let file = file(size, colour, filter, &pixels);
                let (header, rows) = Rows::open(&file).unwrap().unwrap();
                assert_eq!(header, Header { width: size.width, height: size.height, channels });
                assert!(all(rows, size.height).unwrap() == pixels, "{colour:?} {filter:?} {size:?}");
            }
        }
    }
}

#[test]
fn rows_longer_than_the_window_are_read() {
    let size = Size::new(100_000, 5);
    let pixels = pixels(size, 4, 1);
    for filter in FILTERS {
        assert!(read(&file(size, ColorType::Rgba, filter, &pixels), size.height).unwrap() == pixels);
    }
}

#[test]
fn image_data_in_chunks_of_any_length_is_one_stream() {
    let file = sample();
    let (front, stream) = stream(&file);
    let wanted = pixels(SIZE, 3, 7);
    for length in [1, 2, 3, 100] {
        let split = stream.chunks(length).flat_map(|part| [chunk(b"IDAT", b""), chunk(b"IDAT", part)]);
        assert!(read(&around(&front, split), SIZE.height).unwrap() == wanted, "{length}");
    }
    let mut longer = stream;
    longer.extend([7; 9]);
    assert!(read(&around(&front, [chunk(b"IDAT", &longer)]), SIZE.height).unwrap() == wanted);
}

#[test]
fn what_is_not_usual_is_left_to_the_other_reader() {
    let (front, stream) = stream(&sample());
    let mut interlaced = front.clone();
    interlaced[8 + 8 + 12] = 1;
    let mut palette = front.clone();
    palette[8 + 8 + 9] = 3;
    let mut deep = front.clone();
    deep[8 + 8 + 8] = 16;
    for front in [&mut interlaced, &mut palette, &mut deep] {
        let sum = crc32fast::hash(&front[12..29]).to_be_bytes();
        front[29..33].copy_from_slice(&sum);
        assert!(Rows::open(&around(front, [chunk(b"IDAT", &stream)])).unwrap().is_none());
    }
    let mut transparent = front;
    transparent.extend(chunk(b"tRNS", &[0; 6]));
    assert!(Rows::open(&around(&transparent, [chunk(b"IDAT", &stream)])).unwrap().is_none());
}

#[test]
fn what_is_wrong_is_told() {
    let file = sample();
    let (front, stream) = stream(&file);
    let data = |stream: &[u8]| around(&front, [chunk(b"IDAT", stream)]);
    let zlib = |raw: &[u8]| {
        use std::io::Write;
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(raw).unwrap();
        out.finish().unwrap()
    };
    let with = |at: usize, byte: u8| {
        let mut bytes = file.clone();
        bytes[at] ^= byte;
        bytes
    };
    let body = front.len() + 8;
    let mut bent = stream.clone();
    bent[2] = 0x07; // A kind of block that there is not.
    for (file, said) in [
        (with(20, 1), "a checksum that is wrong"),
        (with(body + 40, 1), "a checksum that is wrong"),
        (data(&bent), "image data that is not deflate"),
        (data(b""), "ends within its image data"),
        (data(b"x"), "ends within its image data"),
        (data(b"GIF89a"), "image data that is not zlib's"),
        (data(&zlib(b"")), "ends within its image data"),
        (data(&zlib(&[0; 100])), "ends within its image data"),
        (data(&zlib(&[5; 37 * 3 + 1])), "a filter that there is not"),
        (around(&front, []), "no image data"),
        (file[..body + 60].to_vec(), "ends within its image data"),
    ] {
        assert!(read(&file, SIZE.height).unwrap_err().contains(said), "{said}");
    }
}

proptest! {
    /// What the reader makes of a damaged file is what the `png` crate makes of it, or a refusal.
    #[test]
    fn damaged_image_data_gives_the_same_pixels_or_none(
        seed in any::<u64>(), filter in 0..6_usize, colour in 0..4_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8,
    ) {
        let (colour, channels) = COLOURS[colour];
        let (front, mut stream) = stream(&file(SIZE, colour, FILTERS[filter], &pixels(SIZE, channels, seed)));
        // The last four bytes are a checksum that neither looks at.
        let at = at.index(stream.len() - 4);
        stream[at] ^= flip;
        let damaged = around(&front, [chunk(b"IDAT", &stream)]);
        let theirs = Unusual::open(&damaged, SIZE).map_err(|error| error.to_string());
        let theirs = theirs.and_then(|reader| all(reader, SIZE.height));
        match (read(&damaged, SIZE.height), theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert!(ours == theirs),
            (Ok(_), Err(error)) => prop_assert!(false, "we read what they do not: {error}"),
            (Err(_), _) => {}
        }
    }
}
