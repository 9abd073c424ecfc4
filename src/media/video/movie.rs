//! A source's index: its tracks and all their samples, from `moov` alone. Made once for a source and kept.

use mp4_atom::{Atom, Mvhd};

use super::Error;
use super::boxes::{Kind, children, find, name, require};
use super::fragments::Fragments;
use super::scan;
use super::track::{self, Parsed, Track};
use crate::media::Source;

/// Tracks of all kinds in one file.
const MAX_TRACKS: usize = 64;
/// From this size on, `moov` is parsed on a thread that may block.
const PARSE_INLINE_BYTES: usize = 256 * 1024;

/// What can be packaged of a source. The first video track that is supported, and all such sound tracks.
#[derive(Debug)]
pub struct Movie {
    /// Length of the source in bytes.
    pub source_len: u64,
    pub video: Option<Track>,
    pub audio: Vec<Track>,
    pub skipped: Vec<SkippedTrack>,
}

/// A sound or picture track that is left out of the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedTrack {
    /// Four-character code of its sample entry, escaped where not printable.
    pub codec: String,
    pub video: bool,
}

impl Movie {
    /// Reads box headers and `moov`, the `moof` of all fragments if there are any, and nothing else of the source.
    pub async fn open(source: &dyn Source) -> Result<Self, Error> {
        let source_len = source.len();
        let located = scan::locate_moov(source).await?;
        let moov = scan::read_moov(source, &located.moov).await?;
        let fragments = match find(&moov, *b"mvex")? {
            Some(_) => Some(Fragments::read(source, &moov, located.moov.end).await?),
            None => None,
        };
        if moov.len() < PARSE_INLINE_BYTES {
            return Self::parse(&moov, source_len, fragments);
        }
        let parsed = tokio::task::spawn_blocking(move || Self::parse(&moov, source_len, fragments)).await;
        parsed.unwrap_or_else(|_| Err(Error::malformed("the parser gave up")))
    }

    /// `moov` is the body of that box. Takes about a millisecond per MiB of it.
    pub(super) fn parse(
        moov: &[u8],
        source_len: u64,
        mut fragments: Option<Fragments>,
    ) -> Result<Self, Error> {
        if find(moov, *b"cmov")?.is_some() {
            return Err(Error::unsupported("compressed moov"));
        }
        let mvhd = Mvhd::decode_body(&mut require(moov, *b"mvhd")?)
            .map_err(|e| Error::malformed(format!("mvhd: {e}")))?;
        if mvhd.timescale == 0 {
            return Err(Error::malformed("mvhd with timescale 0"));
        }
        let mut movie = Self { source_len, video: None, audio: Vec::new(), skipped: Vec::new() };
        let mut missing_video: Option<Kind> = None;
        let mut tracks = 0;
        for child in children(moov) {
            let child = child?;
            if child.kind != *b"trak" {
                continue;
            }
            tracks += 1;
            if tracks > MAX_TRACKS {
                return Err(Error::unsupported(format!("more than {MAX_TRACKS} tracks")));
            }
            match track::parse(child.body, mvhd.timescale, source_len, fragments.as_mut())? {
                Parsed::Track(track) => movie.add(*track),
                Parsed::Unsupported { kind, video, enabled } => {
                    movie.skipped.push(SkippedTrack { codec: name(kind), video });
                    // Chapter pictures are disabled tracks, and cover pictures are stills.
                    if video && enabled && !matches!(&kind, b"jpeg" | b"mjpa" | b"mjpb" | b"png ") {
                        missing_video = missing_video.or(Some(kind));
                    }
                }
                Parsed::Other => {}
            }
        }
        movie.check_playable(missing_video)?;
        if fragments.is_some() {
            movie.begin_at_once();
        }
        movie.place()?;
        Ok(movie)
    }

    /// Bytes of memory that this index holds.
    pub fn weight(&self) -> usize {
        let tracks = self.video.iter().chain(&self.audio);
        size_of::<Self>() + tracks.map(Track::weight).sum::<usize>()
    }

    fn add(&mut self, track: Track) {
        match track.format {
            track::Format::Audio(_) => self.audio.push(track),
            track::Format::Video(_) if self.video.is_none() => self.video = Some(track),
            track::Format::Video(_) => {
                self.skipped.push(SkippedTrack { codec: track.codec, video: true });
            }
        }
    }

    fn check_playable(&self, missing_video: Option<Kind>) -> Result<(), Error> {
        if self.video.is_none()
            && let Some(kind) = missing_video
        {
            let what = match &kind {
                b"encv" => "encrypted video".to_owned(),
                _ => format!("video codec {}", name(kind)),
            };
            return Err(Error::unsupported(what));
        }
        if self.video.is_some() || !self.audio.is_empty() {
            return Ok(());
        }
        match self.skipped.first() {
            Some(skipped) if skipped.codec == "enca" => Err(Error::unsupported("encrypted sound")),
            Some(skipped) => Err(Error::unsupported(format!("sound codec {}", skipped.codec))),
            None => Err(Error::unsupported("neither video nor sound")),
        }
    }

    /// Recordings count from when the recorder was started.
    fn begin_at_once(&mut self) {
        let all = || self.video.iter().chain(&self.audio);
        let Some(least) = all().map(Track::delay_micros).min() else { return };
        self.video.iter_mut().chain(&mut self.audio).for_each(|track| track.advance(least));
    }

    /// Puts all tracks on one output timeline.
    fn place(&mut self) -> Result<(), Error> {
        let mut lead = (0, 1);
        if let Some(video) = &mut self.video {
            lead = (video.place_video()?, video.timescale);
        }
        for track in &mut self.audio {
            // `lead` is below 2^55 and timescales below 2^32.
            let ticks = i128::from(lead.0) * i128::from(track.timescale) / i128::from(lead.1);
            let ticks =
                i64::try_from(ticks).map_err(|_| Error::malformed("an edit beyond the end of time"))?;
            if ticks > 1 << 55 {
                return Err(Error::malformed("an edit beyond the end of time"));
            }
            track.place_audio(ticks)?;
        }
        Ok(())
    }
}
