//! Smaller renditions of a video: segments encoded when somebody wants them, once for everybody who does, and sent while they
//! are made.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use tokio::sync::OnceCell;

use super::{Media, Refusal, slots::Slots, source::Source, video};
use crate::{
    delivery::Core,
    media::{
        encodes::{self, Encodes, Expected, Ticket, Urgency},
        ffmpeg,
        video::{Encoder, Error, Package, Rendition, TranscodeError, Transcoder},
    },
    origin,
};

/// Memory for what encoders say before their first picture: about a hundred bytes a rung.
const ENTRY_BYTES: usize = 1 << 20;
/// What is told to try again is told to do so after this.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// What is shared by all encodes.
pub(super) struct Rungs {
    pub(super) encodes: Arc<Encodes>,
    transcoder: OnceCell<Option<Arc<Transcoder>>>,
    entries: Slots<Bytes>,
}

impl Rungs {
    pub(super) fn new(config: encodes::Config) -> Self {
        Self { encodes: Encodes::new(config), transcoder: OnceCell::new(), entries: Slots::new(ENTRY_BYTES) }
    }
}

/// A segment that is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) rung: u16,
    pub(super) number: u32,
    pub(super) what: u128,
    pub(super) urgency: Urgency,
}

impl Media {
    /// What encodes here, tried out when it is first needed. None: nothing does, and videos are passed on as they are.
    pub async fn transcoder(&self) -> Option<Arc<Transcoder>> {
        let found = self.rungs.transcoder.get_or_init(async || {
            let choice = self.config.encoder.filter(|_| !self.config.ladder.is_empty())?;
            match Transcoder::find(&self.config.ffmpeg, choice).await {
                Ok(Some(transcoder)) => Some(Arc::new(transcoder)),
                Ok(None) => {
                    tracing::error!("this ffmpeg cannot encode H.264: videos are passed on as they are");
                    None
                }
                Err(error) => {
                    tracing::error!(
                        "{error}: videos are passed on as they are, and have no stills; all else works"
                    );
                    None
                }
            }
        });
        found.await.clone()
    }

    /// Something will be made ahead of time.
    pub fn expect(&self, what: u128) -> Expected {
        self.rungs.encodes.expect(what)
    }

    /// Somebody wants what may be waiting to be made ahead of time.
    pub fn hurry(&self, what: u128, urgency: Urgency) {
        self.rungs.encodes.hurry(what, urgency);
    }

    pub(super) async fn init_of(
        &self,
        source: &Source,
        package: &Arc<Package>,
        rung: u16,
    ) -> Result<Bytes, Refusal> {
        package.rung(rung).map_err(|error| video::refusal(&error))?;
        let transcoder = self.transcoder().await.ok_or_else(no_encoder)?;
        let entry = self.entry(&transcoder, source, package, rung).await?;
        Transcoder::init(package, rung, &entry).map_err(|error| video::refusal(&error))
    }

    /// The body of a segment. A place in the queue is taken at once, or refused; the rest happens while the body is read.
    pub(super) async fn segment_of(
        core: &Arc<Core>,
        source: Source,
        package: Arc<Package>,
        wanted: Wanted,
    ) -> Result<origin::Body, Refusal> {
        let Wanted { rung, number, what, urgency } = wanted;
        let media = &core.media;
        if !package.has_segment(Rendition::Rung(rung), number) {
            return Err(video::refusal(&Error::NotFound));
        }
        let transcoder = media.transcoder().await.ok_or_else(no_encoder)?;
        let entry = media.entry(&transcoder, &source, &package, rung).await?;
        let ticket = media.rungs.encodes.enter(what, urgency).map_err(|_| Refusal::busy())?;
        let encode =
            Encode { core: core.clone(), encoder: transcoder.encoder(), begun: Instant::now(), ended: false };
        let made = async move {
            let Ok(permit) = ticket.permit().await else {
                return stream::iter([Err(unavailable())]).boxed();
            };
            let pieces =
                transcoder.segment(Arc::new(source), package, (rung, number), entry, permit.urgency());
            // Both go with the last piece, or when the body is dropped.
            let mut encode = encode;
            encode.begun = Instant::now();
            let held =
                stream::unfold((pieces, encode, permit), |(mut pieces, mut encode, permit)| async move {
                    match pieces.next().await {
                        Some(Ok(bytes)) => Some((Ok(bytes), (pieces, encode, permit))),
                        Some(Err(error)) => {
                            encode.end(Some(&error));
                            Some((Err(broken(&error)), (stream::empty().boxed(), encode, permit)))
                        }
                        None => {
                            encode.end(None);
                            None
                        }
                    }
                });
            held.boxed()
        };
        Ok(stream::once(made).flatten().boxed())
    }

    /// The sample entry of a rung of this version of a source.
    pub(super) async fn entry(
        &self,
        transcoder: &Transcoder,
        source: &Source,
        package: &Package,
        rung: u16,
    ) -> Result<Bytes, Refusal> {
        let make = async || {
            let ticket: Ticket = self.rungs.encodes.enter(0, Urgency::First).map_err(|_| Refusal::busy())?;
            let _permit = ticket.permit().await.map_err(|_| Refusal::busy())?;
            let begun = Instant::now();
            let entry = transcoder.entry(source, package, rung).await.map_err(|error| {
                let refusal = refusal(&error);
                self.instruments.errors.with_label_values(&["encode_init", refusal.reason]).inc();
                refusal
            })?;
            let seconds = begun.elapsed().as_secs_f64();
            self.instruments.duration.with_label_values(&["encode_init"]).observe(seconds);
            Ok(entry)
        };
        match source.version() {
            Some(version) => {
                let name = format!("{version}\n{rung}\n{}", transcoder.encoder());
                self.rungs.entries.get_or_make(name, Bytes::len, make).await.map(|entry| Bytes::clone(&entry))
            }
            None => make().await,
        }
    }
}

/// An encode as metrics see it: dropped before its end, it was left.
struct Encode {
    core: Arc<Core>,
    encoder: Encoder,
    begun: Instant,
    ended: bool,
}

impl Encode {
    fn end(&mut self, error: Option<&TranscodeError>) {
        self.ended = true;
        let instruments = &self.core.media.instruments;
        match error {
            None => {
                let seconds = self.begun.elapsed().as_secs_f64();
                instruments.duration.with_label_values(&["encode"]).observe(seconds);
                self.count("ok");
            }
            Some(error) => {
                instruments.errors.with_label_values(&["encode", refusal(error).reason]).inc();
                self.count("failed");
            }
        }
    }

    fn count(&self, result: &str) {
        self.core.media.instruments.encodes.with_label_values(&[self.encoder.name(), result]).inc();
    }
}

impl Drop for Encode {
    fn drop(&mut self) {
        if !self.ended {
            self.count("left");
        }
    }
}

fn no_encoder() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ffmpeg_missing", "this server has no usable ffmpeg")
}

/// Something more urgent has taken the place.
fn unavailable() -> origin::Error {
    let detail = "too many encodes are waiting".to_owned();
    let error = origin::Error::new(&Arc::from("derived"), origin::ErrorKind::Unavailable, detail);
    origin::Error { retry_after: Some(RETRY_AFTER), ..error }
}

fn broken(error: &TranscodeError) -> origin::Error {
    origin::Error::new(&Arc::from("derived"), origin::ErrorKind::BrokenBody, error.to_string())
}

fn refusal(error: &TranscodeError) -> Refusal {
    match error {
        TranscodeError::Video(error) => video::refusal(error),
        // By the system, for want of memory: the video may be as good as any.
        TranscodeError::Ffmpeg(ffmpeg::Error::Failed { status, .. }) if status.contains("SIGKILL") => {
            tracing::warn!("{error}");
            Refusal::busy()
        }
        TranscodeError::NoPictures
        | TranscodeError::Otherwise
        | TranscodeError::Ffmpeg(ffmpeg::Error::Failed { .. }) => {
            tracing::warn!("{error}");
            let detail = "the pictures of this video cannot be decoded";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "video_undecodable", detail)
        }
        TranscodeError::Ffmpeg(ffmpeg::Error::Missing { .. } | ffmpeg::Error::TooOld { .. }) => {
            tracing::error!("{error}");
            no_encoder()
        }
        TranscodeError::Ffmpeg(ffmpeg::Error::TimedOut { .. }) => {
            tracing::warn!("{error}");
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "ffmpeg_timeout", "encoding took too long")
        }
        TranscodeError::Ffmpeg(ffmpeg::Error::Input(error)) => {
            Refusal::new(StatusCode::BAD_GATEWAY, "source", error.to_string())
        }
        TranscodeError::Ffmpeg(error) => {
            tracing::error!("{error}");
            Refusal::internal("ffmpeg")
        }
    }
}
