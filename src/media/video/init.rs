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
pub(super) struct Described<'a> {
    pub(super) track: &'a Track,
    pub(super) id: u32,
    pub(super) sample_entry: &'a [u8],
    pub(super) matrix: &'a [i32; 9],
    pub(super) width: u16,
    pub(super) height: u16,
    /// In ticks of the movie, and of the track; 0 where fragments tell.
    pub(super) lasts: (u64, u64),
    /// (duration in ticks of the movie, media time); a media time of -1 is a wait.
    pub(super) edits: Vec<(u64, i64)>,
    /// Writes what follows the sample description.
    pub(super) tables: &'a dyn Fn(&mut Writer),
}

impl<'a> Described<'a> {
    /// A track as it is, whose samples come in fragments.
    fn of(track: &'a Track) -> Self {
        let (width, height) = match track.format {
            Format::Video(video) => (video.width, video.height),
            Format::Audio(_) => (0, 0),
        };
        Self {
            track,
            id: TRACK_ID,
            sample_entry: &track.sample_entry,
            matrix: &track.matrix,
            width,
            height,
            lasts: (0, 0),
            // To the end.
            edits: (track.edit_media_time > 0).then_some((0, track.edit_media_time)).into_iter().collect(),
            tables: &no_samples,
        }
    }

    /// A track with samples of its own.
    pub(super) fn with_samples(
        track: &'a Track,
        id: u32,
        lasts: (u64, u64),
        edits: Vec<(u64, i64)>,
        tables: &'a dyn Fn(&mut Writer),
    ) -> Self {
        Self { id, lasts, edits, tables, ..Self::of(track) }
    }
}

/// `ftyp` and `moov`.
pub(super) fn segment(track: &Track) -> Bytes {
    write(&Described::of(track))
}

/// The same for pictures made of a track: upright, in another size and code, and at the same times.
pub(super) fn made(track: &Track, sample_entry: &[u8], width: u16, height: u16) -> Bytes {
    write(&Described { sample_entry, matrix: &UNITY, width, height, ..Described::of(track) })
}

fn write(described: &Described<'_>) -> Bytes {
    let track = described.track;
    let mut w = Writer::with_capacity(1024 + described.sample_entry.len());
    w.nest(*b"ftyp", |w| {
        w.raw(b"iso6\0\0\0\0iso6cmfcmp41");
    });
    w.nest(*b"moov", |w| {
        mvhd(w, track.timescale, 0, TRACK_ID + 1);
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

/// The movie's own header.
pub(super) fn mvhd(w: &mut Writer, timescale: u32, lasts: u64, next_id: u32) {
    w.nest_full(*b"mvhd", 0, 0, |w| {
        w.zeros(8);
        w.u32(timescale);
        w.u32(narrow(lasts));
        w.u32(0x1_0000);
        w.u16(0x0100);
        w.zeros(10);
        matrix(w, &UNITY);
        w.zeros(24);
        w.u32(next_id);
    });
}

/// What lasts longer than can be said here lasts "as long as it does".
fn narrow(ticks: u64) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

pub(super) fn trak(w: &mut Writer, described: &Described<'_>) {
    let Described { track, id, matrix: turned, width, height, lasts, .. } = *described;
    // Enabled, in the movie, in previews.
    w.nest_full(*b"tkhd", 0, 7, |w| {
        w.zeros(8);
        w.u32(id);
        w.zeros(4);
        w.u32(narrow(lasts.0));
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
    if !described.edits.is_empty() {
        w.nest(*b"edts", |w| {
            w.nest_full(*b"elst", 1, 0, |w| {
                // Two at the most.
                w.u32(described.edits.len() as u32);
                for (duration, media_time) in &described.edits {
                    w.u64(*duration);
                    w.u64(media_time.cast_unsigned());
                    w.u32(0x1_0000);
                }
            });
        });
    }
    w.nest(*b"mdia", |w| {
        w.nest_full(*b"mdhd", 0, 0, |w| {
            w.zeros(8);
            w.u32(track.timescale);
            w.u32(narrow(lasts.1));
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
        (described.tables)(w);
    });
}

fn no_samples(w: &mut Writer) {
    w.nest_full(*b"stts", 0, 0, |w| w.u32(0));
    w.nest_full(*b"stsc", 0, 0, |w| w.u32(0));
    w.nest_full(*b"stsz", 0, 0, |w| w.zeros(8));
    w.nest_full(*b"stco", 0, 0, |w| w.u32(0));
}

fn matrix(w: &mut Writer, matrix: &[i32; 9]) {
    for &value in matrix {
        w.i32(value);
    }
}

fn packed_language(code: &str) -> u16 {
    code.bytes().take(3).fold(0, |packed, letter| packed << 5 | u16::from(letter.wrapping_sub(0x60) & 0x1f))
}
