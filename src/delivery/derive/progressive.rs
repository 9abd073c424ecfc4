//! Video files as players want them: an index that stands behind the media is delivered as if it stood in front. Nothing is
//! stored for it: the answer is put together from the source's own blocks.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::{sync::Semaphore, task, time};

use super::{
    super::{Core, respond::Available},
    Refusal, entity_tag,
    slots::Slots,
    source::Source,
    video::refusal,
};
use crate::{
    cache::{Fields, Head},
    media::video::{self, Package, Span, Splice, faststart},
};

/// Another order of a source's bytes.
pub struct Arrangement {
    /// The source's, with a tag of its own.
    pub head: Arc<Head>,
    pub splice: Splice,
}

/// What is known of the files asked for last. None: they are delivered as they are.
pub type Arrangements = Slots<Option<Splice>>;

/// Clips that are made at a time: each takes up to some tens of MiB while it is.
const CLIPS_AT_ONCE: usize = 4;
/// How long a request waits until others' clips are made.
const CLIP_PATIENCE: Duration = Duration::from_secs(2);

/// The clips asked for last. Their names are for clients to choose, so they are kept apart from the arrangements.
pub(super) struct Clips {
    made: Slots<Splice>,
    places: Arc<Semaphore>,
}

impl Clips {
    pub(super) fn new(capacity: usize) -> Self {
        Self { made: Slots::new(capacity), places: Arc::new(Semaphore::new(CLIPS_AT_ONCE)) }
    }

    /// On a thread that may block. The place is held to the end of the work, also when nobody waits for it any more.
    async fn make(&self, package: Arc<Package>, span: Span) -> Result<Splice, Refusal> {
        let place = time::timeout(CLIP_PATIENCE, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Refusal::busy()) };
        let making = task::spawn_blocking(move || {
            let _place = place;
            video::clip(&package.movie, span)
        });
        match making.await {
            Ok(made) => made.map_err(|error| refusal(&error)),
            Err(failed) => {
                tracing::error!("making a clip: {failed}");
                Err(Refusal::internal("internal"))
            }
        }
    }
}

impl Core {
    /// How a video file that is available is to be delivered; None: as it is. What has no strong validator is, since its
    /// parts cannot be read at will, and so is what cannot be read: that shows when its bytes are sent.
    pub async fn arrange(&self, available: &Available) -> Option<Arc<Arrangement>> {
        let head = &available.object.head;
        if head.status != StatusCode::OK {
            return None;
        }
        let source = Source::of(&self.fills, available)?;
        let version = source.version()?;
        let tag = entity_tag(head, "faststart")?;
        let plan = async || faststart::plan(&source).await;
        let plan = self.media.arrangements.get_or_make(version, weigh, plan).await;
        let splice = plan.inspect_err(|error| tracing::warn!("looking for a video's index: {error}")).ok()?;
        let splice = Option::clone(&splice)?;
        Some(Arc::new(Arrangement { head: Arc::new(tagged(head, tag)), splice }))
    }
}

impl Core {
    /// A stretch of a video that is available, as a file of its own. None: what is there is no video but an error, to be passed on.
    pub async fn clip(&self, available: &Available, span: Span) -> Result<Option<Arc<Arrangement>>, Refusal> {
        let head = &available.object.head;
        if head.status != StatusCode::OK {
            return Ok(None);
        }
        let source = Source::of(&self.fills, available)
            .ok_or_else(|| Refusal::unclipped("its length is not known"))?;
        let name = match span.end_millis {
            Some(end) => format!("clip:{}-{end}", span.start_millis),
            None => format!("clip:{}-", span.start_millis),
        };
        let tagged_head = source.version().zip(entity_tag(head, &name));
        let (version, tag) = tagged_head.ok_or_else(|| Refusal::unclipped("its version is not known"))?;
        let package = self.package(&source).await.map_err(|error| refusal(&error))?;
        let clips = &self.media.clips;
        let make = async || clips.make(package.clone(), span).await;
        let splice = clips.made.get_or_make(format!("{version}\n{name}"), weigh_splice, make).await?;
        let mut head = tagged(head, tag);
        let kind = if package.movie.video.is_some() { "video/mp4" } else { "audio/mp4" };
        let mut headers: HeaderMap = head.fields.to_header_map();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        for name in ["content-digest", "repr-digest", "digest", "content-md5"] {
            headers.remove(name);
        }
        head.fields = Fields::from(&headers);
        Ok(Some(Arc::new(Arrangement { head: Arc::new(head), splice: Splice::clone(&splice) })))
    }
}

fn weigh(splice: &Option<Splice>) -> usize {
    splice.as_ref().map_or(0, weigh_splice)
}

fn weigh_splice(splice: &Splice) -> usize {
    splice.header.len() + size_of_val(&*splice.ranges)
}

impl Refusal {
    /// Of what no clip can be made of.
    pub fn unclipped(why: &str) -> Self {
        let detail = format!("nothing can be cut out of this: {why}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "uncacheable", detail)
    }
}

fn tagged(head: &Head, tag: HeaderValue) -> Head {
    let mut headers: HeaderMap = head.fields.to_header_map();
    headers.insert(header::ETAG, tag);
    Head { fields: Fields::from(&headers), ..head.clone() }
}
