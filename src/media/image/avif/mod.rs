//! AVIF in: rav1d, on this thread, of one frame whose size and depth were admitted from its headers. Each plane is cut to 8 bits and
//! shrunk before they become RGB by their matrix; alpha is a picture of its own.

mod write;

pub(super) use write::{MAX_PIXELS, MAX_SPARE_PIXELS, encode, encode_bytes};

use re_rav1d::{Decoder, Picture, PixelLayout, PlanarImageComponent as Component, Settings};

use super::super::checkpoint;
use super::error::Error;
use super::geometry::{Rect, Size};
use super::probe::{Avif, AvifPicture, Sequence, admit_frame};
use super::raster::{Raster, Reduced};
use super::resize::resize;

/// Pictures that are asked for before the decoder has had its chance.
const MAX_TRIES: usize = 16;
/// How much larger than its target the decoded picture is at least.
const RESIDUAL: f64 = 2.0;

/// Of memory that the decoder takes: whatever it decodes, for each tile, for each block of 128 by 128 samples and each byte of a
/// sample, and for each column.
const DECODER_BYTES: u64 = 1 << 20;
const TILE_BYTES: u64 = 20 << 10;
const BLOCK: u32 = 128;
const BLOCK_BYTES: u64 = 16 << 10;
const BLOCK_SAMPLE_BYTES: u64 = 8 << 10;
const COLUMN_BYTES: u64 = 256;

/// The divisor by which planes are shrunk; they would have to be weighed by alpha.
pub(super) fn shrink(avif: &Avif, crop: Rect, target: Size) -> u32 {
    if avif.alpha.is_some() {
        return 1;
    }
    let ratio = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    ((ratio / RESIDUAL) as u32).max(1)
}

fn shrunk(stored: Size, shrink: u32) -> Size {
    Size::new(stored.width.div_ceil(shrink), stored.height.div_ceil(shrink))
}

/// Beside the decoder one plane as it is stored and what has become of the others; then RGB, and with it the decoder of alpha.
pub(super) fn decode_bytes(avif: &Avif, stored: Size, shrink: u32) -> u64 {
    let out = shrunk(stored, shrink);
    let between = u64::from(stored.width) * u64::from(out.height);
    let plane = stored.pixels() + between;
    let colour = decoder_bytes(&avif.colour, stored) + plane + out.pixels() * 3;
    let alpha = avif.alpha.map_or(0, |alpha| decoder_bytes(&alpha, stored) + plane + out.pixels() * 5);
    colour.max(out.pixels() * 7).max(alpha)
}

/// What the decoder takes for one picture, its data included.
fn decoder_bytes(picture: &AvifPicture, stored: Size) -> u64 {
    let sequence = &picture.sequence;
    let blocks = Size::new(stored.width.div_ceil(BLOCK), stored.height.div_ceil(BLOCK));
    // Rows are longer than that where their length would be a bad one for the processor's cache.
    let planes = Size::new((blocks.width + 1) * BLOCK, blocks.height * BLOCK);
    let sample = sequence.sample_bytes();
    let (start, end) = picture.place;
    DECODER_BYTES
        + sequence.picture_bytes(planes)
        + sequence.max_tiles(stored) * TILE_BYTES
        + blocks.pixels() * (BLOCK_BYTES + BLOCK_SAMPLE_BYTES * sample)
        + u64::from(planes.width) * COLUMN_BYTES * sample
        + (end - start) as u64
}

pub(super) fn decode(source: &[u8], avif: &Avif, stored: Size, shrink: u32) -> Result<Reduced, Error> {
    let size = shrunk(stored, shrink);
    let colour = planes(source, &avif.colour, stored, size, true)?;
    checkpoint::pass()?;
    let mut raster = to_rgb(&colour, &avif.colour.sequence, avif.alpha.is_some());
    drop(colour);
    if let Some(alpha) = &avif.alpha {
        let planes = planes(source, alpha, stored, size, false)?;
        let tones = tones(alpha.sequence.full_range);
        for (pixel, alpha) in raster.data.as_chunks_mut::<4>().0.iter_mut().zip(&planes[0].data) {
            pixel[3] = tones[usize::from(*alpha)];
        }
    }
    Ok(Reduced::unreduced(raster))
}

/// Luma, and chroma if there is any and it is wanted, all of this size.
fn planes(
    source: &[u8],
    picture: &AvifPicture,
    stored: Size,
    size: Size,
    chroma: bool,
) -> Result<Vec<Raster>, Error> {
    let (start, end) = picture.place;
    let data = source.get(start..end).ok_or_else(|| corrupt("picture cut off"))?;
    admit_frame(data)?;
    let frame = decoded(data, stored)?;
    let depth = frame.bit_depth();
    let found = (frame.width(), frame.height(), depth as u32);
    if found != (stored.width, stored.height, picture.sequence.depth) {
        return Err(corrupt("header and content differ"));
    }
    checkpoint::pass()?;
    let (across, down, grey) = match frame.pixel_layout() {
        PixelLayout::I400 => (1, 1, true),
        PixelLayout::I420 => (2, 2, false),
        PixelLayout::I422 => (2, 1, false),
        PixelLayout::I444 => (1, 1, false),
    };
    let plane = |component, across: u32, down: u32| {
        let whole = Size::new(stored.width.div_ceil(across), stored.height.div_ceil(down));
        let plane = eight_bits(&frame, component, whole, depth)?;
        if whole == size {
            return Ok(plane);
        }
        // The last column or row of chroma may reach beyond the picture.
        let part = Rect::whole(stored).scaled(1.0 / f64::from(across), 1.0 / f64::from(down));
        resize(plane.view(), part, size)
    };
    let mut planes = vec![plane(Component::Y, 1, 1)?];
    if chroma && !grey {
        planes.push(plane(Component::U, across, down)?);
        planes.push(plane(Component::V, across, down)?);
    }
    Ok(planes)
}

/// The one frame of this data. The size is a second limit: what was admitted says it, and nothing in the data may say another.
fn decoded(data: &[u8], stored: Size) -> Result<Picture, Error> {
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    settings.set_frame_size_limit(u32::try_from(stored.pixels()).map_err(|_| corrupt("too large"))?);
    let mut decoder = Decoder::with_settings(&settings).map_err(|error| Error::internal("decode", error))?;
    let mut sent = decoder.send_data(data.to_vec(), None, None, None);
    for _ in 0..MAX_TRIES {
        match (decoder.get_picture(), sent) {
            (Ok(frame), _) => return Ok(frame),
            (Err(error), _) if !error.is_again() => return Err(corrupt(&error.to_string())),
            (_, Err(error)) if error.is_again() => sent = decoder.send_pending_data(),
            (_, Err(error)) => return Err(corrupt(&error.to_string())),
            (_, Ok(())) => {}
        }
    }
    Err(corrupt("no picture"))
}

fn eight_bits(frame: &Picture, component: Component, size: Size, depth: usize) -> Result<Raster, Error> {
    let stride = frame.stride(component) as usize;
    let plane = frame.plane(component);
    let mut out = Raster::new(size, 1);
    let width = size.width as usize;
    let bytes = if depth > 8 { width * 2 } else { width };
    for (number, row) in out.data.chunks_exact_mut(width).enumerate() {
        let start = number * stride;
        let from = plane.get(start..start + bytes).ok_or_else(|| corrupt("rows missing"))?;
        if depth > 8 {
            let (shift, half) = (depth - 8, 1_u16 << (depth - 9));
            for (to, from) in row.iter_mut().zip(from.as_chunks::<2>().0) {
                *to = (u16::from_ne_bytes(*from).saturating_add(half) >> shift).min(255) as u8;
            }
        } else {
            row.copy_from_slice(from);
        }
    }
    Ok(out)
}

/// What each sample means, from 0 to 255.
fn tones(full_range: bool) -> [u8; 256] {
    std::array::from_fn(|v| {
        if full_range { v as u8 } else { ((v as f32 - 16.0) * 255.0 / 219.0).round().clamp(0.0, 255.0) as u8 }
    })
}

fn to_rgb(planes: &[Raster], sequence: &Sequence, alpha: bool) -> Raster {
    let mut out = Raster::new(planes[0].size, if alpha { 4 } else { 3 });
    if alpha {
        out.data.fill(255);
    }
    let channels = out.channels;
    let pixels = out.data.chunks_exact_mut(channels);
    let [y, u, v] = planes else {
        let tones = tones(sequence.full_range);
        for (pixel, y) in pixels.zip(&planes[0].data) {
            pixel[..3].fill(tones[usize::from(*y)]);
        }
        return out;
    };
    let samples = y.data.iter().zip(u.data.iter().zip(&v.data));
    let [_, _, matrix] = sequence.cicp;
    if matrix == 0 {
        let tones = tones(sequence.full_range);
        for (pixel, (g, (b, r))) in pixels.zip(samples) {
            (pixel[0], pixel[1], pixel[2]) =
                (tones[usize::from(*r)], tones[usize::from(*g)], tones[usize::from(*b)]);
        }
        return out;
    }
    // ITU-T H.273 §8.3: the weights of red and blue in luma.
    let (kr, kb) = match matrix {
        1 => (0.2126, 0.0722),
        4 => (0.30, 0.11),
        7 => (0.212, 0.087),
        9 => (0.2627, 0.0593),
        _ => (0.299, 0.114),
    };
    let kg = 1.0 - kr - kb;
    let (black, luma, chroma) =
        if sequence.full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
    let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
    let (green_u, green_v) = (blue * kb / kg, red * kr / kg);
    for (pixel, (y, (u, v))) in pixels.zip(samples) {
        let (y, u, v) = ((f32::from(*y) - black) * luma + 0.5, f32::from(*u) - 128.0, f32::from(*v) - 128.0);
        // A cast stops at 0 and 255.
        pixel[0] = (y + red * v) as u8;
        pixel[1] = (y - green_u * u - green_v * v) as u8;
        pixel[2] = (y + blue * u) as u8;
    }
    out
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("AVIF", detail)
}
