//! From an object and a request to an answer: conditions, ranges, bodies.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{
    conditional::{self, Verdict},
    derive::Arrangement,
    fill::{self, Fills, Object, Pace, Transfer},
    outcome::{Outcome, Reason, Served},
    range::{self, Resolution},
    reader::Reader,
    request::{Asked, Request},
    response::{Body, BodyError, Fields, Response},
    sieve::sieve,
};
use crate::{
    cache::{Content, FieldLines, Head, control::RequestControl},
    media::video::Piece,
};

/// What the body comes from.
pub struct Available {
    pub object: Object,
    /// Brings bytes that are not stored yet.
    pub following: Option<Arc<Transfer>>,
    /// How the bytes are put in order for the client, when it is not as they are.
    pub arrangement: Option<Arc<Arrangement>>,
}

impl Available {
    /// None while a body of unknown length is still coming.
    pub fn length(&self) -> Option<u64> {
        if let Some(arrangement) = &self.arrangement {
            return Some(arrangement.splice.len);
        }
        match (&self.object.head.content, &self.following) {
            (Content::Blocks { .. }, Some(transfer)) if transfer.length_is_open() => transfer.object_length(),
            _ => Some(self.object.head.length),
        }
    }

    fn head(&self) -> &Arc<Head> {
        self.arrangement.as_ref().map_or(&self.object.head, |arrangement| &arrangement.head)
    }

    /// What makes up a part of the answer.
    fn pieces(&self, part: Range<u64>) -> Vec<Piece> {
        match &self.arrangement {
            Some(arrangement) => arrangement.splice.pieces(part),
            None => vec![Piece::Source(part.into())],
        }
    }
}

/// What a request gets of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
    /// To HEAD.
    HeadOnly,
    Whole,
    /// Ascending, apart from each other, never empty.
    Parts(Vec<Range<u64>>),
}

fn decide(request: &Asked<'_, impl FieldLines>, head: &Head, length: u64) -> Decision {
    let mut ranges = None;
    if head.status.is_success() {
        match conditional::evaluate(request.method, request.fields, &head.fields, || Some(head.dated())) {
            Verdict::NotModified => return Decision::NotModified,
            Verdict::Failed => return Decision::PreconditionFailed,
            Verdict::Proceed { range_applies } => {
                let by_date = || request.fields.first("if-range").is_some_and(|tag| !tag.ends_with(b"\""));
                let heeded = range_applies
                    && *request.method == Method::GET
                    && head.status == StatusCode::OK
                    && !(head.loose && by_date());
                ranges = request.fields.first("range").filter(|_| heeded).and_then(range::parse);
            }
        }
    }
    if request.method == Method::HEAD {
        return Decision::HeadOnly;
    }
    match ranges.map(|specs| range::resolve(&specs, length)) {
        None | Some(Resolution::Whole) => Decision::Whole,
        Some(Resolution::Unsatisfiable) => Decision::Unsatisfiable,
        Some(Resolution::Parts(parts)) => Decision::Parts(parts),
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
    let head = available.head().clone();
    let Some(length) = available.length() else {
        // Ranges cannot be resolved yet and are not heeded; conditions are.
        return Ok(match decide(&request.asked(), &head, u64::MAX) {
            decision @ (Decision::NotModified | Decision::PreconditionFailed) => {
                bodiless(&decision, &head, 0, served, now)
            }
            _ => with_age(open_ended(fills, request, &available, served).await?, &head, now),
        });
    };
    // What is not there, and not coming, may be fetched for all but these.
    let as_stored = RequestControl::parse(&*request.headers).only_if_cached;
    let lacks = |served: Served| as_stored && served.reason == Reason::Partial && !served.collapsed;
    let (body, part, served) = match decide(&request.asked(), &head, length) {
        Decision::Whole => {
            let served = as_found(fills, &available, 0..length, served);
            if lacks(served) {
                return Ok(not_cached());
            }
            (body(fills, &available, 0..length, Pace::Whole).await?, None, served)
        }
        Decision::Parts(parts) => {
            let served =
                parts.iter().fold(served, |served, part| as_found(fills, &available, part.clone(), served));
            if lacks(served) {
                return Ok(not_cached());
            }
            match <[_; 1]>::try_from(parts) {
                Ok([part]) => {
                    (body(fills, &available, part.clone(), Pace::Demand).await?, Some(part), served)
                }
                Err(parts) => {
                    return Ok(with_age(multipart(fills, &available, parts, length, served), &head, now));
                }
            }
        }
        decision => return Ok(bodiless(&decision, &head, length, served, now)),
    };
    Ok(with_body(&head, body, part, length, served, now))
}

/// The same for an object that is held inline, without waiting. None: several parts, or not inline.
pub fn respond_inline(
    request: &Asked<'_, impl FieldLines>,
    head: &Arc<Head>,
    served: Served,
    now: UnixMillis,
) -> Option<Response> {
    let Content::Inline(bytes) = &head.content else { return None };
    let length = bytes.len() as u64;
    let (bytes, part) = match decide(request, head, length) {
        Decision::Whole => (head.inline()?, None),
        Decision::Parts(parts) => {
            let [part] = <[_; 1]>::try_from(parts).ok()?;
            // Ranges are resolved against the length of these bytes.
            (head.inline()?.slice(part.start as usize..part.end as usize), Some(part))
        }
        decision => return Some(bodiless(&decision, head, length, served, now)),
    };
    Some(with_body(head, Body::Full(bytes), part, length, served, now))
}

fn bodiless(decision: &Decision, head: &Arc<Head>, length: u64, served: Served, now: UnixMillis) -> Response {
    let stored = |status| Response::new(status, Fields::Stored(head.clone()), Body::Empty, served);
    match decision {
        Decision::PreconditionFailed => precondition_failed(served),
        Decision::Unsatisfiable => unsatisfiable(length, served),
        Decision::NotModified => with_age(stored(StatusCode::NOT_MODIFIED), head, now),
        Decision::HeadOnly | Decision::Whole | Decision::Parts(_) => {
            let mut response = accepting_ranges(stored(head.status));
            response.head_length = Some(length);
            with_age(response, head, now)
        }
    }
}

/// 206 with a `part`, else the object's own status.
fn with_body(
    head: &Arc<Head>,
    body: Body,
    part: Option<Range<u64>>,
    length: u64,
    served: Served,
    now: UnixMillis,
) -> Response {
    let status = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { head.status };
    let response = accepting_ranges(Response::new(status, Fields::Stored(head.clone()), body, served));
    let response = match part {
        Some(part) => response.with(header::CONTENT_RANGE, content_range(&part, length)),
        None => response,
    };
    with_age(response, head, now)
}

fn accepting_ranges(mut response: Response) -> Response {
    if matches!(response.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        response.accepts_ranges = true;
    }
    response
}

fn with_age(mut response: Response, head: &Head, now: UnixMillis) -> Response {
    response.age = Some((head.freshness.age(now) / 1000).max(0));
    response
}

pub fn unsatisfiable(length: u64, served: Served) -> Response {
    Response::problem(StatusCode::RANGE_NOT_SATISFIABLE, "no such range", served)
        .with(header::CONTENT_RANGE, format!("bytes */{length}"))
}

/// To who wants nothing to be fetched.
pub fn not_cached() -> Response {
    let served = Served::new(Outcome::Error, Reason::OnlyIfCached);
    Response::problem(StatusCode::GATEWAY_TIMEOUT, "not in the cache", served)
}

pub fn precondition_failed(served: Served) -> Response {
    Response::problem(StatusCode::PRECONDITION_FAILED, "a precondition does not hold", served)
}

/// A hit on a head whose bytes are not all there is a miss of those bytes.
fn as_found(fills: &Fills, available: &Available, part: Range<u64>, served: Served) -> Served {
    /// Looking at more blocks than this would cost more than the answer is worth.
    const LOOK: usize = 64;
    let Content::Blocks { incarnation, block_size } = available.object.head.content else { return served };
    if !matches!(served.outcome, Outcome::Hit | Outcome::Stale) || part.is_empty() {
        return served;
    }
    let block_size = u64::from(block_size);
    let pieces = available.pieces(part).into_iter().filter_map(|piece| match piece {
        Piece::Source(stretch) => {
            let covered = stretch.covered();
            Some(covered.start / block_size..covered.end.div_ceil(block_size))
        }
        Piece::Bytes(_) => None,
    });
    let missing =
        pieces.flatten().take(LOOK).find(|block| !fills.store().has_block(incarnation, *block as u32));
    match missing {
        Some(block) => {
            // It may have come between the two looks.
            let collapsed = fills.brings(incarnation, block * block_size)
                || fills.store().has_block(incarnation, block as u32);
            Served { outcome: Outcome::Miss, reason: Reason::Partial, collapsed, ..served }
        }
        None => served,
    }
}

/// Everything from a transfer that does not know its length yet.
async fn open_ended(
    fills: &Arc<Fills>,
    request: &Request,
    available: &Available,
    served: Served,
) -> Result<Response, fill::Error> {
    let head = available.head();
    let body = match (&request.method, &available.following) {
        (&Method::GET, Some(transfer)) => {
            let mut reader = Reader::to_the_end(fills.clone(), available.object.clone(), transfer);
            match reader.next().await.transpose()? {
                Some(first) => streamed(first, reader.into_stream(), None),
                None => Body::Empty,
            }
        }
        _ => Body::Empty,
    };
    Ok(Response::new(head.status, Fields::Stored(head.clone()), body, served))
}

fn streamed(
    first: Bytes,
    rest: impl Stream<Item = Result<Bytes, fill::Error>> + Send + 'static,
    length: Option<u64>,
) -> Body {
    let rest = rest.map(|item| item.map_err(BodyError::from));
    Body::Stream { length, bytes: stream::iter([Ok(first)]).chain(rest).boxed() }
}

/// Has its first bytes, so that what fails at once can still be answered with an error.
async fn body(
    fills: &Arc<Fills>,
    available: &Available,
    range: Range<u64>,
    pace: Pace,
) -> Result<Body, fill::Error> {
    if range.is_empty() {
        return Ok(Body::Empty);
    }
    if let (Some(bytes), None) = (available.object.head.inline(), &available.arrangement) {
        // Ranges are resolved against the length of these bytes.
        return Ok(Body::Full(bytes.slice(range.start as usize..range.end as usize)));
    }
    let length = Some(range.end - range.start);
    let mut rest = bytes(fills, available, range, pace);
    let first = match rest.next().await {
        Some(first) => first?,
        None => return Err(fill::Error::Truncated),
    };
    if length == Some(first.len() as u64) {
        return Ok(Body::Full(first));
    }
    Ok(streamed(first, rest, length))
}

/// The bytes of a part of the answer, in order.
fn bytes(
    fills: &Arc<Fills>,
    available: &Available,
    part: Range<u64>,
    pace: Pace,
) -> BoxStream<'static, Result<Bytes, fill::Error>> {
    let mut streams = available.pieces(part).into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Piece::Source(stretch) => {
            let (following, object) = (available.following.as_ref(), available.object.clone());
            sieve(Reader::new(fills.clone(), object, stretch.covered(), pace, following), stretch)
        }
    });
    match (streams.next(), streams.next()) {
        (Some(only), None) => only,
        (first, second) => {
            let streams: Vec<_> = first.into_iter().chain(second).chain(streams).collect();
            stream::iter(streams).flatten().boxed()
        }
    }
}

/// Several ranges as `multipart/byteranges` (RFC 9110 §14.6).
fn multipart(
    fills: &Arc<Fills>,
    available: &Available,
    parts: Vec<Range<u64>>,
    length: u64,
    served: Served,
) -> Response {
    let fields = Fields::Stored(available.head().clone());
    let boundary = format!("{:032x}", fastrand::u128(..));
    let content_type = available.head().fields.first("content-type").map(<[u8]>::to_vec);
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
        let bytes = bytes(fills, available, part, Pace::Demand).map(|item| item.map_err(BodyError::from));
        streams.push(stream::iter([Ok(opening)]).chain(bytes).boxed());
    }
    streams.push(stream::iter([Ok(closing)]).boxed());
    let bytes = stream::iter(streams).flatten().boxed();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    let body = Body::Stream { length: Some(total), bytes };
    accepting_ranges(Response::new(StatusCode::PARTIAL_CONTENT, fields, body, served))
        .with(header::CONTENT_TYPE, kind)
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}
