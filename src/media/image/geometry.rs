//! Sizes and rectangles: what part of the source goes where in the output. Pure arithmetic on the source's
//! size after its EXIF orientation; the pixel work is done by others.

use super::error::Error;
use super::params::{Fit, Gravity, Params, PixelRect};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// A part of an image, in pixels that need not be whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// `crop` of the source is scaled to `content`, which stands at `offset` on a `canvas`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub crop: Rect,
    pub content: Size,
    pub canvas: Size,
    /// Left and top distance; zero unless `fit=fill` pads.
    pub offset: (u32, u32),
}

impl Size {
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    pub fn transposed(self) -> Self {
        Self { width: self.height, height: self.width }
    }

    /// Rounds both sides times `scale`, at least one pixel each.
    pub(super) fn scaled(self, scale: f64) -> Self {
        let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(1);
        Self { width: side(self.width), height: side(self.height) }
    }
}

impl Rect {
    pub fn whole(size: Size) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(size.width), height: f64::from(size.height) }
    }

    /// The same part when the image is scaled by `x` and `y`.
    pub fn scaled(self, x: f64, y: f64) -> Self {
        Self { left: self.left * x, top: self.top * y, width: self.width * x, height: self.height * y }
    }
}

impl Plan {
    pub fn has_border(&self) -> bool {
        self.content != self.canvas
    }

    fn exact(area: Area, content: Size) -> Self {
        Self { crop: area.rect(), content, canvas: content, offset: (0, 0) }
    }

    /// The whole area at one scale in both directions. Of a side that was rounded down, what is too much is left out, half of it at
    /// either end: less than half a pixel of the content, where stretching would move all that is far from the edge it starts at.
    fn even(area: Area, content: Size, scale: f64) -> Self {
        // Of fewer pixels, that would be too much of the picture.
        const FEWEST: u32 = 16;
        let part = |side: u32, shown: u32| {
            let side = f64::from(side);
            let part = f64::from(shown) / scale;
            // What only rounding of the quotient leaves out is nothing.
            if shown < FEWEST || part > side * (1.0 - 1e-9) { side } else { part }
        };
        let (width, height) = (part(area.size.width, content.width), part(area.size.height, content.height));
        let whole = area.rect();
        let (left, top) =
            (whole.left + (whole.width - width) / 2.0, whole.top + (whole.height - height) / 2.0);
        Self { crop: Rect { left, top, width, height }, ..Self::exact(area, content) }
    }

    /// With so many pixels around it.
    fn padded(self, pad: u32) -> Self {
        let canvas = Size::new(self.canvas.width + 2 * pad, self.canvas.height + 2 * pad);
        Self { canvas, offset: (self.offset.0 + pad, self.offset.1 + pad), ..self }
    }
}

/// The part of an upright source that an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub left: u32,
    pub top: u32,
    pub size: Size,
}

impl Area {
    pub fn whole(size: Size) -> Self {
        Self { left: 0, top: 0, size }
    }

    /// What `rect` asks for of a source of this size, as far as there is something; nothing at all is refused.
    pub fn of(rect: Option<PixelRect>, size: Size) -> Result<Self, Error> {
        let Some(PixelRect { left, top, width, height }) = rect else { return Ok(Self::whole(size)) };
        if left >= size.width || top >= size.height {
            return Err(Error::Outside { left, top, size });
        }
        let size = Size::new(width.min(size.width - left), height.min(size.height - top));
        Ok(Self { left, top, size })
    }

    pub fn rect(self) -> Rect {
        Rect { left: self.left.into(), top: self.top.into(), ..Rect::whole(self.size) }
    }
}

/// Lays out the operation for an area that has no zero side. What is asked for within a box is as large as the box with its
/// padding.
pub fn plan(area: Area, params: &Params) -> Plan {
    let inner = |side: Option<u32>| side.map(|side| side.saturating_sub(2 * params.pad()).max(1));
    layout(area, inner(params.width()), inner(params.height()), params).padded(params.pad())
}

fn layout(area: Area, width: Option<u32>, height: Option<u32>, params: &Params) -> Plan {
    let (source, enlarges) = (area.size, params.enlarges());
    let (sw, sh) = (f64::from(source.width), f64::from(source.height));
    let fitted = |w, h| {
        let (content, scale) = fitted(source, w, h, enlarges);
        Plan::even(area, bounded(content), scale)
    };
    let canvas = match (width, height) {
        (None, None) => return Plan::exact(area, source),
        (Some(w), None) if params.fit() == Fit::Scale && enlarges => {
            let scale = f64::from(w) / sw;
            return Plan::even(area, bounded(Size { width: w, ..source.scaled(scale) }), scale);
        }
        (None, Some(h)) if params.fit() == Fit::Scale && enlarges => {
            let scale = f64::from(h) / sh;
            return Plan::even(area, bounded(Size { height: h, ..source.scaled(scale) }), scale);
        }
        (Some(w), Some(h)) => Size::new(w, h),
        (w, h) => return fitted(w, h),
    };
    let (w, h) = (f64::from(canvas.width), f64::from(canvas.height));
    // The box, no larger than the source on either side.
    let within = || canvas.scaled((sw / w).min(sh / h).min(1.0));
    let crop = |canvas| Plan { crop: cropped(area, canvas, params.gravity()), ..Plan::exact(area, canvas) };
    let fit = match params.fit() {
        Fit::Auto if (sw >= sh) == (w >= h) => Fit::Crop,
        Fit::Auto => Fit::Clip,
        fit => fit,
    };
    match fit {
        Fit::Scale if enlarges => Plan::exact(area, canvas),
        Fit::Scale => Plan::exact(area, within()),
        Fit::Min => crop(within()),
        Fit::Crop if enlarges => crop(canvas),
        Fit::Crop => {
            let covering = source.scaled((w / sw).max(h / sh).min(1.0));
            crop(Size::new(canvas.width.min(covering.width), canvas.height.min(covering.height)))
        }
        Fit::Fill => {
            let content = fitted(width, height);
            let spare = (canvas.width - content.canvas.width, canvas.height - content.canvas.height);
            Plan { canvas, offset: (spare.0 / 2, spare.1 / 2), ..content }
        }
        Fit::Clip | Fit::Auto => fitted(width, height),
    }
}

/// The largest size of the source's aspect ratio within the box, and within the source unless it may be enlarged; and the scale it
/// came from.
fn fitted(source: Size, w: Option<u32>, h: Option<u32>, enlarges: bool) -> (Size, f64) {
    let by = |side: Option<u32>, of: u32| side.map_or(f64::INFINITY, |side| f64::from(side) / f64::from(of));
    let scale = by(w, source.width).min(by(h, source.height));
    let scale = if enlarges { scale } else { scale.min(1.0) };
    let size = source.scaled(scale);
    // Rounding may not step over the box.
    let (w, h) = (w.unwrap_or(u32::MAX), h.unwrap_or(u32::MAX));
    (Size { width: size.width.min(w), height: size.height.min(h) }, scale)
}

/// Scaling by one side can make the other absurdly long; the output limits judge it, this keeps it a number.
fn bounded(size: Size) -> Size {
    const LONGEST: u32 = 1 << 24;
    Size { width: size.width.min(LONGEST), height: size.height.min(LONGEST) }
}

/// The largest part of the area that has the canvas' aspect ratio. Where that depends on what the picture shows, the middle
/// for now.
fn cropped(area: Area, canvas: Size, gravity: Gravity) -> Rect {
    let (sw, sh) = (f64::from(area.size.width), f64::from(area.size.height));
    let (cw, ch) = (f64::from(canvas.width), f64::from(canvas.height));
    let scale = (cw / sw).max(ch / sh);
    let (width, height) = ((cw / scale).min(sw), (ch / scale).min(sh));
    let (x, y) = match gravity {
        Gravity::At { x, y } => (f64::from(x) / 1000.0, f64::from(y) / 1000.0),
        Gravity::Entropy | Gravity::Attention => (0.5, 0.5),
    };
    let place = |at: f64, side: f64, part: f64| (at * side - part / 2.0).clamp(0.0, side - part);
    Rect {
        left: f64::from(area.left) + place(x, sw, width),
        top: f64::from(area.top) + place(y, sh, height),
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::params::MAX_SIDE;
    use super::*;

    fn params(query: &str) -> Params {
        let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> =
            url::form_urlencoded::parse(query.as_bytes()).collect();
        Params::parse(&pairs).unwrap().unwrap()
    }

    #[test]
    fn canvas_and_content_by_fit() {
        // source, query, content, canvas, offset
        type Pair = (u32, u32);
        let table: &[(Pair, &str, Pair, Pair, Pair)] = &[
            ((300, 200), "w=100&h=100", (100, 67), (100, 67), (0, 0)),
            ((300, 200), "w=100", (100, 67), (100, 67), (0, 0)),
            ((300, 200), "h=50", (75, 50), (75, 50), (0, 0)),
            ((300, 200), "w=600", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "w=600&h=100", (150, 100), (150, 100), (0, 0)),
            ((300, 200), "w=600&fit=max", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "fm=webp", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "w=300&h=100&fit=crop", (300, 100), (300, 100), (0, 0)),
            ((300, 200), "w=600&h=600&fit=crop", (600, 600), (600, 600), (0, 0)),
            ((300, 200), "w=600&fit=crop", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "w=100&h=100&fit=scale", (100, 100), (100, 100), (0, 0)),
            ((300, 200), "w=600&fit=scale", (600, 400), (600, 400), (0, 0)),
            ((300, 200), "h=400&fit=scale", (600, 400), (600, 400), (0, 0)),
            ((300, 200), "w=120&h=120&fit=fill", (120, 80), (120, 120), (0, 20)),
            ((300, 200), "w=400&h=400&fit=fill", (300, 200), (400, 400), (50, 100)),
            ((300, 200), "w=100&h=100&dpr=2", (200, 133), (200, 133), (0, 0)),
            ((65535, 1), "w=100", (100, 1), (100, 1), (0, 0)),
            ((1, 65535), "w=100&h=10", (1, 10), (1, 10), (0, 0)),
            ((1, 65535), "w=8192&fit=scale", (8192, 1 << 24), (8192, 1 << 24), (0, 0)),
            ((1, 1), "w=1&h=1&fit=crop", (1, 1), (1, 1), (0, 0)),
            ((300, 200), "w=600&enlarge=1", (600, 400), (600, 400), (0, 0)),
            ((300, 200), "w=600&h=600&enlarge=1", (600, 400), (600, 400), (0, 0)),
            ((300, 200), "w=600&h=600&fit=fill&enlarge=1", (600, 400), (600, 600), (0, 100)),
            ((300, 200), "w=600&h=600&fit=crop&enlarge=0", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "w=600&h=100&fit=crop&enlarge=0", (300, 100), (300, 100), (0, 0)),
            ((300, 200), "w=100&h=100&fit=crop&enlarge=0", (100, 100), (100, 100), (0, 0)),
            ((300, 200), "w=600&h=600&fit=min", (200, 200), (200, 200), (0, 0)),
            ((100, 50), "w=200&h=40&fit=min", (100, 20), (100, 20), (0, 0)),
            ((300, 200), "w=100&h=100&fit=min", (100, 100), (100, 100), (0, 0)),
            ((100, 50), "w=200&h=25&fit=scale&enlarge=0", (100, 13), (100, 13), (0, 0)),
            ((300, 200), "w=100&h=50&fit=scale&enlarge=0", (100, 50), (100, 50), (0, 0)),
            ((300, 200), "w=600&fit=scale&enlarge=0", (300, 200), (300, 200), (0, 0)),
            ((300, 200), "w=150&h=90&fit=auto", (150, 90), (150, 90), (0, 0)),
            ((300, 200), "w=90&h=150&fit=auto", (90, 60), (90, 60), (0, 0)),
            ((1, 65535), "w=8192&enlarge=1", (8192, 1 << 24), (8192, 1 << 24), (0, 0)),
        ];
        for &(source, query, content, canvas, offset) in table {
            let plan = plan(Area::whole(Size::new(source.0, source.1)), &params(query));
            assert_eq!((plan.content.width, plan.content.height), content, "{source:?} {query}");
            assert_eq!((plan.canvas.width, plan.canvas.height), canvas, "{source:?} {query}");
            assert_eq!(plan.offset, offset, "{source:?} {query}");
        }
    }

    #[test]
    fn what_keeps_its_shape_is_not_stretched() {
        // 2667 rows at 0.08 are 213.36: the rows of 213 are shown, the others left out at both ends.
        let source = Area::whole(Size::new(4000, 2667));
        let middle = Rect { left: 0.0, top: 2.25, width: 4000.0, height: 2662.5 };
        for query in ["w=320", "w=320&h=320", "w=320&fit=scale", "w=320&h=400&fit=fill"] {
            assert_eq!(plan(source, &params(query)).crop, middle, "{query}");
        }
        // 213.6 rows become 214; 1.3 become one, which shows them all.
        for (height, query) in
            [(2670, "w=320"), (16, "w=320"), (2667, "w=320&h=100&fit=scale"), (2667, "q=50")]
        {
            let source = Area::whole(Size::new(4000, height));
            assert_eq!(plan(source, &params(query)).crop, source.rect(), "{height} {query}");
        }
    }

    #[test]
    fn crop_takes_the_middle() {
        let plan = plan(Area::whole(Size::new(300, 200)), &params("w=100&h=100&fit=crop"));
        assert_eq!(plan.crop, Rect { left: 50.0, top: 0.0, width: 200.0, height: 200.0 });
        let plan = super::plan(Area::whole(Size::new(300, 200)), &params("w=300&h=100&fit=crop"));
        assert_eq!(plan.crop, Rect { left: 0.0, top: 50.0, width: 300.0, height: 100.0 });
    }

    #[test]
    fn crops_are_placed_as_asked() {
        for (query, left, top) in [
            ("crop=left", 0.0, 0.0),
            ("crop=right", 100.0, 0.0),
            ("crop=top,right", 100.0, 0.0),
            ("fp-x=0.2", 0.0, 0.0),
            ("fp-x=0.5", 50.0, 0.0),
            ("fp-x=0.4&fp-y=0.9", 20.0, 0.0),
            ("rect=10,20,200,100&crop=right", 110.0, 20.0),
            ("rect=250,150,500,500", 250.0, 150.0),
        ] {
            let params = params(&format!("w=50&h=50&fit=crop&{query}"));
            let area = Area::of(params.rect(), Size::new(300, 200)).unwrap();
            let crop = plan(area, &params).crop;
            assert_eq!((crop.left, crop.top), (left, top), "{query}");
        }
    }

    #[test]
    fn padding_stays_within_what_is_asked_for() {
        let table = [
            ("pad=10", (300, 200), (320, 220), (10, 10)),
            ("w=100&pad=10", (80, 53), (100, 73), (10, 10)),
            ("w=100&h=100&fit=fill&pad=10", (80, 53), (100, 100), (10, 23)),
            ("w=100&h=100&fit=crop&pad=10", (80, 80), (100, 100), (10, 10)),
            ("w=10&h=10&fit=crop&pad=10", (1, 1), (21, 21), (10, 10)),
        ];
        for (query, content, canvas, offset) in table {
            let plan = plan(Area::whole(Size::new(300, 200)), &params(query));
            assert_eq!((plan.content.width, plan.content.height), content, "{query}");
            assert_eq!((plan.canvas.width, plan.canvas.height), canvas, "{query}");
            assert_eq!(plan.offset, offset, "{query}");
        }
    }

    proptest! {
        #[test]
        fn plans_stay_within_bounds(
            sw in 1u32..=65_535, sh in 1u32..=65_535,
            w in proptest::option::of(1u32..=MAX_SIDE), h in proptest::option::of(1u32..=MAX_SIDE),
            fit in prop::sample::select(vec!["clip", "crop", "fill", "max", "scale", "min", "auto"]),
            enlarge in proptest::option::of(any::<bool>()),
        ) {
            let mut query = format!("fit={fit}");
            if let Some(enlarge) = enlarge { query += &format!("&enlarge={enlarge}"); }
            if let Some(w) = w { query += &format!("&w={w}"); }
            if let Some(h) = h { query += &format!("&h={h}"); }
            let source = Size::new(sw, sh);
            let plan = plan(Area::whole(source), &params(&query));
            let (content, canvas) = (plan.content, plan.canvas);

            prop_assert!(content.width > 0 && content.height > 0);
            prop_assert!(plan.offset.0 + content.width <= canvas.width);
            prop_assert!(plan.offset.1 + content.height <= canvas.height);
            let exact = matches!(fit, "crop" | "scale") && enlarge != Some(false) || fit == "fill";
            // Asked sides are never exceeded, and unasked ones never exceed the source.
            let unbounded = exact || enlarge == Some(true);
            let most = |asked: Option<u32>, own| asked.unwrap_or(if unbounded { u32::MAX } else { own });
            prop_assert!(canvas.width <= most(w, sw) && canvas.height <= most(h, sh));
            if let (Some(w), Some(h), true) = (w, h, exact) {
                prop_assert_eq!((canvas.width, canvas.height), (w, h));
            }
            if enlarge == Some(false) || (enlarge.is_none() && !matches!(fit, "crop" | "scale")) || fit == "min" {
                prop_assert!(content.width <= sw && content.height <= sh, "enlarged");
            }
            if matches!(fit, "clip" | "max" | "fill") && enlarge != Some(true) {
                // Each side is within one pixel of the source's aspect ratio given the other.
                let ratio = f64::from(sw) / f64::from(sh);
                let off = (f64::from(content.width) - f64::from(content.height) * ratio).abs();
                let off_h = (f64::from(content.height) - f64::from(content.width) / ratio).abs();
                prop_assert!(off.min(off_h) <= 1.0, "{content:?} of {source:?}");
            }
            let crop = plan.crop;
            prop_assert!(crop.left >= 0.0 && crop.top >= 0.0 && crop.width > 0.0 && crop.height > 0.0);
            prop_assert!(crop.left + crop.width <= f64::from(sw) + 1e-6);
            prop_assert!(crop.top + crop.height <= f64::from(sh) + 1e-6);
            if matches!(fit, "crop" | "min") && w.is_some() && h.is_some() {
                let asked = f64::from(canvas.width) / f64::from(canvas.height);
                prop_assert!((crop.width / crop.height / asked - 1.0).abs() < 1e-6);
            }
        }
    }
}
