//! Functions of single values, with and without parameters.

use crate::promql::value::{ABSENT, Column, is_absent};

pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "round" | "clamp" | "clamp_min" | "clamp_max") || plain(name).is_some()
}

/// None for a name that is not known here. `parameters` hold one value per step.
pub(super) fn apply(name: &str, columns: Vec<Column>, parameters: &[Vec<f64>]) -> Option<Vec<Column>> {
    if let Some(function) = plain(name) {
        return Some(columns.into_iter().map(|column| column.map(function)).collect());
    }
    let function: fn(f64, f64, f64) -> f64 = match name {
        "round" => |value, to, _| round(value, to),
        "clamp" => |value, low, high| if low > high { ABSENT } else { clamp(value, low, high) },
        "clamp_min" => |value, low, _| clamp(value, low, f64::INFINITY),
        "clamp_max" => |value, high, _| clamp(value, f64::NEG_INFINITY, high),
        _ => return None,
    };
    let parameter = |index: usize, step: usize| {
        parameters.get(index).and_then(|values| values.get(step)).copied().unwrap_or(1.0)
    };
    let map = |mut column: Column| {
        for (step, value) in column.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            *value = function(*value, parameter(0, step), parameter(1, step));
        }
        column
    };
    Some(columns.into_iter().map(map).collect())
}

fn plain(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |value| {
            if value > 0.0 {
                1.0
            } else if value < 0.0 {
                -1.0
            } else {
                value
            }
        },
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        _ => return None,
    })
}

/// To the nearest multiple of `to`; halves go up.
fn round(value: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// NaN stays NaN, and a NaN bound makes NaN.
fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return f64::NAN;
    }
    value.min(high).max(low)
}
