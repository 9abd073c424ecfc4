//! Looks into what has been stored: how long, how large, in which codecs. From headers alone, with what the media operations know
//! of them.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};

use crate::{
    media::{
        ReadError, Source, image,
        video::{self, Format, Movie, Track},
    },
    store::Content,
    upload::{Aftercare, Asset, FoundOut, Probed},
};

/// Within which the headers of an image are looked for.
const IMAGE_HEAD: u64 = 1 << 20;
/// More codecs than this are not told of.
const MOST_CODECS: usize = 8;

pub struct Look;

/// A blob, as media operations read it.
struct BlobSource(Arc<dyn Content>);

impl Aftercare for Look {
    fn concerns(&self, media_type: &str) -> bool {
        matches!(kind_of(media_type), "image" | "video" | "audio")
    }

    fn look<'a>(&'a self, asset: &'a Asset, content: Arc<dyn Content>) -> BoxFuture<'a, FoundOut> {
        let source = BlobSource(content);
        let kind = kind_of(&asset.media_type);
        async move {
            match kind {
                "image" => look_at_image(&source).await,
                "video" | "audio" => look_at_movie(&source).await,
                _ => Some(Probed::default()),
            }
        }
        .boxed()
    }
}

fn kind_of(media_type: &str) -> &str {
    media_type.split('/').next().unwrap_or_default()
}

async fn look_at_image(source: &BlobSource) -> FoundOut {
    let head = source.read(0..source.len().min(IMAGE_HEAD)).await.ok()?;
    // What cannot be read as one is nothing that was promised.
    let size = image::probe(&head).ok().map(|probe| probe.size());
    Some(Probed { size: size.map(|size| (size.width, size.height)), ..Probed::default() })
}

async fn look_at_movie(source: &BlobSource) -> FoundOut {
    let movie = match Movie::open(source).await {
        Ok(movie) => movie,
        Err(video::Error::Read(_)) => return None,
        Err(_) => return Some(Probed::default()),
    };
    let tracks = || movie.video.iter().chain(&movie.audio);
    let size = movie.video.as_ref().and_then(|track| match track.format {
        Format::Video(format) => Some(format.shown()),
        Format::Audio(_) => None,
    });
    let mut codecs: Vec<_> = tracks().map(|track| track.codec.clone()).collect();
    codecs.dedup();
    codecs.truncate(MOST_CODECS);
    Some(Probed {
        duration_ms: tracks().map(duration_ms).max(),
        size: size.map(|(width, height)| (width.into(), height.into())),
        codecs,
    })
}

fn duration_ms(track: &Track) -> u64 {
    let (begin, end) = (track.samples.decode_time(track.first), track.samples.decode_time(track.end));
    let ticks = u128::from(end.saturating_sub(begin));
    u64::try_from(ticks * 1000 / u128::from(track.timescale.max(1))).unwrap_or(u64::MAX)
}

impl Source for BlobSource {
    fn len(&self) -> u64 {
        self.0.length()
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        async move {
            let mut read = Vec::new();
            let mut pieces = self.0.clone().stream(range);
            while let Some(piece) = pieces.next().await {
                read.extend_from_slice(&piece.map_err(|error| ReadError { detail: error.to_string() })?);
            }
            match read.len() == wanted {
                true => Ok(read.into()),
                false => Err(ReadError { detail: "it is cut off".to_owned() }),
            }
        }
        .boxed()
    }
}
