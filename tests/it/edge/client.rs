//! An HTTP/1.1 client that sees the bytes on the wire: one request per connection, nothing repaired, nothing retried.

use std::{net::SocketAddr, ops::Range, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::origin_double::first_mismatch;

/// Longest wait for anything; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Room for one read.
const READ: usize = 256 << 10;

/// A complete answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer that broke off, and what came of it.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
}

/// An answer whose body is read as the test likes. Dropping it is the client leaving.
pub(crate) struct Open {
    pub(crate) head: Head,
    stream: TcpStream,
    unread: Vec<u8>,
    framing: Framing,
    /// Body bytes read and not yet handed out.
    body: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// Bytes left.
    Length(u64),
    Chunked,
    UntilClose,
}

/// Sends a request on a connection of its own, for `edge.example` when the fields name no host, and reads the head of the answer.
pub(crate) async fn open(
    to: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Open {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let host = if fields.iter().any(|(name, _)| *name == "host") { "" } else { "host: edge.example\r\n" };
    let mut request = format!("{method} {target} HTTP/1.1\r\n{host}");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    Open::read(stream, method == "HEAD").await
}

impl Open {
    /// Reads the head of an answer that is due. What comes before it is passed over.
    pub(crate) async fn read(mut stream: TcpStream, bodiless: bool) -> Self {
        let mut unread = Vec::new();
        let head = loop {
            if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = Head::parse(&unread[..at + 4]);
                unread.drain(..at + 4);
                match head.status {
                    100..=199 => continue,
                    _ => break head,
                }
            }
            let received = timeout(PATIENCE, stream.read_buf(&mut unread)).await.expect("no answer");
            if received.unwrap_or(0) == 0 {
                // Broken off so early that not even the head came.
                let head = Head { status: 0, headers: HeaderMap::new() };
                let framing = Framing::Length(u64::MAX);
                return Self { head, stream, unread: Vec::new(), framing, body: Vec::new(), ended: false };
            }
        };
        let framing = head.framing(bodiless);
        Self { head, stream, unread, framing, body: Vec::new(), ended: false }
    }

    /// All of it; panics when it breaks off.
    pub(crate) async fn whole(self) -> Reply {
        match self.finish().await {
            Ok(reply) => reply,
            Err(Broken { head, body }) => panic!("broke off after {} bytes: {head:?}", body.len()),
        }
    }

    /// All of it, or what came of it.
    pub(crate) async fn finish(mut self) -> Result<Reply, Broken> {
        while !self.ended {
            if !self.receive().await {
                return Err(Broken { head: self.head, body: self.body });
            }
        }
        let Head { status, headers } = self.head;
        Ok(Reply { status, headers, body: self.body })
    }

    /// All of it, and the connection for what comes next.
    pub(crate) async fn whole_and_on(mut self) -> (Reply, TcpStream) {
        while !self.ended {
            assert!(self.receive().await, "broke off after {} bytes", self.body.len());
        }
        let Head { status, headers } = self.head;
        (Reply { status, headers, body: self.body }, self.stream)
    }

    /// Exactly the next `count` bytes of the body.
    pub(crate) async fn next(&mut self, count: usize) -> Vec<u8> {
        while self.body.len() < count {
            assert!(!self.ended, "the body ended early");
            assert!(self.receive().await, "broke off after {} bytes", self.body.len());
        }
        self.body.drain(..count).collect()
    }

    /// Whether the rest of the body is this. Keeps none of it.
    pub(crate) async fn reads(mut self, mut expected: &[u8]) -> bool {
        loop {
            let Some(rest) = expected.strip_prefix(&self.body[..]) else { return false };
            expected = rest;
            self.body.clear();
            if self.ended {
                return expected.is_empty();
            }
            if !self.receive().await {
                return false;
            }
        }
    }

    /// False when the connection ended before the body did.
    async fn receive(&mut self) -> bool {
        let before = self.body.len();
        self.decode();
        if self.ended || self.body.len() > before {
            return true;
        }
        self.unread.reserve(READ);
        let received = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        match received.expect("the body stalled") {
            Ok(0) | Err(_) => {
                self.ended = matches!(self.framing, Framing::UntilClose);
                self.ended
            }
            Ok(_) => {
                self.decode();
                true
            }
        }
    }

    /// Moves body bytes from `unread` to `body`.
    fn decode(&mut self) {
        loop {
            match &mut self.framing {
                Framing::Length(left) => {
                    let count = (self.unread.len() as u64).min(*left);
                    move_front(&mut self.unread, &mut self.body, count as usize);
                    *left -= count;
                    self.ended = *left == 0;
                    return;
                }
                Framing::UntilClose => return self.body.append(&mut self.unread),
                Framing::Chunked => {
                    let Some(line) = self.unread.windows(2).position(|window| window == b"\r\n") else {
                        return;
                    };
                    let size = std::str::from_utf8(&self.unread[..line]).unwrap();
                    let size = usize::from_str_radix(size, 16).unwrap();
                    let end = line + 2 + size + 2;
                    if self.unread.len() < end {
                        return;
                    }
                    assert_eq!(&self.unread[end - 2..end], b"\r\n");
                    self.body.extend_from_slice(&self.unread[line + 2..end - 2]);
                    self.unread.drain(..end);
                    if size == 0 {
                        self.ended = true;
                        return;
                    }
                }
            }
        }
    }
}

fn move_front(from: &mut Vec<u8>, to: &mut Vec<u8>, count: usize) {
    if to.is_empty() && count == from.len() {
        std::mem::swap(from, to);
    } else {
        to.extend_from_slice(&from[..count]);
        from.drain(..count);
    }
}

impl Head {
    fn parse(head: &[u8]) -> Self {
        let text = std::str::from_utf8(head).expect("a head in ASCII");
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a colon in each field");
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Self { status, headers }
    }

    /// RFC 9112 §6.3. What contradicts itself is a fault of the server under test.
    fn framing(&self, bodiless: bool) -> Framing {
        let length = self.headers.get_all("content-length").iter().collect::<Vec<_>>();
        let chunked = self.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        assert!(length.len() <= 1, "several lengths");
        assert!(!chunked || length.is_empty(), "two framings");
        if bodiless || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        match length.first() {
            Some(length) => Framing::Length(length.to_str().unwrap().parse().unwrap()),
            None if chunked => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }

    /// The field's only value, or empty.
    pub(crate) fn field(&self, name: &str) -> &str {
        field(&self.headers, name)
    }
}

impl Reply {
    /// The field's only value, or empty.
    pub(crate) fn field(&self, name: &str) -> &str {
        field(&self.headers, name)
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Whether the body is this part of the pattern of `seed`.
    pub(crate) fn is_pattern(&self, seed: u64, range: Range<u64>) -> bool {
        is_pattern(&self.body, seed, range)
    }

    pub(crate) fn cache(&self) -> &str {
        self.field("x-cache")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Status, `X-Cache` and body in one, for tables.
    pub(crate) fn told(&self) -> (u16, &str, String) {
        (self.status, self.cache(), self.text())
    }
}

impl Broken {
    /// Whether what came is the beginning of this part of the pattern of `seed`, and not all of it.
    pub(crate) fn begins(&self, seed: u64, range: Range<u64>) -> bool {
        let came = self.body.len() as u64;
        came < range.end - range.start && is_pattern(&self.body, seed, range.start..range.start + came)
    }
}

pub(crate) fn is_pattern(bytes: &[u8], seed: u64, range: Range<u64>) -> bool {
    bytes.len() as u64 == range.end - range.start && first_mismatch(seed, range.start, bytes).is_none()
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} stands there more than once");
    first
}
