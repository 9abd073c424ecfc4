//! What clients tell of themselves, where an address asks for it, and what follows for the operation. It fills only what the
//! address leaves open, and in few steps, so that no variant is made for each device.

use super::{MAX_SIDE, Params, grid::next_quality};

/// Which of them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hints(u8);

/// What a client has told. None: nothing, or nothing that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Told {
    /// Device pixels for each of the page's.
    pub dpr: Option<f64>,
    /// Of the image, in device pixels.
    pub width: Option<f64>,
    /// Of the window, in the page's pixels.
    pub viewport_width: Option<f64>,
    pub save_data: bool,
}

impl Hints {
    pub const DPR: Self = Self(1);
    pub const WIDTH: Self = Self(2);
    pub const VIEWPORT_WIDTH: Self = Self(4);
    pub const SAVE_DATA: Self = Self(8);

    /// By the name of the field, with or without `Sec-CH-`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        match name.strip_prefix("sec-ch-").unwrap_or(&name) {
            "dpr" => Some(Self::DPR),
            "width" => Some(Self::WIDTH),
            "viewport-width" => Some(Self::VIEWPORT_WIDTH),
            "save-data" => Some(Self::SAVE_DATA),
            _ => None,
        }
    }

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Ratios in which images are made for displays.
const RATIOS: [f64; 4] = [1.0, 1.5, 2.0, 3.0];

/// The smallest in which an image is sharp.
fn ratio(told: f64) -> f64 {
    RATIOS.into_iter().find(|ratio| *ratio >= told - 0.01).unwrap_or(RATIOS[RATIOS.len() - 1])
}

impl Params {
    /// Which hints change this operation, of those that its address or its route asks for. What the address says itself
    /// leaves nothing to them.
    pub fn heeds(&self, of_route: Hints) -> Hints {
        let wanted = self.hints.with(of_route);
        let sized = self.width.is_some() || self.height.is_some();
        let width = wanted.has(Hints::WIDTH) && !sized;
        let viewport = wanted.has(Hints::VIEWPORT_WIDTH) && !sized;
        let dpr = wanted.has(Hints::DPR) && !self.dpr_given;
        let save_data = wanted.has(Hints::SAVE_DATA);
        [
            (width, Hints::WIDTH),
            (viewport, Hints::VIEWPORT_WIDTH),
            (dpr, Hints::DPR),
            (save_data, Hints::SAVE_DATA),
        ]
        .into_iter()
        .filter(|(heeded, _)| *heeded)
        .fold(Hints::default(), |all, (_, hint)| all.with(hint))
    }

    /// The operation for a client that has told this. Its size is not on the grid yet.
    #[must_use]
    pub fn hinted(mut self, heeded: Hints, told: &Told) -> Self {
        let saves = heeded.has(Hints::SAVE_DATA) && told.save_data;
        let dpr = match told.dpr.filter(|_| heeded.has(Hints::DPR)) {
            // A sharper picture is not what such a client wants.
            Some(dpr) if !saves => ratio(dpr),
            _ => 1.0,
        };
        let side = |pixels: f64| (pixels.ceil() as u32).clamp(1, MAX_SIDE);
        let width = told.width.filter(|_| heeded.has(Hints::WIDTH));
        let viewport = told.viewport_width.filter(|_| heeded.has(Hints::VIEWPORT_WIDTH));
        match (width, viewport) {
            // In device pixels already.
            (Some(width), _) => self.width = Some(side(width)),
            (None, Some(viewport)) => {
                self.width = Some(side(viewport));
                self = self.scaled_by(dpr);
            }
            (None, None) => self = self.scaled_by(dpr),
        }
        if saves {
            self.quality = (u16::from(self.quality) * 2 / 3).max(1) as u8;
            self.quality = next_quality(self.quality);
        }
        self.settled()
    }

    /// Without what has been decided.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { hints: Hints::default(), dpr_given: false, ..self }.normalised()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Params {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        Params::parse(&pairs).unwrap().unwrap()
    }

    #[test]
    fn what_is_left_open_is_filled_in() {
        let told =
            Told { dpr: Some(1.75), width: Some(300.5), viewport_width: Some(412.0), save_data: false };
        let saving = Told { save_data: true, ..told };
        for (query, told, key) in [
            ("w=100&ch=dpr", told, "w=200,fit=clip,fm=webp,q=80"),
            ("w=100&auto=dpr", told, "w=200,fit=clip,fm=webp,q=80"),
            ("w=100&dpr=3&ch=dpr", told, "w=300,fit=clip,fm=webp,q=80"),
            ("w=100&ch=width,viewport-width", told, "w=100,fit=clip,fm=webp,q=80"),
            ("ch=Width,DPR", told, "w=301,fit=clip,fm=webp,q=80"),
            ("ch=viewport-width", told, "w=412,fit=clip,fm=webp,q=80"),
            ("ch=Sec-CH-Viewport-Width,dpr", told, "w=824,fit=clip,fm=webp,q=80"),
            ("w=100&ch=dpr,save-data", saving, "w=100,fit=clip,fm=webp,q=55"),
            ("w=100&q=30&ch=save-data", saving, "w=100,fit=clip,fm=webp,q=20"),
            ("w=100&ch=save-data", told, "w=100,fit=clip,fm=webp,q=80"),
            ("w=100&ch=dpr", Told { dpr: Some(9.0), ..told }, "w=300,fit=clip,fm=webp,q=80"),
            ("w=100&ch=dpr", Told { dpr: Some(0.5), ..told }, "w=100,fit=clip,fm=webp,q=80"),
            ("w=100&ch=dpr", Told::default(), "w=100,fit=clip,fm=webp,q=80"),
        ] {
            let params = parse(query);
            let hinted = params.hinted(params.heeds(Hints::default()), &told);
            assert_eq!(hinted.canonical(), key, "{query}");
        }
        let plain = parse("w=100");
        assert_eq!(plain.hinted(plain.heeds(Hints::DPR), &told).width(), Some(200), "the route asks for it");
        assert!(plain.heeds(Hints::WIDTH.with(Hints::VIEWPORT_WIDTH)).is_empty());
        assert!(parse("w=1&dpr=2").heeds(Hints::DPR).is_empty());
    }
}
