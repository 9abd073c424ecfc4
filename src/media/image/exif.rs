//! EXIF blocks (CIPA DC-008): what of one may be passed on, and what is told of one. Orientation, which pixels need, is read by
//! `orientation`.

use std::io::Cursor;

use exif::{Context, Exif, Field, In, Reader, Tag, Value, experimental::Writer};

use super::params::Keep;

/// Fields told of, by their own names.
const TOLD: [Tag; 13] = [
    Tag::Make,
    Tag::Model,
    Tag::LensModel,
    Tag::DateTimeOriginal,
    Tag::ExposureTime,
    Tag::FNumber,
    Tag::PhotographicSensitivity,
    Tag::FocalLength,
    Tag::Flash,
    Tag::Artist,
    Tag::Copyright,
    Tag::ImageDescription,
    Tag::Software,
];

/// Characters of a field that are told.
const MAX_TOLD: usize = 200;

fn read(block: &[u8]) -> Option<Exif> {
    // What can be read of a damaged block is read.
    let read = Reader::new().continue_on_error(true).read_raw(block.to_vec());
    read.or_else(|error| error.distill_partial_result(|_| {})).ok()
}

/// A block of what may be kept of this one. Never the preview, which would show what has been cut off, nor what the pixels no
/// longer are.
pub(super) fn kept(block: &[u8], keep: Keep) -> Option<Vec<u8>> {
    let exif = read(block)?;
    let mut writer = Writer::new();
    let mut any = false;
    for field in exif.fields().filter(|field| is_kept(field, keep)) {
        writer.push_field(field);
        any = true;
    }
    let mut out = Cursor::new(Vec::new());
    (any && writer.write(&mut out, exif.little_endian()).is_ok()).then(|| out.into_inner())
}

fn is_kept(field: &Field, keep: Keep) -> bool {
    if field.ifd_num != In::PRIMARY {
        return false;
    }
    match field.tag {
        Tag::Copyright | Tag::Artist => keep.copyright,
        Tag::Orientation
        | Tag::ImageWidth
        | Tag::ImageLength
        | Tag::PixelXDimension
        | Tag::PixelYDimension => false,
        // Makers write places there as well, in ways of their own.
        Tag::MakerNote | Tag::UserComment => keep.place,
        Tag(Context::Gps, _) => keep.place,
        // Blocks of other kinds in fields: XMP, IPTC, Photoshop; and pointers.
        Tag(Context::Tiff, 0x02bc | 0x83bb | 0x8649 | 0x8773) => false,
        Tag(Context::Tiff, 0x9c9b..=0x9c9f) => keep.exif,
        Tag(Context::Tiff | Context::Exif, _) => keep.exif,
        Tag(..) => false,
    }
}

/// Names and values to tell of; where it was taken is nobody's business.
pub(super) fn told(block: &[u8]) -> Vec<(String, String)> {
    let Some(exif) = read(block) else { return Vec::new() };
    let fields = TOLD.iter().filter_map(|tag| exif.get_field(*tag, In::PRIMARY));
    fields
        .map(|field| (field.tag.to_string(), text(&field.value, field.tag)))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn text(value: &Value, tag: Tag) -> String {
    let text = match value {
        // As it is, not in quotes.
        Value::Ascii(lines) => {
            lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join(" ")
        }
        other => other.display_as(tag).to_string(),
    };
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_TOLD).collect()
}
