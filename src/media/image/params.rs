//! What is asked of an image, read from imgix-style query parameters into one canonical operation. Equal
//! operations have equal `Params` and equal key text, however they were written.
//!
//! Meaning of `fit` (imgix names):
//! - `clip` (default) and `max`: fit within the box, keep the aspect ratio, never enlarge. imgix enlarges with
//!   `clip`; here enlarging must be asked for with `scale` or `crop`, so the two are one operation.
//! - `crop`: exactly the box, enlarging if need be, the excess cut off evenly on both sides.
//! - `fill`: fit within the box without enlarging, then pad to exactly the box: transparent, white in JPEG.
//! - `scale`: exactly the box, distorting and enlarging if need be.
//!
//! With one of `w` and `h`, the other follows from the aspect ratio, so that `crop` and `fill` mean `clip`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Longest side that can be asked for.
pub const MAX_SIDE: u32 = 8192;
pub const MAX_DPR: f64 = 5.0;
pub const DEFAULT_QUALITY: u8 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fit {
    #[default]
    Clip,
    Crop,
    Fill,
    Scale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Webp,
    Jpeg,
    Png,
}

/// A canonical operation. `Default` re-encodes at the source's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    width: Option<u32>,
    height: Option<u32>,
    fit: Fit,
    format: Format,
    quality: u8,
}

/// A parameter has an unacceptable value. The text is fit for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image parameter `{parameter}` {problem}")]
pub struct ParamError {
    pub parameter: &'static str,
    pub problem: String,
}

impl Fit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Crop => "crop",
            Self::Fill => "fill",
            Self::Scale => "scale",
        }
    }
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    pub(super) fn has_alpha(self) -> bool {
        self != Self::Jpeg
    }

    /// What the format can hold: WEBP_MAX_DIMENSION, libjpeg's JPEG_MAX_DIMENSION.
    pub(super) fn max_side(self) -> u32 {
        match self {
            Self::Webp => 16_383,
            Self::Jpeg => 65_500,
            Self::Png => i32::MAX as u32,
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            width: None,
            height: None,
            fit: Fit::default(),
            format: Format::default(),
            quality: DEFAULT_QUALITY,
        }
    }
}

impl Params {
    /// Reads the decoded pairs of a query. `None` when no image parameter is among them; other parameters
    /// are passed over.
    pub fn parse(query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Option<Self>, ParamError> {
        let (mut w, mut h, mut fit, mut q, mut fm, mut dpr) = (None, None, None, None, None, None);
        for (name, value) in query {
            match name.as_ref() {
                "w" => once("w", &mut w, integer("w", value, MAX_SIDE)?)?,
                "h" => once("h", &mut h, integer("h", value, MAX_SIDE)?)?,
                "q" => once("q", &mut q, integer("q", value, 100)?)?,
                "fit" => once("fit", &mut fit, parse_fit(value)?)?,
                "fm" => once("fm", &mut fm, parse_format(value)?)?,
                "dpr" => once("dpr", &mut dpr, parse_dpr(value)?)?,
                _ => {}
            }
        }
        if w.is_none() && h.is_none() && fit.is_none() && q.is_none() && fm.is_none() && dpr.is_none() {
            return Ok(None);
        }
        let params = Self {
            width: w,
            height: h,
            fit: fit.unwrap_or_default(),
            format: fm.unwrap_or_default(),
            quality: q.map_or(DEFAULT_QUALITY, |q| q.min(100) as u8),
        };
        Ok(Some(params.scaled_by(dpr.unwrap_or(1.0)).normalised()))
    }

    pub fn width(&self) -> Option<u32> {
        self.width
    }

    pub fn height(&self) -> Option<u32> {
        self.height
    }

    pub fn fit(&self) -> Fit {
        self.fit
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn quality(&self) -> u8 {
        self.quality
    }

    /// Key text: fixed order, `dpr` folded into the size, defaults written out, what has no effect left out.
    pub fn canonical(&self) -> String {
        let mut key = String::with_capacity(40);
        if let Some(w) = self.width {
            let _ = write!(key, "w={w},");
        }
        if let Some(h) = self.height {
            let _ = write!(key, "h={h},");
        }
        if self.width.is_some() || self.height.is_some() {
            let _ = write!(key, "fit={},", self.fit.as_str());
        }
        let _ = write!(key, "fm={}", self.format.as_str());
        if self.format != Format::Png {
            let _ = write!(key, ",q={}", self.quality);
        }
        key
    }

    /// Multiplies the box by the device pixel ratio, less where a side would exceed `MAX_SIDE`.
    fn scaled_by(mut self, dpr: f64) -> Self {
        let longest = self.width.max(self.height).unwrap_or(1).max(1);
        let ratio = dpr.min(f64::from(MAX_SIDE) / f64::from(longest));
        for side in [&mut self.width, &mut self.height].into_iter().flatten() {
            *side = ((f64::from(*side) * ratio).round() as u32).clamp(1, MAX_SIDE);
        }
        self
    }

    /// Gives operations of equal effect one form.
    fn normalised(mut self) -> Self {
        let sides = usize::from(self.width.is_some()) + usize::from(self.height.is_some());
        if sides == 0 || (sides == 1 && self.fit != Fit::Scale) {
            self.fit = Fit::Clip;
        }
        if self.format == Format::Png {
            self.quality = DEFAULT_QUALITY;
        }
        self
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

fn once<T>(parameter: &'static str, slot: &mut Option<T>, value: T) -> Result<(), ParamError> {
    if slot.replace(value).is_some() {
        return Err(ParamError { parameter, problem: "is given more than once".to_owned() });
    }
    Ok(())
}

/// Digits only: `+5`, ` 5`, `5.0` and `1e3` are refused, so that a value has few spellings.
fn integer(parameter: &'static str, text: &str, max: u32) -> Result<u32, ParamError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(value) if digits && (1..=max).contains(&value) => Ok(value),
        _ => Err(refused(parameter, &format!("must be an integer from 1 to {max}"), text)),
    }
}

fn parse_dpr(text: &str) -> Result<f64, ParamError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(value) if plain && (1.0..=MAX_DPR).contains(&value) => Ok(value),
        _ => Err(refused("dpr", &format!("must be a number from 1 to {MAX_DPR}"), text)),
    }
}

fn parse_fit(text: &str) -> Result<Fit, ParamError> {
    match text {
        "clip" | "max" => Ok(Fit::Clip),
        "crop" => Ok(Fit::Crop),
        "fill" => Ok(Fit::Fill),
        "scale" => Ok(Fit::Scale),
        _ => Err(refused("fit", "must be one of clip, crop, fill, max, scale", text)),
    }
}

fn parse_format(text: &str) -> Result<Format, ParamError> {
    match text {
        "webp" => Ok(Format::Webp),
        "jpg" | "jpeg" | "pjpg" => Ok(Format::Jpeg),
        "png" => Ok(Format::Png),
        _ => Err(refused("fm", "must be one of webp, jpg, png", text)),
    }
}

fn refused(parameter: &'static str, rule: &str, got: &str) -> ParamError {
    /// Characters of the refused value that the message repeats.
    const SHOWN: usize = 24;
    let mut shown: String = got.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if got.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    ParamError { parameter, problem: format!("{rule}, not `{shown}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Option<Params>, ParamError> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        Params::parse(&pairs)
    }

    #[test]
    fn equal_requests_have_one_key() {
        for (query, key) in [
            ("w=640", "w=640,fit=clip,fm=webp,q=80"),
            ("fm=webp&w=640&q=80&fit=clip", "w=640,fit=clip,fm=webp,q=80"),
            ("w=640&fit=max&utm_source=x", "w=640,fit=clip,fm=webp,q=80"),
            ("w=320&dpr=2", "w=640,fit=clip,fm=webp,q=80"),
            ("w=0640&fit=crop", "w=640,fit=clip,fm=webp,q=80"),
            ("w=427&dpr=1.5", "w=641,fit=clip,fm=webp,q=80"),
            ("w=10&h=20&fit=crop&fm=jpeg&q=1", "w=10,h=20,fit=crop,fm=jpg,q=1"),
            ("h=20&w=10&fit=crop&fm=jpg&q=1", "w=10,h=20,fit=crop,fm=jpg,q=1"),
            ("h=8192&fit=scale", "h=8192,fit=scale,fm=webp,q=80"),
            ("w=10&fm=png&q=3", "w=10,fit=clip,fm=png"),
            ("fm=png", "fm=png"),
            ("q=100&fit=fill", "fm=webp,q=100"),
            ("dpr=3", "fm=webp,q=80"),
            ("w=8000&h=1000&dpr=5", "w=8192,h=1024,fit=clip,fm=webp,q=80"),
        ] {
            assert_eq!(parse(query).unwrap().unwrap().canonical(), key, "{query}");
        }
    }

    #[test]
    fn other_parameters_ask_for_no_image() {
        for query in ["", "v=3", "width=100&W=3", "t=1&utm_source=w"] {
            assert_eq!(parse(query), Ok(None), "{query}");
        }
    }

    #[test]
    fn refusals_name_the_parameter_and_what_is_accepted() {
        for (query, parameter, text) in [
            ("w=0", "w", "1 to 8192"),
            ("w=-1", "w", "1 to 8192"),
            ("w=+1", "w", "1 to 8192"),
            ("w=%2B1", "w", "1 to 8192"),
            ("w=1e9", "w", "1 to 8192"),
            ("w=NaN", "w", "1 to 8192"),
            ("w=", "w", "1 to 8192"),
            ("w=8193", "w", "1 to 8192"),
            ("w=99999999999999999999", "w", "1 to 8192"),
            ("w=1.5", "w", "1 to 8192"),
            ("w=%D9%A1", "w", "1 to 8192"),
            ("h=0x10", "h", "1 to 8192"),
            ("w=1&w=2", "w", "more than once"),
            ("w=1&w=1", "w", "more than once"),
            ("q=0", "q", "1 to 100"),
            ("q=101", "q", "1 to 100"),
            ("fm=exe", "fm", "webp, jpg, png"),
            ("fm=WEBP", "fm", "webp, jpg, png"),
            ("fit=cover", "fit", "clip, crop, fill, max, scale"),
            ("dpr=0", "dpr", "1 to 5"),
            ("dpr=5.01", "dpr", "1 to 5"),
            ("dpr=NaN", "dpr", "1 to 5"),
            ("dpr=inf", "dpr", "1 to 5"),
            ("dpr=1e0", "dpr", "1 to 5"),
            ("dpr=.", "dpr", "1 to 5"),
        ] {
            let error = parse(query).unwrap_err();
            assert_eq!(error.parameter, parameter, "{query}");
            assert!(error.to_string().contains(text), "{query}: {error}");
        }
    }

    #[test]
    fn long_or_hostile_values_are_not_repeated_whole() {
        let error = parse(&format!("w={}", "9".repeat(8192))).unwrap_err();
        assert!(error.to_string().len() < 120, "{error}");
        let error = parse("w=%0d%0aSet-Cookie:x").unwrap_err();
        assert!(!error.to_string().contains(['\r', '\n']), "{error}");
    }
}
