//! Hits that actix need not see: a request that is all that was read, of the usual kind, for something short that is in memory.
//! Everything else is actix's, to the last byte.
//!
//! This is no second opinion on where requests begin and end: it looks only at what can be read in one way.

use std::{
    mem::MaybeUninit,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::{BufMut, BytesMut};
use http::{Method, StatusCode, header};
use httparse::{Header, Status};

use super::{
    access::Access,
    data::Data,
    link::Client,
    order::Piece,
    translate::{self, Sink},
};
use crate::delivery::{Answer, Body, FieldLines, Fields, push_decimal};

/// A copy of so few bytes costs less than what it saves.
const SHORT: u64 = 16 * 1024;
/// Requests with more fields are unusual.
const MOST_FIELDS: usize = 48;

/// What became of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Its answer has been written.
    Answered,
    /// It is for actix.
    Left(Piece),
}

/// Looks at what was read before actix does.
pub struct Below {
    data: Arc<Data>,
    client: Client,
}

/// One request, and nothing before or behind it.
struct Alone<'r> {
    method: Method,
    target: &'r str,
    fields: &'r [Header<'r>],
}

impl FieldLines for Alone<'_> {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

impl Below {
    pub fn new(data: Arc<Data>, client: Client) -> Self {
        Self { data, client }
    }

    /// `may_answer`: nothing is under way above.
    pub fn take(&self, read: &[u8], may_answer: bool, into: &mut BytesMut) -> Taken {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let Some(request) = alone(read, &mut fields) else { return Taken::Left(Piece::Other) };
        match may_answer && self.answer(&request, into) {
            true => Taken::Answered,
            false => Taken::Left(Piece::Request),
        }
    }

    fn answer(&self, request: &Alone<'_>, into: &mut BytesMut) -> bool {
        let started = Instant::now();
        let Self { data, client } = self;
        if data.lifecycle.sends_away() {
            // Which is said with the answer.
            return false;
        }
        let Some(mut answer) = data.hit(&request.method, request.target, request, client, SHORT) else {
            return false;
        };
        let id = translate::request_id(request);
        let path = || request.target.split('?').next().unwrap_or_default();
        let access = Access::of(path(), &id, || data.door.client(client, request));
        if let Some(parent) = translate::traceparent(request) {
            answer.response.added.push((http::HeaderName::from_static("traceparent"), parent));
        }
        if let Some(policy) = data.door.transport_security(client.secure) {
            answer.response.added.push((header::STRICT_TRANSPORT_SECURITY, policy.clone()));
        }
        let sent = write(&answer, &request.method, id.as_bytes(), started, into);
        let (Answer { route, response }, took) = (&answer, started.elapsed());
        if let Some(access) = access {
            access.log(&request.method, *route, response.status, &response.served, sent, took);
        }
        data.instruments().headed(*route, took);
        data.instruments().answered(&request.method, *route, response.status, &response.served, sent, took);
        true
    }
}

/// The request that `read` is, if it is one in the strictest reading, without a body, on a connection that goes on.
fn alone<'r>(read: &'r [u8], fields: &'r mut [MaybeUninit<Header<'r>>]) -> Option<Alone<'r>> {
    let lines = read.iter().filter(|byte| **byte == b'\n').count();
    let returns = read.iter().filter(|byte| **byte == b'\r').count();
    let mut request = httparse::Request::new(&mut []);
    let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(read, fields) else { return None };
    let httparse::Request { method, path, version, headers } = request;
    // A line each, and the empty one: no line feed stands alone, and no line is left out.
    let whole = length == read.len() && lines == headers.len() + 2 && returns == lines;
    if !whole || version != Some(1) {
        return None;
    }
    let method = match method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let target = path.filter(|target| target.starts_with('/'))?;
    let mut hosts = 0;
    for Header { name, value } in &*headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => hosts += 1,
            6 if is("expect") => return None,
            7 if is("upgrade") || is("trailer") => return None,
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            14 if is("content-length") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    (hosts == 1).then_some(Alone { method, target, fields: headers })
}

/// Head and body; the length of the body.
fn write(answer: &Answer, method: &Method, id: &[u8], started: Instant, into: &mut BytesMut) -> u64 {
    let response = &answer.response;
    let (head, status) = (*method == Method::HEAD, response.status);
    let body = match &response.body {
        Body::Full(bytes) => &bytes[..],
        Body::Empty | Body::Stream { .. } => &[],
    };
    into.reserve(1024 + body.len());
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(status.as_str().as_bytes());
    into.put_u8(b' ');
    into.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    into.put_slice(b"\r\n");
    let length = match head {
        // RFC 9110 §8.6.
        _ if status == StatusCode::NO_CONTENT => None,
        true => response.head_length.or((!body.is_empty()).then_some(body.len() as u64)),
        false => (status != StatusCode::NOT_MODIFIED).then_some(body.len() as u64),
    };
    if let Some(length) = length {
        let mut text = String::with_capacity(20);
        push_decimal(&mut text, i64::try_from(length).unwrap_or(i64::MAX));
        into.add(b"content-length", text.as_bytes());
    }
    translate::response_headers(response, id, started, into);
    // What is stored has one.
    if matches!(&response.fields, Fields::Own(headers) if !headers.has("date")) {
        into.add(b"date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
    into.put_slice(b"\r\n");
    if head {
        return 0;
    }
    into.put_slice(body);
    body.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(read: &str) -> Option<String> {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        alone(read.as_bytes(), &mut fields).map(|request| request.target.to_owned())
    }

    #[test]
    fn usual_requests_are_known() {
        for read in [
            "GET /a HTTP/1.1\r\nHost: e\r\n\r\n",
            "HEAD /a HTTP/1.1\r\nhost: e\r\nConnection: Keep-Alive\r\nX-A: b\tc\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nX-Empty:\r\nCookie: \u{e9}\r\n\r\n",
        ] {
            assert_eq!(target(read).as_deref(), Some("/a"), "{read}");
        }
    }

    #[test]
    fn all_others_are_left() {
        let fields = (0..=MOST_FIELDS).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
        for read in [
            "",
            "GET /a HTTP/1.1\r\nHost: e\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\n\r\nG",
            "GET /a HTTP/1.1\r\nHost: e\r\n\r\n\r\n",
            "\r\nGET /a HTTP/1.1\r\nHost: e\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\n\r\nGET /a HTTP/1.1\r\nHost: e\r\n\r\n",
            "GET /a HTTP/1.1\nHost: e\n\n",
            "GET /a HTTP/1.1\r\nHost: e\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\n\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nX: a\rb\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nX: a\r\n b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nX : a\r\n\r\n",
            "GET /a HTTP/1.0\r\nHost: e\r\n\r\n",
            "GET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nHost: e\r\n\r\n",
            "GET http://e/a HTTP/1.1\r\nHost: e\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: e\r\n\r\n",
            "get /a HTTP/1.1\r\nHost: e\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nContent-Length: 0\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nConnection: keep-alive, x-a\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nUpgrade: h2c\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nTrailer: x\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: e\r\nExpect: 100-continue\r\n\r\n",
            &format!("GET /a HTTP/1.1\r\nHost: e\r\n{fields}\r\n"),
        ] {
            assert_eq!(target(read), None, "{read}");
        }
    }
}
