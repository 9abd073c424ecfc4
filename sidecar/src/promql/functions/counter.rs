//! Functions about change within a window: rates with Prometheus' extrapolation, resets, changes.

use crate::{model::Sample, promql::windows::Window};

pub(super) fn find(name: &str) -> Option<fn(Window<'_>) -> Option<f64>> {
    Some(match name {
        "rate" => |window| {
            let seconds = (window.to - window.from) as f64 / 1000.0;
            extrapolated(window, true).map(|increase| increase / seconds)
        },
        "increase" => |window| extrapolated(window, true),
        "delta" => |window| extrapolated(window, false),
        "irate" => |window| {
            let (before, last) = last_two(window)?;
            // After a reset the counter began at zero.
            let change = if last.value < before.value { last.value } else { last.value - before.value };
            Some(change / ((last.at - before.at) as f64 / 1000.0))
        },
        "idelta" => |window| last_two(window).map(|(before, last)| last.value - before.value),
        "resets" => |window| Some(pairs(window).filter(|(before, next)| next < before).count() as f64),
        "changes" => |window| {
            let differs = |(before, next): &(f64, f64)| before != next && !(before.is_nan() && next.is_nan());
            Some(pairs(window).filter(differs).count() as f64)
        },
        _ => return None,
    })
}

fn pairs(window: Window<'_>) -> impl Iterator<Item = (f64, f64)> {
    window.samples.windows(2).map(|pair| (pair[0].value, pair[1].value))
}

fn last_two(window: Window<'_>) -> Option<(Sample, Sample)> {
    match window.samples {
        [.., before, last] => Some((*before, *last)),
        _ => None,
    }
}

/// Does not stop where the answer is known, so that several samples are looked at at once.
fn falls(samples: &[Sample]) -> bool {
    samples.windows(2).fold(false, |falls, pair| falls | (pair[1].value < pair[0].value))
}

/// The change over the whole window, as Prometheus' `extrapolatedRate`: the change between the first and last sample
/// is extended to the ends of the window, but no further than half a sample distance where the series seems to begin
/// or end within it, and a counter not below zero.
fn extrapolated(window: Window<'_>, counter: bool) -> Option<f64> {
    let [first, .., last] = window.samples else { return None };
    let mut change = last.value - first.value;
    if counter && falls(window.samples) {
        // One after the other, in this order: it decides about rounding.
        pairs(window).filter(|(before, next)| next < before).for_each(|(before, _)| change += before);
    }
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let sampled = seconds(first.at, last.at);
    let between = sampled / (window.samples.len() - 1) as f64;
    let threshold = between * 1.1;
    let mut to_start = seconds(window.from, first.at);
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if counter && change > 0.0 && first.value >= 0.0 {
        let to_zero = sampled * (first.value / change);
        to_start = to_start.min(to_zero);
    }
    let mut to_end = seconds(last.at, window.to);
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    Some(change * ((sampled + to_start + to_end) / sampled))
}
