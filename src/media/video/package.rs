//! A movie with its cuts and rungs: what the delivery of a video keeps in memory and asks for every playlist and segment.

use std::time::Duration;

use super::asset::{Asset, Rendition};
use super::keyframes::keyframe_playlist;
use super::ladder::{Ladder, Rung};
use super::language::Language;
use super::manifest::manifest;
use super::movie::Movie;
use super::playlist::{master_playlist, media_playlist, micros, subtitles_playlist};
use super::segments::{Segment, Segmentation};
use super::splice::Splice;
use super::stills::Storyboard;
use super::track::Track;
use super::{Error, fmp4, init};
use crate::media::Source;

/// Cheap to ask; holds about five bytes for each sample of the source.
#[derive(Debug)]
pub struct Package {
    pub movie: Movie,
    pub segmentation: Segmentation,
    /// Largest first.
    pub rungs: Box<[Rung]>,
}

impl Package {
    /// Segments last about this long unless configured otherwise.
    pub const DEFAULT_TARGET: Duration = Duration::from_secs(6);

    /// Reads box headers and `moov`. The same `target` and `ladder` must be used whenever this source is opened, or
    /// playlists and segments will not fit together.
    pub async fn open(source: &dyn Source, target: Duration, ladder: &Ladder) -> Result<Self, Error> {
        Self::new(Movie::open(source).await?, target, ladder)
    }

    pub fn new(movie: Movie, target: Duration, ladder: &Ladder) -> Result<Self, Error> {
        let segmentation = Segmentation::new(&movie, target)?;
        let rungs = movie.video.as_ref().map(|track| ladder.of(track, &segmentation.video));
        Ok(Self { movie, segmentation, rungs: rungs.unwrap_or_default() })
    }

    /// The bytes of an asset. `NotFound` for renditions and segments that the source does not have, and for what is not made
    /// from index and source alone: stills, subtitles, and the media of rungs.
    pub fn asset(&self, asset: &Asset) -> Result<Splice, Error> {
        self.asset_beside(asset, &[])
    }

    /// The same where there are subtitles in these languages beside the source.
    pub fn asset_beside(&self, asset: &Asset, subtitles: &[Language]) -> Result<Splice, Error> {
        match *asset {
            Asset::Master => Ok(Splice::whole(master_playlist(self, subtitles))),
            Asset::Manifest => Ok(Splice::whole(manifest(self, subtitles))),
            Asset::Storyboard => {
                let track = self.movie.video.as_ref().ok_or(Error::NotFound)?;
                Ok(Splice::whole(Storyboard::of(track)?.cues()))
            }
            Asset::SubtitlesPlaylist(language) => Ok(Splice::whole(subtitles_playlist(self, language))),
            Asset::MediaPlaylist(rendition) => Ok(Splice::whole(media_playlist(self, rendition)?)),
            Asset::Keyframes => Ok(Splice::whole(keyframe_playlist(self)?)),
            Asset::Init(Rendition::Rung(_))
            | Asset::Segment(Rendition::Rung(_), _)
            | Asset::Poster
            | Asset::Sprite(_)
            | Asset::Preview
            | Asset::Waveform(_)
            | Asset::Subtitles(_) => Err(Error::NotFound),
            Asset::Init(rendition) => {
                let (track, _) = self.pick(rendition)?;
                Ok(Splice::whole(init::segment(track)))
            }
            Asset::Segment(rendition, number) => {
                let (track, segment) = self.segment(rendition, number)?;
                Ok(fmp4::segment(track, segment, number))
            }
        }
    }

    /// When the last of all tracks ends, in millionths of a second.
    pub(super) fn duration_micros(&self) -> i64 {
        let video = self.movie.video.as_ref().map(|track| (track, &*self.segmentation.video));
        let audio = self.movie.audio.iter().zip(&self.segmentation.audio);
        let all = video.into_iter().chain(audio.map(|(track, segments)| (track, &**segments)));
        let ends = all.filter_map(|(track, segments)| Some(micros(segments.last()?.end, track.timescale)));
        ends.max().unwrap_or(0)
    }

    /// The rung of this name, with the track it is made of.
    pub fn rung(&self, name: u16) -> Result<(&Track, &Rung), Error> {
        let rung = self.rungs.iter().find(|rung| rung.name == name);
        self.movie.video.as_ref().zip(rung).ok_or(Error::NotFound)
    }

    /// The track and segments of a rendition, if the movie has it. Those of a rung are the source's.
    pub(super) fn pick(&self, rendition: Rendition) -> Result<(&Track, &[Segment]), Error> {
        let video = || self.movie.video.as_ref().map(|track| (track, &*self.segmentation.video));
        let found = match rendition {
            Rendition::Source => video(),
            Rendition::Rung(name) => self.rung(name).ok().and_then(|_| video()),
            Rendition::SourceAudio(index) => {
                let segments = self.segmentation.audio.get(usize::from(index)).map(|segments| &**segments);
                self.movie.audio.get(usize::from(index)).zip(segments)
            }
        };
        found.ok_or(Error::NotFound)
    }

    /// Segment `number` (from 1) of a rendition, with its track.
    pub(super) fn segment(&self, rendition: Rendition, number: u32) -> Result<(&Track, &Segment), Error> {
        let (track, segments) = self.pick(rendition)?;
        let index = (number as usize).checked_sub(1).ok_or(Error::NotFound)?;
        Ok((track, segments.get(index).ok_or(Error::NotFound)?))
    }

    /// Whether a rendition has a segment of this number.
    pub fn has_segment(&self, rendition: Rendition, number: u32) -> bool {
        self.segment(rendition, number).is_ok()
    }

    /// Bytes of memory that this holds.
    pub fn weight(&self) -> usize {
        self.movie.weight() + self.segmentation.weight() + size_of_val(&*self.rungs)
    }
}
