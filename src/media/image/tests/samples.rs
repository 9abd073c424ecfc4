//! Images made in code: nothing binary is kept in the tree.

use turbojpeg::{Compressor, PixelFormat, Subsamp};

use crate::media::image::geometry::Size;
use crate::media::image::orientation::{Orientation, tests::exif_block};
use crate::media::image::raster::Raster;

/// A picture without any symmetry: soft gradients, a hard dark block at the top left, a bright disc at the
/// bottom right, a coloured bar along the bottom edge.
pub(in crate::media::image) fn scene(width: u32, height: u32) -> Raster {
    let mut out = Raster::new(Size::new(width, height), 3);
    let (w, h) = (f64::from(width), f64::from(height));
    let (pixels, _) = out.data.as_chunks_mut::<3>();
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((at as u32 % width) as f64 / w, (at as u32 / width) as f64 / h);
        let disc = (x - 0.7).powi(2) + (y - 0.6).powi(2) < 0.03;
        *pixel = if x < 0.25 && y < 0.35 {
            [20, 30, 90]
        } else if disc {
            [250, 240, 200]
        } else if y > 0.9 {
            [200, 40, 40]
        } else {
            [(60.0 + 140.0 * x) as u8, (180.0 - 120.0 * y) as u8, (80.0 + 60.0 * x * y) as u8]
        };
    }
    out
}

pub(in crate::media::image) fn jpeg(raster: &Raster, subsamp: Subsamp, progressive: bool) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(95).unwrap();
    compressor.set_subsamp(subsamp).unwrap();
    compressor.set_progressive(progressive).unwrap();
    let image = turbojpeg::Image {
        pixels: raster.data.as_slice(),
        width: raster.size.width as usize,
        pitch: raster.stride(),
        height: raster.size.height as usize,
        format: if raster.channels == 3 { PixelFormat::RGB } else { PixelFormat::CMYK },
    };
    compressor.compress_to_vec(image).unwrap()
}

/// A JPEG with a segment inserted behind its first marker.
pub(in crate::media::image) fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

pub(super) fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    with_segment(jpeg, 0xe1, &exif_block(orientation, true))
}

/// How `upright` must be stored so that the orientation turns it upright again.
pub(super) fn stored_as(upright: &Raster, value: u8) -> Raster {
    // Quarter turns are each other's inverse, all others their own.
    let inverse = match value {
        6 => 8,
        8 => 6,
        other => other,
    };
    upright.clone().oriented(Orientation::from_exif(inverse.into()))
}

/// A PNG of one frame, and chunks to stand before its image data.
pub(super) struct Png<'a> {
    pub(super) size: (u32, u32),
    pub(super) depth: u8,
    pub(super) colour: u8,
    pub(super) interlaced: bool,
    pub(super) chunks: &'a [(&'a [u8; 4], &'a [u8])],
    /// Raw rows, each with its filter byte.
    pub(super) rows: Vec<u8>,
}

impl Png<'_> {
    pub(super) fn of(raster: &Raster) -> Vec<u8> {
        let rows = raster.data.chunks(raster.stride()).flat_map(|row| [&[0], row].concat()).collect();
        Png {
            size: (raster.size.width, raster.size.height),
            depth: 8,
            colour: if raster.channels == 4 { 6 } else { 2 },
            interlaced: false,
            chunks: &[],
            rows,
        }
        .file()
    }

    pub(super) fn file(&self) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = [self.size.0.to_be_bytes(), self.size.1.to_be_bytes()].concat();
        header.extend([self.depth, self.colour, 0, 0, self.interlaced.into()]);
        chunk(&mut out, b"IHDR", &header);
        for (name, body) in self.chunks {
            chunk(&mut out, name, body);
        }
        chunk(&mut out, b"IDAT", &stored_zlib(&self.rows));
        chunk(&mut out, b"IEND", &[]);
        out
    }
}

/// The rows of an RGB picture in Adam7 order.
pub(super) fn adam7(raster: &Raster) -> Vec<u8> {
    let (w, h) = (raster.size.width as usize, raster.size.height as usize);
    let passes =
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
    let mut out = Vec::new();
    for (left, top, across, down) in passes {
        for y in (top..h).step_by(down) {
            if left < w {
                out.push(0);
            }
            for x in (left..w).step_by(across) {
                let at = (y * w + x) * 3;
                out.extend_from_slice(&raster.data[at..at + 3]);
            }
        }
    }
    out
}

fn chunk(out: &mut Vec<u8>, name: &[u8; 4], body: &[u8]) {
    out.extend((body.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend(name);
    out.extend(body);
    let mut crc = u32::MAX;
    for byte in &out[start..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    out.extend((!crc).to_be_bytes());
}

/// A zlib stream of stored blocks.
pub(super) fn stored_zlib(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        out.push(blocks.peek().is_none().into());
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!(block.len() as u16)).to_le_bytes());
        out.extend(block);
    }
    let (a, b) = data.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// A GIF of one frame at an offset: palette index 0 is red, 1 blue.
pub(super) fn gif(screen: (u16, u16), left: u16, top: u16, size: (u16, u16), pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = gif::Encoder::new(&mut out, screen.0, screen.1, &[255, 0, 0, 0, 0, 255]).unwrap();
    let mut frame = gif::Frame::from_indexed_pixels(size.0, size.1, pixels, None);
    (frame.left, frame.top) = (left, top);
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    out
}

/// A frame of an animated GIF, of palette indices: red, blue, green, and one that is clear.
#[derive(Clone)]
pub(super) struct GifFrame {
    /// Left, top, width, height.
    pub(super) place: (u16, u16, u16, u16),
    pub(super) pixels: Vec<u8>,
    pub(super) dispose: gif::DisposalMethod,
    /// Hundredths of a second.
    pub(super) delay: u16,
}

/// `repeat`: how often again, 0 for ever, or nothing said.
pub(super) fn animated_gif(screen: (u16, u16), repeat: Option<u16>, frames: &[GifFrame]) -> Vec<u8> {
    let palette = [255, 0, 0, 0, 0, 255, 0, 200, 0, 0, 0, 0];
    let mut encoder = gif::Encoder::new(Vec::new(), screen.0, screen.1, &palette).unwrap();
    match repeat {
        None => {}
        Some(0) => encoder.set_repeat(gif::Repeat::Infinite).unwrap(),
        Some(again) => encoder.set_repeat(gif::Repeat::Finite(again)).unwrap(),
    }
    for frame in frames {
        let (left, top, width, height) = frame.place;
        let clear = frame.pixels.contains(&3).then_some(3);
        let mut out = gif::Frame::from_indexed_pixels(width, height, frame.pixels.as_slice(), clear);
        (out.left, out.top, out.dispose, out.delay) = (left, top, frame.dispose, frame.delay);
        encoder.write_frame(&out).unwrap();
    }
    encoder.into_inner().unwrap()
}

/// A picture with chunks before its image data.
pub(super) fn png_with(raster: &Raster, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let rows = raster.data.chunks(raster.stride()).flat_map(|row| [&[0], row].concat()).collect();
    let size = (raster.size.width, raster.size.height);
    Png { size, depth: 8, colour: if raster.channels == 4 { 6 } else { 2 }, interlaced: false, chunks, rows }
        .file()
}

/// So many zeros as a zlib stream.
pub(super) fn deflated_zeros(count: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![0; 1 << 20];
    for _ in 0..count >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// What a camera writes, and a place; says that the picture is to be turned by a quarter.
pub(super) fn camera_exif() -> Vec<u8> {
    use ::exif::{Field, In, Rational, Tag, Value, experimental::Writer};
    let text = |text: &str| Value::Ascii(vec![text.as_bytes().to_vec()]);
    let fields = [
        (Tag::Make, text("Maker")),
        (Tag::Artist, text("Nobody")),
        (Tag::Copyright, text("(c) Nobody")),
        (Tag::Orientation, Value::Short(vec![6])),
        (Tag::FNumber, Value::Rational(vec![Rational { num: 28, denom: 10 }])),
        (Tag::UserComment, Value::Undefined(b"ASCII\0\0\x0048 degrees".to_vec(), 0)),
        (Tag::GPSAreaInformation, Value::Undefined(b"ASCII\0\0\x0048 degrees north".to_vec(), 0)),
    ];
    let fields = fields.map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value });
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut out = std::io::Cursor::new(Vec::new());
    writer.write(&mut out, true).unwrap();
    out.into_inner()
}

/// An animation whose one frame is this still WebP.
pub(super) fn animated_webp(
    canvas: (u32, u32),
    offset: (u32, u32),
    size: (u32, u32),
    still: &[u8],
) -> Vec<u8> {
    let le24 = |v: u32| v.to_le_bytes()[..3].to_vec();
    let riff = |name: &[u8; 4], body: &[u8]| {
        let mut out = [name.as_slice(), &(body.len() as u32).to_le_bytes(), body].concat();
        out.resize(out.len().next_multiple_of(2), 0);
        out
    };
    let header = [vec![0x12, 0, 0, 0], le24(canvas.0 - 1), le24(canvas.1 - 1)].concat();
    let frame = [
        le24(offset.0 / 2),
        le24(offset.1 / 2),
        le24(size.0 - 1),
        le24(size.1 - 1),
        le24(100),
        vec![0],
        // Without RIFF header, size and form type.
        still[12..].to_vec(),
    ]
    .concat();
    let body =
        [b"WEBP".to_vec(), riff(b"VP8X", &header), riff(b"ANIM", &[0, 0, 0, 0, 0, 0]), riff(b"ANMF", &frame)]
            .concat();
    riff(b"RIFF", &body)
}
