//! What a picture is made into, and what it takes along.

use std::fmt::Write as _;

use super::{ParamError, values::refused};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Webp,
    Jpeg,
    Png,
    /// PNG of at most 256 colours.
    Png8,
    Gif,
    /// PNG if the picture is transparent somewhere, GIF if it moves, else JPEG: for clients that take nothing newer.
    Baseline,
    /// What is known of the picture, in JSON.
    Json,
    /// A few dozen characters that a client makes a blurred preview of.
    Blurhash,
    /// A WebP of a few hundred bytes, to stand in the page until the picture is there.
    Lqip,
}

/// Metadata of the source that the variant has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keep {
    /// Who made it and whose it is.
    pub copyright: bool,
    /// The colour profile; the colours then stay as they are.
    pub icc: bool,
    /// What the camera noted, without where it was.
    pub exif: bool,
    /// All that, and where it was.
    pub place: bool,
}

/// How hard an encoder tries. It makes the same picture either way, so it is no part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// Somebody waits.
    #[default]
    Quick,
    /// Nobody waits, and many will load it.
    Thorough,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Png8 => "png8",
            Self::Gif => "gif",
            Self::Baseline => "baseline",
            Self::Json => "json",
            Self::Blurhash => "blurhash",
            Self::Lqip => "lqip",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, ParamError> {
        match text {
            "webp" => Ok(Self::Webp),
            "jpg" | "jpeg" | "pjpg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "png8" => Ok(Self::Png8),
            "gif" => Ok(Self::Gif),
            "json" => Ok(Self::Json),
            "blurhash" => Ok(Self::Blurhash),
            "lqip" => Ok(Self::Lqip),
            _ => {
                let rule = "must be one of webp, jpg, png, png8, gif, json, blurhash, lqip";
                Err(refused("fm", rule, text))
            }
        }
    }

    /// Of the most likely encoding, where there are two.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Webp | Self::Lqip => "image/webp",
            Self::Jpeg | Self::Baseline => "image/jpeg",
            Self::Png | Self::Png8 => "image/png",
            Self::Gif => "image/gif",
            Self::Json => "application/json",
            Self::Blurhash => "text/plain; charset=utf-8",
        }
    }

    /// What the format can hold: WEBP_MAX_DIMENSION, libjpeg's JPEG_MAX_DIMENSION.
    pub(in crate::media::image) fn max_side(self) -> u32 {
        match self {
            Self::Webp => 16_383,
            Self::Jpeg | Self::Baseline => 65_500,
            Self::Gif => 65_535,
            Self::Png | Self::Png8 | Self::Json | Self::Blurhash | Self::Lqip => i32::MAX as u32,
        }
    }

    /// Whether an animation stays one.
    pub(in crate::media::image) fn animates(self) -> bool {
        matches!(self, Self::Webp | Self::Gif | Self::Baseline)
    }

    /// Whether it tells of the picture instead of being one.
    pub(in crate::media::image) fn is_summary(self) -> bool {
        matches!(self, Self::Json | Self::Blurhash | Self::Lqip)
    }

    pub(super) fn has_quality(self) -> bool {
        matches!(self, Self::Webp | Self::Jpeg | Self::Baseline)
    }
}

impl Keep {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    pub(super) fn parse(text: &str) -> Result<Self, ParamError> {
        let mut keep = Self::default();
        for word in text.split(',') {
            match word {
                "none" => {}
                "copyright" => keep.copyright = true,
                "icc" => keep.icc = true,
                "exif" => (keep.copyright, keep.exif) = (true, true),
                "all" => keep = Self { copyright: true, icc: true, exif: true, place: true },
                _ => return Err(refused("keep", "must be none, all, or some of copyright, icc, exif", text)),
            }
        }
        Ok(keep)
    }

    pub(super) fn write(self, key: &mut String) {
        let words = [
            (self.place, "all"),
            (self.copyright && !self.exif, "copyright"),
            (self.exif && !self.place, "exif"),
            (self.icc && !self.place, "icc"),
        ];
        let words: Vec<_> = words.into_iter().filter_map(|(said, word)| said.then_some(word)).collect();
        if !words.is_empty() {
            let _ = write!(key, "keep={},", words.join(":"));
        }
    }
}
