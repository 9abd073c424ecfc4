//! EXIF orientation: reading it from a TIFF block, and what it does to sizes and rectangles. A damaged block
//! means upright, as in browsers. No other metadata is read.

use super::directory::{Directory, LONG, SHORT};
use super::geometry::{Rect, Size};

/// How stored pixels must be turned to stand upright; EXIF 2.32 §4.6.4, tag 0x0112.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation(Exif);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Exif {
    #[default]
    Upright,
    MirroredColumns,
    Turned180,
    MirroredRows,
    Transposed,
    Turned90,
    Transversed,
    Turned270,
}

impl Orientation {
    /// 1 to 8; anything else is upright.
    pub fn from_exif(value: u16) -> Self {
        Self(match value {
            2 => Exif::MirroredColumns,
            3 => Exif::Turned180,
            4 => Exif::MirroredRows,
            5 => Exif::Transposed,
            6 => Exif::Turned90,
            7 => Exif::Transversed,
            8 => Exif::Turned270,
            _ => Exif::Upright,
        })
    }

    /// The value that EXIF has for it.
    pub fn exif(self) -> u16 {
        match self.0 {
            Exif::Upright => 1,
            Exif::MirroredColumns => 2,
            Exif::Turned180 => 3,
            Exif::MirroredRows => 4,
            Exif::Transposed => 5,
            Exif::Turned90 => 6,
            Exif::Transversed => 7,
            Exif::Turned270 => 8,
        }
    }

    /// This, and then `next` on what came of it.
    pub fn then(self, next: Self) -> Self {
        let (mut columns, mut rows) = (next.mirrors_columns(), next.mirrors_rows());
        if self.swaps_axes() {
            (columns, rows) = (rows, columns);
        }
        let swaps = self.swaps_axes() != next.swaps_axes();
        let columns = columns != self.mirrors_columns();
        let rows = rows != self.mirrors_rows();
        Self(match (swaps, columns, rows) {
            (false, false, false) => Exif::Upright,
            (false, true, false) => Exif::MirroredColumns,
            (false, true, true) => Exif::Turned180,
            (false, false, true) => Exif::MirroredRows,
            (true, false, false) => Exif::Transposed,
            (true, false, true) => Exif::Turned90,
            (true, true, true) => Exif::Transversed,
            (true, true, false) => Exif::Turned270,
        })
    }

    pub fn is_upright(self) -> bool {
        self.0 == Exif::Upright
    }

    pub fn swaps_axes(self) -> bool {
        matches!(self.0, Exif::Transposed | Exif::Turned90 | Exif::Transversed | Exif::Turned270)
    }

    /// Whether stored columns are read from the right.
    pub(super) fn mirrors_columns(self) -> bool {
        matches!(self.0, Exif::MirroredColumns | Exif::Turned180 | Exif::Transversed | Exif::Turned270)
    }

    /// Whether stored rows are read from the bottom.
    pub(super) fn mirrors_rows(self) -> bool {
        matches!(self.0, Exif::Turned180 | Exif::MirroredRows | Exif::Turned90 | Exif::Transversed)
    }

    /// Upright size of a stored image, and the other way round.
    pub fn apply(self, size: Size) -> Size {
        if self.swaps_axes() { size.transposed() } else { size }
    }

    /// Where a part of the upright image lies in the stored one.
    pub(super) fn to_stored(self, upright: Rect, stored: Size) -> Rect {
        let Rect { left, top, width, height } = upright;
        let mut rect = if self.swaps_axes() {
            Rect { left: top, top: left, width: height, height: width }
        } else {
            upright
        };
        if self.mirrors_columns() {
            rect.left = (f64::from(stored.width) - rect.left - rect.width).max(0.0);
        }
        if self.mirrors_rows() {
            rect.top = (f64::from(stored.height) - rect.top - rect.height).max(0.0);
        }
        rect
    }

    /// Where a part of the stored image lies in the upright one: the way back.
    pub(super) fn to_upright(self, part: Rect, stored: Size) -> Rect {
        let mut rect = part;
        if self.mirrors_columns() {
            rect.left = (f64::from(stored.width) - rect.left - rect.width).max(0.0);
        }
        if self.mirrors_rows() {
            rect.top = (f64::from(stored.height) - rect.top - rect.height).max(0.0);
        }
        if self.swaps_axes() {
            rect = Rect { left: rect.top, top: rect.left, width: rect.height, height: rect.width };
        }
        rect
    }

    /// From a TIFF block, with or without the `Exif\0\0` that precedes it in JPEG. Looks at the entries of the
    /// first directory only and follows no other offset, so that no loop can be built from the data.
    pub(super) fn from_tiff(block: &[u8]) -> Self {
        Self::from_exif(read_tag(block.strip_prefix(b"Exif\0\0").unwrap_or(block)).unwrap_or(1))
    }
}

const ORIENTATION: u16 = 0x0112;

fn read_tag(tiff: &[u8]) -> Option<u16> {
    let directory = Directory::of(tiff)?;
    let entry = directory.entries().find(|entry| entry.tag == ORIENTATION)?;
    match entry.kind {
        SHORT => directory.short(entry.field),
        LONG => directory.long(entry.field)?.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An EXIF block, as in a JPEG's APP1, that says just this.
    pub(crate) fn exif_block(orientation: u8, little: bool) -> Vec<u8> {
        let mut block = b"Exif\0\0".to_vec();
        block.extend(if little {
            [b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0]].concat()
        } else {
            [b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".as_slice(), &[0, orientation, 0, 0]].concat()
        });
        block.extend([0; 4]);
        block
    }

    #[test]
    fn both_byte_orders_are_read() {
        for value in 1..=8 {
            for little in [true, false] {
                let got = Orientation::from_tiff(&exif_block(value, little));
                assert_eq!(got, Orientation::from_exif(value.into()), "{value} {little}");
                let bare = Orientation::from_tiff(&exif_block(value, little)[6..]);
                assert_eq!(bare, got);
            }
        }
    }

    #[test]
    fn damage_means_upright() {
        let good = exif_block(6, true);
        for length in 0..good.len() - 8 {
            assert!(Orientation::from_tiff(&good[..length]).is_upright(), "{length}");
        }
        assert!(Orientation::from_tiff(&exif_block(9, true)).is_upright());
        assert!(Orientation::from_tiff(&exif_block(0, true)).is_upright());
        // A directory that lies about its place.
        let mut wild = good.clone();
        wild[10..14].fill(0xff);
        assert!(Orientation::from_tiff(&wild).is_upright());
    }

    #[test]
    fn one_after_the_other_is_one() {
        use crate::media::image::raster::Raster;
        let letters = Raster { size: Size::new(3, 2), channels: 1, data: b"abcdef".to_vec() };
        for (first, second) in (1..=8).flat_map(|first| (1..=8).map(move |second| (first, second))) {
            let [first, second] = [first, second].map(Orientation::from_exif);
            let both = letters.clone().oriented(first).oriented(second);
            assert_eq!(letters.clone().oriented(first.then(second)), both, "{first:?} {second:?}");
        }
        for value in 1..=8 {
            assert_eq!(Orientation::from_exif(value).exif(), value);
        }
    }

    #[test]
    fn there_and_back() {
        let (part, stored) = (Rect { left: 1.0, top: 2.0, width: 3.0, height: 4.0 }, Size::new(9, 11));
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value);
            assert_eq!(orientation.to_stored(orientation.to_upright(part, stored), stored), part, "{value}");
        }
    }

    #[test]
    fn upright_parts_are_found_in_the_stored_image() {
        // The top left 1×1 of the upright image, in a stored 3×2.
        let part = Rect { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
        for (value, left, top) in [
            (1, 0.0, 0.0),
            (2, 2.0, 0.0),
            (3, 2.0, 1.0),
            (4, 0.0, 1.0),
            (5, 0.0, 0.0),
            (6, 0.0, 1.0),
            (7, 2.0, 1.0),
            (8, 2.0, 0.0),
        ] {
            let stored = Orientation::from_exif(value).to_stored(part, Size::new(3, 2));
            assert_eq!((stored.left, stored.top), (left, top), "{value}");
        }
    }
}
