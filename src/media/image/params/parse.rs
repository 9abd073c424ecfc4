//! From the pairs of a query to an operation.

use std::borrow::Cow;

use super::{
    DEFAULT_QUALITY, Effort, Fit, Format, Gravity, Keep, Look, MAX_DPR, MAX_SIDE, ParamError, Params,
    PixelRect,
    hints::Hints,
    presets::PRESET,
    values::{colour, integer, number, percentage, refused},
};
use crate::media::image::Orientation;

/// Quality with `auto=compress`, when none is given.
const COMPRESSED_QUALITY: u8 = 60;

/// Of those that can be asked for by number.
const MAX_FRAME: u32 = 1000;

const BORDER_RADIUS: &str = "border-radius";

/// Whether a query parameter of this name is for the image; others are left to the source.
pub fn is_image_parameter(name: &str) -> bool {
    matches!(
        name,
        "w" | "h"
            | "fit"
            | "enlarge"
            | "q"
            | "fm"
            | "dpr"
            | "auto"
            | "lossless"
            | "keep"
            | "frame"
            | "ch"
            | "crop"
            | "fp-x"
            | "fp-y"
            | "rect"
            | "trim"
            | "trim-tol"
            | "orient"
            | "rot"
            | "flip"
            | "blur"
            | "sharp"
            | "bri"
            | "con"
            | "sat"
            | "mono"
            | "bg"
            | "pad"
            | BORDER_RADIUS
            | PRESET
    )
}

/// What has been read so far. Each may be given once.
#[derive(Default)]
struct Given {
    w: Option<u32>,
    h: Option<u32>,
    fit: Option<Fit>,
    enlarge: Option<bool>,
    q: Option<u32>,
    fm: Option<Format>,
    dpr: Option<f64>,
    auto: Option<Auto>,
    lossless: Option<bool>,
    keep: Option<Keep>,
    frame: Option<u32>,
    ch: Option<Hints>,
    crop: Option<Gravity>,
    focus_x: Option<f64>,
    focus_y: Option<f64>,
    rect: Option<PixelRect>,
    trim: Option<()>,
    trim_tolerance: Option<u32>,
    orient: Option<Orientation>,
    rot: Option<Orientation>,
    flip: Option<Orientation>,
    blur: Option<u32>,
    sharp: Option<u32>,
    bri: Option<i8>,
    con: Option<i8>,
    sat: Option<i8>,
    mono: Option<[u8; 3]>,
    bg: Option<[u8; 4]>,
    pad: Option<u32>,
    radius: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct Auto {
    format: bool,
    compress: bool,
    hints: Hints,
}

impl Params {
    /// Reads the decoded pairs of a query. `None` when no image parameter is among them; other parameters
    /// are passed over.
    pub fn parse(query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Option<Self>, ParamError> {
        let mut given = Given::default();
        let mut any = false;
        for (name, value) in query {
            any |= given.read(name, value)?;
        }
        if !any {
            return Ok(None);
        }
        given.into_params().map(Some)
    }
}

impl Given {
    /// Whether the name is one of an image parameter.
    fn read(&mut self, name: &str, value: &str) -> Result<bool, ParamError> {
        match name {
            "w" => once("w", &mut self.w, integer("w", value, 1, MAX_SIDE)?)?,
            "h" => once("h", &mut self.h, integer("h", value, 1, MAX_SIDE)?)?,
            "q" => once("q", &mut self.q, integer("q", value, 1, 100)?)?,
            "fit" => once("fit", &mut self.fit, fit(value)?)?,
            "enlarge" => once("enlarge", &mut self.enlarge, truth("enlarge", value)?)?,
            "fm" => once("fm", &mut self.fm, Format::parse(value)?)?,
            "dpr" => once("dpr", &mut self.dpr, number("dpr", value, 1.0, MAX_DPR)?)?,
            "auto" => once("auto", &mut self.auto, auto(value)?)?,
            "lossless" => once("lossless", &mut self.lossless, truth("lossless", value)?)?,
            "keep" => once("keep", &mut self.keep, Keep::parse(value)?)?,
            "frame" => once("frame", &mut self.frame, integer("frame", value, 1, MAX_FRAME)?)?,
            "ch" => once("ch", &mut self.ch, hints(value)?)?,
            "crop" => once("crop", &mut self.crop, gravity(value)?)?,
            "fp-x" => once("fp-x", &mut self.focus_x, number("fp-x", value, 0.0, 1.0)?)?,
            "fp-y" => once("fp-y", &mut self.focus_y, number("fp-y", value, 0.0, 1.0)?)?,
            "rect" => once("rect", &mut self.rect, rect(value)?)?,
            "trim" => once("trim", &mut self.trim, trim(value)?)?,
            "trim-tol" => once("trim-tol", &mut self.trim_tolerance, integer("trim-tol", value, 0, 100)?)?,
            "orient" => once("orient", &mut self.orient, orient(value)?)?,
            "rot" => once("rot", &mut self.rot, rot(value)?)?,
            "flip" => once("flip", &mut self.flip, flip(value)?)?,
            "blur" => once("blur", &mut self.blur, integer("blur", value, 0, 2000)?)?,
            "sharp" => once("sharp", &mut self.sharp, integer("sharp", value, 0, 100)?)?,
            "bri" => once("bri", &mut self.bri, percentage("bri", value)?)?,
            "con" => once("con", &mut self.con, percentage("con", value)?)?,
            "sat" => once("sat", &mut self.sat, percentage("sat", value)?)?,
            "mono" => {
                let [r, g, b, _] = colour("mono", value)?;
                once("mono", &mut self.mono, [r, g, b])?;
            }
            "bg" => once("bg", &mut self.bg, colour("bg", value)?)?,
            "pad" => once("pad", &mut self.pad, integer("pad", value, 0, MAX_SIDE / 4)?)?,
            BORDER_RADIUS => once(BORDER_RADIUS, &mut self.radius, radius(value)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn into_params(self) -> Result<Params, ParamError> {
        let auto = self.auto.unwrap_or_default();
        let focus = match (self.focus_x, self.focus_y) {
            (None, None) => None,
            (x, y) => Some(Gravity::at(x.unwrap_or(0.5), y.unwrap_or(0.5))),
        };
        if focus.is_some() && self.crop.is_some_and(|crop| crop != Gravity::CENTRE) {
            let problem = "is given beside fp-x and fp-y, which say another place".to_owned();
            return Err(ParamError { parameter: "crop", problem });
        }
        if self.trim_tolerance.is_some() && self.trim.is_none() {
            let problem = "is given without trim".to_owned();
            return Err(ParamError { parameter: "trim-tol", problem });
        }
        let quality = if auto.compress { COMPRESSED_QUALITY } else { DEFAULT_QUALITY };
        // Flipped first, then turned.
        let turn = self.flip.unwrap_or_default().then(self.rot.unwrap_or_default());
        let params = Params {
            width: self.w,
            height: self.h,
            fit: self.fit.unwrap_or_default(),
            enlarge: self.enlarge,
            gravity: focus.or(self.crop).unwrap_or_default(),
            rect: self.rect,
            trim: self.trim.map(|()| self.trim_tolerance.map_or(DEFAULT_TOLERANCE, |percent| percent as u8)),
            orient: self.orient,
            turn,
            look: Look {
                brightness: self.bri.unwrap_or(0),
                contrast: self.con.unwrap_or(0),
                saturation: self.sat.unwrap_or(0),
                blur: self.blur.map_or(0, |blur| blur as u16),
                sharpen: self.sharp.map_or(0, |sharp| sharp as u8),
                mono: self.mono,
            },
            background: self.bg,
            pad: self.pad.unwrap_or(0),
            radius: self.radius.unwrap_or(0),
            format: self.fm.unwrap_or_default(),
            negotiates: auto.format && self.fm.is_none(),
            quality: self.q.map_or(quality, |q| q.min(100) as u8),
            lossless: self.lossless.unwrap_or(false),
            keep: self.keep.unwrap_or_default(),
            // At most `MAX_FRAME`.
            frame: self.frame.map(|frame| frame as u16),
            effort: Effort::default(),
            hints: auto.hints.with(self.ch.unwrap_or_default()),
            dpr_given: self.dpr.is_some(),
        };
        Ok(params.scaled_by(self.dpr.unwrap_or(1.0)).normalised())
    }
}

/// Percent of a channel's range by which the border may differ from its corner.
const DEFAULT_TOLERANCE: u8 = 10;

fn once<T>(parameter: &'static str, slot: &mut Option<T>, value: T) -> Result<(), ParamError> {
    if slot.replace(value).is_some() {
        return Err(ParamError { parameter, problem: "is given more than once".to_owned() });
    }
    Ok(())
}

fn fit(text: &str) -> Result<Fit, ParamError> {
    match text {
        "clip" | "max" => Ok(Fit::Clip),
        "crop" => Ok(Fit::Crop),
        "fill" => Ok(Fit::Fill),
        "scale" => Ok(Fit::Scale),
        "min" => Ok(Fit::Min),
        "auto" => Ok(Fit::Auto),
        _ => Err(refused("fit", "must be one of clip, crop, fill, max, min, scale, auto", text)),
    }
}

fn truth(parameter: &'static str, text: &str) -> Result<bool, ParamError> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(refused(parameter, "must be 1, true, 0 or false", text)),
    }
}

fn auto(text: &str) -> Result<Auto, ParamError> {
    let mut auto = Auto::default();
    for word in text.split(',') {
        match word {
            "format" => auto.format = true,
            "compress" => auto.compress = true,
            "dpr" => auto.hints = auto.hints.with(Hints::DPR),
            "width" => auto.hints = auto.hints.with(Hints::WIDTH),
            _ => return Err(refused("auto", "must be of format, compress, dpr and width", text)),
        }
    }
    Ok(auto)
}

fn hints(text: &str) -> Result<Hints, ParamError> {
    let rule = "must be of dpr, width, viewport-width and save-data";
    text.split(',').try_fold(Hints::default(), |all, name| {
        Ok(all.with(Hints::parse(name).ok_or_else(|| refused("ch", rule, text))?))
    })
}

/// Sides may be combined: `top,left`. Of two opposite ones the later counts.
fn gravity(text: &str) -> Result<Gravity, ParamError> {
    match text {
        "entropy" | "edges" => return Ok(Gravity::Entropy),
        "attention" => return Ok(Gravity::Attention),
        "center" | "focalpoint" => return Ok(Gravity::CENTRE),
        _ => {}
    }
    let (mut x, mut y) = (0.5, 0.5);
    for side in text.split(',') {
        match side {
            "left" => x = 0.0,
            "right" => x = 1.0,
            "top" => y = 0.0,
            "bottom" => y = 1.0,
            _ => {
                let rule = "must be entropy, edges, attention, focalpoint, center, or sides such as top,left";
                return Err(refused("crop", rule, text));
            }
        }
    }
    Ok(Gravity::at(x, y))
}

fn rect(text: &str) -> Result<PixelRect, ParamError> {
    let rule = || refused("rect", "must be left,top,width,height in pixels of the source", text);
    let mut sides = [0; 4];
    let mut parts = text.split(',');
    for (side, least) in sides.iter_mut().zip([0, 0, 1, 1]) {
        *side = integer("rect", parts.next().ok_or_else(rule)?, least, 1 << 20).map_err(|_| rule())?;
    }
    let [left, top, width, height] = sides;
    if parts.next().is_some() { Err(rule()) } else { Ok(PixelRect { left, top, width, height }) }
}

fn trim(text: &str) -> Result<(), ParamError> {
    if text == "auto" { Ok(()) } else { Err(refused("trim", "must be auto", text)) }
}

/// In place of what EXIF says: its values, or degrees clockwise.
fn orient(text: &str) -> Result<Orientation, ParamError> {
    match text {
        "0" => Ok(Orientation::default()),
        "90" => Ok(Orientation::from_exif(6)),
        "180" => Ok(Orientation::from_exif(3)),
        "270" => Ok(Orientation::from_exif(8)),
        _ => match integer("orient", text, 1, 8) {
            // At most 8.
            Ok(value) => Ok(Orientation::from_exif(value as u16)),
            Err(_) => Err(refused("orient", "must be 0, 90, 180, 270, or 1 to 8 as in EXIF", text)),
        },
    }
}

/// Counter-clockwise, as imgix has it.
fn rot(text: &str) -> Result<Orientation, ParamError> {
    match text {
        "0" => Ok(Orientation::default()),
        "90" => Ok(Orientation::from_exif(8)),
        "180" => Ok(Orientation::from_exif(3)),
        "270" => Ok(Orientation::from_exif(6)),
        _ => Err(refused("rot", "must be 0, 90, 180 or 270", text)),
    }
}

fn flip(text: &str) -> Result<Orientation, ParamError> {
    match text {
        "h" => Ok(Orientation::from_exif(2)),
        "v" => Ok(Orientation::from_exif(4)),
        "hv" => Ok(Orientation::from_exif(3)),
        _ => Err(refused("flip", "must be h, v or hv", text)),
    }
}

fn radius(text: &str) -> Result<u32, ParamError> {
    match text {
        "max" => Ok(MAX_SIDE),
        _ => integer(BORDER_RADIUS, text, 0, MAX_SIDE).map_err(|_| {
            refused(BORDER_RADIUS, &format!("must be max or an integer from 0 to {MAX_SIDE}"), text)
        }),
    }
}
