//! GIF in: the first frame, on a transparent canvas.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::error::Error;
use super::geometry::Size;
use super::raster::{Raster, Reduced};

/// The canvas, and a frame of at most its size.
pub(super) fn decode_bytes(stored: Size) -> u64 {
    stored.pixels() * 8
}

pub(super) fn decode(source: &[u8], stored: Size, max_bytes: u64) -> Result<Reduced, Error> {
    let corrupt = |error: DecodingError| Error::corrupt("GIF", error);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.set_memory_limit(MemoryLimit::Bytes(max_bytes.try_into().unwrap_or(NonZeroU64::MIN)));
    let mut decoder = options.read_info(source).map_err(corrupt)?;
    let frame =
        decoder.read_next_frame().map_err(corrupt)?.ok_or_else(|| Error::corrupt("GIF", "no image data"))?;

    // A frame may reach beyond the screen, where nobody sees it.
    let mut canvas = Raster::new(stored, 4);
    let stride = canvas.stride();
    let left = usize::from(frame.left) * 4;
    let row_bytes = usize::from(frame.width) * 4;
    if row_bytes > 0 && left < stride {
        let shown = row_bytes.min(stride - left);
        let rows = canvas.data.chunks_exact_mut(stride).skip(frame.top.into());
        for (row, source) in rows.zip(frame.buffer.chunks_exact(row_bytes)) {
            row[left..left + shown].copy_from_slice(&source[..shown]);
        }
    }
    Ok(Reduced::unreduced(canvas))
}
