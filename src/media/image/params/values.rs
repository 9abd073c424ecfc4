//! Values of image parameters as they are written, each in few spellings, so that few texts mean the same.

use super::ParamError;

/// Red, green, blue, alpha; not premultiplied.
pub type Rgba = [u8; 4];

/// Digits only: `+5`, ` 5`, `5.0` and `1e3` are refused.
pub(super) fn integer(parameter: &'static str, text: &str, least: u32, most: u32) -> Result<u32, ParamError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(value) if digits && (least..=most).contains(&value) => Ok(value),
        _ => Err(refused(parameter, &format!("must be an integer from {least} to {most}"), text)),
    }
}

/// -100 to 100.
pub(super) fn percentage(parameter: &'static str, text: &str) -> Result<i8, ParamError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match integer(parameter, digits, 0, 100) {
        // At most 100.
        Ok(value) if digits.len() == text.len() => Ok(value as i8),
        Ok(value) => Ok(-(value as i8)),
        Err(_) => Err(refused(parameter, "must be an integer from -100 to 100", text)),
    }
}

pub(super) fn number(parameter: &'static str, text: &str, least: f64, most: f64) -> Result<f64, ParamError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(value) if plain && (least..=most).contains(&value) => Ok(value),
        _ => Err(refused(parameter, &format!("must be a number from {least} to {most}"), text)),
    }
}

/// `rgb`, `argb`, `rrggbb` or `aarrggbb` in hexadecimal digits, as imgix writes colours.
pub(super) fn colour(parameter: &'static str, text: &str) -> Result<Rgba, ParamError> {
    let digit = |b: u8| (b as char).to_digit(16).map(|digit| digit as u8);
    let digits: Option<Vec<u8>> = text.bytes().take(9).map(digit).collect();
    match digits.as_deref() {
        Some(&[r, g, b]) => Ok([r * 17, g * 17, b * 17, 255]),
        Some(&[a, r, g, b]) => Ok([r * 17, g * 17, b * 17, a * 17]),
        Some(&[r, r2, g, g2, b, b2]) => Ok([r * 16 + r2, g * 16 + g2, b * 16 + b2, 255]),
        Some(&[a, a2, r, r2, g, g2, b, b2]) => Ok([r * 16 + r2, g * 16 + g2, b * 16 + b2, a * 16 + a2]),
        _ => Err(refused(parameter, "must be a colour such as fff, 336699 or 80336699 (alpha first)", text)),
    }
}

pub(super) fn refused(parameter: &'static str, rule: &str, got: &str) -> ParamError {
    /// Characters of the refused value that the message repeats.
    const SHOWN: usize = 24;
    let mut shown: String = got.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if got.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    ParamError { parameter, problem: format!("{rule}, not `{shown}`") }
}
