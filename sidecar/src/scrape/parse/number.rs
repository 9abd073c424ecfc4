//! Values and timestamps as Go's `strconv` reads them, which is what exporters are written against.

use super::Format;
use crate::model::NORMAL_NAN;

/// Decimal, `Inf`/`Infinity` with sign, `NaN`; case-insensitive. A decimal too large for a double is no value.
pub(super) fn value(token: &str) -> Option<f64> {
    if let Some(small) = small_integer(token) {
        return Some(small);
    }
    let value: f64 = token.parse().ok()?;
    if value.is_nan() {
        let signed = token.starts_with(['+', '-']);
        return (!signed).then_some(NORMAL_NAN);
    }
    let overflowed = value.is_infinite() && token.bytes().any(|byte| byte.is_ascii_digit());
    (!overflowed).then_some(value)
}

/// Most values of most expositions: up to 15 digits, exact in a double.
fn small_integer(token: &str) -> Option<f64> {
    if token.is_empty() || token.len() > 15 {
        return None;
    }
    let mut number = 0u64;
    for byte in token.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(number as f64)
}

pub(super) fn timestamp(token: &str, format: Format) -> Option<i64> {
    match format {
        Format::Text => token.parse().ok(),
        Format::OpenMetrics => {
            let millis = token.parse::<f64>().ok()? * 1000.0;
            (millis.abs() < 9e15).then_some(millis as i64)
        }
    }
}
