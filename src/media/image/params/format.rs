//! What a picture is made into, and what it takes along.

use std::fmt::Write as _;

use super::{super::avif, ParamError, values::refused};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Webp,
    Jpeg,
    Png,
    /// PNG of at most 256 colours.
    Png8,
    Gif,
    Avif,
    /// WebP for whoever waits, AVIF with more effort where that is the better form: for clients that take both.
    Newest,
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

/// The newest format that a client takes, of those that are chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Newest {
    Baseline,
    Webp,
    Avif,
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
            Self::Avif => "avif",
            Self::Newest => "newest",
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
            "avif" => Ok(Self::Avif),
            "json" => Ok(Self::Json),
            "blurhash" => Ok(Self::Blurhash),
            "lqip" => Ok(Self::Lqip),
            _ => {
                let rule = "must be one of webp, jpg, png, png8, gif, avif, json, blurhash, lqip";
                Err(refused("fm", rule, text))
            }
        }
    }

    /// Of the most likely encoding, where there are two.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Webp | Self::Newest | Self::Lqip => "image/webp",
            Self::Jpeg | Self::Baseline => "image/jpeg",
            Self::Png | Self::Png8 => "image/png",
            Self::Gif => "image/gif",
            Self::Avif => "image/avif",
            Self::Json => "application/json",
            Self::Blurhash => "text/plain; charset=utf-8",
        }
    }

    /// What the format can hold: WEBP_MAX_DIMENSION, libjpeg's JPEG_MAX_DIMENSION.
    pub(in crate::media::image) fn max_side(self) -> u32 {
        match self {
            Self::Webp | Self::Newest => 16_383,
            Self::Jpeg | Self::Baseline => 65_500,
            Self::Gif | Self::Avif => 65_535,
            Self::Png | Self::Png8 | Self::Json | Self::Blurhash | Self::Lqip => i32::MAX as u32,
        }
    }

    /// What encoding it may take at most, beside the limits that are set.
    pub(in crate::media::image) fn max_pixels(self) -> u64 {
        if self == Self::Avif { avif::MAX_PIXELS } else { u64::MAX }
    }

    /// Whether an animation stays one.
    pub(in crate::media::image) fn animates(self) -> bool {
        matches!(self, Self::Webp | Self::Gif | Self::Newest | Self::Baseline)
    }

    /// Whether it tells of the picture instead of being one.
    pub(in crate::media::image) fn is_summary(self) -> bool {
        matches!(self, Self::Json | Self::Blurhash | Self::Lqip)
    }

    pub(super) fn has_quality(self) -> bool {
        matches!(self, Self::Webp | Self::Jpeg | Self::Avif | Self::Newest | Self::Baseline)
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
