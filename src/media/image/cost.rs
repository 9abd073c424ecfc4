//! What a job will cost, from headers alone: it is let in by this, or refused, before anything is decoded.

use super::{
    Area, Error, Format, Limits, Params, Size, animation, avif, finish, job, plan,
    probe::{Coding, probe},
    summary,
};

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
    let moves = probe.is_animated() && params.animates();
    let decoded = match params.trim() {
        _ if moves => animation::decode_bytes(&probe),
        Some(_) => job::decode_bytes(&probe, 1),
        None => job::decode_bytes(&probe, job::Job::new(&probe, orientation, &plan).shrink),
    };
    limits.admit_decode(decoded)?;
    let output = if moves {
        plan.canvas.pixels() * 4 * animation::OUTPUT_CANVASES
    } else {
        let format = match params.format() {
            Format::Newest => finish::newest(params, plan.canvas),
            format => format,
        };
        finishing(plan.canvas, format)
    };
    Ok(decoded + output + kept(&probe.coding, probe.stored))
}

/// Resized, looked at once more, and what an encoder keeps beside.
fn finishing(output: Size, format: Format) -> u64 {
    let encoder = if format == Format::Avif { avif::encode_bytes(output) } else { 0 };
    output.pixels() * 4 * 3 + encoder
}

/// Tables and buffers that a decoder has whatever the size.
fn kept(coding: &Coding, stored: Size) -> u64 {
    const TABLES: u64 = 512 << 10;
    match coding {
        Coding::Jpeg(_) | Coding::Png(_) => TABLES + u64::from(stored.width) * 64,
        _ => TABLES,
    }
}
