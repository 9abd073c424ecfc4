//! One still picture: decoded as small as will do, resampled, turned upright. In the source's stored orientation until the end:
//! turning comes last, on fewer pixels.

use super::super::checkpoint;
use super::colour::Profile;
use super::error::Error;
use super::finish::{self, Finish};
use super::geometry::{Area, Plan, Rect, Size, plan};
use super::limits::Limits;
use super::orientation::Orientation;
use super::params::{Format, Gravity, Params};
use super::probe::{Coding, Probe};
use super::raster::{Raster, Reduced};
use super::resize::resize;
use super::steps::Steps;
use super::{Encoded, avif, gif, jpeg, png, rare, saliency, summary, webp};

pub(super) fn transform(
    source: &[u8],
    probe: &Probe,
    finish: &Finish<'_>,
    limits: &Limits,
    mut steps: Steps,
) -> Result<Encoded, Error> {
    let params = finish.params;
    let orientation = params.orientation(probe.orientation);
    let mut area = Area::of(params.rect(), orientation.apply(probe.stored))?;
    let mut decoded = None;
    if let Some(tolerance) = params.trim() {
        // Where the border ends shows only in the pixels, all of them.
        limits.admit_decode(decode_bytes(probe, 1, params))?;
        let reduced = decode(source, probe, 1, limits, finish)?;
        area = trimmed(&reduced.raster, orientation, area, tolerance);
        decoded = Some(reduced);
    }
    let mut plan = plan(area, params);
    let asked = plan.canvas;
    if params.format().is_summary() {
        plan = summary::miniature(plan);
    }
    limits.admit_output(plan.canvas, params.format())?;
    let mut job = Job::new(probe, orientation, &plan);
    if decoded.is_none() {
        limits.admit_decode(decode_bytes(probe, job.shrink, params))?;
    }
    steps.done("probe");
    checkpoint::pass()?;

    if decoded.is_none()
        && finish.profile.is_none()
        && params.is_plain()
        && let Some(encoded) = job.jpeg_to_webp(source, finish, &mut steps)?
    {
        return Ok(encoded);
    }
    let reduced = match decoded {
        Some(reduced) => reduced,
        None => decode(source, probe, job.shrink, limits, finish)?,
    };
    steps.done("decode");
    checkpoint::pass()?;
    job.place(&reduced, area, params.gravity());
    let crop = reduced.crop(job.crop, probe.stored);
    let raster = resize(reduced.raster.view(), crop, job.target)?;
    drop(reduced);
    let raster = finish.dress(raster.oriented(orientation), &plan);
    steps.done("resize");
    checkpoint::pass()?;
    if params.format().is_summary() {
        return summary::encode(source, probe, asked, raster, finish, steps);
    }
    finish.encode(raster, steps)
}

/// Whether the picture decides what is cropped.
pub(super) fn is_placed(gravity: Gravity) -> bool {
    matches!(gravity, Gravity::Entropy | Gravity::Attention)
}

/// The area without its even border, of a whole source as it is stored.
pub(super) fn trimmed(stored: &Raster, orientation: Orientation, area: Area, tolerance: u8) -> Area {
    let within = orientation.to_stored(area.rect(), stored.size);
    let Rect { left, top, width, height } =
        orientation.to_upright(saliency::without_border(stored, within, tolerance), stored.size);
    // Whole pixels within the source.
    Area { left: left as u32, top: top as u32, size: Size::new(width as u32, height as u32) }
}

/// Memory to decode a still, or what is shown of an animation as one.
pub(super) fn decode_bytes(probe: &Probe, shrink: u32, params: &Params) -> u64 {
    match &probe.coding {
        Coding::Jpeg(jpeg) => jpeg::decode_bytes(jpeg, probe.stored, shrink),
        Coding::Png(png) => png::decode_bytes(png, probe.stored, shrink),
        Coding::Webp(webp) => webp::decode_bytes(webp, probe.stored, shrink, params.still_frame()),
        Coding::Gif(gif) => gif::decode_bytes(gif, probe.stored),
        Coding::Avif(avif) => avif::decode_bytes(avif, probe.stored, shrink),
        Coding::Rare(rare) => rare::decode_bytes(rare, probe.stored),
    }
}

/// Size and channels of what `decode` makes.
pub(super) fn decoded(probe: &Probe, shrink: u32) -> (Size, u64) {
    let stored = probe.stored;
    let shrunk = || Size::new(stored.width.div_ceil(shrink), stored.height.div_ceil(shrink));
    match &probe.coding {
        Coding::Jpeg(_) => (shrunk(), 3),
        Coding::Png(png) => (shrunk(), if png.channels.is_multiple_of(2) { 4 } else { 3 }),
        Coding::Webp(webp) if webp.alpha || webp.first_frame.is_some() => (stored, 4),
        Coding::Webp(_) => (shrunk(), 3),
        Coding::Avif(avif) => (shrunk(), if avif.alpha.is_some() { 4 } else { 3 }),
        Coding::Gif(_) | Coding::Rare(_) => (stored, 4),
    }
}

fn decode(
    source: &[u8],
    probe: &Probe,
    shrink: u32,
    limits: &Limits,
    finish: &Finish<'_>,
) -> Result<Reduced, Error> {
    let (stored, frame) = (probe.stored, finish.params.still_frame());
    let ink = finish.profile.as_ref().filter(|profile: &&Profile| profile.is_ink());
    match &probe.coding {
        Coding::Jpeg(jpeg) => jpeg::decode(source, jpeg, stored, shrink, ink),
        Coding::Png(_) => png::decode(source, stored, shrink),
        Coding::Webp(webp) => webp::decode(source, webp, stored, shrink, frame),
        Coding::Gif(_) => gif::decode(source, stored, limits.max_decode_bytes, frame),
        Coding::Avif(avif) => avif::decode(source, avif, stored, shrink),
        Coding::Rare(rare) => rare::decode(source, rare, stored, limits.max_decode_bytes),
    }
}

pub(super) struct Job<'a> {
    probe: &'a Probe,
    orientation: Orientation,
    plan: &'a Plan,
    crop: Rect,
    target: Size,
    pub(super) shrink: u32,
}

impl<'a> Job<'a> {
    pub(super) fn new(probe: &'a Probe, orientation: Orientation, plan: &'a Plan) -> Self {
        let crop = orientation.to_stored(plan.crop, probe.stored);
        let target = orientation.apply(plan.content);
        let shrink = match &probe.coding {
            Coding::Jpeg(_) => jpeg::shrink(crop, target),
            Coding::Png(_) => png::shrink(crop, target),
            Coding::Webp(webp) => webp::shrink(webp, crop, target),
            Coding::Avif(avif) => avif::shrink(avif, crop, target),
            Coding::Gif(_) | Coding::Rare(_) => 1,
        };
        Self { probe, orientation, plan, crop, target, shrink }
    }

    /// Moves the crop to where the picture is worth most, if that is asked for.
    fn place(&mut self, reduced: &Reduced, area: Area, gravity: Gravity) {
        let stored = self.probe.stored;
        let within = self.orientation.to_stored(area.rect(), stored);
        if !is_placed(gravity) || within == self.crop {
            return;
        }
        let [within, crop] = [within, self.crop].map(|rect| reduced.crop(rect, stored));
        let placed = saliency::place(&reduced.raster, within, crop, gravity);
        self.crop = reduced.uncrop(placed, stored);
    }

    /// `None` where the short way through YCbCr planes is not open.
    fn jpeg_to_webp(
        &self,
        source: &[u8],
        finish: &Finish<'_>,
        steps: &mut Steps,
    ) -> Result<Option<Encoded>, Error> {
        let Coding::Jpeg(jpeg) = &self.probe.coding else { return Ok(None) };
        let params: &Params = finish.params;
        let format = match params.format() {
            Format::Newest => finish::newest(params, self.plan.canvas),
            format => format,
        };
        if format != Format::Webp || params.lossless() || self.plan.has_border() {
            return Ok(None);
        }
        let shrink = jpeg::shrink_planes(jpeg, self.crop, self.target);
        let Some(planes) = jpeg::decode_planes(source, jpeg, self.probe.stored, shrink)? else {
            return Ok(None);
        };
        steps.done("decode");
        checkpoint::pass()?;
        let mut yuv = planes.resized(self.crop, self.probe.stored, self.target, self.orientation)?;
        drop(planes);
        steps.done("resize");
        checkpoint::pass()?;
        let bytes = webp::encode_planes(&mut yuv, finish.tuning())?;
        let bytes = finish.with_metadata(bytes, Format::Webp, yuv.y.size);
        steps.done("encode");
        Ok(Some(finish::encoded(bytes, yuv.y.size, Format::Webp, std::mem::take(steps))))
    }
}
