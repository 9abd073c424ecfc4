//! Video files as players want them: an index that stands behind the media is delivered as if it stood in front. Nothing is
//! stored for it: the answer is put together from the source's own blocks.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    super::{Core, respond::Available},
    entity_tag,
    slots::Slots,
    source::Source,
};
use crate::{
    cache::{Fields, Head},
    media::video::{Splice, faststart},
};

/// Another order of a source's bytes.
pub struct Arrangement {
    /// The source's, with a tag of its own.
    pub head: Arc<Head>,
    pub splice: Splice,
}

/// What is known of the files asked for last. None: they are delivered as they are.
pub type Arrangements = Slots<Option<Splice>>;

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
        let weigh = |splice: &Option<Splice>| splice.as_ref().map_or(0, |splice| splice.header.len());
        let plan = async || faststart::plan(&source).await;
        let plan = self.media.arrangements.get_or_make(version, weigh, plan).await;
        let splice = plan.inspect_err(|error| tracing::warn!("looking for a video's index: {error}")).ok()?;
        let splice = Option::clone(&splice)?;
        Some(Arc::new(Arrangement { head: Arc::new(tagged(head, tag)), splice }))
    }
}

fn tagged(head: &Head, tag: HeaderValue) -> Head {
    let mut headers: HeaderMap = head.fields.to_header_map();
    headers.insert(header::ETAG, tag);
    Head { fields: Fields::from(&headers), ..head.clone() }
}
