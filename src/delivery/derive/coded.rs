//! An object in a content coding, as something that answers like an origin.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{
    super::{Core, coding, fill::Ask, resolve::Query},
    Derived, Refusal, confirm,
    gate::Task,
    source::{SourceError, as_origin_error},
    whole,
};
use crate::{
    cache::{FieldLines, Head},
    media::coding::Coding,
    origin,
};

/// 200 with the coded bytes, or 204 when they would not be shorter.
pub struct CodedVariant {
    pub core: Arc<Core>,
    /// Finds the object as it came.
    pub source: Query,
    /// Of the object that its key is made of.
    pub version: u64,
    pub coding: Coding,
}

/// Fields that speak of other bytes than the coded ones.
const OF_THE_SOURCE: [HeaderName; 6] = [
    // Told with each answer; here it would lead to variants of the variant.
    header::VARY,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

impl Derived for CodedVariant {
    async fn make(&self, ask: &Ask) -> Result<origin::Response, SourceError> {
        let source = self.core.source_of(&self.source, &ask.born).await?;
        if coding::version(source.head()) != self.version {
            // It has changed under us: it is coded when it is asked for.
            return Err(SourceError::Refused(Refusal::busy()));
        }
        let mut fields = coded_fields(source.head(), self.coding, self.core.clock().unix_millis());
        if let Some(confirmed) = confirm(ask, &fields) {
            return Ok(confirmed);
        }
        let media = &self.core.media;
        let place = media.enter().map_err(SourceError::Refused)?;
        let _room = media.room_for_source(&place, source.length()).await.map_err(SourceError::Refused)?;
        let bytes = source.read_all().await.map_err(|error| SourceError::Origin(as_origin_error(&error)))?;
        let (coding, length) = (self.coding, bytes.len());
        let encode = move || {
            coding.encode(&bytes).map_err(|error| {
                tracing::error!(coding = coding.as_str(), "{error}");
                Refusal::internal("coding")
            })
        };
        let coded = media.run(Task::awaited("coding"), encode).await.map_err(SourceError::Refused)?.result;
        if coded.len() < length {
            return Ok(whole(StatusCode::OK, fields, coded));
        }
        fields.remove(header::CONTENT_ENCODING);
        Ok(whole(StatusCode::NO_CONTENT, fields, Bytes::new()))
    }
}

/// The source's, with a tag of its own: two forms that differ in their bytes must not share a strong one (RFC 9110 §8.8.3.3).
fn coded_fields(source: &Head, coding: Coding, now: UnixMillis) -> HeaderMap {
    let mut fields = source.fields.to_header_map();
    for name in OF_THE_SOURCE {
        fields.remove(name);
    }
    let tag = source.fields.first("etag").and_then(|tag| with_suffix(tag, coding));
    match tag {
        Some(tag) => fields.insert(header::ETAG, tag),
        None => fields.remove(header::ETAG),
    };
    fields.insert(header::AGE, HeaderValue::from(source.freshness.age(now).max(0) / 1000));
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    fields
}

fn with_suffix(tag: &[u8], coding: Coding) -> Option<HeaderValue> {
    let text = tag.strip_suffix(b"\"")?;
    HeaderValue::from_bytes(&[text, b"-", coding.as_str().as_bytes(), b"\""].concat()).ok()
}
