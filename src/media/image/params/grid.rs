//! The grid: what strangers choose comes in steps that hardly show, so that the number of variants has a bound that they cannot
//! move. Places in a source (`rect`) and colours are left as they are: there, a step would show.

use super::{Gravity, Look, MAX_SIDE, Params};

/// Of qualities, percentages and tolerances.
const STEP: u8 = 5;
/// Thousandths of a side between focal points.
const FOCUS_STEP: u16 = 50;
/// The shorter side of a box is a multiple of the longer by this: 16:9, 3:2, 4:3, 5:4 and the like are kept.
const SHAPES: f64 = 240.0;
/// Of lengths that nobody measures, so many binary digits count.
const DIGITS: u32 = 5;

/// The next quality that is on the grid.
pub(super) fn next_quality(quality: u8) -> u8 {
    quality.div_ceil(STEP) * STEP
}

impl Params {
    /// With the side that decides the size as long as the next of these lengths, in ascending order; longer ones stay. A box
    /// keeps its shape, as far as shapes go. All else that comes in many shades gets the nearest of a few.
    ///
    /// Without lengths all is left as it is.
    #[must_use]
    pub fn snapped(mut self, lengths: &[u32]) -> Self {
        if lengths.is_empty() {
            return self;
        }
        let next = |side: u32| lengths.get(lengths.partition_point(|length| *length < side)).copied();
        match (self.width, self.height) {
            (Some(width), Some(height)) => {
                let snapped = next(width).unwrap_or(width);
                (self.width, self.height) = (Some(snapped), Some(beside(snapped, width, height)));
            }
            (Some(width), None) => self.width = Some(next(width).unwrap_or(width)),
            (None, Some(height)) => self.height = Some(next(height).unwrap_or(height)),
            (None, None) => {}
        }
        if let Gravity::At { x, y } = self.gravity {
            let near = |at: u16| (at + FOCUS_STEP / 2) / FOCUS_STEP * FOCUS_STEP;
            self.gravity = Gravity::At { x: near(x), y: near(y) };
        }
        self.quality = next_quality(self.quality);
        self.trim = self.trim.map(next_quality);
        self.look = snapped(self.look);
        self.pad = coarse(self.pad);
        self.radius = coarse(self.radius);
        self
    }
}

/// The height of a box of this width that has the shape, as far as shapes go, of the box that was asked for.
fn beside(snapped: u32, width: u32, height: u32) -> u32 {
    let (width, height) = (f64::from(width), f64::from(height));
    // None is so flat that nothing is left of it.
    let shape = |short: f64, long: f64| (short / long * SHAPES).round().max(1.0) / SHAPES;
    let ratio = if height <= width { shape(height, width) } else { 1.0 / shape(width, height) };
    ((f64::from(snapped) * ratio).round() as u32).clamp(1, MAX_SIDE)
}

fn snapped(look: Look) -> Look {
    let near = |percent: i8| {
        let step = i16::from(STEP as i8);
        let (size, sign) = (i16::from(percent).abs(), i16::from(percent).signum());
        // At most 100.
        (sign * ((size + step / 2) / step * step)) as i8
    };
    Look {
        brightness: near(look.brightness),
        contrast: near(look.contrast),
        saturation: near(look.saturation),
        // At most 2000.
        blur: coarse(look.blur.into()) as u16,
        sharpen: next_quality(look.sharpen),
        mono: look.mono,
    }
}

/// Rounded to its first binary digits: lengths below 32 stay, longer ones change by a thirtieth at most.
fn coarse(length: u32) -> u32 {
    let unit = 1 << (u32::BITS - length.leading_zeros()).saturating_sub(DIGITS);
    (length + unit / 2) / unit * unit
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn snapped(query: &str) -> Params {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        Params::parse(&pairs).unwrap().unwrap().snapped(&[10, 20, 40, 320, 640])
    }

    #[test]
    fn what_strangers_choose_comes_in_steps() {
        for (query, key) in [
            ("w=1", "w=10,fit=clip,fm=webp,q=80"),
            ("w=10", "w=10,fit=clip,fm=webp,q=80"),
            ("w=11", "w=20,fit=clip,fm=webp,q=80"),
            ("w=641", "w=641,fit=clip,fm=webp,q=80"),
            ("h=15", "h=20,fit=clip,fm=webp,q=80"),
            ("w=30&h=9&fit=crop", "w=40,h=12,fit=crop,fm=webp,q=80"),
            ("w=300&h=169&fit=crop", "w=320,h=180,fit=crop,fm=webp,q=80"),
            ("w=320&h=400&fit=crop", "w=320,h=400,fit=crop,fm=webp,q=80"),
            ("w=320&h=569&fit=crop", "w=320,h=569,fit=crop,fm=webp,q=80"),
            ("w=640&h=1&fit=crop", "w=640,h=3,fit=crop,fm=webp,q=80"),
            ("w=1&h=8192&fit=crop", "w=10,h=2400,fit=crop,fm=webp,q=80"),
            ("w=9&h=9&fit=crop&fp-x=0.13&fp-y=0.999", "w=10,h=10,fit=crop,at=150:1000,fm=webp,q=80"),
            ("bri=-7&con=8&sat=100&blur=101&sharp=1", "bri=-5,con=10,sat=100,blur=100,sharp=5,fm=webp,q=80"),
            ("pad=31&border-radius=33", "radius=34,pad=31,fm=webp,q=80"),
            ("trim=auto&trim-tol=11", "trim=15,fm=webp,q=80"),
            ("rect=1,2,333,444&bg=123456", "rect=1:2:333:444,bg=123456ff,fm=webp,q=80"),
            ("fm=png", "fm=png"),
            ("q=1", "fm=webp,q=5"),
            ("q=71", "fm=webp,q=75"),
            ("q=100", "fm=webp,q=100"),
        ] {
            let params = snapped(query);
            assert_eq!(params.canonical(), key, "{query}");
            assert_eq!(params.snapped(&[]), params);
        }
    }

    #[test]
    fn shapes_are_few_and_near_what_was_asked_for() {
        let heights: HashSet<_> = (1..=1920)
            .map(|height| {
                let params = snapped(&format!("w=640&h={height}&fit=crop"));
                let (asked, got) = (f64::from(height), f64::from(params.height().unwrap()));
                // Within a pixel, a 240th of the longer side, or what that makes of the shorter.
                assert!(
                    (got - asked).abs() <= (640f64.max(asked * asked / 640.0) / 480.0) + 1.0,
                    "{asked} {got}"
                );
                params.height()
            })
            .collect();
        assert!(heights.len() <= 400, "{}", heights.len());
        let blurs: HashSet<_> = (0..=2000).map(|blur| snapped(&format!("blur={blur}")).look().blur).collect();
        assert!(blurs.len() <= 150, "{}", blurs.len());
    }
}
