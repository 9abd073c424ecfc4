//! What a caller of `transform` sees: pixels where they belong, refusals with the right fault.

mod animated;
mod avif;
mod counting;
mod formats;
mod golden;
mod hostile;
mod memory;
mod metadata;
mod operations;
mod pixels;
pub(super) mod samples;
mod stopped;
mod summaries;

use std::borrow::Cow;

use super::probe::Coding;
use super::raster::Raster;
use super::*;

fn params(query: &str) -> Params {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = url::form_urlencoded::parse(query.as_bytes()).collect();
    Params::parse(&pairs).unwrap().unwrap()
}

fn try_transform(source: &[u8], query: &str) -> Result<Encoded, Error> {
    transform(source, &params(query), &Limits::default())
}

/// What this thread has computed so far; waiting for others does not count. Zero where the system does not tell.
fn computed() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The variant's pixels.
fn variant(source: &[u8], query: &str) -> Raster {
    let encoded = try_transform(source, query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let raster = decoded(&encoded.bytes);
    assert_eq!((encoded.width, encoded.height), (raster.size.width, raster.size.height), "{query}");
    raster
}

/// Decodes without any reduction.
fn decoded(file: &[u8]) -> Raster {
    let probe = probe(file).unwrap();
    match probe.coding {
        Coding::Jpeg(coding) => jpeg::decode(file, &coding, probe.stored, 1, None).unwrap().raster,
        Coding::Png(_) => png::decode(file, probe.stored, 1).unwrap().raster,
        Coding::Webp(coding) => webp::decode(file, &coding, probe.stored, 1, 0).unwrap().raster,
        Coding::Avif(coding) => super::avif::decode(file, &coding, probe.stored, 1).unwrap().raster,
        Coding::Gif(_) => gif::decode(file, probe.stored, 1 << 30, 0).unwrap().raster,
        Coding::Rare(coding) => rare::decode(file, &coding, probe.stored, 1 << 30).unwrap().raster,
    }
}

/// Mean absolute difference per sample, and the largest.
#[track_caller]
fn difference(a: &Raster, b: &Raster) -> (f64, u8) {
    assert_eq!((a.size, a.channels), (b.size, b.channels));
    let each = || a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = each().map(u64::from).sum();
    (sum as f64 / a.data.len() as f64, each().max().unwrap_or(0))
}

#[track_caller]
pub(super) fn assert_alike(a: &Raster, b: &Raster, mean: f64, what: &str) {
    let (got, max) = difference(a, b);
    assert!(got <= mean, "{what}: differs by {got:.2} on average (at most {mean} expected), {max} at most");
}
