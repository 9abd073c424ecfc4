//! What a job will cost, from headers alone: it is let in by this, or refused, before anything is decoded.

use super::{
    Area, Error, Job, Limits, Params, Size, decode_bytes, plan,
    probe::{Coding, probe},
};

/// Bytes of memory that making this variant takes, at most; the source itself not counted. Of the source its beginning is
/// enough, if all headers are in it: else it looks corrupt.
pub fn weigh(source: &[u8], params: &Params, limits: &Limits) -> Result<u64, Error> {
    let probe = probe(source)?;
    limits.admit_pixels(probe.stored)?;
    let orientation = params.orientation(probe.orientation);
    let area = Area::of(params.rect(), orientation.apply(probe.stored));
    let plan = plan(area, params);
    // Where an even border is to go, the size shows only in the pixels.
    let (shrink, output) = match params.trim() {
        Some(_) => (1, plan.canvas),
        None => {
            limits.admit_output(plan.canvas, params.format().max_side())?;
            (Job::new(&probe, orientation, &plan).shrink, plan.canvas)
        }
    };
    let decoded = decode_bytes(&probe, shrink);
    limits.admit_decode(decoded)?;
    Ok(decoded + finishing(output) + kept(&probe.coding, probe.stored))
}

/// Resized, looked at once more, and what an encoder keeps beside.
fn finishing(output: Size) -> u64 {
    output.pixels() * 4 * 3
}

/// Tables and buffers that a decoder has whatever the size.
fn kept(coding: &Coding, stored: Size) -> u64 {
    const TABLES: u64 = 512 << 10;
    match coding {
        Coding::Jpeg(_) | Coding::Png(_) => TABLES + u64::from(stored.width) * 64,
        _ => TABLES,
    }
}
