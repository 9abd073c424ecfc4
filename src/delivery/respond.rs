//! From an object and a request to an answer: conditions, ranges, bodies.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{
    conditional::{self, Verdict},
    fill::{self, Fills, Object, Pace, Transfer},
    outcome::{Outcome, Reason, Served},
    range::{self, Resolution},
    reader::Reader,
    request::Request,
    response::{Body, BodyError, Fields, Response},
};
use crate::cache::{Content, FieldLines};

/// What the body comes from.
pub struct Available {
    pub object: Object,
    /// Brings bytes that are not stored yet.
    pub following: Option<Arc<Transfer>>,
}

impl Available {
    /// None while a body of unknown length is still coming.
    pub fn length(&self) -> Option<u64> {
        match (&self.object.head.content, &self.following) {
            (Content::Blocks { .. }, Some(transfer)) if transfer.length_is_open() => transfer.object_length(),
            _ => Some(self.object.head.length),
        }
    }
}

/// The answer to `request` from an object that may be served. Fails only before the first byte; `Changed` means
/// that the object must be looked up again.
pub async fn respond(
    fills: &Arc<Fills>,
    request: &Request,
    available: Available,
    served: Served,
    now: UnixMillis,
) -> Result<Response, fill::Error> {
    let head = available.object.head.clone();
    let fields = Fields::Stored(head.clone());
    let age = (head.freshness.age(now) / 1000).max(0);
    let finish = |mut response: Response| {
        response.added.push((header::AGE, HeaderValue::from(age)));
        response
    };
    let mut ranges = None;
    if head.status == StatusCode::OK {
        match conditional::evaluate(&request.method, &*request.headers, &head.fields) {
            Verdict::NotModified => {
                return Ok(finish(Response::new(StatusCode::NOT_MODIFIED, fields, Body::Empty, served)));
            }
            Verdict::Failed => return Ok(precondition_failed(served)),
            Verdict::Proceed { range_applies } => {
                let asked = (*request.headers)
                    .first("range")
                    .filter(|_| range_applies && request.method == Method::GET);
                ranges = asked.and_then(range::parse);
            }
        }
    }
    let Some(length) = available.length() else {
        return Ok(finish(open_ended(fills, request, available, fields, served)));
    };
    let accept_ranges = (header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if request.method == Method::HEAD {
        let mut response = Response::new(head.status, fields, Body::Empty, served);
        response.head_length = Some(length);
        if head.status == StatusCode::OK {
            response.added.push(accept_ranges);
        }
        return Ok(finish(response));
    }
    let resolution = ranges.map(|specs| range::resolve(&specs, length));
    let served = match &resolution {
        None | Some(Resolution::Whole) => as_found(fills, &available, 0..length, served),
        Some(Resolution::Parts(parts)) => {
            parts.iter().fold(served, |served, part| as_found(fills, &available, part.clone(), served))
        }
        Some(Resolution::Unsatisfiable) => served,
    };
    let whole = |body| {
        let mut response = Response::new(head.status, Fields::Stored(head.clone()), body, served);
        if head.status == StatusCode::OK {
            response.added.push(accept_ranges.clone());
        }
        response
    };
    let parts = match resolution {
        None | Some(Resolution::Whole) => {
            return Ok(finish(whole(body(fills, &available, 0..length, Pace::Whole).await?)));
        }
        Some(Resolution::Unsatisfiable) => {
            let response = Response::problem(StatusCode::RANGE_NOT_SATISFIABLE, "no such range", served)
                .with(header::CONTENT_RANGE, format!("bytes */{length}"));
            return Ok(response);
        }
        Some(Resolution::Parts(parts)) => parts,
    };
    let fields = Fields::Stored(head.clone());
    let mut response = match <[_; 1]>::try_from(parts) {
        Ok([part]) => {
            let content_range = content_range(&part, length);
            let body = body(fills, &available, part, Pace::Demand).await?;
            Response::new(StatusCode::PARTIAL_CONTENT, fields, body, served)
                .with(header::CONTENT_RANGE, content_range)
        }
        Err(parts) => multipart(fills, &available, parts, length, fields, served),
    };
    response.added.push(accept_ranges);
    Ok(finish(response))
}

pub fn precondition_failed(served: Served) -> Response {
    Response::problem(StatusCode::PRECONDITION_FAILED, "a precondition does not hold", served)
}

/// A hit on a head whose bytes are not all there is a miss of those bytes.
fn as_found(fills: &Fills, available: &Available, part: Range<u64>, served: Served) -> Served {
    /// Looking at more blocks than this would cost more than the answer is worth.
    const LOOK: u64 = 64;
    let Content::Blocks { incarnation, block_size } = available.object.head.content else { return served };
    if !matches!(served.outcome, Outcome::Hit | Outcome::Stale) || part.is_empty() {
        return served;
    }
    let block_size = u64::from(block_size);
    let blocks = part.start / block_size..part.end.div_ceil(block_size);
    let missing =
        blocks.take(LOOK as usize).find(|block| !fills.store().has_block(incarnation, *block as u32));
    match missing {
        Some(block) => {
            let collapsed = fills.brings(incarnation, block * block_size);
            Served { outcome: Outcome::Miss, reason: Reason::Partial, collapsed, ..served }
        }
        None => served,
    }
}

/// Everything from a transfer that does not know its length yet. Ranges cannot be resolved, so they are not heeded.
fn open_ended(
    fills: &Arc<Fills>,
    request: &Request,
    available: Available,
    fields: Fields,
    served: Served,
) -> Response {
    let status = available.object.head.status;
    let body = match (&request.method, &available.following) {
        (&Method::GET, Some(transfer)) => {
            let reader = Reader::to_the_end(fills.clone(), available.object.clone(), transfer);
            let bytes = reader.into_stream().map(|item| item.map_err(BodyError::from)).boxed();
            Body::Stream { length: None, bytes }
        }
        _ => Body::Empty,
    };
    Response::new(status, fields, body, served)
}

/// Has its first bytes, so that what fails at once can still be answered with an error.
async fn body(
    fills: &Arc<Fills>,
    available: &Available,
    range: Range<u64>,
    pace: Pace,
) -> Result<Body, fill::Error> {
    if let Content::Inline(bytes) = &available.object.head.content {
        // Ranges are resolved against the length of these bytes.
        return Ok(Body::Full(bytes.slice(range.start as usize..range.end as usize)));
    }
    if range.is_empty() {
        return Ok(Body::Empty);
    }
    let length = Some(range.end - range.start);
    let mut reader = reader(fills, available, range, pace);
    let first = match reader.next().await {
        Some(first) => first?,
        None => return Err(fill::Error::Truncated),
    };
    if length == Some(first.len() as u64) {
        return Ok(Body::Full(first));
    }
    let rest = reader.into_stream().map(|item| item.map_err(BodyError::from));
    Ok(Body::Stream { length, bytes: stream::iter([Ok(first)]).chain(rest).boxed() })
}

fn reader(fills: &Arc<Fills>, available: &Available, range: Range<u64>, pace: Pace) -> Reader {
    Reader::new(fills.clone(), available.object.clone(), range, pace, available.following.as_ref())
}

/// Several ranges as `multipart/byteranges` (RFC 9110 §14.6).
fn multipart(
    fills: &Arc<Fills>,
    available: &Available,
    parts: Vec<Range<u64>>,
    length: u64,
    fields: Fields,
    served: Served,
) -> Response {
    let boundary = format!("{:032x}", fastrand::u128(..));
    let content_type = available.object.head.fields.first("content-type").map(<[u8]>::to_vec);
    let delimiter = |part: &Range<u64>| {
        let mut text = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(content_type) = &content_type {
            text.extend_from_slice(b"Content-Type: ");
            text.extend_from_slice(content_type);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(format!("Content-Range: {}\r\n\r\n", content_range(part, length)).as_bytes());
        Bytes::from(text)
    };
    let closing = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let mut total = closing.len() as u64;
    let mut streams = Vec::with_capacity(parts.len() + 1);
    for part in parts {
        let opening = delimiter(&part);
        total += opening.len() as u64 + (part.end - part.start);
        let bytes = reader(fills, available, part, Pace::Demand).into_stream();
        let bytes = bytes.map(|item| item.map_err(BodyError::from));
        streams.push(stream::iter([Ok(opening)]).chain(bytes).boxed());
    }
    streams.push(stream::iter([Ok(closing)]).boxed());
    let bytes = stream::iter(streams).flatten().boxed();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    Response::new(StatusCode::PARTIAL_CONTENT, fields, Body::Stream { length: Some(total), bytes }, served)
        .with(header::CONTENT_TYPE, kind)
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// Names of fields in a stored head that `added` replaces.
pub fn replaces(added: &[(HeaderName, HeaderValue)], name: &[u8]) -> bool {
    added.iter().any(|(ours, _)| ours.as_str().as_bytes() == name)
}
