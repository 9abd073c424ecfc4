//! The first directory of a TIFF block (TIFF 6.0 §2), as TIFF files and EXIF have it: entries as they stand, nothing allocated.

pub(super) struct Directory<'a> {
    tiff: &'a [u8],
    little: bool,
    at: usize,
    count: u16,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: u32,
    /// Where its value stands, or the place of what is longer than four bytes.
    pub(super) field: usize,
}

pub(super) const ASCII: u16 = 2;
pub(super) const SHORT: u16 = 3;
pub(super) const LONG: u16 = 4;

impl<'a> Directory<'a> {
    pub(super) fn of(tiff: &'a [u8]) -> Option<Self> {
        let little = match tiff.get(..4)? {
            b"II\x2a\0" => true,
            b"MM\0\x2a" => false,
            _ => return None,
        };
        let mut directory = Self { tiff, little, at: 0, count: 0 };
        directory.at = directory.long(4)? as usize;
        directory.count = directory.short(directory.at)?;
        Some(directory)
    }

    /// As far as they are there.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..usize::from(self.count)).map_while(|number| {
            let at = self.at.checked_add(2 + number * 12)?;
            let (tag, kind, count) = (self.short(at)?, self.short(at + 2)?, self.long(at + 4)?);
            Some(Entry { tag, kind, count, field: at + 8 })
        })
    }

    pub(super) fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    pub(super) fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// Of an entry whose values are bytes.
    pub(super) fn bytes(&self, entry: Entry) -> Option<&'a [u8]> {
        let length = entry.count as usize;
        let start = if length <= 4 { entry.field } else { self.long(entry.field)? as usize };
        self.tiff.get(start..start.checked_add(length)?)
    }
}
