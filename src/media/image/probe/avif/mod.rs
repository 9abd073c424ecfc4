//! AVIF (AV1 Image File Format 1.1, ISO/IEC 23008-12): which pictures a file has, where their bytes lie and how the main one is
//! turned. What AV1 itself says of size and depth is in `sequence`. Nothing is decoded, and nothing that a browser would not show in
//! the same way is let through.

mod items;
mod sequence;

pub(in crate::media::image) use sequence::{Sequence, admit_frame};

use super::{Coding, Probe};
use crate::media::image::error::Error;
use crate::media::image::geometry::Size;
use crate::media::image::orientation::Orientation;
use items::{Items, Property};

/// Items that are about the picture: its alpha, EXIF, XMP, a thumbnail, a gain map.
const MAX_BESIDE: usize = 64;

/// Where something lies in the file; perhaps beyond its end, which is the decoder's to find.
pub(in crate::media::image) type Place = (usize, usize);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::media::image) struct Avif {
    pub(in crate::media::image) colour: Picture,
    pub(in crate::media::image) alpha: Option<Picture>,
    pub(in crate::media::image) icc: Option<Place>,
    /// With the four bytes in front that say where its TIFF block begins.
    pub(in crate::media::image) exif: Option<Place>,
}

/// One AV1 frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::media::image) struct Picture {
    pub(in crate::media::image) place: Place,
    pub(in crate::media::image) sequence: Sequence,
}

/// Of an item, what its properties say.
#[derive(Default)]
struct Described {
    size: Option<Size>,
    orientation: Orientation,
    icc: Option<Place>,
    /// Primaries, transfer, matrix and whether the range is full, in place of what AV1 says.
    colours: Option<([u8; 3], bool)>,
    is_alpha: bool,
}

pub(super) fn probe(source: &[u8]) -> Result<Probe, Error> {
    if source.get(8..12) == Some(b"avis") {
        return Err(Error::Unsupported { what: "an AVIF sequence" });
    }
    let items = Items::read(source)?;
    let main = items.main()?;
    match &main.kind {
        b"av01" => {}
        b"grid" => return Err(Error::Unsupported { what: "an AVIF of tiles" }),
        _ => return Err(Error::Unsupported { what: "an AVIF of this make" }),
    }
    let described = describe(&items, main.id)?;
    let stored = described.size.ok_or_else(|| corrupt("no size"))?;
    let mut sequence = Sequence::of(source, main.place, stored)?;
    if let Some((cicp, full_range)) = described.colours {
        (sequence.cicp, sequence.full_range) = (cicp, full_range);
    }
    sequence.admit_colours()?;
    let mut avif =
        Avif { colour: Picture { place: main.place, sequence }, alpha: None, icc: described.icc, exif: None };
    for (count, (from, kind)) in items.about(main.id).enumerate() {
        if count == MAX_BESIDE {
            return Err(corrupt("too many items beside the picture"));
        }
        let Some(item) = items.get(from) else { continue };
        match (&kind, &item.kind) {
            (b"prem", _) => return Err(Error::Unsupported { what: "an AVIF with premultiplied colours" }),
            (b"auxl", b"av01") if avif.alpha.is_none() => {
                let alpha = describe(&items, item.id)?;
                if alpha.is_alpha {
                    if alpha.size != Some(stored) {
                        return Err(corrupt("two different sizes"));
                    }
                    let sequence = Sequence::of(source, item.place, stored)?;
                    avif.alpha = Some(Picture { place: item.place, sequence });
                }
            }
            (b"auxl", b"grid") => return Err(Error::Unsupported { what: "an AVIF of tiles" }),
            (b"cdsc", b"Exif") => avif.exif = Some(item.place),
            _ => {}
        }
    }
    Ok(Probe { stored, orientation: described.orientation, frames: 1, coding: Coding::Avif(avif) })
}

fn describe(items: &Items<'_>, id: u32) -> Result<Described, Error> {
    let mut described = Described::default();
    for (Property { kind, place, body }, essential) in items.properties(id) {
        match kind {
            b"ispe" => {
                let side = |at| super::be32(body, at).ok_or_else(|| corrupt("size cut off"));
                described.size = Some(Size::new(side(4)?, side(8)?));
            }
            b"colr" if body.starts_with(b"nclx") && body.len() >= 11 => {
                // Each of 16 bits, of which no known value needs the upper eight.
                described.colours = Some(([body[5], body[7], body[9]], body[10] & 0x80 != 0));
            }
            b"colr" if body.starts_with(b"prof") || body.starts_with(b"rICC") => {
                described.icc = Some((place.0 + 4, place.1));
            }
            // HEIF §6.5.10: anti-clockwise.
            b"irot" => {
                let turned = [1, 8, 3, 6][usize::from(body.first().copied().unwrap_or(0) & 3)];
                described.orientation = described.orientation.then(Orientation::from_exif(turned));
            }
            // HEIF §6.5.12: 0 exchanges top and bottom.
            b"imir" => {
                let mirrored = if body.first().copied().unwrap_or(0) & 1 == 0 { 4 } else { 2 };
                described.orientation = described.orientation.then(Orientation::from_exif(mirrored));
            }
            b"auxC" => {
                let name = body.get(4..).unwrap_or_default();
                described.is_alpha = name.starts_with(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
                    || name.starts_with(b"urn:mpeg:hevc:2015:auxid:1");
            }
            b"av1C" | b"pixi" => {}
            // Cropping, layers, and whatever must not be passed over.
            _ if essential => return Err(Error::Unsupported { what: "an AVIF of this make" }),
            _ => {}
        }
    }
    Ok(described)
}

fn corrupt(detail: &str) -> Error {
    Error::corrupt("AVIF", detail)
}
