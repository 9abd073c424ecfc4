//! What a job will cost, from headers alone: it is let in by this, or refused, before anything is decoded.

use super::{
    Area, Error, Fit, Format, Limits, Params, Size, animation, avif, finish, job, plan,
    probe::{Coding, probe},
    resize, summary,
};

/// Of each pixel, in which a palette is looked for: copies of what is shown, of what of it is there, and its place.
const PALETTE_BYTES: u64 = 12;
/// Of each pixel that is coded without loss: libwebp keeps it in several forms, and what refers back to what.
const LOSSLESS_BYTES: u64 = 32;
/// Whatever the size.
const TABLES: u64 = 512 << 10;

/// Bytes of memory that making this variant takes, at most; the source itself not counted. Of the source its beginning is
/// enough, if all headers are in it: else it looks corrupt.
pub fn weigh(source: &[u8], params: &Params, limits: &Limits) -> Result<u64, Error> {
    let probe = probe(source)?;
    limits.admit_pixels(probe.stored)?;
    let orientation = params.orientation(probe.orientation);
    let area = Area::of(params.rect(), orientation.apply(probe.stored))?;
    let mut plan = plan(area, params);
    if params.format().is_summary() {
        plan = summary::miniature(plan);
    }
    // Where an even border is to go, the size shows only in the pixels.
    if params.trim().is_none() {
        limits.admit_output(plan.canvas, params.format())?;
    }
    let target = orientation.apply(plan.content);
    if probe.is_animated() && params.animates() {
        let decoded = animation::decode_bytes(&probe);
        limits.admit_decode(decoded)?;
        // Of its frames parts may be transparent.
        let encoder = if params.format() == Format::Gif { 0 } else { LOSSLESS_BYTES };
        let output = plan.canvas.pixels() * (4 * animation::OUTPUT_CANVASES + encoder);
        return Ok(decoded + resize::bytes(probe.stored, 4, target) + output + TABLES);
    }
    let canvas =
        if params.trim().is_some() { trimmed(area.size, plan.canvas, params, limits) } else { plan.canvas };
    let shrink = if params.trim().is_some() { 1 } else { job::Job::new(&probe, orientation, &plan).shrink };
    let decoded = job::decode_bytes(&probe, shrink, params);
    limits.admit_decode(decoded)?;
    // What the decoder had beside its picture is given back before that is resized.
    let (reduced, channels) = job::decoded(&probe, shrink);
    let resized =
        reduced.pixels() * channels + resize::bytes(reduced, channels, target) + canvas.pixels() * 4;
    let finishing = finishing(canvas, channels == 4, params);
    Ok(decoded.max(resized).max(finishing) + kept(&probe.coding, probe.stored))
}

/// A size of as many pixels as may come of the area when its border has gone: its shape is not known.
fn trimmed(area: Size, untrimmed: Size, params: &Params, limits: &Limits) -> Size {
    let side = |asked: Option<u32>, of: u32| u64::from(asked.map_or(of, |asked| asked.min(of)));
    let most = match (params.width(), params.height(), params.enlarges()) {
        (Some(_), Some(_), _) => untrimmed.pixels(),
        (Some(_), None, true) | (None, Some(_), true) => limits.max_output_pixels,
        (width, height, _) => side(width, area.width) * side(height, area.height),
    };
    let most = most.max(untrimmed.pixels()).min(limits.max_output_pixels.max(1));
    let side = most.isqrt() + 1;
    Size::new(side as u32, side as u32)
}

/// Resized, looked at once more, and what an encoder keeps beside.
fn finishing(output: Size, alpha: bool, params: &Params) -> u64 {
    // libwebp codes alpha without loss, too.
    let alpha = alpha || params.pad() > 0 || params.radius() > 0 || params.fit() == Fit::Fill;
    let format = match params.format() {
        Format::Newest => finish::newest(params, output),
        format => format,
    };
    let encoder = match format {
        Format::Avif => avif::encode_bytes(output),
        Format::Gif | Format::Png8 => output.pixels() * PALETTE_BYTES,
        Format::Webp if alpha || params.lossless() => output.pixels() * LOSSLESS_BYTES,
        _ => 0,
    };
    output.pixels() * 4 * 3 + encoder
}

/// Tables and buffers that a decoder has whatever the size.
fn kept(coding: &Coding, stored: Size) -> u64 {
    match coding {
        Coding::Jpeg(_) | Coding::Png(_) => TABLES + u64::from(stored.width) * 64,
        _ => TABLES,
    }
}
