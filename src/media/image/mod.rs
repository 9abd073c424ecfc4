//! Still images: bytes in, bytes out, under limits. Reads the source's headers, lays out the operation, checks
//! the budgets, and only then decodes, resamples, turns upright and encodes. Runs on one thread and blocks it:
//! callers bring it to `media::pool`.
//!
//! `job` makes stills and `animation` what moves; both end in `finish`, or in `summary` where a picture is only told of. Formats
//! have a file each, and one in `probe` for their headers.

mod animation;
mod avif;
mod colour;
mod cost;
mod directory;
mod dominant;
mod error;
mod exif;
mod finish;
mod geometry;
mod gif;
mod job;
mod jpeg;
mod limits;
mod look;
mod metadata;
mod moving;
mod orientation;
mod palette;
mod params;
mod planes;
mod png;
mod probe;
mod rare;
mod raster;
mod resize;
mod saliency;
mod scans;
mod sniff;
mod steps;
mod summary;
mod webp;

use std::time::Duration;

use bytes::Bytes;

pub use cost::weigh;
pub use error::{Error, Fault, Measure};
pub use geometry::{Area, Plan, Rect, Size, plan};
pub use limits::Limits;
pub use moving::animate_rgb;
pub use orientation::Orientation;
pub use params::{
    BadPreset, DEFAULT_QUALITY, Effort, Fit, Format, Gravity, Hints, Keep, Look, MAX_DPR, MAX_SIDE, Newest,
    ParamError, Params, PixelRect, Presets, Rgba, Told, is_image_parameter,
};
pub use probe::{Probe, probe};
pub use sniff::Kind;

use super::checkpoint;
use colour::Profile;
use finish::Finish;
use metadata::{Kept, Metadata};
use raster::Raster;
use resize::resize;
use steps::Steps;

/// A finished image.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub bytes: Bytes,
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
    /// What took how long, in order: for metrics and `Server-Timing`.
    pub steps: Vec<(&'static str, Duration)>,
}

/// Makes the variant that `params` asks for of the image file `source`.
pub fn transform(source: &[u8], params: &Params, limits: &Limits) -> Result<Encoded, Error> {
    let steps = Steps::start();
    limits.admit_source(source.len())?;
    let probe = probe(source)?;
    limits.admit_pixels(probe.stored)?;
    let metadata = Metadata::of(source, &probe);
    let kept = metadata.kept(params.keep());
    // With its profile, a picture keeps its colours.
    let profile = if kept.icc.is_none() { metadata.icc.as_deref().and_then(Profile::read) } else { None };
    let finish = Finish { params, profile, kept };
    if probe.is_animated() && params.animates() {
        return animation::transform(source, &probe, &finish, limits, steps);
    }
    job::transform(source, &probe, &finish, limits, steps)
}

/// Makes the variant that `params` asks for of raw pixels: rows of R, G, B without padding.
pub fn encode_rgb(width: u32, height: u32, rgb: &[u8], params: &Params) -> Result<Encoded, Error> {
    let mut steps = Steps::start();
    let size = Size::new(width, height);
    let limits = Limits::default();
    limits.admit_pixels(size)?;
    if size.pixels() == 0 || rgb.len() as u64 != size.pixels() * 3 {
        return Err(Error::internal("frame", format!("{} bytes for {width}×{height}", rgb.len())));
    }
    let source =
        Raster { size, channels: 3, data: rgb.to_vec() }.oriented(params.orientation(Orientation::default()));
    let mut area = Area::of(params.rect(), source.size)?;
    if let Some(tolerance) = params.trim() {
        area = job::trimmed(&source, Orientation::default(), area, tolerance);
    }
    let mut plan = plan(area, params);
    let asked = plan.canvas;
    if params.format().is_summary() {
        plan = summary::miniature(plan);
    }
    limits.admit_output(plan.canvas, params.format())?;
    if job::is_placed(params.gravity()) {
        plan.crop = saliency::place(&source, area.rect(), plan.crop, params.gravity());
    }
    let raster = resize(source.view(), plan.crop, plan.content)?;
    drop(source);
    let finish = Finish { params, profile: None, kept: Kept::default() };
    let raster = finish.dress(raster, &plan);
    steps.done("resize");
    checkpoint::pass()?;
    if params.format().is_summary() {
        return summary::encode_frame(asked, raster, &finish, steps);
    }
    finish.encode(raster, steps)
}

#[cfg(test)]
mod tests;
