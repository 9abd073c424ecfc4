//! AVIF out: rav1e on this thread, 4:2:0 and 8 bits, full range by BT.601 as in JPEG; alpha as a second picture.

use avif_serialize::Aviffy;
use rav1e::prelude::{
    ChromaSampling, ColorDescription, ColorPrimaries, Config, Context, EncoderConfig, EncoderStatus,
    MatrixCoefficients, PixelRange, SpeedSettings, TransferCharacteristics,
};

use super::super::super::checkpoint;
use super::super::error::Error;
use super::super::geometry::Size;
use super::super::metadata::Kept;
use super::super::params::Effort;
use super::super::raster::Raster;

/// Some 700 ms a megapixel where somebody waits, and nothing can stop it: more is refused.
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
    let colour = encode_planes(&colours(raster), true, raster.size, quality, effort)?;
    checkpoint::pass()?;
    let alpha = (raster.channels == 4).then(|| {
        let alpha = raster.data.as_chunks::<4>().0.iter().map(|pixel| pixel[3]).collect();
        encode_planes(&[alpha], false, raster.size, quality, effort)
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

fn encode_planes(
    planes: &[Vec<u8>],
    coloured: bool,
    Size { width, height }: Size,
    quality: u8,
    effort: Effort,
) -> Result<Vec<u8>, Error> {
    let description = ColorDescription {
        color_primaries: ColorPrimaries::BT709,
        transfer_characteristics: TransferCharacteristics::SRGB,
        matrix_coefficients: MatrixCoefficients::BT601,
    };
    let encoder = EncoderConfig {
        width: width as usize,
        height: height as usize,
        bit_depth: 8,
        still_picture: true,
        low_latency: true,
        chroma_sampling: if coloured { ChromaSampling::Cs420 } else { ChromaSampling::Cs400 },
        pixel_range: PixelRange::Full,
        color_description: coloured.then_some(description),
        quantizer: quantizer(quality),
        min_key_frame_interval: 0,
        max_key_frame_interval: 0,
        speed_settings: SpeedSettings::from_preset(match effort {
            Effort::Quick => 10,
            Effort::Thorough => 8,
        }),
        ..EncoderConfig::default()
    };
    let mut context: Context<u8> =
        Config::new().with_threads(1).with_encoder_config(encoder).new_context().map_err(internal)?;
    let mut frame = context.new_frame();
    for (number, (plane, samples)) in frame.planes.iter_mut().zip(planes).enumerate() {
        let stride = if number == 0 { width } else { width.div_ceil(2) };
        plane.copy_from_raw_u8(samples, stride as usize, 1);
    }
    context.send_frame(frame).map_err(internal)?;
    context.flush();
    loop {
        match context.receive_packet() {
            Ok(packet) => return Ok(packet.data),
            Err(EncoderStatus::Encoded) => {}
            Err(status) => return Err(internal(status)),
        }
    }
}

/// From 1 to 100 to AV1's 255 to 0, so that the same number looks about as good as in WebP and JPEG (as `ravif` has it).
fn quantizer(quality: u8) -> usize {
    let quality = f32::from(quality) / 100.0;
    let coarse = match quality {
        q if q >= 0.82 => (1.0 - q) * 2.6,
        q if q > 0.25 => 0.875 - q * 0.5,
        q => 1.0 - q,
    };
    (coarse * 255.0).round() as usize
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
