//! A local directory as an origin: what an HTTP server in front of it would answer, preconditions and single ranges
//! included. Lists no directories and implies no `index.html`. All file work runs on the blocking pool.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use self::file::{Lookup, Opened};
use super::{
    Body, Error, ErrorKind, Origin, Request, Response, SetupError, content_type,
    precondition::{self, Verdict},
    range::{self, Selection},
    validators,
};

mod file;
mod path;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    /// Looked up anew at each request, so that it may be a link that deployments swing over.
    pub root: PathBuf,
    /// What requests must begin with; taken off before the path is looked for.
    pub strip_prefix: String,
    /// `Cache-Control` of each file.
    pub cache_control: String,
    /// Off: a path through any symbolic link is answered 404. On: links are followed wherever they lead, out of the
    /// root too, and whoever can write to the tree decides what is served.
    pub follow_symlinks: bool,
}

pub struct Directory {
    name: Arc<str>,
    strip_prefix: String,
    site: Arc<Site>,
}

/// What the blocking side needs to answer.
struct Site {
    root: PathBuf,
    cache_control: HeaderValue,
    follow_symlinks: bool,
}

/// An answer whose head is complete and whose body is still in the file.
struct Prepared {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<file::Reader>,
}

impl Config {
    pub fn new(name: impl Into<Arc<str>>, root: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            root: root.into(),
            strip_prefix: String::new(),
            cache_control: "public, max-age=60".to_owned(),
            follow_symlinks: false,
        }
    }
}

impl Directory {
    /// Fails if the root is no directory now. Should it vanish later, requests fail with `Io` rather than "404".
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let Config { name, root, strip_prefix, cache_control, follow_symlinks } = config;
        if let Err(error) = std::fs::read_dir(&root) {
            let (path, detail) = (root.display().to_string(), error.to_string());
            return Err(SetupError::NotADirectory { origin: name, path, detail });
        }
        let Ok(cache_control) = HeaderValue::try_from(cache_control) else {
            return Err(SetupError::FieldValue { origin: name, field: "cache_control" });
        };
        Ok(Self { name, strip_prefix, site: Arc::new(Site { root, cache_control, follow_symlinks }) })
    }

    async fn answer(&self, request: Request) -> Result<Response, Error> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Ok(self.respond(Prepared::not_allowed()));
        }
        let path = super::path::below(&self.strip_prefix, &request.target)
            .and_then(|target| path::decode(&target))
            .map_err(|problem| Error::new(&self.name, ErrorKind::Forbidden, problem.to_string()))?;
        let Some(path) = path else {
            return Ok(self.respond(Prepared::not_found()));
        };
        let site = Arc::clone(&self.site);
        let Request { method, headers, .. } = request;
        match tokio::task::spawn_blocking(move || site.prepare(&path, &method, &headers)).await {
            Ok(Ok(prepared)) => Ok(self.respond(prepared)),
            Ok(Err(error)) => Err(Error::new(&self.name, ErrorKind::Io, error.to_string())),
            Err(stopped) => Err(Error::new(&self.name, ErrorKind::Io, stopped.to_string())),
        }
    }

    fn respond(&self, prepared: Prepared) -> Response {
        let Prepared { status, headers, body } = prepared;
        let content_length = Some(body.as_ref().map_or(0, file::Reader::remaining));
        let body = match body {
            Some(reader) => stream_file(reader, Arc::clone(&self.name)),
            None => stream::empty().boxed(),
        };
        Response { status, headers, content_length, body, origin: Arc::clone(&self.name) }
    }
}

impl Origin for Directory {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.answer(request).boxed()
    }
}

impl Site {
    /// Blocking. Finds the file, judges preconditions and range, and reads the first chunk while it is here.
    fn prepare(
        &self,
        path: &path::FilePath,
        method: &Method,
        request: &HeaderMap,
    ) -> std::io::Result<Prepared> {
        let opened = match file::open(&self.root, path, self.follow_symlinks)? {
            Lookup::File(opened) => opened,
            Lookup::Absent => return Ok(Prepared::not_found()),
            Lookup::Denied => return Ok(Prepared::empty(StatusCode::FORBIDDEN)),
        };
        let now = SystemTime::now();
        let current = opened.validators();
        let mut headers = HeaderMap::with_capacity(8);
        set_date(&mut headers, now);
        if let Some(etag) = &current.etag {
            headers.insert(header::ETAG, etag.clone());
        }
        if let Some(date) = current.last_modified_text() {
            headers.insert(header::LAST_MODIFIED, date);
        }
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match precondition::judge(request, &current) {
            Verdict::Send => {}
            Verdict::NotModified => {
                return Ok(Prepared { status: StatusCode::NOT_MODIFIED, headers, body: None });
            }
            Verdict::Failed => return Ok(Prepared::empty(StatusCode::PRECONDITION_FAILED)),
        }
        let selection = if *method == Method::GET && precondition::range_applies(request, &current, now) {
            range::select(request, opened.len())
        } else {
            Selection::Whole
        };
        self.select(opened, selection, headers, path, *method == Method::HEAD)
    }

    fn select(
        &self,
        opened: Opened,
        selection: Selection,
        mut headers: HeaderMap,
        path: &path::FilePath,
        head_only: bool,
    ) -> std::io::Result<Prepared> {
        let len = opened.len();
        let (status, range) = match selection {
            Selection::Whole => (StatusCode::OK, 0..len),
            Selection::Part(range) => {
                let value = format!("bytes {}-{}/{len}", range.start, range.end - 1);
                headers.insert(header::CONTENT_RANGE, ascii(value));
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Selection::Unsatisfiable => {
                let mut refusal = Prepared::empty(StatusCode::RANGE_NOT_SATISFIABLE);
                refusal.headers.insert(header::CONTENT_RANGE, ascii(format!("bytes */{len}")));
                return Ok(refusal);
            }
        };
        headers.insert(header::CONTENT_TYPE, content_type::of(path.extension()));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        let body = if head_only { None } else { Some(opened.into_reader(range)?) };
        Ok(Prepared { status, headers, body })
    }
}

impl Prepared {
    fn empty(status: StatusCode) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        set_date(&mut headers, SystemTime::now());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        Self { status, headers, body: None }
    }

    fn not_found() -> Self {
        Self::empty(StatusCode::NOT_FOUND)
    }

    fn not_allowed() -> Self {
        let mut answer = Self::empty(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        answer
    }
}

/// One chunk is read when the one before has been taken: at most one chunk per reader is in memory.
fn stream_file(reader: file::Reader, origin: Arc<str>) -> Body {
    stream::unfold(Some((reader, origin)), |state| async {
        let (mut reader, origin) = state?;
        if let Some(chunk) = reader.take_ready() {
            return Some((Ok(chunk), Some((reader, origin))));
        }
        if reader.remaining() == 0 {
            return None;
        }
        let read =
            tokio::task::spawn_blocking(move || reader.read_chunk().map(|chunk| (chunk, reader))).await;
        let error = match read {
            Ok(Ok((chunk, reader))) => return Some((Ok(chunk), Some((reader, origin)))),
            Ok(Err(file::ReadFailure::Changed(detail))) => Error::new(&origin, ErrorKind::BrokenBody, detail),
            Ok(Err(file::ReadFailure::Io(error))) => Error::new(&origin, ErrorKind::Io, error.to_string()),
            Err(stopped) => Error::new(&origin, ErrorKind::Io, stopped.to_string()),
        };
        Some((Err(error), None))
    })
    .boxed()
}

/// An origin with a clock says when it answered (RFC 9110 §6.6.1).
fn set_date(headers: &mut HeaderMap, now: SystemTime) {
    if let Some(date) = validators::http_date(now) {
        headers.insert(header::DATE, date);
    }
}

/// For text made of digits and ASCII punctuation.
fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;

pub use content_type::of as content_type_of;
