//! One track of a movie: what it is, where its samples are, and how their times become the times of the output.

use bytes::Bytes;
use mp4_atom::{Atom, Mdhd, Tkhd};

use super::Error;
use super::boxes::{Kind, be_u32, require};
use super::codec::{self, Description, Medium};
use super::edits::{self, Edit};
use super::fragments::{self, Fragments};
use super::playlist::micros;
use super::samples::{Sample, SampleTable};
use super::tables::{self, Tables};

/// Sound packets kept before the first one that is heard: overlapping transforms need the packet before.
const AUDIO_PREROLL: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Video(VideoFormat),
    Audio(AudioFormat),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFormat {
    /// As coded, before rotation.
    pub width: u16,
    pub height: u16,
    /// Degrees clockwise that a player turns the picture: 0, 90, 180 or 270.
    pub rotation: u16,
}

impl VideoFormat {
    /// Width and height as shown.
    pub fn shown(&self) -> (u16, u16) {
        if self.rotation.is_multiple_of(180) { (self.width, self.height) } else { (self.height, self.width) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    pub channels: u16,
    pub sample_rate: u32,
}

/// A track that can be packaged. Samples outside `first..end` are not presented.
#[derive(Debug)]
pub struct Track {
    pub format: Format,
    /// As in `CODECS` (RFC 6381).
    pub codec: String,
    /// ISO 639-2/T, unless undetermined.
    pub language: Option<String>,
    /// Ticks per second of every time below.
    pub timescale: u32,
    pub samples: SampleTable,
    /// First sample that is packaged, and the one after the last.
    pub first: u32,
    pub end: u32,
    /// Added to decode times.
    pub(super) decode_shift: i64,
    /// Subtracted from composition offsets (video only).
    pub(super) composition_shift: i64,
    /// Media time of the edit list written for this track (sound only): what decoders swallow at the start.
    pub(super) edit_media_time: i64,
    pub(super) sample_entry: Bytes,
    /// The transformation matrix as it stands in `tkhd`.
    pub(super) matrix: [i32; 9],
    edit: Edit,
}

/// What `trak` turned out to be.
#[derive(Debug)]
pub(super) enum Parsed {
    Track(Box<Track>),
    /// Sound or pictures in a form that is not passed through.
    Unsupported {
        kind: Kind,
        video: bool,
        enabled: bool,
    },
    /// Neither sound nor pictures, or a track without samples.
    Other,
}

/// `trak` is the body of that box; `fragments` have samples that it does not.
pub(super) fn parse(
    trak: &[u8],
    movie_timescale: u32,
    source_len: u64,
    fragments: Option<&mut Fragments>,
) -> Result<Parsed, Error> {
    let mdia = require(trak, *b"mdia")?;
    let handler = require(mdia, *b"hdlr")?.get(8..12);
    let video = match handler {
        Some(b"vide") => true,
        Some(b"soun") => false,
        Some(_) => return Ok(Parsed::Other),
        None => return Err(Error::malformed("hdlr is cut off")),
    };
    let tkhd = Tkhd::decode_body(&mut require(trak, *b"tkhd")?)
        .map_err(|e| Error::malformed(format!("tkhd: {e}")))?;
    let mdhd = Mdhd::decode_body(&mut require(mdia, *b"mdhd")?)
        .map_err(|e| Error::malformed(format!("mdhd: {e}")))?;
    let minf = require(mdia, *b"minf")?;
    let stbl = require(minf, *b"stbl")?;
    let stsd = require(stbl, *b"stsd")?;
    // Before the tables: those of tracks that are passed over need not be understood.
    if let Description::Other(kind) = codec::describe(stsd, first_description(stbl)?, video)? {
        return Ok(Parsed::Unsupported { kind, video, enabled: tkhd.enabled });
    }
    if mdhd.timescale == 0 {
        return Err(Error::malformed("a track with timescale 0"));
    }
    let mut tables = tables::build(stbl, source_len)?;
    let mut first_time = None;
    if let Some(fragments) = fragments {
        let own = tables.as_ref().map(|tables| &tables.samples);
        if let Some(whole) = fragments.take(fragments::track_id(trak)?, own)? {
            tables::check_extent(&whole.samples, source_len)?;
            first_time = Some(whole.first_time);
            tables = Some(Tables { samples: whole.samples, description: whole.description });
        }
    }
    let Some(tables) = tables else { return Ok(Parsed::Other) };
    let entry = match codec::describe(stsd, tables.description, video)? {
        Description::Supported(entry) => entry,
        Description::Other(kind) => return Ok(Parsed::Unsupported { kind, video, enabled: tkhd.enabled }),
    };
    let m = &tkhd.matrix;
    let matrix = [m.a, m.b, m.u, m.c, m.d, m.v, m.x, m.y, m.w];
    let format = match entry.medium {
        Medium::Video { width, height } => {
            Format::Video(VideoFormat { width, height, rotation: rotation(&matrix) })
        }
        Medium::Audio { channels, sample_rate } => Format::Audio(AudioFormat { channels, sample_rate }),
    };
    let language = Some(mdhd.language)
        .filter(|l| l.len() == 3 && l != "und" && l.bytes().all(|b| b.is_ascii_lowercase()));
    let end = tables.samples.count();
    let edit = edits::read(trak, movie_timescale, mdhd.timescale)?;
    Ok(Parsed::Track(Box::new(Track {
        format,
        codec: entry.codec,
        language,
        timescale: mdhd.timescale,
        samples: tables.samples,
        first: 0,
        end,
        decode_shift: 0,
        composition_shift: 0,
        edit_media_time: 0,
        sample_entry: entry.bytes,
        matrix,
        edit: first_time.map_or(edit, |first| edit.from(first)),
    })))
}

/// The description that the first chunk uses.
fn first_description(stbl: &[u8]) -> Result<u32, Error> {
    Ok(be_u32(require(stbl, *b"stsc")?, 16).unwrap_or(1))
}

/// ISO/IEC 14496-12 §8.3.2.3; matrices that do more than turn count as no rotation.
fn rotation(matrix: &[i32; 9]) -> u16 {
    const ONE: i32 = 0x1_0000;
    match [matrix[0], matrix[1], matrix[3], matrix[4]] {
        [0, ONE, b, 0] if b == -ONE => 90,
        [a, 0, 0, d] if a == -ONE && d == -ONE => 180,
        [0, b, ONE, 0] if b == -ONE => 270,
        _ => 0,
    }
}

impl Track {
    /// When a sample is presented in the output, in ticks.
    pub fn presentation_time(&self, sample: &Sample) -> i64 {
        match self.format {
            Format::Video(_) => sample.composition_time() + self.decode_shift - self.composition_shift,
            Format::Audio(_) => sample.decode_time as i64 + self.decode_shift - self.edit_media_time,
        }
    }

    /// When it starts, in millionths of a second.
    pub(super) fn delay_micros(&self) -> i64 {
        micros(self.edit.delay, self.timescale)
    }

    /// Lets it start earlier.
    pub(super) fn advance(&mut self, by_micros: i64) {
        let ticks = i128::from(by_micros) * i128::from(self.timescale) / 1_000_000;
        self.edit.delay -= i64::try_from(ticks).unwrap_or(0).min(self.edit.delay);
    }

    /// Places a video track on the output timeline; returns by how many ticks it starts before its edit does.
    ///
    /// Players do not agree on video edit lists, so none is written: composition offsets are shifted (below zero where
    /// need be) until the first picture has decode time and presentation time alike. A keyframe before the start of
    /// the edit cannot be left out, so it is shown, and the other tracks are moved back by as much.
    pub(super) fn place_video(&mut self) -> Result<i64, Error> {
        let Edit { delay, media_start, media_end } = self.edit;
        self.end = self.presented_until(media_end)?;
        // The last keyframe that is not after the start of the edit; else the first one; else the first sample.
        let mut start = None;
        for (index, sample) in (0..self.end).zip(self.samples.iter(0..self.end)) {
            if start.is_none() {
                start = Some((index, sample));
            }
            if !sample.keyframe {
                continue;
            }
            let seen = start.is_some_and(|(_, start)| start.keyframe);
            if seen && sample.composition_time() > media_start {
                break;
            }
            start = Some((index, sample));
        }
        let (index, key) = start.ok_or_else(|| Error::malformed("a track without samples"))?;
        let lead = (media_start - key.composition_time()).max(0);
        self.first = index;
        self.decode_shift = delay - key.decode_time as i64;
        self.composition_shift = media_start - lead - key.decode_time as i64;
        self.check_offsets()?;
        Ok(lead)
    }

    /// Places a sound track `lead` ticks later than its edit says, filling the gap with earlier sound if there is any.
    ///
    /// The edit list stays, since encoder delay is not a whole number of packets.
    pub(super) fn place_audio(&mut self, lead: i64) -> Result<(), Error> {
        let Edit { delay, media_start, media_end } = self.edit;
        self.end = self.presented_until(media_end)?;
        let earlier = lead.min(media_start);
        let media_start = media_start - earlier;
        let next = self.samples.first_at_or_after(media_start.unsigned_abs().saturating_add(1));
        self.first = next.saturating_sub(1 + AUDIO_PREROLL).min(self.end - 1);
        let first_time = self.samples.decode_time(self.first) as i64;
        self.decode_shift = delay + (lead - earlier) - first_time;
        self.edit_media_time = media_start - first_time;
        Ok(())
    }

    /// Heap and own bytes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.samples.heap_bytes() + self.sample_entry.len() + self.codec.len()
    }

    /// One after the last sample that begins before the edit ends.
    fn presented_until(&self, media_end: Option<i64>) -> Result<u32, Error> {
        let Some(media_end) = media_end else { return Ok(self.samples.count()) };
        let presented = |sample: &Sample| match self.format {
            Format::Video(_) => sample.composition_time() < media_end,
            Format::Audio(_) => (sample.decode_time as i64) < media_end,
        };
        let all = 0..self.samples.count();
        let last = all.clone().zip(self.samples.iter(all)).filter(|(_, s)| presented(s)).last();
        last.map(|(index, _)| index + 1).ok_or_else(|| Error::malformed("an edit list that leaves nothing"))
    }

    /// Every shifted composition offset fits `trun`.
    fn check_offsets(&self) -> Result<(), Error> {
        let fits = |sample: Sample| {
            i32::try_from(i64::from(sample.composition_offset) - self.composition_shift).is_ok()
        };
        if self.samples.iter(self.first..self.end).all(fits) {
            return Ok(());
        }
        Err(Error::malformed("composition times far from decode times"))
    }
}
