//! Other ways to write an operation: the options of Cloudflare's `/cdn-cgi/image/` paths and of imgproxy's. Each becomes
//! the pairs of our own query, so that there is one reading of values and one key. Their words keep the meaning that they have there.

mod cdn_cgi;
mod imgproxy;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::{
    ParamError, Params, Presets,
    presets::Pairs,
    values::{number, refused},
};

/// Longer lists of options are refused.
const MAX_OPTIONS: usize = 64;

impl Params {
    /// From `width=320,fit=cover,format=auto`.
    pub fn parse_cdn_cgi(options: &str, presets: &Presets) -> Result<Self, ParamError> {
        let mut pairs = Pairs::new();
        for option in bounded(options.split(','))? {
            let (name, value) = option.split_once('=').ok_or_else(|| unknown(option))?;
            cdn_cgi::read(name, value, &mut pairs)?;
        }
        cdn_cgi::complete(&mut pairs);
        Ok(Self::read(&pairs, presets)?.unwrap_or_default())
    }

    /// From `rs:fill:320:240/g:sm/q:70`; `extension` is what follows the source after an `@`.
    pub fn parse_imgproxy(
        options: &str,
        extension: Option<&str>,
        presets: &Presets,
    ) -> Result<Self, ParamError> {
        let mut given = imgproxy::Given::default();
        for option in bounded(options.split('/').filter(|option| !option.is_empty()))? {
            let mut parts = option.split(':');
            let name = parts.next().unwrap_or("");
            given.read(name, &parts.collect::<Vec<_>>())?;
        }
        let mut pairs = given.into_pairs()?;
        if let Some(extension) = extension {
            set(&mut pairs, "fm", extension.to_owned());
        }
        Ok(Self::read(&pairs, presets)?.unwrap_or_default())
    }
}

fn bounded<'a>(options: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, ParamError> {
    let options: Vec<_> = options.take(MAX_OPTIONS + 1).collect();
    if options.len() > MAX_OPTIONS {
        let problem = format!("are more than {MAX_OPTIONS}");
        return Err(ParamError { parameter: "options", problem });
    }
    Ok(options)
}

fn unknown(option: &str) -> ParamError {
    refused("options", "must be known ones", option)
}

/// The later of two counts, as in both dialects.
fn set(pairs: &mut Pairs, name: &'static str, value: impl Into<Cow<'static, str>>) {
    unset(pairs, name);
    pairs.push((name.into(), value.into()));
}

fn unset(pairs: &mut Pairs, name: &str) {
    pairs.retain(|(known, _)| known != name);
}

/// Ours turns the other way.
fn clockwise(text: &str) -> Result<&'static str, ParamError> {
    match text {
        "0" => Ok("0"),
        "90" => Ok("270"),
        "180" => Ok("180"),
        "270" => Ok("90"),
        _ => Err(refused("rot", "must be 0, 90, 180 or 270", text)),
    }
}

/// A number in other units than ours, rounded.
fn scaled(parameter: &'static str, text: &str, factor: f64) -> Result<String, ParamError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let value = number(parameter, digits, 0.0, 10_000.0)?;
    let sign = if digits.len() < text.len() { -1.0 } else { 1.0 };
    Ok(format!("{}", (value * sign * factor).round() as i64))
}

/// A factor where 1 changes nothing, as percent more or less.
fn around_one(parameter: &'static str, text: &str) -> Result<String, ParamError> {
    let value = number(parameter, text, 0.0, 2.0)?;
    Ok(format!("{}", ((value - 1.0) * 100.0).round() as i64))
}
