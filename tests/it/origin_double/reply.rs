//! From a scripted answer and a request to what goes on the wire: conditions, range, head.

use std::{
    fmt::Write,
    ops::Range,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode};
use millrace_kit::clock::UnixMillis;

use super::{
    RecordedRequest,
    answer::{Answer, Framing},
};

/// An answer settled for one request.
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    /// Part of the content that is the body; `None` where HTTP knows no body.
    pub(super) body: Option<Range<u64>>,
    pub(super) chunked: bool,
    pub(super) close: bool,
}

/// What the request selects of a 200 answer.
enum Selection {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
    NotModified,
}

impl Reply {
    /// `now` is the `Date`.
    pub(super) fn new(answer: &Answer, request: &RecordedRequest, now: UnixMillis) -> Self {
        let len = answer.content.len();
        let selection =
            if answer.status == 200 { select(answer, &request.headers) } else { Selection::Whole };
        let (status, range) = match &selection {
            Selection::Whole => (answer.status, 0..len),
            Selection::Part(range) => (206, range.clone()),
            Selection::Unsatisfiable => (416, 0..0),
            Selection::NotModified => (304, 0..0),
        };
        let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
        let framing = if matches!(selection, Selection::Unsatisfiable) {
            Framing::ContentLength
        } else {
            answer.framing
        };
        let close = answer.close || matches!(framing, Framing::UntilClose | Framing::WrongContentLength(_));

        let mut head = Head::new(status);
        for (name, value) in &answer.headers {
            head.field(name, value);
        }
        if answer.date && answer.field("date").is_none() {
            let now = UNIX_EPOCH + Duration::from_millis(now.unsigned_abs());
            head.field("date", httpdate::fmt_http_date(now).as_bytes());
        }
        if answer.status == 200 && answer.ranges && answer.field("accept-ranges").is_none() {
            head.field("accept-ranges", b"bytes");
        }
        match &selection {
            Selection::Part(part) => {
                let value = format!("bytes {}-{}/{len}", part.start, part.end - 1);
                head.field("content-range", value.as_bytes());
            }
            Selection::Unsatisfiable => head.field("content-range", format!("bytes */{len}").as_bytes()),
            Selection::Whole | Selection::NotModified => {}
        }
        if !matches!(status, 204 | 304) {
            match framing {
                Framing::ContentLength => head.number("content-length", range.end - range.start),
                Framing::WrongContentLength(len) => head.number("content-length", len),
                Framing::Chunked => head.field("transfer-encoding", b"chunked"),
                Framing::UntilClose => {}
            }
        }
        if close {
            head.field("connection", b"close");
        }
        Self {
            head: head.end(),
            body: (!bodiless).then_some(range),
            chunked: framing == Framing::Chunked,
            close,
        }
    }
}

/// The heads of the interim answers.
pub(super) fn interim(answer: &Answer) -> Vec<u8> {
    let heads = answer.interim.iter().map(|(status, fields)| {
        let mut head = Head::new(*status);
        for (name, value) in fields {
            head.field(name, value.as_bytes());
        }
        head.end()
    });
    heads.flatten().collect()
}

fn select(answer: &Answer, request: &HeaderMap) -> Selection {
    let etag = answer.field("etag");
    let modified = answer.field("last-modified");
    if let Some(list) = request.get("if-none-match") {
        let weakless = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let matches = |tag: &[u8]| {
            let tag = tag.trim_ascii();
            tag == b"*" || etag.is_some_and(|etag| weakless(etag) == weakless(tag))
        };
        if list.as_bytes().split(|b| *b == b',').any(matches) {
            return Selection::NotModified;
        }
    } else if request.get("if-modified-since").is_some_and(|since| Some(since.as_bytes()) == modified) {
        return Selection::NotModified;
    }
    let current = request.get("if-range").is_none_or(|validator| {
        let validator = validator.as_bytes();
        !validator.starts_with(b"W/") && (Some(validator) == etag || Some(validator) == modified)
    });
    match request.get("range").and_then(|range| range.to_str().ok()) {
        Some(range) if answer.ranges && current => part(range, answer.content.len()),
        _ => Selection::Whole,
    }
}

/// One range; anything else is the whole.
fn part(range: &str, len: u64) -> Selection {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Selection::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
        _ => return Selection::Whole,
    };
    if range.start < range.end { Selection::Part(range) } else { Selection::Unsatisfiable }
}

struct Head(Vec<u8>);

impl Head {
    fn new(status: u16) -> Self {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut line = String::new();
        let _ = write!(line, "HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Scripted"));
        Self(line.into_bytes())
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, name: &str, value: u64) {
        self.field(name, value.to_string().as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}
