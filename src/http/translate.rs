//! Between actix's types and ours: request heads in, answer heads out.

use std::time::Instant;

use actix_http::{
    RequestHead,
    header::{self as actix, HeaderMap as ActixMap, HeaderName as ActixName, HeaderValue as ActixValue},
};
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::delivery::{
    FieldLines, Fields, Interim, Outcome, Response, http_date, no_cache_fields, push_decimal, push_millis,
    remove_hop_by_hop,
};

// Names outside of the standard's set are parsed once, here.
const CACHE_STATUS: ActixName = ActixName::from_static("cache-status");
const SERVER_TIMING: ActixName = ActixName::from_static("server-timing");
const X_CACHE: ActixName = ActixName::from_static("x-cache");
const X_REQUEST_ID: ActixName = ActixName::from_static("x-request-id");

/// The fields of a request where actix has them, for a hit, which looks at few and keeps none.
pub struct Lines<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Lines<'a> {
    /// None when they have to be looked at more closely: when the target names another host than `Host`, or `Connection`
    /// names fields.
    pub fn of(head: &'a RequestHead) -> Option<Self> {
        let mut lines = Vec::with_capacity(head.headers.len());
        for (name, value) in &head.headers {
            let (name, value) = (name.as_str(), value.as_bytes());
            let option = |one: &str| value.eq_ignore_ascii_case(one.as_bytes());
            if name == "connection" && !(option("keep-alive") || option("close")) {
                return None;
            }
            lines.push((name, value));
        }
        head.uri.authority().is_none().then_some(Self(lines))
    }
}

impl FieldLines for Lines<'_> {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
    }
}

/// The same of a request by HTTP/2, whose authority is its `Host`.
pub struct LinesH2<'a> {
    headers: &'a HeaderMap,
    host: &'a [u8],
}

impl<'a> LinesH2<'a> {
    /// None when they have to be looked at more closely.
    pub fn of(uri: &'a http::Uri, headers: &'a HeaderMap) -> Option<Self> {
        let odd = headers.contains_key(header::HOST)
            || headers.contains_key(header::CONNECTION)
            || headers.get_all(header::COOKIE).iter().nth(1).is_some();
        let host = host_of(uri.authority()?.as_str()).as_bytes();
        (!odd).then_some(Self { headers, host })
    }
}

impl FieldLines for LinesH2<'_> {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let host = (name == "host").then_some(self.host);
        host.into_iter().chain(self.headers.lines(name))
    }
}

/// Without the user.
fn host_of(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

/// End-to-end fields of a client's request.
pub fn request_headers(theirs: &ActixMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(theirs.len());
    let mut ordinary = true;
    for (name, value) in theirs {
        ordinary = ordinary && is_ordinary(name.as_str());
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if !ordinary {
        remove_hop_by_hop(&mut headers);
    }
    headers
}

/// The host of a target in absolute form counts, whatever `Host` says (RFC 9112 §3.2.2).
pub fn heed_authority(uri: &actix_http::Uri, headers: &mut HeaderMap) {
    let host = uri.authority().map(|authority| host_of(authority.as_str()));
    if let Some(Ok(host)) = host.map(HeaderValue::from_str) {
        headers.insert(header::HOST, host);
    }
}

/// End-to-end fields of a request by HTTP/2, with its authority as `Host` (RFC 9113 §8.3.1).
pub fn headers_h2(uri: &http::Uri, mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    let host = uri.authority().map(|authority| host_of(authority.as_str()));
    if let Some(Ok(host)) = host.map(HeaderValue::from_str) {
        headers.insert(header::HOST, host);
    }
    // Cookies may come in crumbs (RFC 9113 §8.2.3).
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(header::COOKIE, whole);
        }
    }
    headers
}

/// Whether a body comes with the request (RFC 9112 §6.3).
pub fn has_body(theirs: &ActixMap) -> bool {
    theirs.contains_key(actix::TRANSFER_ENCODING)
        || theirs.get(actix::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// Of a field that is end-to-end unless `Connection` names it, and common. A request that has only such needs no
/// closer look.
fn is_ordinary(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "user-agent"
            | "accept"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "cookie"
            | "if-modified-since"
            | "if-none-match"
            | "origin"
            | "range"
            | "referer"
    ) || name.starts_with("sec-")
        || name.starts_with("x-")
}

/// What is wrong with a request that can be read. actix sees to it that there is exactly one `Host`.
pub fn fault(fields: &impl FieldLines) -> Option<(StatusCode, &'static str)> {
    let odd = |byte: u8| {
        let delimiter = matches!(
            byte,
            b'/' | b'\\' | b'@' | b'?' | b'#' | b'<' | b'>' | b'"' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        delimiter || !byte.is_ascii_graphic()
    };
    if fields.first("host").unwrap_or_default().iter().any(|byte| odd(*byte)) {
        return Some((StatusCode::BAD_REQUEST, "the Host field is not a host and port"));
    }
    // RFC 9110 §10.1.1
    if fields.first("expect").is_some_and(|expected| !expected.eq_ignore_ascii_case(b"100-continue")) {
        return Some((StatusCode::EXPECTATION_FAILED, "this expectation cannot be met"));
    }
    None
}

pub fn method(theirs: &actix_http::Method) -> Option<http::Method> {
    http::Method::from_bytes(theirs.as_str().as_bytes()).ok()
}

/// Whether an answer carries this field at most once, because we write it, or never, because it controls caches like us
/// and is spent here. What is passed on without being stored keeps its `CDN-Cache-Control`, which speaks to caches behind us
/// as well (RFC 9213 §3).
fn is_ours(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"content-length"
            | b"keep-alive"
            | b"traceparent"
            | b"transfer-encoding"
            | b"x-cache"
            | b"x-request-id"
            | b"cache-tag"
            | b"cdn-cache-control"
            | b"surrogate-control"
            | b"surrogate-key"
    )
}

/// Where the fields of an answer are written. Names are in lower case, and names and values are valid.
pub trait Sink {
    fn add(&mut self, name: &[u8], value: &[u8]);
}

impl Sink for ActixMap {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let name = common(name).or_else(|| ActixName::from_bytes(name).ok());
        if let (Some(name), Ok(value)) = (name, ActixValue::from_bytes(value)) {
            self.append(name, value);
        }
    }
}

/// For HTTP/2.
impl Sink for HeaderMap {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            self.append(name, value);
        }
    }
}

/// As HTTP/1.1 has them.
impl Sink for BytesMut {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.reserve(name.len() + value.len() + 4);
        self.put_slice(name);
        self.put_slice(b": ");
        self.put_slice(value);
        self.put_slice(b"\r\n");
    }
}

/// Writes the fields of an answer.
pub fn response_headers(answer: &Response, request_id: &[u8], started: Instant, into: &mut impl Sink) {
    let served = answer.served;
    let skipped = |name: &[u8]| is_ours(name) || answer.replaces(name);
    // The age of what is not ours is for its origin to say.
    let passes = |name: &[u8]| !skipped(name) || (name == b"cdn-cache-control" && !answer.replaces(name));
    match &answer.fields {
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
            let mut dated = false;
            for (name, value) in head.fields.iter() {
                dated |= name == b"date";
                if !skipped(name) && (made_now || name != b"server-timing") {
                    into.add(name, value);
                }
            }
            if !dated {
                // RFC 9110 §6.6.1: when it was received, not when it is sent on.
                into.add(b"date", http_date(head.freshness.response_time).as_bytes());
            }
        }
        Fields::Own(headers) => {
            for (name, value) in headers {
                if passes(name.as_str().as_bytes()) {
                    into.add(name.as_str().as_bytes(), value.as_bytes());
                }
            }
        }
    }
    for (name, value) in &answer.added {
        into.add(name.as_str().as_bytes(), value.as_bytes());
    }
    if answer.accepts_ranges {
        into.add(b"accept-ranges", b"bytes");
    }
    let mut text = String::with_capacity(128);
    if let Some(age) = answer.age {
        push_decimal(&mut text, age);
        into.add(b"age", text.as_bytes());
        text.clear();
    }
    into.add(b"x-cache", served.outcome.x_cache().as_bytes());
    served.write_cache_status(answer.key.as_deref(), &mut text);
    into.add(b"cache-status", text.as_bytes());
    into.add(b"via", b"1.1 millrace");
    into.add(b"x-request-id", request_id);
    text.clear();
    text.push_str("cache;desc=");
    text.push_str(served.outcome.as_str());
    text.push_str(";dur=");
    push_millis(&mut text, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    into.add(b"server-timing", text.as_bytes());
}

/// Writes what comes before an answer, as HTTP/1.1 has it.
pub fn interim(interim: &Interim, into: &mut BytesMut) {
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(interim.status.as_str().as_bytes());
    into.put_u8(b' ');
    into.put_slice(interim.status.canonical_reason().unwrap_or_default().as_bytes());
    into.put_slice(b"\r\n");
    for (name, value) in &interim.headers {
        if !is_ours(name.as_str().as_bytes()) {
            into.put_slice(name.as_str().as_bytes());
            into.put_slice(b": ");
            into.put_slice(value.as_bytes());
            into.put_slice(b"\r\n");
        }
    }
    into.put_slice(b"\r\n");
}

/// Names that most answers have, without parsing.
fn common(name: &[u8]) -> Option<ActixName> {
    Some(match name {
        b"date" => actix::DATE,
        b"etag" => actix::ETAG,
        b"vary" => actix::VARY,
        b"expires" => actix::EXPIRES,
        b"content-type" => actix::CONTENT_TYPE,
        b"cache-control" => actix::CACHE_CONTROL,
        b"content-range" => actix::CONTENT_RANGE,
        b"last-modified" => actix::LAST_MODIFIED,
        b"content-encoding" => actix::CONTENT_ENCODING,
        b"accept-ranges" => actix::ACCEPT_RANGES,
        b"age" => actix::AGE,
        b"via" => actix::VIA,
        b"cache-status" => CACHE_STATUS,
        b"server-timing" => SERVER_TIMING,
        b"x-cache" => X_CACHE,
        b"x-request-id" => X_REQUEST_ID,
        _ => return None,
    })
}

/// The client's request id when it is harmless, else one of ours.
pub fn request_id(fields: &impl FieldLines) -> ActixValue {
    let given = fields.first("x-request-id");
    let harmless = |id: &&[u8]| {
        (1..=64).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let ours = || {
        let mut left = fastrand::u64(..);
        let mut digits = [0; 16];
        for digit in &mut digits {
            *digit = b"0123456789abcdef"[(left % 16) as usize];
            left /= 16;
        }
        digits
    };
    let id = given.filter(harmless).map_or_else(|| ActixValue::from_bytes(&ours()), ActixValue::from_bytes);
    // Letters and digits are always a valid value.
    id.unwrap_or(ActixValue::from_static("none"))
}

/// `traceparent` of the client, if it is one (W3C Trace Context).
pub fn traceparent(fields: &impl FieldLines) -> Option<HeaderValue> {
    let bytes = fields.first("traceparent")?;
    let shaped = bytes.len() == 55
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            2 | 35 | 52 => *byte == b'-',
            _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
        });
    HeaderValue::from_bytes(bytes).ok().filter(|_| shaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(fields: &[(&str, &str)]) -> Vec<String> {
        let mut theirs = ActixMap::new();
        for (name, value) in fields {
            theirs.add(name.as_bytes(), value.as_bytes());
        }
        let mut names: Vec<_> = request_headers(&theirs).keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// Each alone, as no `Connection` announces them.
    #[test]
    fn fields_of_the_connection_go_however_they_come() {
        for name in [
            "connection",
            "http2-settings",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ] {
            assert_eq!(translated(&[("host", "a"), (name, "x")]), ["host"], "{name}");
        }
        assert_eq!(
            translated(&[("x-inner", "1"), ("connection", "X-Inner, range"), ("range", "x")]),
            [""; 0]
        );
    }

    #[test]
    fn all_others_stay() {
        let fields = ["accept", "authorization", "cookie", "host", "if-range", "sec-fetch-mode", "x-a"];
        assert_eq!(translated(&fields.map(|name| (name, "x"))), fields);
    }
}
