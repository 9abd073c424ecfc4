//! Still images: bytes in, bytes out, under limits. Reads the source's headers, lays out the operation, checks
//! the budgets, and only then decodes, resamples, turns upright and encodes. Runs on one thread and blocks it:
//! callers bring it to `media::pool`. Metadata is not carried over.

mod cost;
mod error;
mod geometry;
mod gif;
mod jpeg;
mod limits;
mod look;
mod orientation;
mod params;
mod planes;
mod png;
mod probe;
mod raster;
mod resize;
mod saliency;
mod scans;
mod sniff;
mod webp;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use cost::weigh;
pub use error::{Error, Fault, Measure};
pub use geometry::{Area, Plan, Rect, Size, plan};
pub use limits::Limits;
pub use orientation::Orientation;
pub use params::{
    BadPreset, DEFAULT_QUALITY, Effort, Fit, Format, Gravity, Hints, Look, MAX_DPR, MAX_SIDE, ParamError,
    Params, PixelRect, Presets, Rgba, Told, is_image_parameter,
};
pub use probe::{Probe, probe};
pub use sniff::Kind;

use super::checkpoint;
use probe::Coding;
use raster::{Raster, Reduced};
use resize::resize;

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
    let mut steps = Steps::start();
    limits.admit_source(source.len())?;
    let probe = probe(source)?;
    limits.admit_pixels(probe.stored)?;
    let orientation = params.orientation(probe.orientation);
    let mut area = Area::of(params.rect(), orientation.apply(probe.stored));
    let mut decoded = None;
    if let Some(tolerance) = params.trim() {
        // Where the border ends shows only in the pixels, all of them.
        limits.admit_decode(decode_bytes(&probe, 1))?;
        let reduced = decode(&probe, source, 1, limits)?;
        area = trimmed(&reduced.raster, orientation, area, tolerance);
        decoded = Some(reduced);
    }
    let plan = plan(area, params);
    limits.admit_output(plan.canvas, params.format().max_side())?;
    let mut job = Job::new(&probe, orientation, &plan);
    if decoded.is_none() {
        limits.admit_decode(decode_bytes(&probe, job.shrink))?;
    }
    steps.done("probe");
    checkpoint::pass()?;

    if decoded.is_none()
        && params.is_plain()
        && let Some(encoded) = job.jpeg_to_webp(source, params, &mut steps)?
    {
        return Ok(encoded);
    }
    let reduced = match decoded {
        Some(reduced) => reduced,
        None => decode(&probe, source, job.shrink, limits)?,
    };
    steps.done("decode");
    checkpoint::pass()?;
    job.place(&reduced, area, params.gravity());
    let crop = reduced.crop(job.crop, probe.stored);
    let raster = resize(reduced.raster.view(), crop, job.target)?;
    drop(reduced);
    finish(raster.oriented(orientation), &plan, params, steps)
}

/// Makes the variant that `params` asks for of raw pixels: rows of R, G, B without padding.
pub fn encode_rgb(width: u32, height: u32, rgb: &[u8], params: &Params) -> Result<Encoded, Error> {
    let steps = Steps::start();
    let size = Size::new(width, height);
    let limits = Limits::default();
    limits.admit_pixels(size)?;
    if size.pixels() == 0 || rgb.len() as u64 != size.pixels() * 3 {
        return Err(Error::internal("frame", format!("{} bytes for {width}×{height}", rgb.len())));
    }
    let source =
        Raster { size, channels: 3, data: rgb.to_vec() }.oriented(params.orientation(Orientation::default()));
    let mut area = Area::of(params.rect(), source.size);
    if let Some(tolerance) = params.trim() {
        area = trimmed(&source, Orientation::default(), area, tolerance);
    }
    let mut plan = plan(area, params);
    limits.admit_output(plan.canvas, params.format().max_side())?;
    if is_placed(params.gravity()) {
        plan.crop = saliency::place(&source, area.rect(), plan.crop, params.gravity());
    }
    let raster = resize(source.view(), plan.crop, plan.content)?;
    drop(source);
    finish(raster, &plan, params, steps)
}

/// Whether the picture decides what is cropped.
fn is_placed(gravity: Gravity) -> bool {
    matches!(gravity, Gravity::Entropy | Gravity::Attention)
}

/// The area without its even border, of a whole source as it is stored.
fn trimmed(stored: &Raster, orientation: Orientation, area: Area, tolerance: u8) -> Area {
    let within = orientation.to_stored(area.rect(), stored.size);
    let Rect { left, top, width, height } =
        orientation.to_upright(saliency::without_border(stored, within, tolerance), stored.size);
    // Whole pixels within the source.
    Area { left: left as u32, top: top as u32, size: Size::new(width as u32, height as u32) }
}

/// From upright pixels of the right size to a file.
fn finish(mut raster: Raster, plan: &Plan, params: &Params, mut steps: Steps) -> Result<Encoded, Error> {
    look::apply(params.look(), &mut raster);
    if params.radius() > 0 {
        raster = look::round_corners(raster, params.radius());
    }
    raster = raster.padded(plan.canvas, plan.offset);
    if let Some(background) = params.background() {
        raster = raster.on(background);
    }
    steps.done("resize");
    checkpoint::pass()?;
    encode(raster, params, steps)
}

fn encode(raster: Raster, params: &Params, mut steps: Steps) -> Result<Encoded, Error> {
    const WHITE: [u8; 3] = [255; 3];
    let opaque = raster.is_opaque();
    let format = match params.format() {
        Format::Baseline if opaque => Format::Jpeg,
        Format::Baseline => Format::Png,
        format => format,
    };
    // An alpha channel that says nothing takes time and bytes.
    let raster = if opaque || format == Format::Jpeg { raster.flattened(WHITE) } else { raster };
    let bytes = match format {
        Format::Webp => webp::encode(&raster, params.quality(), params.effort())?,
        Format::Jpeg | Format::Baseline => jpeg::encode(&raster, params.quality())?,
        Format::Png => png::encode(&raster)?,
    };
    steps.done("encode");
    Ok(finished(bytes, raster.size, format, steps))
}

fn finished(mut bytes: Vec<u8>, size: Size, format: Format, steps: Steps) -> Encoded {
    // Variants are cached; what the encoder reserved in advance is not.
    bytes.shrink_to_fit();
    Encoded {
        bytes: bytes.into(),
        content_type: format.content_type(),
        width: size.width,
        height: size.height,
        steps: steps.steps,
    }
}

fn decode_bytes(probe: &Probe, shrink: u32) -> u64 {
    match &probe.coding {
        Coding::Jpeg(jpeg) => jpeg::decode_bytes(jpeg, probe.stored, shrink),
        Coding::Png(png) => png::decode_bytes(png, probe.stored, shrink),
        Coding::Webp(webp) => webp::decode_bytes(webp, probe.stored, shrink),
        Coding::Gif => gif::decode_bytes(probe.stored),
    }
}

fn decode(probe: &Probe, source: &[u8], shrink: u32, limits: &Limits) -> Result<Reduced, Error> {
    match &probe.coding {
        Coding::Jpeg(jpeg) => jpeg::decode(source, jpeg, probe.stored, shrink),
        Coding::Png(_) => png::decode(source, probe.stored, shrink),
        Coding::Webp(webp) => webp::decode(source, webp, probe.stored, shrink),
        Coding::Gif => gif::decode(source, probe.stored, limits.max_decode_bytes),
    }
}

/// One operation on one source, in the source's stored orientation: turning comes last, on fewer pixels.
struct Job<'a> {
    probe: &'a Probe,
    orientation: Orientation,
    plan: &'a Plan,
    crop: Rect,
    target: Size,
    shrink: u32,
}

impl<'a> Job<'a> {
    fn new(probe: &'a Probe, orientation: Orientation, plan: &'a Plan) -> Self {
        let crop = orientation.to_stored(plan.crop, probe.stored);
        let target = orientation.apply(plan.content);
        let shrink = match &probe.coding {
            Coding::Jpeg(_) => jpeg::shrink(crop, target),
            Coding::Png(_) => png::shrink(crop, target),
            Coding::Webp(webp) => webp::shrink(webp, crop, target),
            Coding::Gif => 1,
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
        params: &Params,
        steps: &mut Steps,
    ) -> Result<Option<Encoded>, Error> {
        let Coding::Jpeg(jpeg) = &self.probe.coding else { return Ok(None) };
        if params.format() != Format::Webp || self.plan.has_border() {
            return Ok(None);
        }
        let Some(planes) = jpeg::decode_planes(source, jpeg, self.probe.stored, self.shrink)? else {
            return Ok(None);
        };
        steps.done("decode");
        checkpoint::pass()?;
        let mut yuv = planes.resized(self.crop, self.probe.stored, self.target, self.orientation)?;
        drop(planes);
        steps.done("resize");
        checkpoint::pass()?;
        let bytes = webp::encode_planes(&mut yuv, params.quality(), params.effort())?;
        steps.done("encode");
        Ok(Some(finished(bytes, yuv.y.size, Format::Webp, std::mem::take(steps))))
    }
}

/// A stopwatch of named laps.
struct Steps {
    steps: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Steps {
    fn start() -> Self {
        Self { steps: Vec::with_capacity(4), since: Instant::now() }
    }

    fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.since));
        self.since = now;
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::start()
    }
}

#[cfg(test)]
mod tests;
