//! What is asked of an image, read from imgix-style query parameters into one canonical operation. Equal
//! operations have equal `Params` and equal key text, however they were written.
//!
//! Meaning of `fit` (imgix names):
//! - `clip` (default) and `max`: fit within the box, keep the aspect ratio, do not enlarge. imgix enlarges with
//!   `clip`; here enlarging must be asked for, so the two are one operation.
//! - `crop`: exactly the box, enlarging if need be, the excess cut off; `crop` and `fp-x`, `fp-y` say where.
//! - `min`: as `crop`, in the shape of the box, but no larger than the source.
//! - `fill`: fit within the box without enlarging, then pad to exactly the box with `bg`: without it transparent, white in
//!   JPEG.
//! - `scale`: exactly the box, distorting and enlarging if need be.
//! - `auto`: `crop` if box and source are both wide or both upright, else `clip`.
//!
//! `enlarge` says otherwise: with 1 also `clip` and `fill` enlarge, with 0 neither does `crop` (the picture then has what there is of the
//! box) nor `scale` (it has the box's proportions to the source's). These are what Cloudflare and imgproxy have words for.
//!
//! With one of `w` and `h`, the other follows from the aspect ratio, so that all but `scale` mean `clip`.
//!
//! In order: the source is turned upright (`orient`, else its EXIF), flipped (`flip`) and turned (`rot`, counter-clockwise);
//! `rect` is cut out and what is even at its border trimmed off (`trim`); it is scaled and cropped; then come `bri`, `con`,
//! `sat`, `mono`, `blur` and `sharp`, rounded corners (`border-radius`), padding (`pad`, within the box if one is asked for)
//! and the background.

use std::fmt::{self, Write as _};

use super::Orientation;

mod dialects;
mod format;
mod grid;
mod hints;
mod look;
mod parse;
mod presets;
mod values;

pub use format::{Effort, Format, Keep, Newest};
pub use hints::{Hints, Told};
pub use look::Look;
pub use parse::is_image_parameter;
pub use presets::{BadPreset, Presets};
pub use values::Rgba;

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
    Min,
    /// What it is depends on the source.
    Auto,
}

/// Which part stays when a picture is cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gravity {
    /// Around this place, as far as the picture goes: thousandths of its width and height.
    At { x: u16, y: u16 },
    /// Where most is going on.
    Entropy,
    /// Where colour and edges draw the eye.
    Attention,
}

/// In pixels of the upright source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelRect {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// A canonical operation. `Default` re-encodes at the source's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    width: Option<u32>,
    height: Option<u32>,
    fit: Fit,
    /// In place of what `fit` does of itself.
    enlarge: Option<bool>,
    gravity: Gravity,
    rect: Option<PixelRect>,
    /// Tolerance in percent.
    trim: Option<u8>,
    /// In place of the source's own.
    orient: Option<Orientation>,
    /// On top of that.
    turn: Orientation,
    look: Look,
    background: Option<Rgba>,
    pad: u32,
    radius: u32,
    format: Format,
    negotiates: bool,
    quality: u8,
    /// Of WebP: every pixel as it is.
    lossless: bool,
    keep: Keep,
    /// This frame of an animation, from 1, in place of all.
    frame: Option<u16>,
    effort: Effort,
    /// What the client may decide; both are spent before anything is made.
    hints: Hints,
    dpr_given: bool,
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
            Self::Min => "min",
            Self::Auto => "auto",
        }
    }

    /// Whether it makes pictures larger, unless told otherwise.
    fn enlarges(self) -> bool {
        matches!(self, Self::Crop | Self::Scale)
    }

    fn crops(self) -> bool {
        matches!(self, Self::Crop | Self::Min | Self::Auto)
    }
}

impl Gravity {
    pub const CENTRE: Self = Self::At { x: 500, y: 500 };

    /// From fractions of width and height, 0 to 1.
    pub(super) fn at(x: f64, y: f64) -> Self {
        let thousandths = |v: f64| (v * 1000.0).round() as u16;
        Self::At { x: thousandths(x), y: thousandths(y) }
    }

    fn write(self, key: &mut String) {
        let _ = match self {
            Self::CENTRE => Ok(()),
            Self::At { x, y } => write!(key, "at={x}:{y},"),
            Self::Entropy => write!(key, "at=entropy,"),
            Self::Attention => write!(key, "at=attention,"),
        };
    }
}

impl Default for Gravity {
    fn default() -> Self {
        Self::CENTRE
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            width: None,
            height: None,
            fit: Fit::default(),
            enlarge: None,
            gravity: Gravity::default(),
            rect: None,
            trim: None,
            orient: None,
            turn: Orientation::default(),
            look: Look::default(),
            background: None,
            pad: 0,
            radius: 0,
            format: Format::default(),
            negotiates: false,
            quality: DEFAULT_QUALITY,
            lossless: false,
            keep: Keep::default(),
            frame: None,
            effort: Effort::default(),
            hints: Hints::default(),
            dpr_given: false,
        }
    }
}

impl Params {
    pub fn width(&self) -> Option<u32> {
        self.width
    }

    pub fn height(&self) -> Option<u32> {
        self.height
    }

    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// Whether the picture may become larger than its source.
    pub fn enlarges(&self) -> bool {
        self.enlarge.unwrap_or(self.fit.enlarges())
    }

    pub fn gravity(&self) -> Gravity {
        self.gravity
    }

    pub fn rect(&self) -> Option<PixelRect> {
        self.rect
    }

    /// Percent of a channel's range by which the border may differ from its corner.
    pub fn trim(&self) -> Option<u8> {
        self.trim
    }

    /// How a source with this orientation of its own is turned.
    pub fn orientation(&self, own: Orientation) -> Orientation {
        self.orient.unwrap_or(own).then(self.turn)
    }

    pub fn look(&self) -> &Look {
        &self.look
    }

    pub fn background(&self) -> Option<Rgba> {
        self.background
    }

    /// Pixels on each side.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Of the corners, in pixels; not more than half of the shorter side has an effect.
    pub fn radius(&self) -> u32 {
        self.radius
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn quality(&self) -> u8 {
        self.quality
    }

    pub fn lossless(&self) -> bool {
        self.lossless
    }

    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The frame, from 0, that is shown of an animation where it does not stay one.
    pub(super) fn still_frame(&self) -> u32 {
        self.frame.map_or(0, |frame| u32::from(frame) - 1)
    }

    /// Whether an animation stays one.
    pub(super) fn animates(&self) -> bool {
        self.frame.is_none() && self.format.animates()
    }

    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// The same picture, with more effort; None where that makes no difference.
    #[must_use]
    pub fn thorough(self) -> Option<Self> {
        matches!(self.format, Format::Webp | Format::Avif | Format::Newest)
            .then_some(Self { effort: Effort::Thorough, ..self })
    }

    /// Whether the format is the client's choice (`auto=format`).
    pub fn negotiates(&self) -> bool {
        self.negotiates
    }

    /// For a client that takes formats up to this one.
    #[must_use]
    pub fn negotiated(self, newest: Newest) -> Self {
        let format = match newest {
            // What is to show every pixel as it is.
            Newest::Avif if self.lossless => Format::Webp,
            Newest::Avif => Format::Newest,
            Newest::Webp => Format::Webp,
            Newest::Baseline => Format::Baseline,
        };
        Self { format, negotiates: false, ..self }.normalised()
    }

    /// Whether nothing is to be changed about the picture, and the format is one that is chosen for the client.
    pub fn asks_for_format_only(&self) -> bool {
        let Self { format, quality, effort, .. } = *self;
        let chosen = matches!(format, Format::Webp | Format::Newest | Format::Baseline);
        chosen && *self == Self { format, quality, effort, ..Self::default() }
    }

    /// Whether nothing but size, place, turn and encoding is asked for.
    pub(super) fn is_plain(&self) -> bool {
        let anywhere = matches!(self.gravity, Gravity::At { .. });
        self.look.is_plain() && self.radius == 0 && anywhere
    }

    /// Key text: fixed order, `dpr` folded into the size, defaults written out, what has no effect left out.
    pub fn canonical(&self) -> String {
        let mut key = String::with_capacity(40);
        if let Some(orient) = self.orient {
            let _ = write!(key, "orient={},", orient.exif());
        }
        if !self.turn.is_upright() {
            let _ = write!(key, "turn={},", self.turn.exif());
        }
        if let Some(PixelRect { left, top, width, height }) = self.rect {
            let _ = write!(key, "rect={left}:{top}:{width}:{height},");
        }
        if let Some(tolerance) = self.trim {
            let _ = write!(key, "trim={tolerance},");
        }
        if let Some(w) = self.width {
            let _ = write!(key, "w={w},");
        }
        if let Some(h) = self.height {
            let _ = write!(key, "h={h},");
        }
        if self.width.is_some() || self.height.is_some() {
            let _ = write!(key, "fit={},", self.fit.as_str());
        }
        if let Some(enlarge) = self.enlarge {
            let _ = write!(key, "enlarge={},", u8::from(enlarge));
        }
        self.gravity.write(&mut key);
        self.look.write(&mut key);
        if self.radius > 0 {
            let _ = write!(key, "radius={},", self.radius);
        }
        if self.pad > 0 {
            let _ = write!(key, "pad={},", self.pad);
        }
        if let Some([r, g, b, a]) = self.background {
            let _ = write!(key, "bg={r:02x}{g:02x}{b:02x}{a:02x},");
        }
        self.keep.write(&mut key);
        if let Some(frame) = self.frame {
            let _ = write!(key, "frame={frame},");
        }
        let _ = write!(key, "fm={}", self.format.as_str());
        if self.lossless {
            key.push_str(",lossless");
        } else if self.format.has_quality() {
            let _ = write!(key, ",q={}", self.quality);
        }
        key
    }

    /// Multiplies what is in pixels of the answer by the device pixel ratio, less where a side would exceed `MAX_SIDE`.
    fn scaled_by(mut self, dpr: f64) -> Self {
        let longest = self.width.max(self.height).unwrap_or(1).max(1);
        let ratio = dpr.min(f64::from(MAX_SIDE) / f64::from(longest));
        let scaled = |side: u32, most: u32| ((f64::from(side) * ratio).round() as u32).min(most);
        for side in [&mut self.width, &mut self.height].into_iter().flatten() {
            *side = scaled(*side, MAX_SIDE).max(1);
        }
        self.pad = scaled(self.pad, MAX_SIDE / 4);
        self.radius = scaled(self.radius, MAX_SIDE);
        self
    }

    /// Gives operations of equal effect one form.
    fn normalised(mut self) -> Self {
        if self.fit == Fit::Min {
            self.enlarge = None;
        }
        let sides = usize::from(self.width.is_some()) + usize::from(self.height.is_some());
        if sides == 0 || (sides == 1 && self.fit != Fit::Scale) {
            self.fit = Fit::Clip;
        }
        if sides == 0 || self.enlarge == Some(self.fit.enlarges()) {
            self.enlarge = None;
        }
        if !self.fit.crops() {
            self.gravity = Gravity::CENTRE;
        }
        self.lossless &= self.format == Format::Webp;
        if self.lossless || !self.format.has_quality() {
            self.quality = DEFAULT_QUALITY;
        }
        if matches!(self.format, Format::Gif) || self.format.is_summary() {
            self.keep = Keep::default();
        }
        // Whose writer knows no profile: its colours are sRGB.
        self.keep.icc &= self.format != Format::Avif;
        self
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

#[cfg(test)]
mod tests;
