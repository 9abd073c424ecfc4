//! Animations that stay animations: each frame goes the way of a still, and one by one to the writer. Only the canvas, one frame
//! of the output and what is already coded are held.

use super::super::checkpoint;
use super::error::Error;
use super::finish::{self, Finish};
use super::geometry::{Area, Plan, plan};
use super::gif;
use super::job;
use super::limits::Limits;
use super::params::Format;
use super::probe::{Coding, Probe};
use super::raster::{Raster, View};
use super::resize::resize;
use super::saliency;
use super::steps::Steps;
use super::webp::animated as webp;
use super::{Encoded, geometry::Size};

/// What the encoders hold of the output's canvas: frames before, now and between, in ARGB.
pub(super) const OUTPUT_CANVASES: u64 = 6;

pub(super) fn transform(
    source: &[u8],
    probe: &Probe,
    finish: &Finish<'_>,
    limits: &Limits,
    mut steps: Steps,
) -> Result<Encoded, Error> {
    let params = finish.params;
    limits.admit_animation(probe.frames, probe.stored)?;
    if let Coding::Gif(gif) = &probe.coding {
        limits.admit_frames(gif.total)?;
    }
    let orientation = params.orientation(probe.orientation);
    let mut area = Area::of(params.rect(), orientation.apply(probe.stored))?;
    limits.admit_decode(decode_bytes(probe))?;
    let mut frames = Frames::open(source, probe, limits)?;
    steps.done("probe");

    let mut layout: Option<Plan> = None;
    let mut open: Option<Writer> = None;
    // A file may have fewer frames than it seems, but not more.
    for _ in 0..probe.frames {
        let Some((view, millis)) = frames.next()? else { break };
        steps.done("decode");
        let plan = match &layout {
            Some(plan) => *plan,
            // The first frame decides for all, or they would dance.
            None => *layout.insert(lay_out(view, probe, &mut area, finish, limits)?),
        };
        let crop = orientation.to_stored(plan.crop, probe.stored);
        let raster = resize(view, crop, orientation.apply(plan.content))?;
        let raster = finish.dress(raster.oriented(orientation), &plan);
        steps.done("resize");
        let writer = match &mut open {
            Some(writer) => writer,
            None => {
                let format = finish::choose(params.format(), true, true);
                open.insert(Writer::new(format, plan.canvas, frames.loops(), finish)?)
            }
        };
        writer.add(raster, millis)?;
        steps.done("encode");
        checkpoint::pass()?;
    }
    let (plan, writer) = layout.zip(open).ok_or_else(|| Error::corrupt(probe.kind().as_str(), "no frame"))?;
    let (format, bytes) = writer.finish()?;
    let bytes = finish.with_metadata(bytes, format, plan.canvas);
    steps.done("encode");
    Ok(finish::encoded(bytes, plan.canvas, format, steps))
}

/// Of the source's canvases and a frame.
pub(super) fn decode_bytes(probe: &Probe) -> u64 {
    match &probe.coding {
        Coding::Gif(coding) => gif::decode_bytes(coding, probe.stored),
        _ => webp::decode_bytes(probe.stored),
    }
}

fn lay_out(
    first: View<'_>,
    probe: &Probe,
    area: &mut Area,
    finish: &Finish<'_>,
    limits: &Limits,
) -> Result<Plan, Error> {
    let params = finish.params;
    let orientation = params.orientation(probe.orientation);
    if let Some(tolerance) = params.trim() {
        *area = job::trimmed(&first.to_raster(), orientation, *area, tolerance);
    }
    let mut plan = plan(*area, params);
    limits.admit_output(plan.canvas, finish::choose(params.format(), true, true))?;
    limits.admit_animation(probe.frames, plan.canvas)?;
    limits.admit_decode(decode_bytes(probe) + plan.canvas.pixels() * 4 * OUTPUT_CANVASES)?;
    if job::is_placed(params.gravity()) {
        let upright = first.to_raster().oriented(orientation);
        plan.crop = saliency::place(&upright, area.rect(), plan.crop, params.gravity());
    }
    Ok(plan)
}

enum Frames<'a> {
    Gif(Box<gif::Frames<'a>>),
    Webp(webp::Frames<'a>),
}

impl<'a> Frames<'a> {
    fn open(source: &'a [u8], probe: &Probe, limits: &Limits) -> Result<Self, Error> {
        match probe.coding {
            Coding::Gif(_) => {
                let frames = gif::Frames::open(source, probe.stored, limits.max_decode_bytes)?;
                Ok(Self::Gif(Box::new(frames)))
            }
            _ => Ok(Self::Webp(webp::Frames::open(source, probe.stored)?)),
        }
    }

    fn next(&mut self) -> Result<Option<(View<'_>, u32)>, Error> {
        match self {
            Self::Gif(frames) => Ok(frames.next()?.map(|(canvas, millis)| (canvas.view(), millis))),
            Self::Webp(frames) => frames.next(),
        }
    }

    fn loops(&self) -> u32 {
        match self {
            Self::Gif(frames) => frames.loops(),
            Self::Webp(frames) => frames.loops,
        }
    }
}

enum Writer {
    Gif(gif::Writer),
    Webp(webp::Writer),
}

impl Writer {
    fn new(format: Format, size: Size, loops: u32, finish: &Finish<'_>) -> Result<Self, Error> {
        match format {
            Format::Gif => Ok(Self::Gif(gif::Writer::new(size, loops)?)),
            _ => Ok(Self::Webp(webp::Writer::new(size, loops, finish.tuning())?)),
        }
    }

    fn add(&mut self, raster: Raster, millis: u32) -> Result<(), Error> {
        match self {
            Self::Gif(writer) => writer.add(raster, millis),
            Self::Webp(writer) => writer.add(&raster, millis),
        }
    }

    fn finish(self) -> Result<(Format, Vec<u8>), Error> {
        match self {
            Self::Gif(writer) => Ok((Format::Gif, writer.finish()?)),
            Self::Webp(writer) => Ok((Format::Webp, writer.finish()?)),
        }
    }
}
