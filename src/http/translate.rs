//! Between actix's types and ours: request heads in, answer heads out.

use std::time::Instant;

use actix_web::http::header::{HeaderMap as ActixMap, HeaderName as ActixName, HeaderValue as ActixValue};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::delivery::{Fields, Outcome, Served, no_cache_fields, remove_hop_by_hop, replaces};

/// End-to-end fields of a client's request.
pub fn request_headers(theirs: &ActixMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(theirs.len());
    for (name, value) in theirs {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    remove_hop_by_hop(&mut headers);
    headers
}

/// Whether a body comes with the request (RFC 9112 §6.3).
pub fn has_body(theirs: &ActixMap) -> bool {
    let field = |name: HeaderName| theirs.get(name.as_str()).map(ActixValue::as_bytes);
    field(header::TRANSFER_ENCODING).is_some()
        || field(header::CONTENT_LENGTH).is_some_and(|length| length != b"0")
}

/// What is wrong with a request that can be read. actix sees to it that there is exactly one `Host`.
pub fn fault(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    if !host.iter().all(|byte| byte.is_ascii_graphic() && !b"/\\@?#<>\"^`{|}".contains(byte)) {
        return Some((StatusCode::BAD_REQUEST, "the Host field is not a host and port"));
    }
    // RFC 9110 §10.1.1
    let expects = headers.get(header::EXPECT).map(HeaderValue::as_bytes);
    if expects.is_some_and(|expected| !expected.eq_ignore_ascii_case(b"100-continue")) {
        return Some((StatusCode::EXPECTATION_FAILED, "this expectation cannot be met"));
    }
    None
}

pub fn method(theirs: &actix_web::http::Method) -> Option<http::Method> {
    http::Method::from_bytes(theirs.as_str().as_bytes()).ok()
}

/// Names that an answer carries at most once, because we write them.
const OURS: [&[u8]; 7] = [
    b"x-cache",
    b"x-request-id",
    b"traceparent",
    b"content-length",
    b"connection",
    b"transfer-encoding",
    b"keep-alive",
];
/// Control for caches like us, spent here. What is passed on without being stored keeps its `CDN-Cache-Control`, which
/// speaks to caches behind us as well (RFC 9213 §3).
const SPENT: [&[u8]; 4] = [b"cdn-cache-control", b"surrogate-control", b"surrogate-key", b"cache-tag"];

/// Writes the fields of an answer.
pub fn response_headers(
    fields: &Fields,
    added: &[(HeaderName, HeaderValue)],
    served: &Served,
    request_id: &str,
    started: Instant,
    into: &mut ActixMap,
) {
    let skipped = |name: &[u8]| OURS.contains(&name) || SPENT.contains(&name) || replaces(added, name);
    // The age of what is not ours is for its origin to say.
    let passes = |name: &[u8]| !skipped(name) || (name == b"cdn-cache-control" && !replaces(added, name));
    match fields {
        Fields::Stored(head) => {
            // How long the making took is told to those who waited for it.
            let made_now = served.outcome == Outcome::Miss;
            // Some fields are good for those only who had the answer validated.
            let asked_now =
                matches!(served.outcome, Outcome::Miss | Outcome::Revalidated) && !served.collapsed;
            let withheld = match head.control.no_cache_fields && !asked_now {
                true => no_cache_fields(&head.fields),
                false => Vec::new(),
            };
            let skipped = |name: &[u8]| skipped(name) || withheld.iter().any(|held| held.as_bytes() == name);
            for (name, value) in head.fields.iter() {
                if !skipped(&name) && (made_now || name != "server-timing") {
                    append(into, &name, value);
                }
            }
        }
        Fields::Own(headers) => {
            for (name, value) in headers {
                if passes(name.as_str().as_bytes()) {
                    append(into, name.as_str().as_bytes(), Bytes::copy_from_slice(value.as_bytes()));
                }
            }
        }
    }
    for (name, value) in added {
        append(into, name.as_str().as_bytes(), Bytes::copy_from_slice(value.as_bytes()));
    }
    append(into, b"x-cache", Bytes::from_static(served.outcome.x_cache().as_bytes()));
    append(into, b"cache-status", served.cache_status().into());
    append(into, b"via", Bytes::from_static(b"1.1 millrace"));
    append(into, b"x-request-id", Bytes::copy_from_slice(request_id.as_bytes()));
    let micros = started.elapsed().as_micros();
    let timing = format!("cache;desc={};dur={}.{:03}", served.outcome.as_str(), micros / 1000, micros % 1000);
    append(into, b"server-timing", timing.into());
}

fn append(into: &mut ActixMap, name: &[u8], value: Bytes) {
    let name = ActixName::from_bytes(name);
    let value = ActixValue::from_maybe_shared(value);
    if let (Ok(name), Ok(value)) = (name, value) {
        into.append(name, value);
    }
}

/// The client's request id when it is harmless, else one of ours.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    match given.filter(harmless) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", fastrand::u64(..)),
    }
}

/// `traceparent` of the client, if it is one (W3C Trace Context).
pub fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get("traceparent")?;
    let bytes = value.as_bytes();
    let shaped = bytes.len() == 55
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            2 | 35 | 52 => *byte == b'-',
            _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
        });
    shaped.then(|| value.clone())
}
