//! From resampled pixels to a file: colours into sRGB, looks, frame and background, format, metadata.

use super::colour::Profile;
use super::error::Error;
use super::geometry::{Plan, Size};
use super::metadata::Kept;
use super::params::{Format, Params};
use super::raster::Raster;
use super::steps::Steps;
use super::webp::Tuning;
use super::{Encoded, gif, jpeg, look, png, webp};

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
        let format = choose(self.params.format(), opaque, false);
        // An alpha channel that says nothing takes time and bytes.
        let raster = if opaque || format == Format::Jpeg { raster.flattened(WHITE) } else { raster };
        let bytes = match format {
            Format::Jpeg | Format::Baseline => jpeg::encode(&raster, self.params.quality())?,
            Format::Png => png::encode(&raster, &self.kept)?,
            Format::Png8 => png::encode_indexed(&raster, &self.kept)?,
            Format::Gif => gif::encode(&raster)?,
            _ => webp::encode(&raster, self.tuning())?,
        };
        let bytes = self.with_metadata(bytes, format, raster.size);
        steps.done("encode");
        Ok(encoded(bytes, raster.size, format, steps))
    }

    /// PNG got it as it was written.
    pub(super) fn with_metadata(&self, bytes: Vec<u8>, format: Format, size: Size) -> Vec<u8> {
        match format {
            _ if self.kept.is_empty() => bytes,
            Format::Jpeg => self.kept.added_to_jpeg(bytes),
            Format::Webp => self.kept.added_to_webp(bytes, size),
            _ => bytes,
        }
    }
}

/// The format that it becomes, where that depends on the picture.
pub(super) fn choose(format: Format, opaque: bool, moves: bool) -> Format {
    match format {
        Format::Baseline if moves => Format::Gif,
        Format::Baseline if opaque => Format::Jpeg,
        Format::Baseline => Format::Png,
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
