//! Derived objects: made from a source that is read through the same cache, and stored like any other.
//!
//! A derived answer carries the source's lifetime, and an entity tag made from the source's validator and the
//! operation. So it goes stale with its source, and is confirmed by comparing tags instead of being made again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use millrace_kit::clock::UnixMillis;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    fill::{Ask, Upstream},
    outcome::{Outcome, Reason, Served},
    response::Response,
};
use crate::{
    cache::{Head, purge::ANY_TAG, validator},
    origin,
};

mod coded;
mod gate;
mod hot_segment;
mod image_variant;
mod improve;
mod own_segment;
mod poster;
mod progressive;
mod rung;
mod slots;
mod source;
mod stills;
mod subtitles;
mod video;

pub use coded::CodedVariant;
pub use gate::{Media, MediaConfig, SetupError};
pub use image_variant::ImageVariant;
pub use improve::{Candidate, Improvable};
pub use progressive::Arrangement;
pub use source::{Address, SourceError, Want, as_origin_error};
pub use video::VideoAsset;

/// Raised whenever an operation's output changes, so that old and new are never taken for each other.
const OPERATIONS_VERSION: u32 = 3;

/// Something that is made of a source, whole.
trait Derived: Send + Sync {
    fn make(&self, ask: &Ask) -> impl Future<Output = Result<origin::Response, SourceError>> + Send;

    /// Whether it is left unfinished when nobody waits for it.
    fn is_costly(&self) -> bool {
        false
    }
}

impl<T: Derived> Upstream for T {
    fn open(&self, ask: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>> {
        async move { self.make(&ask).await.or_else(SourceError::into_answer) }.boxed()
    }

    fn is_selective(&self) -> bool {
        false
    }

    fn is_costly(&self) -> bool {
        Derived::is_costly(self)
    }

    fn is_abandonable(&self) -> bool {
        true
    }
}

/// The reason when the source has been answered with an error.
const SOURCE: &str = "source";

/// Why there is no derived object; becomes an answer like an origin's.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    /// A word for metrics.
    pub reason: &'static str,
    /// Shown to the client.
    pub detail: String,
    pub retry_after_secs: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status, reason, detail: detail.into(), retry_after_secs: None }
    }

    fn busy() -> Self {
        let detail = "too much media work is waiting; try again shortly";
        Self { retry_after_secs: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    fn internal(reason: &'static str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            reason,
            "the operation failed; the server's log says why",
        )
    }

    /// As an answer of its own, where nothing is stored.
    pub fn into_problem(self, served: Served) -> Response {
        let reason = match self.status.is_client_error() {
            true => Reason::BadRequest,
            false => Reason::Internal,
        };
        let served = Served { outcome: Outcome::Error, reason, ..served };
        let response = Response::problem(self.status, &self.detail, served);
        match self.retry_after_secs {
            Some(seconds) => response.with(header::RETRY_AFTER, seconds),
            None => response,
        }
    }

    /// Whether the next attempt would most probably end like this one. Not when there is only too much to do, or when it is
    /// the source's origin that is in trouble.
    fn is_lasting(&self) -> bool {
        match self.reason {
            SOURCE => matches!(self.status, StatusCode::NOT_FOUND | StatusCode::GONE),
            _ => self.status != StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is lasting is remembered for a moment, so that a crowd does not try it again and again.
    fn into_response(self) -> origin::Response {
        let lasting = self.is_lasting();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let control = if lasting { "public, max-age=10" } else { "no-store" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        // The tags of what it is about are not known here.
        headers.insert(CACHE_TAG, HeaderValue::from_static(ANY_TAG));
        if let Some(seconds) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body =
            serde_json::json!({ "status": self.status.as_u16(), "title": title, "reason": self.reason, "detail": self.detail })
                .to_string();
        whole(self.status, headers, body.into())
    }
}

/// Fields that a derived answer takes over from its source: together they give it the source's remaining lifetime, and
/// its end.
const INHERITED: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::DATE,
    header::LAST_MODIFIED,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    SURROGATE_KEY,
    CACHE_TAG,
];

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The head of what `operation` (canonical text) makes of a source.
fn derived_fields(source: &Head, operation: &str, content_type: &'static str, now: UnixMillis) -> HeaderMap {
    let stored = source.fields.to_header_map();
    let mut headers = HeaderMap::new();
    for name in INHERITED {
        for value in stored.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers.insert(header::AGE, HeaderValue::from(source.freshness.age(now).max(0) / 1000));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(tag) = entity_tag(source, operation) {
        headers.insert(header::ETAG, tag);
    }
    headers
}

/// Strong: the same operation on the same version gives the same bytes. None when the source's version is unknown.
fn entity_tag(source: &Head, operation: &str) -> Option<HeaderValue> {
    let version = validator::strong(&source.fields)?;
    let text = [version, b"\n", operation.as_bytes(), b"\n", &OPERATIONS_VERSION.to_le_bytes()].concat();
    HeaderValue::try_from(format!("\"{:032x}\"", xxh3_128(&text))).ok()
}

/// The 304 that confirms a stored derived object, when its source has not changed.
fn confirm(ask: &Ask, fields: &HeaderMap) -> Option<origin::Response> {
    let stored = ask.validate.as_ref()?;
    let unchanged = validator::strong(&stored.fields).is_some()
        && validator::strong(&stored.fields) == validator::strong(fields);
    unchanged.then(|| whole(StatusCode::NOT_MODIFIED, fields.clone(), Bytes::new()))
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> origin::Response {
    let content_length = Some(body.len() as u64);
    let body = stream::iter((!body.is_empty()).then_some(Ok(body))).boxed();
    origin::Response { status, headers, content_length, body, origin: Arc::from("derived") }
}
