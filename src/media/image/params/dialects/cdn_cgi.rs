//! Cloudflare's options.

use super::super::{
    ParamError,
    presets::{PRESET, Pairs},
    values::refused,
};
use super::{around_one, clockwise, scaled, set, unknown};

/// The most of ours: of Cloudflare's radii up to 250 those from 200 on.
const MOST_BLUR: &str = "2000";

pub(super) fn read(name: &str, value: &str, pairs: &mut Pairs) -> Result<(), ParamError> {
    match name {
        "width" | "w" => set(pairs, "w", value.to_owned()),
        "height" | "h" => set(pairs, "h", value.to_owned()),
        "dpr" => set(pairs, "dpr", value.to_owned()),
        "quality" | "q" => set(pairs, "q", value.to_owned()),
        "flip" => set(pairs, "flip", value.to_owned()),
        "fit" => fit(value, pairs)?,
        "gravity" | "g" => match value.split_once('x') {
            Some((x, y)) => {
                set(pairs, "fp-x", x.to_owned());
                set(pairs, "fp-y", y.to_owned());
            }
            None if value == "auto" => set(pairs, "crop", "attention"),
            None => set(pairs, "crop", value.to_owned()),
        },
        "format" | "f" => match value {
            "auto" => set(pairs, "auto", "format"),
            "baseline-jpeg" => set(pairs, "fm", "jpg"),
            other => set(pairs, "fm", other.to_owned()),
        },
        "rotate" => set(pairs, "rot", clockwise(value)?),
        "background" => set(pairs, "bg", value.trim_start_matches('#').to_owned()),
        // A radius of 1 to 250 pixels; a bell's is about two standard deviations.
        "blur" => {
            let blur = scaled("blur", value, 10.0)?;
            set(
                pairs,
                "blur",
                if matches!(value.parse(), Ok(200..=250)) { MOST_BLUR.to_owned() } else { blur },
            );
        }
        "sharpen" => set(pairs, "sharp", scaled("sharp", value, 10.0)?),
        "brightness" => set(pairs, "bri", around_one("bri", unless_zero(value))?),
        "contrast" => set(pairs, "con", around_one("con", unless_zero(value))?),
        "saturation" => set(pairs, "sat", around_one("sat", value)?),
        "trim" if value == "border" => set(pairs, "trim", "auto"),
        "preset" => set(pairs, PRESET, value.to_owned()),
        "metadata" if value == "copyright" => set(pairs, "keep", "copyright"),
        // Of what the camera noted all but the place.
        "metadata" if value == "keep" => set(pairs, "keep", "exif"),
        "anim" if value == "false" => set(pairs, "frame", "1"),
        // Metadata goes unless asked for, animations stay, and errors are told.
        "metadata" | "anim" | "onerror" => {}
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// Of these two zero changes nothing.
fn unless_zero(value: &str) -> &str {
    if value == "0" { "1" } else { value }
}

/// What is padded stands on white, unless told otherwise.
pub(super) fn complete(pairs: &mut Pairs) {
    let has = |name: &str| pairs.iter().any(|(known, _)| known == name);
    let is_padded = pairs.iter().any(|(name, value)| name == "fit" && value == "fill");
    if is_padded && !has("bg") && !has(PRESET) {
        set(pairs, "bg", "ffffff");
    }
}

fn fit(value: &str, pairs: &mut Pairs) -> Result<(), ParamError> {
    let (fit, enlarge) = match value {
        "scale-down" => ("clip", "0"),
        "contain" => ("clip", "1"),
        "cover" => ("crop", "1"),
        "crop" => ("crop", "0"),
        "pad" => ("fill", "1"),
        "squeeze" => ("scale", "1"),
        other => {
            let rule = "must be one of scale-down, contain, cover, crop, pad, squeeze";
            return Err(refused("fit", rule, other));
        }
    };
    set(pairs, "fit", fit);
    set(pairs, "enlarge", enlarge);
    Ok(())
}
