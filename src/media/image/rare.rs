//! What is seldom a source: BMP, and the first page of a TIFF. Decoded whole by the `image` crate, within the memory that was
//! admitted.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, tiff::TiffDecoder};
use image::{DynamicImage, ImageDecoder, ImageError};

use super::directory::{self, Directory, Entry};
use super::error::Error;
use super::geometry::Size;
use super::orientation::Orientation;
use super::probe::Rare;
use super::raster::{Raster, Reduced};
use super::sniff::Kind;

/// What the headers say.
pub(super) struct Headers {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    pub(super) bytes: u64,
}

/// Values of one list in a TIFF: strips, tiles, samples. More has hardly a file, and the decoder has 32 bytes for each before it reads them.
const MAX_VALUES: u32 = 1 << 16;
/// Of all lists of a picture.
const LISTS_BYTES: u64 = 8 << 20;
/// Tags from and to that tell how a picture is coded, which are those that the decoder reads.
const CODING: std::ops::RangeInclusive<u16> = 254..=532;
const ICC_PROFILE: u16 = 34_675;

/// The samples, what is made of them, and strips or tiles on their way.
pub(super) fn decode_bytes(rare: &Rare, stored: Size) -> u64 {
    let lists = if rare.kind == Kind::Tiff { LISTS_BYTES } else { 0 };
    rare.bytes * 2 + stored.pixels() * 4 + lists
}

pub(super) fn headers(source: &[u8], kind: Kind) -> Result<Headers, Error> {
    if kind == Kind::Tiff {
        admit_lists(source)?;
    }
    let mut decoder = open(source, kind)?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder.orientation().map_or(1, |orientation| orientation.to_exif());
    Ok(Headers {
        width,
        height,
        orientation: Orientation::from_exif(orientation.into()),
        bytes: decoder.total_bytes(),
    })
}

pub(super) fn profile(source: &[u8], kind: Kind) -> Option<Cow<'_, [u8]>> {
    if kind != Kind::Tiff {
        return open(source, kind).ok()?.icc_profile().ok()?.map(Cow::Owned);
    }
    let directory = Directory::of(source)?;
    directory.bytes(directory.entries().find(|entry| entry.tag == ICC_PROFILE)?).map(Cow::Borrowed)
}

/// What the decoder would give memory to as soon as it sees how many there are said to be.
fn admit_lists(source: &[u8]) -> Result<(), Error> {
    let directory = Directory::of(source).ok_or_else(|| Error::corrupt("TIFF", "no directory"))?;
    let long = |entry: &Entry| {
        CODING.contains(&entry.tag) && entry.kind != directory::ASCII && entry.count > MAX_VALUES
    };
    if directory.entries().any(|entry| long(&entry)) {
        return Err(Error::Unsupported { what: "a TIFF of this make" });
    }
    Ok(())
}

pub(super) fn decode(source: &[u8], rare: &Rare, stored: Size, max_bytes: u64) -> Result<Reduced, Error> {
    let mut decoder = open(source, rare.kind)?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(max_bytes);
    decoder.set_limits(limits).map_err(|error| refused(rare.kind, error))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| refused(rare.kind, error))?;
    let size = Size::new(picture.width(), picture.height());
    if size != stored {
        return Err(Error::corrupt(rare.kind.as_str(), "two different sizes"));
    }
    let raster = if picture.color().has_alpha() {
        Raster { size, channels: 4, data: picture.into_rgba8().into_raw() }
    } else {
        Raster { size, channels: 3, data: picture.into_rgb8().into_raw() }
    };
    Ok(Reduced::unreduced(raster))
}

fn open(source: &[u8], kind: Kind) -> Result<Box<dyn ImageDecoder + '_>, Error> {
    let reader = Cursor::new(source);
    let open: Result<Box<dyn ImageDecoder>, ImageError> = match kind {
        Kind::Tiff => TiffDecoder::new(reader).map(|decoder| Box::new(decoder) as _),
        _ => BmpDecoder::new(reader).map(|decoder| Box::new(decoder) as _),
    };
    open.map_err(|error| refused(kind, error))
}

fn refused(kind: Kind, error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(_) => Error::Unsupported {
            what: if kind == Kind::Tiff { "a TIFF of this make" } else { "a BMP of this make" },
        },
        other => Error::corrupt(kind.as_str(), other),
    }
}
