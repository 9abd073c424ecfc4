//! What is seldom a source: BMP, and the first page of a TIFF. Decoded whole by the `image` crate, within the memory that was
//! admitted.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, tiff::TiffDecoder};
use image::{DynamicImage, ImageDecoder, ImageError};

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

/// The samples, what is made of them, and strips or tiles on their way.
pub(super) fn decode_bytes(rare: &Rare, stored: Size) -> u64 {
    rare.bytes * 2 + stored.pixels() * 4
}

pub(super) fn headers(source: &[u8], kind: Kind) -> Result<Headers, Error> {
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

pub(super) fn profile(source: &[u8], kind: Kind) -> Option<Vec<u8>> {
    open(source, kind).ok()?.icc_profile().ok()?
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
