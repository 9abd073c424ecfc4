//! Sizes and rectangles: what part of the source goes where in the output. Pure arithmetic on the source's
//! size after its EXIF orientation; the pixel work is done by others.

use super::params::{Fit, Params};

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
    fn scaled(self, scale: f64) -> Self {
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

    fn exact(source: Size, content: Size) -> Self {
        Self { crop: Rect::whole(source), content, canvas: content, offset: (0, 0) }
    }
}

/// Lays out the operation for a source of this size, which has no zero side.
pub fn plan(source: Size, params: &Params) -> Plan {
    let (sw, sh) = (f64::from(source.width), f64::from(source.height));
    match (params.width(), params.height(), params.fit()) {
        (None, None, _) => Plan::exact(source, source),
        (Some(w), None, Fit::Scale) => {
            Plan::exact(source, bounded(Size { width: w, ..source.scaled(f64::from(w) / sw) }))
        }
        (None, Some(h), Fit::Scale) => {
            Plan::exact(source, bounded(Size { height: h, ..source.scaled(f64::from(h) / sh) }))
        }
        (Some(w), Some(h), Fit::Scale) => Plan::exact(source, Size::new(w, h)),
        (Some(w), Some(h), Fit::Crop) => {
            let canvas = Size::new(w, h);
            Plan { crop: centred_crop(source, canvas), ..Plan::exact(source, canvas) }
        }
        (Some(w), Some(h), Fit::Fill) => {
            let content = fitted(source, Some(w), Some(h));
            let offset = ((w - content.width) / 2, (h - content.height) / 2);
            Plan { canvas: Size::new(w, h), offset, ..Plan::exact(source, content) }
        }
        (w, h, _) => Plan::exact(source, fitted(source, w, h)),
    }
}

/// The largest size of the source's aspect ratio within the box and within the source.
fn fitted(source: Size, w: Option<u32>, h: Option<u32>) -> Size {
    let by_width = w.map_or(1.0, |w| f64::from(w) / f64::from(source.width));
    let by_height = h.map_or(1.0, |h| f64::from(h) / f64::from(source.height));
    let size = source.scaled(by_width.min(by_height).min(1.0));
    // Rounding may not step over the box.
    Size { width: size.width.min(w.unwrap_or(u32::MAX)), height: size.height.min(h.unwrap_or(u32::MAX)) }
}

/// Scaling by one side can make the other absurdly long; the output limits judge it, this keeps it a number.
fn bounded(size: Size) -> Size {
    const LONGEST: u32 = 1 << 24;
    Size { width: size.width.min(LONGEST), height: size.height.min(LONGEST) }
}

/// The largest part of the source that has the canvas' aspect ratio, in the middle.
fn centred_crop(source: Size, canvas: Size) -> Rect {
    let (sw, sh) = (f64::from(source.width), f64::from(source.height));
    let (cw, ch) = (f64::from(canvas.width), f64::from(canvas.height));
    let scale = (cw / sw).max(ch / sh);
    let (width, height) = ((cw / scale).min(sw), (ch / scale).min(sh));
    Rect { left: (sw - width) / 2.0, top: (sh - height) / 2.0, width, height }
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
        ];
        for &(source, query, content, canvas, offset) in table {
            let plan = plan(Size::new(source.0, source.1), &params(query));
            assert_eq!((plan.content.width, plan.content.height), content, "{source:?} {query}");
            assert_eq!((plan.canvas.width, plan.canvas.height), canvas, "{source:?} {query}");
            assert_eq!(plan.offset, offset, "{source:?} {query}");
        }
    }

    #[test]
    fn crop_takes_the_middle() {
        let plan = plan(Size::new(300, 200), &params("w=100&h=100&fit=crop"));
        assert_eq!(plan.crop, Rect { left: 50.0, top: 0.0, width: 200.0, height: 200.0 });
        let plan = super::plan(Size::new(300, 200), &params("w=300&h=100&fit=crop"));
        assert_eq!(plan.crop, Rect { left: 0.0, top: 50.0, width: 300.0, height: 100.0 });
    }

    proptest! {
        #[test]
        fn plans_stay_within_bounds(
            sw in 1u32..=65_535, sh in 1u32..=65_535,
            w in proptest::option::of(1u32..=MAX_SIDE), h in proptest::option::of(1u32..=MAX_SIDE),
            fit in prop::sample::select(vec!["clip", "crop", "fill", "max", "scale"]),
        ) {
            let mut query = format!("fit={fit}");
            if let Some(w) = w { query += &format!("&w={w}"); }
            if let Some(h) = h { query += &format!("&h={h}"); }
            let source = Size::new(sw, sh);
            let plan = plan(source, &params(&query));
            let (content, canvas) = (plan.content, plan.canvas);

            prop_assert!(content.width > 0 && content.height > 0);
            prop_assert!(plan.offset.0 + content.width <= canvas.width);
            prop_assert!(plan.offset.1 + content.height <= canvas.height);
            if fit != "scale" {
                // Asked sides are never exceeded, and unasked ones never exceed the source.
                prop_assert!(canvas.width <= w.unwrap_or(sw));
                prop_assert!(canvas.height <= h.unwrap_or(sh));
            }
            if let (Some(w), Some(h), "crop" | "fill" | "scale") = (w, h, fit) {
                prop_assert_eq!((canvas.width, canvas.height), (w, h));
            }
            if matches!(fit, "clip" | "max" | "fill") {
                prop_assert!(content.width <= sw && content.height <= sh, "enlarged");
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
            if fit == "crop" && w.is_some() && h.is_some() {
                let asked = f64::from(canvas.width) / f64::from(canvas.height);
                prop_assert!((crop.width / crop.height / asked - 1.0).abs() < 1e-6);
            }
        }
    }
}
