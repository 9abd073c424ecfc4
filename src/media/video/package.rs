//! A movie with its cuts: what the delivery of a video keeps in memory and asks for every playlist and segment.

use std::time::Duration;

use super::asset::{Asset, Rendition};
use super::manifest::manifest;
use super::movie::Movie;
use super::playlist::{master_playlist, media_playlist, pick};
use super::segments::Segmentation;
use super::splice::Splice;
use super::{Error, fmp4, init};
use crate::media::Source;

/// Cheap to ask; holds about five bytes for each sample of the source.
#[derive(Debug)]
pub struct Package {
    pub movie: Movie,
    pub segmentation: Segmentation,
}

impl Package {
    /// Segments last about this long unless configured otherwise.
    pub const DEFAULT_TARGET: Duration = Duration::from_secs(6);

    /// Reads box headers and `moov`. The same `target` must be used whenever this source is opened, or playlists and
    /// segments will not fit together.
    pub async fn open(source: &dyn Source, target: Duration) -> Result<Self, Error> {
        Self::new(Movie::open(source).await?, target)
    }

    pub fn new(movie: Movie, target: Duration) -> Result<Self, Error> {
        let segmentation = Segmentation::new(&movie, target)?;
        Ok(Self { movie, segmentation })
    }

    /// The bytes of an asset. `NotFound` for renditions and segments that the source does not have, and for stills,
    /// which are not made from the index alone.
    pub fn asset(&self, asset: &Asset) -> Result<Splice, Error> {
        match *asset {
            Asset::Master => Ok(Splice::whole(master_playlist(&self.movie, &self.segmentation))),
            Asset::Manifest => Ok(Splice::whole(manifest(&self.movie, &self.segmentation))),
            Asset::MediaPlaylist(rendition) => {
                Ok(Splice::whole(media_playlist(&self.movie, &self.segmentation, rendition)?))
            }
            Asset::Init(rendition) => {
                let (track, _) = pick(&self.movie, &self.segmentation, rendition)?;
                Ok(Splice::whole(init::segment(track)))
            }
            Asset::Segment(rendition, number) => self.segment(rendition, number),
            Asset::Poster => Err(Error::NotFound),
        }
    }

    /// Bytes of memory that this holds.
    pub fn weight(&self) -> usize {
        self.movie.weight() + self.segmentation.weight()
    }

    fn segment(&self, rendition: Rendition, number: u32) -> Result<Splice, Error> {
        let (track, segments) = pick(&self.movie, &self.segmentation, rendition)?;
        let index = (number as usize).checked_sub(1).ok_or(Error::NotFound)?;
        let segment = segments.get(index).ok_or(Error::NotFound)?;
        Ok(fmp4::segment(track, segment, number))
    }
}
