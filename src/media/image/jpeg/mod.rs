//! JPEG in and out, through libjpeg-turbo. Decoding shrinks in the DCT by 1/2, 1/4 or 1/8, so that a thumbnail
//! of a large photo never touches its full-size pixels, and can stop at the YCbCr planes that WebP wants.

mod huffman;
mod skim;

use std::borrow::Cow;

use turbojpeg::{
    Colorspace, Compressor, DecompressHeader, Decompressor, PixelFormat, ScalingFactor, Subsamp,
};

use super::colour::Profile;
use super::error::Error;
use super::geometry::{Rect, Size};
use super::planes::Planes;
use super::probe::Jpeg;
use super::raster::{Raster, Reduced};
use super::scans::{self, Shrink};

/// How much larger than its target the decoded image is at least. The DCT's own scaling is a box filter; what
/// is left for Lanczos decides the quality. Against 2, this costs half a point of SSIMULACRA2 and saves a
/// tenth to a third of the time; WebP's effort (`webp::method`) buys more quality for that time.
const RESIDUAL: f64 = 1.5;

/// Scans of one image, by its size: each visits all coefficients. Encoders write about ten, mozjpeg up to
/// twenty; the lower bound leaves room for those at any size.
fn scan_limit(stored: Size) -> u32 {
    const SCAN_PIXELS: u64 = 1_600_000_000;
    (SCAN_PIXELS / stored.pixels().max(1)).clamp(24, 100) as u32
}

/// The denominator of the DCT scale: 1, 2, 4 or 8. The others have no SIMD and are slower than none.
pub(super) fn shrink(crop: Rect, target: Size) -> u32 {
    let ratio = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    [8, 4, 2].into_iter().find(|&d| ratio >= RESIDUAL * f64::from(d)).unwrap_or(1)
}

/// The same for `decode_planes`. What is skimmed is decoded by 4 in half the time that it takes by 2, and hardly worse.
pub(super) fn shrink_planes(jpeg: &Jpeg, crop: Rect, target: Size) -> u32 {
    const RESIDUAL_BY_4: f64 = 1.25;
    let ratio = (crop.width / f64::from(target.width)).min(crop.height / f64::from(target.height));
    match shrink(crop, target) {
        2 if !jpeg.multi_scan && ratio >= RESIDUAL_BY_4 * 4.0 => 4,
        shrink => shrink,
    }
}

/// Memory to decode an image of this size at this scale.
pub(super) fn decode_bytes(jpeg: &Jpeg, stored: Size, shrink: u32) -> u64 {
    // Of inks what they look like is made beside them.
    let samples = if jpeg.components == 4 { 7 } else { 3 };
    jpeg.working_bytes(stored) + (stored.pixels() / u64::from(shrink * shrink)) * samples
}

pub(super) fn decode(
    source: &[u8],
    jpeg: &Jpeg,
    stored: Size,
    shrink: u32,
    profile: Option<&Profile>,
) -> Result<Reduced, Error> {
    // Of halved chroma the decoder undoes one halving, so that it shrinks it less.
    let source = trimmed(source, jpeg, Shrink { luma: shrink, chroma: shrink / 2 });
    let mut decoder = Decoder::open(source, stored, shrink)?;
    let format = if jpeg.components == 4 { PixelFormat::CMYK } else { PixelFormat::RGB };
    let mut raster = Raster::new(decoder.scaled(), format.size());
    let image = turbojpeg::Image {
        width: raster.size.width as usize,
        pitch: raster.stride(),
        height: raster.size.height as usize,
        format,
        pixels: raster.data.as_mut_slice(),
    };
    let done = decoder.inner.decompress(&decoder.source, image);
    tolerate(done)?;
    let raster = if jpeg.components == 4 { cmyk_to_rgb(raster, jpeg.adobe, profile) } else { raster };
    Ok(Reduced { raster, extent: decoder.extent() })
}

/// The YCbCr planes, or `None` where the image has none or in an unusual layout.
pub(super) fn decode_planes(
    source: &[u8],
    jpeg: &Jpeg,
    stored: Size,
    shrink: u32,
) -> Result<Option<Planes>, Error> {
    if jpeg.components == 4 {
        return Ok(None);
    }
    let source = trimmed(source, jpeg, Shrink { luma: shrink, chroma: shrink });
    let decoder = Decoder::open(source, stored, shrink)?;
    let DecompressHeader { subsamp, colorspace, .. } = decoder.header;
    if !matches!(colorspace, Colorspace::YCbCr | Colorspace::Gray) || subsamp == Subsamp::Unknown {
        return Ok(None);
    }
    let skimmed = if jpeg.multi_scan { None } else { skim::planes(&decoder.source, shrink as usize)? };
    match skimmed {
        None => decoder.planes().map(Some),
        skimmed => Ok(skimmed),
    }
}

/// Without the scans that do not show.
fn trimmed<'a>(source: &'a [u8], jpeg: &Jpeg, shrink: Shrink) -> Cow<'a, [u8]> {
    let coarse = if jpeg.progressive { scans::coarse(source, shrink) } else { None };
    coarse.map_or(Cow::Borrowed(source), Cow::Owned)
}

struct Decoder<'a> {
    source: Cow<'a, [u8]>,
    inner: Decompressor,
    header: DecompressHeader,
    factor: ScalingFactor,
}

impl<'a> Decoder<'a> {
    fn open(mut source: Cow<'a, [u8]>, stored: Size, shrink: u32) -> Result<Self, Error> {
        let mut inner = Decompressor::new().map_err(|error| Error::internal("decode", error))?;
        let factor = ScalingFactor::new(1, shrink as usize);
        inner.set_scaling_factor(factor).map_err(|error| Error::internal("decode", error))?;
        inner.set_scan_limit(scan_limit(stored)).map_err(|error| Error::internal("decode", error))?;
        let header = match inner.read_header(&source) {
            Ok(header) => header,
            Err(error) => {
                source = scans::bare(&source).ok_or_else(|| corrupt(error))?.into();
                inner.read_header(&source).map_err(corrupt)?
            }
        };
        if (header.width, header.height) != (stored.width as usize, stored.height as usize) {
            return Err(corrupt("two different sizes"));
        }
        Ok(Self { source, inner, header, factor })
    }

    /// The YCbCr planes of an image that has such.
    fn planes(mut self) -> Result<Planes, Error> {
        let (size, subsamp) = (self.scaled(), self.header.subsamp);
        let (width, height) = (size.width as usize, size.height as usize);
        // Rows without padding; but planes themselves are padded to whole chroma samples.
        let length = turbojpeg::yuv_pixels_len(width, 1, height, subsamp)
            .map_err(|error| Error::internal("decode", error))?;
        let mut pixels = vec![0; length];
        let image = turbojpeg::YuvImage { pixels: pixels.as_mut_slice(), width, align: 1, height, subsamp };
        let luma = image.y_size();
        let chroma = (subsamp != Subsamp::Gray).then(|| image.uv_size());
        let done = self.inner.decompress_to_yuv(&self.source, image);
        tolerate(done)?;
        Ok(Planes::new(pixels, luma, chroma, subsamp.size(), self.extent()))
    }

    fn scaled(&self) -> Size {
        let side = |v: usize| self.factor.scale(v).max(1) as u32;
        Size::new(side(self.header.width), side(self.header.height))
    }

    /// The true size of the scaled image, which is not whole.
    fn extent(&self) -> (f64, f64) {
        let side = |v: usize| v as f64 * self.factor.num() as f64 / self.factor.denom() as f64;
        (side(self.header.width), side(self.header.height))
    }
}

/// Lets warnings pass that browsers pass over and that leave every pixel decoded. The header was read before
/// from the same bytes, so that the warning stems from the scans.
fn tolerate(done: turbojpeg::Result<()>) -> Result<(), Error> {
    match done {
        Err(turbojpeg::Error::TurboJpegError(text)) if text.contains("extraneous bytes before marker") => {
            Ok(())
        }
        other => other.map_err(corrupt),
    }
}

fn corrupt(detail: impl ToString) -> Error {
    Error::corrupt("JPEG", detail)
}

/// By the source's profile, or without one: ink on white. Adobe writes the samples inverted.
fn cmyk_to_rgb(mut cmyk: Raster, inverted: bool, profile: Option<&Profile>) -> Raster {
    if inverted {
        cmyk.data.iter_mut().for_each(|sample| *sample = 255 - *sample);
    }
    if let Some(light) = profile.and_then(|profile| profile.ink_to_srgb(&cmyk)) {
        return light;
    }
    let light = |ink: u8| u32::from(255 - ink);
    let (pixels, _) = cmyk.data.as_chunks::<4>();
    let data = pixels
        .iter()
        .flat_map(|&[c, m, y, k]| [c, m, y].map(|ink| ((light(ink) * light(k) + 127) / 255) as u8))
        .collect();
    Raster { size: cmyk.size, channels: 3, data }
}

/// Progressive, with optimised tables; full colour resolution where quality is asked for.
pub(super) fn encode(raster: &Raster, quality: u8) -> Result<Vec<u8>, Error> {
    let format = if raster.channels == 1 { PixelFormat::GRAY } else { PixelFormat::RGB };
    let subsamp = match quality {
        _ if raster.channels == 1 => Subsamp::Gray,
        90.. => Subsamp::None,
        _ => Subsamp::Sub2x2,
    };
    let image = turbojpeg::Image {
        pixels: raster.data.as_slice(),
        width: raster.size.width as usize,
        pitch: raster.stride(),
        height: raster.size.height as usize,
        format,
    };
    let compress = || {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(quality.into())?;
        compressor.set_subsamp(subsamp)?;
        compressor.set_progressive(true)?;
        compressor.compress_to_vec(image)
    };
    compress().map_err(|error| Error::internal("encode", error))
}

#[cfg(test)]
mod tests;
