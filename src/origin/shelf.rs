//! Assets of our own as an origin: what stands on a [`Shelf`] is served below one path, as an HTTP server in front of it would.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::{
    Error, ErrorKind, Origin, Request, Response, path,
    precondition::{self, Verdict},
    range::{self, Selection},
    validators::{Validators, http_date},
};

/// What finds assets by their keys.
pub trait Shelf: Send + Sync {
    fn find<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Item>, String>>;
}

/// The bytes of an item, which do not change.
pub trait Pages: Send + Sync {
    /// All bytes of a range, as they are taken. An `Err` item is the last one.
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, String>>;
}

pub struct Item {
    /// Strong, with quotes.
    pub etag: String,
    pub media_type: String,
    /// To be saved rather than shown.
    pub attachment: bool,
    /// Milliseconds since 1970.
    pub modified: i64,
    pub length: u64,
    /// By which purges name it.
    pub tags: Vec<String>,
    pub pages: Arc<dyn Pages>,
}

pub struct Shelved {
    name: Arc<str>,
    /// Path below which it is asked, without a slash at its end.
    below: &'static str,
    cache_control: HeaderValue,
    shelf: Arc<dyn Shelf>,
}

/// A page that is opened by itself can do nothing, and load nothing.
const POLICY: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'");

impl Shelved {
    pub fn new(name: &str, below: &'static str, cache_control: HeaderValue, shelf: Arc<dyn Shelf>) -> Self {
        Self { name: name.into(), below, cache_control, shelf }
    }

    async fn answer(&self, request: Request) -> Result<Response, Error> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let mut answer = self.empty(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
            return Ok(answer);
        }
        let segments = path::segments(&request.target)
            .map_err(|problem| Error::new(&self.name, ErrorKind::Forbidden, problem.to_string()))?;
        let key = segments.get(1..).unwrap_or_default().join("/");
        let found = self.shelf.find(&key).await;
        let found = found.map_err(|detail| Error::new(&self.name, ErrorKind::Io, detail))?;
        let Some(item) = found else { return Ok(self.empty(StatusCode::NOT_FOUND)) };
        let now = SystemTime::now();
        let modified = UNIX_EPOCH + Duration::from_millis(u64::try_from(item.modified).unwrap_or(0));
        let mut answer = self.empty(StatusCode::OK);
        let fields = &mut answer.headers;
        let put = |fields: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                fields.insert(name, value);
            }
        };
        let text = |text: String| HeaderValue::try_from(text).ok();
        put(fields, header::ETAG, text(item.etag.clone()));
        put(fields, header::LAST_MODIFIED, http_date(modified));
        fields.insert(header::CACHE_CONTROL, self.cache_control.clone());
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        put(fields, HeaderName::from_static("cache-tag"), text(item.tags.join(", ")));
        if item.attachment {
            fields.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            fields.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        }
        let current = Validators::of_fields(fields);
        match precondition::judge(&request.headers, &current) {
            Verdict::Send => {}
            Verdict::NotModified => {
                answer.status = StatusCode::NOT_MODIFIED;
                return Ok(answer);
            }
            Verdict::Failed => return Ok(self.empty(StatusCode::PRECONDITION_FAILED)),
        }
        let selection = match request.method == Method::GET
            && precondition::range_applies(&request.headers, &current, now)
        {
            true => range::select(&request.headers, item.length),
            false => Selection::Whole,
        };
        let part = match selection {
            Selection::Whole => 0..item.length,
            Selection::Part(part) => {
                answer.status = StatusCode::PARTIAL_CONTENT;
                let value = format!("bytes {}-{}/{}", part.start, part.end - 1, item.length);
                put(&mut answer.headers, header::CONTENT_RANGE, text(value));
                part
            }
            Selection::Unsatisfiable => {
                let mut answer = self.empty(StatusCode::RANGE_NOT_SATISFIABLE);
                put(&mut answer.headers, header::CONTENT_RANGE, text(format!("bytes */{}", item.length)));
                return Ok(answer);
            }
        };
        put(&mut answer.headers, header::CONTENT_TYPE, text(item.media_type));
        answer.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
        if request.method == Method::GET {
            answer.content_length = Some(part.end - part.start);
            let origin = self.name.clone();
            let failed = move |detail| Error::new(&origin, ErrorKind::Io, detail);
            answer.body = item.pages.stream(part).map(move |read| read.map_err(&failed)).boxed();
        }
        Ok(answer)
    }

    fn empty(&self, status: StatusCode) -> Response {
        let mut headers = HeaderMap::with_capacity(12);
        if let Some(date) = http_date(SystemTime::now()) {
            headers.insert(header::DATE, date);
        }
        let body = stream::empty().boxed();
        Response { status, headers, content_length: Some(0), body, origin: self.name.clone() }
    }
}

impl Origin for Shelved {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.answer(request).boxed()
    }

    fn serves(&self, target: &str) -> bool {
        target.strip_prefix(self.below).is_some_and(|rest| rest.starts_with('/'))
    }
}
