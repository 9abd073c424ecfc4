//! `*_over_time`: aggregation along the time axis.

use crate::promql::{
    sum::{self, Mean, Sum, variance},
    windows::Window,
};

pub(super) fn find(name: &str) -> Option<fn(Window<'_>) -> Option<f64>> {
    Some(match name {
        "avg_over_time" => |window| Some(Mean::of(values(window))),
        "sum_over_time" => |window| Some(Sum::of(values(window))),
        "min_over_time" => |window| values(window).reduce(|a, b| if b < a || a.is_nan() { b } else { a }),
        "max_over_time" => |window| values(window).reduce(|a, b| if b > a || a.is_nan() { b } else { a }),
        "count_over_time" => |window| Some(window.samples.len() as f64),
        "last_over_time" => |window| values(window).last(),
        "first_over_time" => |window| values(window).next(),
        "present_over_time" => |_| Some(1.0),
        "stdvar_over_time" => |window| Some(variance(values(window))),
        "stddev_over_time" => |window| Some(variance(values(window)).sqrt()),
        _ => return None,
    })
}

/// The sample itself is still that of the metric.
pub(super) fn keeps_name(name: &str) -> bool {
    matches!(name, "last_over_time" | "first_over_time")
}

pub(super) fn quantile(phi: f64, window: Window<'_>) -> f64 {
    sum::quantile(phi, values(window).collect())
}

fn values(window: Window<'_>) -> impl Iterator<Item = f64> {
    window.samples.iter().map(|sample| sample.value)
}
