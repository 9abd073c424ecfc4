//! What is asked of an image, read from imgix-style query parameters into one canonical operation. Equal
//! operations have equal `Params` and equal key text, however they were written.
//!
//! Meaning of `fit` (imgix names):
//! - `clip` (default) and `max`: fit within the box, keep the aspect ratio, never enlarge. imgix enlarges with
//!   `clip`; here enlarging must be asked for with `scale` or `crop`, so the two are one operation.
//! - `crop`: exactly the box, enlarging if need be, the excess cut off; `crop` and `fp-x`, `fp-y` say where.
//! - `fill`: fit within the box without enlarging, then pad to exactly the box with `bg`: without it transparent, white in
//!   JPEG.
//! - `scale`: exactly the box, distorting and enlarging if need be.
//!
//! With one of `w` and `h`, the other follows from the aspect ratio, so that `crop` and `fill` mean `clip`.
//!
//! In order: the source is turned upright (`orient`, else its EXIF), flipped (`flip`) and turned (`rot`, counter-clockwise);
//! `rect` is cut out and what is even at its border trimmed off (`trim`); it is scaled and cropped; then come `bri`, `con`,
//! `sat`, `mono`, `blur` and `sharp`, rounded corners (`border-radius`), padding (`pad`, within the box if one is asked for)
//! and the background.

use std::fmt::{self, Write as _};

use super::Orientation;

mod dialects;
mod parse;
mod values;

pub use parse::is_image_parameter;
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Webp,
    Jpeg,
    Png,
    /// PNG if the picture is transparent somewhere, else JPEG: for clients that take nothing newer.
    Baseline,
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

/// Changes of colour and sharpness; zero does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Look {
    /// Percent, -100 (black) to 100 (white).
    pub brightness: i8,
    /// Percent, -100 (even grey) to 100 (doubled).
    pub contrast: i8,
    /// Percent, -100 (grey) to 100 (doubled).
    pub saturation: i8,
    /// Standard deviation in twentieths of a pixel.
    pub blur: u16,
    /// Percent of an unsharp mask.
    pub sharpen: u8,
    /// Shades of this colour.
    pub mono: Option<[u8; 3]>,
}

/// A canonical operation. `Default` re-encodes at the source's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    width: Option<u32>,
    height: Option<u32>,
    fit: Fit,
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
            Self::Baseline => "baseline",
        }
    }

    /// Of the most likely encoding, where there are two.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg | Self::Baseline => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// What the format can hold: WEBP_MAX_DIMENSION, libjpeg's JPEG_MAX_DIMENSION.
    pub(super) fn max_side(self) -> u32 {
        match self {
            Self::Webp => 16_383,
            Self::Jpeg | Self::Baseline => 65_500,
            Self::Png => i32::MAX as u32,
        }
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

impl Look {
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    fn write(&self, key: &mut String) {
        for (name, value) in [("bri", self.brightness), ("con", self.contrast), ("sat", self.saturation)] {
            if value != 0 {
                let _ = write!(key, "{name}={value},");
            }
        }
        if let Some([r, g, b]) = self.mono {
            let _ = write!(key, "mono={r:02x}{g:02x}{b:02x},");
        }
        for (name, value) in [("blur", self.blur), ("sharp", u16::from(self.sharpen))] {
            if value != 0 {
                let _ = write!(key, "{name}={value},");
            }
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            width: None,
            height: None,
            fit: Fit::default(),
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

    /// Whether the format is the client's choice (`auto=format`).
    pub fn negotiates(&self) -> bool {
        self.negotiates
    }

    /// For a client that takes WebP, or does not.
    #[must_use]
    pub fn negotiated(self, webp: bool) -> Self {
        let format = if webp { Format::Webp } else { Format::Baseline };
        Self { format, negotiates: false, ..self }
    }

    /// With the side that decides the size as long as the next of these lengths, in ascending order; longer ones stay. So the
    /// number of variants has a bound that clients cannot move. A box keeps its shape.
    #[must_use]
    pub fn snapped(mut self, lengths: &[u32]) -> Self {
        let next = |side: u32| lengths.get(lengths.partition_point(|length| *length < side)).copied();
        match (self.width, self.height) {
            (Some(width), height) => {
                let Some(snapped) = next(width) else { return self };
                let ratio = f64::from(snapped) / f64::from(width);
                let scaled = |side: u32| ((f64::from(side) * ratio).round() as u32).clamp(1, MAX_SIDE);
                (self.width, self.height) = (Some(snapped), height.map(scaled));
            }
            (None, Some(height)) => self.height = Some(next(height).unwrap_or(height)),
            (None, None) => {}
        }
        self
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
        let _ = write!(key, "fm={}", self.format.as_str());
        if self.format != Format::Png {
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
        let sides = usize::from(self.width.is_some()) + usize::from(self.height.is_some());
        if sides == 0 || (sides == 1 && self.fit != Fit::Scale) {
            self.fit = Fit::Clip;
        }
        if self.fit != Fit::Crop {
            self.gravity = Gravity::CENTRE;
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
            ("auto=compress", "fm=webp,q=60"),
            ("auto=compress,format&fm=jpg&q=90", "fm=jpg,q=90"),
            ("bri=0&con=0&sat=0&blur=0&sharp=0&pad=0&rot=0&border-radius=0", "fm=webp,q=80"),
            (
                "bri=-5&con=10&sat=-100&blur=20&sharp=30",
                "bri=-5,con=10,sat=-100,blur=20,sharp=30,fm=webp,q=80",
            ),
            ("w=9&crop=left", "w=9,fit=clip,fm=webp,q=80"),
            ("w=9&h=9&fit=crop&crop=center", "w=9,h=9,fit=crop,fm=webp,q=80"),
            ("w=9&h=9&fit=crop&crop=top,left", "w=9,h=9,fit=crop,at=0:0,fm=webp,q=80"),
            ("w=9&h=9&fit=crop&fp-x=0&fp-y=0.0001", "w=9,h=9,fit=crop,at=0:0,fm=webp,q=80"),
            ("w=9&h=9&fit=crop&crop=entropy", "w=9,h=9,fit=crop,at=entropy,fm=webp,q=80"),
            ("flip=h&rot=90", "turn=5,fm=webp,q=80"),
            ("flip=hv&rot=180", "fm=webp,q=80"),
            ("orient=90", "orient=6,fm=webp,q=80"),
            ("orient=6", "orient=6,fm=webp,q=80"),
            ("rect=1,2,3,4&trim=auto", "rect=1:2:3:4,trim=10,fm=webp,q=80"),
            ("pad=4&border-radius=6&dpr=2&bg=fff", "radius=12,pad=8,bg=ffffffff,fm=webp,q=80"),
            ("bg=80336699", "bg=33669980,fm=webp,q=80"),
            ("mono=9a0&trim=auto&trim-tol=3", "trim=3,mono=99aa00,fm=webp,q=80"),
        ] {
            assert_eq!(parse(query).unwrap().unwrap().canonical(), key, "{query}");
        }
    }

    #[test]
    fn sizes_come_from_the_grid() {
        for (query, key) in [
            ("w=1", "w=10,fit=clip,fm=webp,q=80"),
            ("w=10", "w=10,fit=clip,fm=webp,q=80"),
            ("w=11", "w=20,fit=clip,fm=webp,q=80"),
            ("w=41", "w=41,fit=clip,fm=webp,q=80"),
            ("h=15", "h=20,fit=clip,fm=webp,q=80"),
            ("w=30&h=9&fit=crop", "w=40,h=12,fit=crop,fm=webp,q=80"),
            ("fm=png", "fm=png"),
        ] {
            let snapped = parse(query).unwrap().unwrap().snapped(&[10, 20, 40]);
            assert_eq!(snapped.canonical(), key, "{query}");
            assert_eq!(snapped.snapped(&[]), snapped);
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
            ("auto=enhance", "auto", "format, compress"),
            ("crop=faces", "crop", "entropy"),
            ("crop=entropy,top", "crop", "entropy"),
            ("crop=top&fp-x=0.5", "crop", "fp-x"),
            ("fp-x=1.1", "fp-x", "0 to 1"),
            ("rect=1,2,3", "rect", "left,top,width,height"),
            ("rect=1,2,0,4", "rect", "left,top,width,height"),
            ("rect=1,2,3,4,5", "rect", "left,top,width,height"),
            ("trim=color", "trim", "auto"),
            ("trim-tol=5", "trim-tol", "without trim"),
            ("rot=45", "rot", "0, 90, 180"),
            ("orient=9", "orient", "1 to 8"),
            ("flip=x", "flip", "h, v or hv"),
            ("bri=101", "bri", "-100 to 100"),
            ("con=--1", "con", "-100 to 100"),
            ("sat=+1", "sat", "-100 to 100"),
            ("blur=2001", "blur", "0 to 2000"),
            ("sharp=-1", "sharp", "0 to 100"),
            ("bg=blue", "bg", "colour"),
            ("bg=fffffffff", "bg", "colour"),
            ("mono=", "mono", "colour"),
            ("pad=2049", "pad", "0 to 2048"),
            ("border-radius=x", "border-radius", "max"),
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
