//! How a picture is to look different.

use std::fmt::Write as _;

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

impl Look {
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn write(&self, key: &mut String) {
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
