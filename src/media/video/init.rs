//! Init segments (CMAF header, ISO/IEC 23000-19 §7.3): one track each, sample entry as in the source, no samples.

use bytes::Bytes;

use super::boxes::Writer;
use super::track::{Format, Track};

/// Each rendition is a file of its own with a single track.
const TRACK_ID: u32 = 1;
const UNITY: [i32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Packed ISO 639-2/T code for "und" (ISO/IEC 14496-12 §8.4.2.3).
const UNDETERMINED: u16 = 0x55c4;

/// What differs between a track and what is made of it.
struct Described<'a> {
    track: &'a Track,
    sample_entry: &'a [u8],
    matrix: &'a [i32; 9],
    width: u16,
    height: u16,
}

/// `ftyp` and `moov`.
pub(super) fn segment(track: &Track) -> Bytes {
    let (width, height) = match track.format {
        Format::Video(video) => (video.width, video.height),
        Format::Audio(_) => (0, 0),
    };
    write(&Described { track, sample_entry: &track.sample_entry, matrix: &track.matrix, width, height })
}

/// The same for pictures made of a track: upright, in another size and code, and at the same times.
pub(super) fn made(track: &Track, sample_entry: &[u8], width: u16, height: u16) -> Bytes {
    write(&Described { track, sample_entry, matrix: &UNITY, width, height })
}

fn write(described: &Described<'_>) -> Bytes {
    let track = described.track;
    let mut w = Writer::with_capacity(1024 + described.sample_entry.len());
    w.nest(*b"ftyp", |w| {
        w.raw(b"iso6\0\0\0\0iso6cmfcmp41");
    });
    w.nest(*b"moov", |w| {
        w.nest_full(*b"mvhd", 0, 0, |w| {
            w.zeros(8);
            w.u32(track.timescale);
            w.u32(0);
            w.u32(0x1_0000);
            w.u16(0x0100);
            w.zeros(10);
            matrix(w, &UNITY);
            w.zeros(24);
            w.u32(TRACK_ID + 1);
        });
        w.nest(*b"trak", |w| trak(w, described));
        w.nest(*b"mvex", |w| {
            w.nest_full(*b"trex", 0, 0, |w| {
                w.u32(TRACK_ID);
                w.u32(1);
                w.zeros(12);
            });
        });
    });
    w.finish().into()
}

fn trak(w: &mut Writer, described: &Described<'_>) {
    let Described { track, matrix: turned, width, height, .. } = *described;
    // Enabled, in the movie, in previews.
    w.nest_full(*b"tkhd", 0, 7, |w| {
        w.zeros(8);
        w.u32(TRACK_ID);
        w.zeros(8);
        w.zeros(12);
        let volume = match track.format {
            Format::Video(_) => 0,
            Format::Audio(_) => 0x0100,
        };
        w.u16(volume);
        w.u16(0);
        matrix(w, turned);
        w.u32(u32::from(width) << 16);
        w.u32(u32::from(height) << 16);
    });
    if track.edit_media_time > 0 {
        w.nest(*b"edts", |w| {
            w.nest_full(*b"elst", 1, 0, |w| {
                w.u32(1);
                // To the end.
                w.u64(0);
                w.u64(track.edit_media_time.unsigned_abs());
                w.u32(0x1_0000);
            });
        });
    }
    w.nest(*b"mdia", |w| {
        w.nest_full(*b"mdhd", 0, 0, |w| {
            w.zeros(8);
            w.u32(track.timescale);
            w.u32(0);
            w.u16(track.language.as_deref().map_or(UNDETERMINED, packed_language));
            w.u16(0);
        });
        w.nest_full(*b"hdlr", 0, 0, |w| {
            w.u32(0);
            let (handler, name): (&[u8], &[u8]) = match track.format {
                Format::Video(_) => (b"vide", b"Video\0"),
                Format::Audio(_) => (b"soun", b"Sound\0"),
            };
            w.raw(handler);
            w.zeros(12);
            w.raw(name);
        });
        w.nest(*b"minf", |w| minf(w, described));
    });
}

fn minf(w: &mut Writer, described: &Described<'_>) {
    match described.track.format {
        Format::Video(_) => w.nest_full(*b"vmhd", 0, 1, |w| w.zeros(8)),
        Format::Audio(_) => w.nest_full(*b"smhd", 0, 0, |w| w.zeros(4)),
    }
    w.nest(*b"dinf", |w| {
        w.nest_full(*b"dref", 0, 0, |w| {
            w.u32(1);
            // Flag 1: media data is in this very file.
            w.nest_full(*b"url ", 0, 1, |_| {});
        });
    });
    w.nest(*b"stbl", |w| {
        w.nest_full(*b"stsd", 0, 0, |w| {
            w.u32(1);
            w.raw(described.sample_entry);
        });
        w.nest_full(*b"stts", 0, 0, |w| w.u32(0));
        w.nest_full(*b"stsc", 0, 0, |w| w.u32(0));
        w.nest_full(*b"stsz", 0, 0, |w| w.zeros(8));
        w.nest_full(*b"stco", 0, 0, |w| w.u32(0));
    });
}

fn matrix(w: &mut Writer, matrix: &[i32; 9]) {
    for &value in matrix {
        w.i32(value);
    }
}

fn packed_language(code: &str) -> u16 {
    code.bytes().take(3).fold(0, |packed, letter| packed << 5 | u16::from(letter.wrapping_sub(0x60) & 0x1f))
}
