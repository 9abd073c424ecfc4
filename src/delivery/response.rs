//! What delivery answers, before it becomes HTTP on a connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{fill, outcome::Served};
use crate::{
    cache::{FieldLines, Head, validator},
    origin,
};

/// A body that broke: the connection must be cut, so that nobody takes the rest for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Fill(#[from] fill::Error),
    #[error(transparent)]
    Origin(#[from] origin::Error),
    #[error("the client takes too little of it")]
    SlowClient,
    #[error("the body ended {missing} bytes before its announced length")]
    Short { missing: u64 },
}

pub enum Body {
    Empty,
    Full(Bytes),
    Stream {
        /// None: unknown, so the message is chunked.
        length: Option<u64>,
        bytes: BoxStream<'static, Result<Bytes, BodyError>>,
    },
}

/// The end-to-end fields that came with the answer.
pub enum Fields {
    Stored(Arc<Head>),
    Own(HeaderMap),
}

pub struct Response {
    pub status: StatusCode,
    pub fields: Fields,
    /// Ours, replacing those of the same name in `fields`.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// `Age` in seconds, of what comes from the store.
    pub age: Option<i64>,
    /// Whether parts of it can be asked for.
    pub accepts_ranges: bool,
    pub body: Body,
    /// To a HEAD request: the length that GET would have had; no body.
    pub head_length: Option<u64>,
    pub served: Served,
    /// Whether it is for us to say which pages may read it, and not for those of `fields`.
    pub own_cors: bool,
    /// To be shown in `Cache-Status`.
    pub key: Option<String>,
}

/// How long the head of an answer waits for the first bytes behind it. Bytes that break off at once would take the head with them.
const FIRST: Duration = Duration::from_millis(10);

/// These bytes, unless the first thing that comes is that they break off.
pub async fn begun(mut bytes: origin::Body) -> Result<origin::Body, origin::Error> {
    match tokio::time::timeout(FIRST, bytes.next()).await {
        Ok(Some(first)) => Ok(stream::iter([Ok(first?)]).chain(bytes).boxed()),
        Ok(None) => Ok(stream::empty().boxed()),
        // Some speak first and think then.
        Err(_) => Ok(bytes),
    }
}

impl Body {
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Stream { length, .. } => *length,
        }
    }
}

impl Response {
    pub fn new(status: StatusCode, fields: Fields, body: Body, served: Served) -> Self {
        let (added, age, accepts_ranges) = (Vec::new(), None, false);
        let (head_length, own_cors, key) = (None, false, None);
        Self { status, fields, added, age, accepts_ranges, body, head_length, served, own_cors, key }
    }

    /// Whether `fields` gives way to something of this name.
    pub fn replaces(&self, name: &[u8]) -> bool {
        (self.accepts_ranges && name == b"accept-ranges")
            || (self.age.is_some() && name == b"age")
            || (self.own_cors && name.starts_with(b"access-control-"))
            || (self.is_cut() && validator::OF_ALL_BYTES.iter().any(|one| one.as_bytes() == name))
            || self.added.iter().any(|(ours, _)| ours.as_str().as_bytes() == name)
    }

    /// Whether it is a part that was cut out of what is stored.
    fn is_cut(&self) -> bool {
        self.status == StatusCode::PARTIAL_CONTENT && matches!(self.fields, Fields::Stored(_))
    }

    /// Whether browsers take it for a page.
    pub fn is_page(&self) -> bool {
        let html = |value: &[u8]| {
            value.split_at_checked(9).is_some_and(|(essence, _)| essence.eq_ignore_ascii_case(b"text/html"))
        };
        match &self.fields {
            Fields::Stored(head) => head.fields.first("content-type").is_some_and(html),
            Fields::Own(headers) => {
                headers.get(http::header::CONTENT_TYPE).is_some_and(|value| html(value.as_bytes()))
            }
        }
    }

    /// An error of ours as problem details (RFC 9457), with the reason in the word of metrics. `detail` is shown to the client.
    pub fn problem(status: StatusCode, detail: &str, served: Served) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let reason = served.reason.as_str();
        let body = serde_json::json!({ "status": status.as_u16(), "title": title, "reason": reason, "detail": detail });
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self::new(status, Fields::Own(headers), Body::Full(body.to_string().into()), served)
    }

    pub fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.added.push((name, value));
        }
        self
    }
}
