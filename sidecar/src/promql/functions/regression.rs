//! Simple linear regression over a window.

use crate::promql::{sum::Sum, windows::Window};

pub(super) fn find(name: &str) -> Option<fn(Window<'_>) -> Option<f64>> {
    match name {
        "deriv" => Some(|window| {
            let first = window.samples.first()?.at;
            fit(window, first).map(|line| line.slope)
        }),
        _ => None,
    }
}

/// The value of the fitted line `ahead` seconds after the step.
pub(super) fn predict(window: Window<'_>, ahead: f64) -> Option<f64> {
    fit(window, window.at).map(|line| line.slope * ahead + line.intercept)
}

struct Line {
    /// Per second.
    slope: f64,
    /// At the time asked for.
    intercept: f64,
}

/// Least squares; at least two samples.
#[allow(clippy::float_cmp, reason = "a constant series is one whose values are equal")]
fn fit(window: Window<'_>, intercept_at: i64) -> Option<Line> {
    let samples = window.samples;
    if samples.len() < 2 {
        return None;
    }
    let first = samples[0].value;
    if samples.iter().all(|sample| sample.value == first) {
        return Some(match first.is_infinite() {
            true => Line { slope: f64::NAN, intercept: f64::NAN },
            false => Line { slope: 0.0, intercept: first },
        });
    }
    let count = samples.len() as f64;
    let points = || samples.iter().map(|sample| ((sample.at - intercept_at) as f64 / 1000.0, sample.value));
    let sum_x = Sum::of(points().map(|(x, _)| x));
    let sum_y = Sum::of(points().map(|(_, y)| y));
    let covariance = Sum::of(points().map(|(x, y)| x * y)) - sum_x * sum_y / count;
    let variance = Sum::of(points().map(|(x, _)| x * x)) - sum_x * sum_x / count;
    let slope = covariance / variance;
    Some(Line { slope, intercept: sum_y / count - slope * sum_x / count })
}
