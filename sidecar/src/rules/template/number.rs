//! Numbers as Prometheus' templates make them readable.

pub(super) use crate::model::number::{shortest, with_go_exponent};

use crate::model::number::special;

/// Go's `%.4g`.
pub(super) fn four_digits(value: f64) -> String {
    significant(value, 4)
}

/// Go's `%.Ng`.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let most = i32::try_from(digits).unwrap_or(i32::MAX);
    if (-4..most).contains(&exponent) {
        return trimmed(&format!("{value:.*}", (most - 1 - exponent).max(0) as usize));
    }
    with_go_exponent(&format!("{}e{exponent}", trimmed(mantissa)))
}

pub(super) fn humanize(value: f64) -> String {
    scaled(value, 1000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"])
}

pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    scaled(value, 1024.0, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", four_digits(value * 100.0))
}

pub(super) fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return small(seconds) + "s";
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(seconds.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {}s", whole % 60),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {}s", whole % 60),
        _ => format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60),
    }
}

fn scaled(value: f64, base: f64, prefixes: &[&str]) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    if value.abs() < 1.0 {
        return small(value);
    }
    let mut value = value;
    let mut prefix = "";
    for larger in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = larger;
        value /= base;
    }
    four_digits(value) + prefix
}

fn small(value: f64) -> String {
    let mut value = value;
    let mut prefix = "";
    for smaller in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = smaller;
        value *= 1000.0;
    }
    four_digits(value) + prefix
}

fn trimmed(digits: &str) -> String {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Confirmed with `promtool test rules` of Prometheus 3.5.
    #[test]
    fn as_prometheus_prints_them() {
        for (value, plain, humanized, binary, duration, percentage) in [
            (0.0, "0", "0", "0", "0s", "0%"),
            (123_456_789.0, "1.23456789e+08", "123.5M", "117.7Mi", "1428d 21h 33m 9s", "1.235e+10%"),
            (1e6, "1e+06", "1M", "976.6ki", "11d 13h 46m 40s", "1e+08%"),
            (999_999.0, "999999", "1000k", "976.6ki", "11d 13h 46m 39s", "1e+08%"),
            (12_345.0, "12345", "12.35k", "12.06ki", "3h 25m 45s", "1.234e+06%"),
            (3725.0, "3725", "3.725k", "3.638ki", "1h 2m 5s", "3.725e+05%"),
            (1023.0, "1023", "1.023k", "1023", "17m 3s", "1.023e+05%"),
            (0.25, "0.25", "250m", "0.25", "250ms", "25%"),
            (0.0123, "0.0123", "12.3m", "0.0123", "12.3ms", "1.23%"),
            (0.0001, "0.0001", "100u", "0.0001", "100us", "0.01%"),
            (0.000_01, "1e-05", "10u", "1e-05", "10us", "0.001%"),
            (-61.0, "-61", "-61", "-61", "-1m 1s", "-6100%"),
            (f64::NAN, "NaN", "NaN", "NaN", "NaN", "NaN%"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf", "+Inf", "+Inf%"),
        ] {
            let found = [
                shortest(value),
                humanize(value),
                humanize1024(value),
                humanize_duration(value),
                humanize_percentage(value),
            ];
            assert_eq!(found, [plain, humanized, binary, duration, percentage], "{value}");
        }
    }
}
