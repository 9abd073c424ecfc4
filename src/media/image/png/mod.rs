//! PNG in and out. Rows are averaged into a smaller image as they are decoded, so that a large picture is
//! never held whole; only interlaced ones must be.

mod filter;
mod inflate;
mod rows;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, Filter, Reader, Transformations};

use super::super::checkpoint;
use super::error::Error;
use super::geometry::{Rect, Size};
use super::metadata::Kept;
use super::palette::{Alpha, Indexed};
use super::probe::Png;
use super::raster::{Raster, Reduced};
use rows::Rows;

/// How much larger than its target the averaged image is at least.
const RESIDUAL: f64 = 2.0;
/// 255·255·128² still fits the sums.
const MAX_SHRINK: u32 = 128;
/// After so many rows a job asks whether it may go on.
const ROWS_AT_ONCE: u32 = 64;
/// What the decoder may take for rows and for chunks that it keeps.
const DECODER_BYTES: usize = 64 << 20;

/// Pixels across and down that are averaged into one.
pub(super) fn shrink(crop: Rect, target: Size) -> u32 {
    let ratio = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    ((ratio / RESIDUAL) as u32).clamp(1, MAX_SHRINK)
}

/// Memory to decode an image of this size, averaged by `shrink`.
pub(super) fn decode_bytes(png: &Png, stored: Size, shrink: u32) -> u64 {
    // Two bytes per sample: 16-bit rows exist before they are reduced.
    let lines = u64::from(stored.width) * 8 * 3;
    let whole = if png.interlaced { stored.pixels() * u64::from(png.channels) } else { 0 };
    let sums = u64::from(stored.width.div_ceil(shrink)) * 16;
    // The `png` crate keeps this block in memory of up to twice its length, and a copy.
    let exif = u64::from(png.exif_bytes) * 3;
    lines + whole + sums + exif + rows::BYTES + reduced_size(stored, shrink).pixels() * 4
}

fn reduced_size(stored: Size, shrink: u32) -> Size {
    Size::new(stored.width.div_ceil(shrink), stored.height.div_ceil(shrink))
}

pub(super) fn decode(source: &[u8], stored: Size, shrink: u32) -> Result<Reduced, Error> {
    match Rows::open(source).map_err(corrupt)? {
        Some((header, rows)) => {
            check_size((header.width, header.height), stored)?;
            average(header.channels, rows, stored, shrink)
        }
        None => {
            let unusual = Unusual::open(source, stored)?;
            average(unusual.channels, unusual, stored, shrink)
        }
    }
}

fn check_size(size: (u32, u32), stored: Size) -> Result<(), Error> {
    if size == (stored.width, stored.height) { Ok(()) } else { Err(corrupt("header and content differ")) }
}

/// Rows of eight bits a sample, one after the other.
trait Source {
    fn next(&mut self) -> Result<&[u8], Error>;
}

impl Source for Rows<'_> {
    fn next(&mut self) -> Result<&[u8], Error> {
        Rows::next(self).map_err(corrupt)
    }
}

/// What the `png` crate reads: with palettes, transparent colours, other depths, interlaced.
struct Unusual<'a> {
    reader: Reader<Cursor<&'a [u8]>>,
    channels: usize,
    row: Vec<u8>,
    /// Of an interlaced picture, all rows and where the next begins.
    whole: Option<(Vec<u8>, usize)>,
}

impl<'a> Unusual<'a> {
    fn open(source: &'a [u8], stored: Size) -> Result<Self, Error> {
        let mut decoder = Decoder::new_with_limits(Cursor::new(source), png::Limits { bytes: DECODER_BYTES });
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(corrupt)?;
        check_size((reader.info().width, reader.info().height), stored)?;
        let channels = match reader.output_color_type() {
            (ColorType::Grayscale, BitDepth::Eight) => 1,
            (ColorType::GrayscaleAlpha, BitDepth::Eight) => 2,
            (ColorType::Rgb, BitDepth::Eight) => 3,
            (ColorType::Rgba, BitDepth::Eight) => 4,
            (ColorType::Indexed, _) => return Err(corrupt("palette missing")),
            _ => return Err(corrupt("header and content differ")),
        };
        let whole = if reader.info().interlaced {
            let length = reader.output_buffer_size().ok_or_else(|| corrupt("size overflow"))?;
            let mut whole = vec![0; length];
            reader.next_frame(&mut whole).map_err(corrupt)?;
            Some((whole, 0))
        } else {
            None
        };
        Ok(Self { reader, channels, row: vec![0; stored.width as usize * channels], whole })
    }
}

impl Source for Unusual<'_> {
    fn next(&mut self) -> Result<&[u8], Error> {
        if let Some((whole, at)) = &mut self.whole {
            let from = *at;
            *at += self.row.len();
            return whole.get(from..*at).ok_or_else(|| corrupt("too few rows"));
        }
        self.reader.read_row(&mut self.row).map_err(corrupt)?.ok_or_else(|| corrupt("too few rows"))?;
        Ok(&self.row)
    }
}

fn average(channels: usize, rows: impl Source, stored: Size, shrink: u32) -> Result<Reduced, Error> {
    match channels {
        1 => average_of::<1>(rows, stored, shrink),
        2 => average_of::<2>(rows, stored, shrink),
        3 => average_of::<3>(rows, stored, shrink),
        _ => average_of::<4>(rows, stored, shrink),
    }
}

fn average_of<const C: usize>(mut rows: impl Source, stored: Size, shrink: u32) -> Result<Reduced, Error> {
    let mut boxes = Boxes::<C>::new(stored, shrink);
    for number in 0..stored.height {
        if number.is_multiple_of(ROWS_AT_ONCE) {
            checkpoint::pass()?;
        }
        boxes.row(rows.next()?);
    }
    let divisor = f64::from(shrink);
    let extent = (f64::from(stored.width) / divisor, f64::from(stored.height) / divisor);
    Ok(Reduced { raster: boxes.finish(), extent })
}

/// Averages squares of pixels of `C` samples, colour weighted by alpha, into RGB or RGBA.
struct Boxes<const C: usize> {
    shrink: usize,
    /// Of opaque pixels, the rows of a square added up, before they are added up across: that is one vector instruction for
    /// many samples.
    column_sums: Vec<u16>,
    sums: Vec<[u32; C]>,
    rows_in: u32,
    width: usize,
    out: Raster,
    rows_out: usize,
    rows_left: u32,
}

impl<const C: usize> Boxes<C> {
    const ALPHA: bool = C.is_multiple_of(2);

    fn new(stored: Size, shrink: u32) -> Self {
        let size = reduced_size(stored, shrink);
        Self {
            shrink: shrink as usize,
            column_sums: vec![0; if Self::ALPHA || shrink == 1 { 0 } else { stored.width as usize * C }],
            sums: vec![[0; C]; size.width as usize],
            rows_in: 0,
            width: stored.width as usize,
            out: Raster::new(size, if Self::ALPHA { 4 } else { 3 }),
            rows_out: 0,
            rows_left: stored.height,
        }
    }

    fn row(&mut self, row: &[u8]) {
        let (pixels, _) = row.as_chunks::<C>();
        if self.shrink == 1 {
            return self.emit_row(|out, x| write::<C>(out, pixels[x]));
        }
        if Self::ALPHA {
            self.add_weighted(pixels);
        } else {
            // 128 rows of 255 still fit.
            for (sum, sample) in self.column_sums.iter_mut().zip(row) {
                *sum += u16::from(*sample);
            }
        }
        self.rows_in += 1;
        self.rows_left -= 1;
        if self.rows_in as usize == self.shrink || self.rows_left == 0 {
            self.add_across();
            let sums = std::mem::take(&mut self.sums);
            let (rows, width, shrink) = (self.rows_in, self.width, self.shrink);
            self.emit_row(|out, x| {
                let across = shrink.min(width - x * shrink) as u32;
                write::<C>(out, mean::<C>(sums[x], rows * across));
            });
            self.sums = sums;
            self.sums.fill([0; C]);
            self.rows_in = 0;
        }
    }

    fn add_weighted(&mut self, pixels: &[[u8; C]]) {
        for (sum, square) in self.sums.iter_mut().zip(pixels.chunks(self.shrink)) {
            for pixel in square {
                let weight = u32::from(pixel[C - 1]);
                for (sum, sample) in sum.iter_mut().zip(&pixel[..C - 1]) {
                    *sum += u32::from(*sample) * weight;
                }
                sum[C - 1] += weight;
            }
        }
    }

    fn add_across(&mut self) {
        let (columns, _) = self.column_sums.as_chunks::<C>();
        for (sum, square) in self.sums.iter_mut().zip(columns.chunks(self.shrink)) {
            for column in square {
                for (sum, sample) in sum.iter_mut().zip(column) {
                    *sum += u32::from(*sample);
                }
            }
        }
        self.column_sums.fill(0);
    }

    fn emit_row(&mut self, fill: impl Fn(&mut [u8], usize)) {
        let stride = self.out.stride();
        let channels = self.out.channels;
        let start = self.rows_out * stride;
        for (x, out) in self.out.data[start..start + stride].chunks_exact_mut(channels).enumerate() {
            fill(out, x);
        }
        self.rows_out += 1;
    }

    fn finish(self) -> Raster {
        self.out
    }
}

fn mean<const C: usize>(sums: [u32; C], count: u32) -> [u8; C] {
    let divide = |sum: u32, by: u32| ((sum + by / 2) / by) as u8;
    if !C.is_multiple_of(2) {
        return sums.map(|sum| divide(sum, count));
    }
    let weight = sums[C - 1];
    if weight == 0 {
        return [0; C];
    }
    let mut out = sums.map(|sum| divide(sum, weight));
    out[C - 1] = divide(weight, count);
    out
}

fn write<const C: usize>(out: &mut [u8], pixel: [u8; C]) {
    match (out, pixel.as_slice()) {
        ([r, g, b], &[y]) => (*r, *g, *b) = (y, y, y),
        ([r, g, b, a], &[y, alpha]) => (*r, *g, *b, *a) = (y, y, y, alpha),
        (out, pixel) => out.copy_from_slice(pixel),
    }
}

pub(super) fn encode(raster: &Raster, kept: &Kept) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut encoder = encoder(&mut out, raster.size, kept)?;
    encoder.set_depth(BitDepth::Eight);
    encoder.set_color(if raster.channels == 4 { ColorType::Rgba } else { ColorType::Rgb });
    encoder
        .write_header()
        .and_then(|mut writer| {
            writer.write_image_data(&raster.data)?;
            writer.finish()
        })
        .map_err(|error| Error::internal("encode", error))?;
    Ok(out)
}

/// With at most 256 colours.
pub(super) fn encode_indexed(raster: &Raster, kept: &Kept) -> Result<Vec<u8>, Error> {
    let Indexed { palette, pixels } = Indexed::of(raster, Alpha::Full, true)?;
    let mut out = Vec::new();
    let mut encoder = encoder(&mut out, raster.size, kept)?;
    encoder.set_depth(BitDepth::Eight);
    encoder.set_color(ColorType::Indexed);
    encoder.set_palette(palette.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect::<Vec<_>>());
    if palette.iter().any(|colour| colour[3] < 255) {
        encoder.set_trns(palette.iter().map(|colour| colour[3]).collect::<Vec<_>>());
    }
    // Places in a palette are no slopes.
    encoder.set_filter(Filter::NoFilter);
    encoder
        .write_header()
        .and_then(|mut writer| {
            writer.write_image_data(&pixels)?;
            writer.finish()
        })
        .map_err(|error| Error::internal("encode", error))?;
    Ok(out)
}

fn encoder<'a>(
    out: &'a mut Vec<u8>,
    size: Size,
    kept: &'a Kept,
) -> Result<Encoder<'a, &'a mut Vec<u8>>, Error> {
    let mut info = png::Info::with_size(size.width, size.height);
    info.icc_profile = kept.icc.as_deref().map(Cow::Borrowed);
    info.exif_metadata = kept.exif.as_deref().map(Cow::Borrowed);
    Encoder::with_info(out, info).map_err(|error| Error::internal("encode", error))
}

fn corrupt(detail: impl Into<Detail>) -> Error {
    Error::corrupt("PNG", detail.into().0)
}

struct Detail(String);

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<DecodingError> for Detail {
    fn from(error: DecodingError) -> Self {
        Self(error.to_string())
    }
}
