//! From resampled pixels to a file: colours into sRGB, looks, frame and background, format, metadata.

use super::super::checkpoint;
use super::colour::Profile;
use super::error::Error;
use super::geometry::{Plan, Size};
use super::metadata::Kept;
use super::params::{Effort, Format, Params};
use super::raster::Raster;
use super::steps::Steps;
use super::webp::Tuning;
use super::{Encoded, avif, gif, jpeg, look, png, webp};

const WHITE: [u8; 3] = [255; 3];

/// What is the same for all frames of a picture.
pub(super) struct Finish<'a> {
    pub(super) params: &'a Params,
    /// Of the source's colours, where they are to be changed.
    pub(super) profile: Option<Profile>,
    pub(super) kept: Kept,
}

impl Finish<'_> {
    /// Upright pixels of the content's size with all that is done to them.
    pub(super) fn dress(&self, mut raster: Raster, plan: &Plan) -> Raster {
        if let Some(profile) = &self.profile {
            profile.to_srgb(&mut raster);
        }
        let params = self.params;
        look::apply(params.look(), &mut raster);
        if params.radius() > 0 {
            raster = look::round_corners(raster, params.radius());
        }
        raster = raster.padded(plan.canvas, plan.offset);
        match params.background() {
            Some(background) => raster.on(background),
            None => raster,
        }
    }

    pub(super) fn tuning(&self) -> Tuning {
        let (quality, lossless) = (self.params.quality(), self.params.lossless());
        Tuning { quality, lossless, effort: self.params.effort() }
    }

    pub(super) fn encode(&self, raster: Raster, mut steps: Steps) -> Result<Encoded, Error> {
        let opaque = raster.is_opaque();
        let format = match choose(self.params.format(), opaque, false) {
            Format::Newest => newest(self.params, raster.size),
            format => format,
        };
        // An alpha channel that says nothing takes time and bytes.
        let raster = if opaque || format == Format::Jpeg { raster.flattened(WHITE) } else { raster };
        let bytes = match format {
            Format::Jpeg | Format::Baseline => jpeg::encode(&raster, self.params.quality())?,
            Format::Png => png::encode(&raster, &self.kept)?,
            Format::Png8 => png::encode_indexed(&raster, &self.kept)?,
            Format::Gif => gif::encode(&raster)?,
            Format::Avif => avif::encode(&raster, self.params.quality(), self.params.effort(), &self.kept)?,
            _ => webp::encode(&raster, self.tuning())?,
        };
        let mut best = (self.with_metadata(bytes, format, raster.size), format);
        if (self.params.format(), format) == (Format::Newest, Format::Avif) {
            checkpoint::pass()?;
            let other = webp::encode(&raster, self.tuning())?;
            let other = self.with_metadata(other, Format::Webp, raster.size);
            if other.len() <= best.0.len() {
                best = (other, Format::Webp);
            }
        }
        let (bytes, format) = best;
        steps.done("encode");
        Ok(encoded(bytes, raster.size, format, steps))
    }

    /// PNG and AVIF got it as they were written.
    pub(super) fn with_metadata(&self, bytes: Vec<u8>, format: Format, size: Size) -> Vec<u8> {
        match format {
            _ if self.kept.is_empty() => bytes,
            Format::Jpeg => self.kept.added_to_jpeg(bytes),
            Format::Webp => self.kept.added_to_webp(bytes, size),
            _ => bytes,
        }
    }
}

/// What a still picture of this size may become for clients that take anything: AVIF where nobody waits and it is not too large, unless a
/// profile is to be kept, which AVIF's writer cannot. If it is no shorter it is WebP after all.
pub(super) fn newest(params: &Params, size: Size) -> Format {
    let small = size.pixels() <= avif::MAX_SPARE_PIXELS;
    let avif = params.effort() == Effort::Thorough && small && !params.keep().icc;
    if avif { Format::Avif } else { Format::Webp }
}

/// The format that it becomes, where that depends on the picture.
pub(super) fn choose(format: Format, opaque: bool, moves: bool) -> Format {
    match format {
        Format::Baseline if moves => Format::Gif,
        Format::Baseline if opaque => Format::Jpeg,
        Format::Baseline => Format::Png,
        Format::Newest if moves => Format::Webp,
        format => format,
    }
}

pub(super) fn encoded(mut bytes: Vec<u8>, size: Size, format: Format, steps: Steps) -> Encoded {
    // Variants are cached; what the encoder reserved in advance is not.
    bytes.shrink_to_fit();
    Encoded {
        bytes: bytes.into(),
        content_type: format.content_type(),
        width: size.width,
        height: size.height,
        steps: steps.into_list(),
    }
}
