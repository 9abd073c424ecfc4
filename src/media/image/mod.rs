//! Still images: bytes in, bytes out, under limits. Reads the source's headers, lays out the operation, checks
//! the budgets, and only then decodes, resamples, turns upright and encodes. Runs on one thread and blocks it:
//! callers bring it to `media::pool`. Metadata is not carried over.

mod error;
mod geometry;
mod gif;
mod jpeg;
mod limits;
mod orientation;
mod params;
mod planes;
mod png;
mod probe;
mod raster;
mod resize;
mod scans;
mod sniff;
mod webp;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use error::{Error, Fault, Measure};
pub use geometry::{Plan, Rect, Size, plan};
pub use limits::Limits;
pub use orientation::Orientation;
pub use params::{DEFAULT_QUALITY, Fit, Format, MAX_DPR, MAX_SIDE, ParamError, Params};
pub use probe::{Probe, probe};
pub use sniff::Kind;

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
    let plan = plan(probe.size(), params);
    limits.admit_output(plan.canvas, params.format().max_side())?;
    let job = Job::new(&probe, &plan);
    limits.admit_decode(job.decode_bytes())?;
    steps.done("probe");

    if let Some(encoded) = job.jpeg_to_webp(source, params, &mut steps)? {
        return Ok(encoded);
    }
    let reduced = job.decode(source, limits)?;
    steps.done("decode");
    let crop = reduced.crop(job.crop, probe.stored);
    let raster = resize(reduced.raster.view(), crop, job.target)?;
    drop(reduced);
    let raster = raster.oriented(probe.orientation).padded(plan.canvas, plan.offset);
    steps.done("resize");
    encode(raster, params, steps)
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
    let plan = plan(size, params);
    limits.admit_output(plan.canvas, params.format().max_side())?;
    let view = raster::View { size, channels: 3, data: rgb };
    let raster = resize(view, plan.crop, plan.content)?.padded(plan.canvas, plan.offset);
    steps.done("resize");
    encode(raster, params, steps)
}

fn encode(raster: Raster, params: &Params, mut steps: Steps) -> Result<Encoded, Error> {
    let raster =
        if params.format().has_alpha() { raster.without_needless_alpha() } else { raster.flattened() };
    let bytes = match params.format() {
        Format::Webp => webp::encode(&raster, params.quality())?,
        Format::Jpeg => jpeg::encode(&raster, params.quality())?,
        Format::Png => png::encode(&raster)?,
    };
    steps.done("encode");
    Ok(finished(bytes, raster.size, params, steps))
}

fn finished(mut bytes: Vec<u8>, size: Size, params: &Params, steps: Steps) -> Encoded {
    // Variants are cached; what the encoder reserved in advance is not.
    bytes.shrink_to_fit();
    Encoded {
        bytes: bytes.into(),
        content_type: params.format().content_type(),
        width: size.width,
        height: size.height,
        steps: steps.steps,
    }
}

/// One operation on one source, in the source's stored orientation: turning comes last, on fewer pixels.
struct Job<'a> {
    probe: &'a Probe,
    plan: &'a Plan,
    crop: Rect,
    target: Size,
    shrink: u32,
}

impl<'a> Job<'a> {
    fn new(probe: &'a Probe, plan: &'a Plan) -> Self {
        let crop = probe.orientation.to_stored(plan.crop, probe.stored);
        let target = probe.orientation.apply(plan.content);
        let shrink = match &probe.coding {
            Coding::Jpeg(_) => jpeg::shrink(crop, target),
            Coding::Png(_) => png::shrink(crop, target),
            Coding::Webp(webp) => webp::shrink(webp, crop, target),
            Coding::Gif => 1,
        };
        Self { probe, plan, crop, target, shrink }
    }

    fn decode_bytes(&self) -> u64 {
        let stored = self.probe.stored;
        match &self.probe.coding {
            Coding::Jpeg(jpeg) => jpeg::decode_bytes(jpeg, stored, self.shrink),
            Coding::Png(png) => png::decode_bytes(png, stored, self.shrink),
            Coding::Webp(webp) => webp::decode_bytes(webp, stored, self.shrink),
            Coding::Gif => gif::decode_bytes(stored),
        }
    }

    fn decode(&self, source: &[u8], limits: &Limits) -> Result<Reduced, Error> {
        let stored = self.probe.stored;
        match &self.probe.coding {
            Coding::Jpeg(jpeg) => jpeg::decode(source, jpeg, stored, self.shrink),
            Coding::Png(_) => png::decode(source, stored, self.shrink),
            Coding::Webp(webp) => webp::decode(source, webp, stored, self.shrink),
            Coding::Gif => gif::decode(source, stored, limits.max_decode_bytes),
        }
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
        let mut yuv = planes.resized(self.crop, self.probe.stored, self.target, self.probe.orientation)?;
        drop(planes);
        steps.done("resize");
        let bytes = webp::encode_planes(&mut yuv, params.quality())?;
        steps.done("encode");
        Ok(Some(finished(bytes, yuv.y.size, params, std::mem::take(steps))))
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
