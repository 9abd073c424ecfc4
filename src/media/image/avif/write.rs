//! AVIF out: 4:2:0 and 8 bits, full range by BT.601 as in JPEG; alpha as a second picture. `millrace_avif` codes, on this thread.

use avif_serialize::Aviffy;
use millrace_avif::{Picture, Tuning};

use super::super::super::checkpoint;
use super::super::error::Error;
use super::super::geometry::Size;
use super::super::metadata::Kept;
use super::super::params::Effort;
use super::super::raster::Raster;

/// Some 200 ms a megapixel where somebody waits, four times that without assembly, and nothing can stop it: more is refused.
pub(in crate::media::image) const MAX_PIXELS: u64 = 4_000_000;
/// With more effort for nobody who waits, twice that; somebody may want the thread meanwhile.
pub(in crate::media::image) const MAX_SPARE_PIXELS: u64 = 1_250_000;
/// Memory that encoding a picture of this size takes, beside the picture.
pub(in crate::media::image) fn encode_bytes(size: Size) -> u64 {
    const EACH: u64 = 40;
    const TABLES: u64 = 4 << 20;
    TABLES + size.pixels() * EACH
}

pub(in crate::media::image) fn encode(
    raster: &Raster,
    quality: u8,
    effort: Effort,
    kept: &Kept,
) -> Result<Vec<u8>, Error> {
    let Size { width, height } = raster.size;
    let tuning = Tuning {
        quantizer: quantizer(quality),
        speed: match effort {
            Effort::Quick => 10,
            Effort::Thorough => 8,
        },
    };
    let [y, u, v] = colours(raster);
    let picture = Picture { width, height, y: &y, chroma: Some([&u, &v]) };
    let colour = millrace_avif::encode(picture, tuning).map_err(internal)?;
    checkpoint::pass()?;
    let alpha = (raster.channels == 4).then(|| {
        let alpha: Vec<u8> = raster.data.as_chunks::<4>().0.iter().map(|pixel| pixel[3]).collect();
        millrace_avif::encode(Picture { y: &alpha, chroma: None, ..picture }, tuning).map_err(internal)
    });
    let alpha = alpha.transpose()?;
    let mut file = Aviffy::new();
    file.set_width(width)
        .set_height(height)
        .set_bit_depth(8)
        .set_seq_profile(0)
        .set_chroma_subsampling((true, true));
    if let Some(exif) = &kept.exif {
        file.set_exif(exif.clone());
    }
    let mut out = Vec::with_capacity(colour.len() + alpha.as_ref().map_or(0, Vec::len) + 1024);
    file.write_slice(&mut out, &colour, alpha.as_deref()).map_err(internal)?;
    Ok(out)
}

/// From 1 to 100 to AV1's 255 to 0, so that the same number looks about as good as in WebP and JPEG (as `ravif` has it).
fn quantizer(quality: u8) -> u8 {
    let quality = f32::from(quality) / 100.0;
    let coarse = match quality {
        q if q >= 0.82 => (1.0 - q) * 2.6,
        q if q > 0.25 => 0.875 - q * 0.5,
        q => 1.0 - q,
    };
    (coarse * 255.0).round() as u8
}

/// Luma, and chroma averaged over squares of four.
fn colours(raster: &Raster) -> [Vec<u8>; 3] {
    let (width, channels) = (raster.size.width as usize, raster.channels);
    let luma = |p: &[u8]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
    let y = raster.data.chunks_exact(channels).map(|pixel| (luma(pixel) + 0.5) as u8).collect();
    let half = Size::new(raster.size.width.div_ceil(2), raster.size.height.div_ceil(2));
    let (mut u, mut v) =
        (Vec::with_capacity(half.pixels() as usize), Vec::with_capacity(half.pixels() as usize));
    for rows in raster.data.chunks(raster.stride() * 2) {
        for x in 0..half.width as usize {
            let (mut sums, mut count) = ([0.0_f32; 3], 0.0);
            for row in rows.chunks_exact(raster.stride()) {
                for pixel in row[x * 2 * channels..width.min(x * 2 + 2) * channels].chunks_exact(channels) {
                    for (sum, sample) in sums.iter_mut().zip(pixel) {
                        *sum += f32::from(*sample);
                    }
                    count += 1.0;
                }
            }
            let [r, g, b] = sums.map(|sum| sum / count);
            let y = 0.299 * r + 0.587 * g + 0.114 * b;
            u.push(((b - y) / 1.772 + 128.5) as u8);
            v.push(((r - y) / 1.402 + 128.5) as u8);
        }
    }
    [y, u, v]
}

fn internal(error: impl ToString) -> Error {
    Error::internal("encode", error)
}
