//! Several requests on one connection. What comes after the first may be answered on a shorter way, which nobody must be able to
//! tell from the longer one.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Edge, eventually};
use crate::origin_double::{Answer, OriginDouble, pattern_bytes};

const PATIENCE: Duration = Duration::from_secs(30);

struct Conversation {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Heard {
    status: u16,
    fields: BTreeMap<String, Vec<String>>,
    body: Vec<u8>,
}

impl Conversation {
    async fn with(edge: &Edge) -> Self {
        Self { stream: TcpStream::connect(edge.data()).await.unwrap(), received: Vec::new() }
    }

    async fn say(&mut self, said: &str) {
        self.stream.write_all(said.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) {
        let count = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        assert_ne!(count.expect("no answer").unwrap(), 0, "closed: {}", self.received.escape_ascii());
    }

    /// The next answer; of `HEAD` there is no body, whatever it says.
    async fn hear(&mut self, method: &str) -> Heard {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|at| at == b"\r\n\r\n") {
                break end;
            }
            self.more().await;
        };
        let head = String::from_utf8(self.received.drain(..end + 4).collect()).unwrap();
        let (line, rest) = head.split_once("\r\n").unwrap();
        let status: u16 = line.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut fields = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in rest.lines().filter_map(|line| line.split_once(": ")) {
            fields.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
        let length = fields.get("content-length").map_or(0, |lines| lines[0].parse().unwrap());
        let length = if method == "HEAD" || status == 304 { 0 } else { length };
        while self.received.len() < length {
            self.more().await;
        }
        Heard { status, fields, body: self.received.drain(..length).collect() }
    }

    async fn ask(&mut self, method: &str, path: &str, fields: &str) -> Heard {
        self.say(&format!("{method} {path} HTTP/1.1\r\nHost: e\r\n{fields}\r\n")).await;
        self.hear(method).await
    }
}

/// An origin with `/x`, and an edge that has it.
async fn warm() -> (OriginDouble, Edge) {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = Answer::pattern(1000, 7).etag("\"1\"").cache_control("max-age=60");
    origin.on("/x", answer.header("content-type", "text/plain").header("x-own", "a"));
    edge.get("/x").await;
    edge.settled().await;
    (origin, edge)
}

#[tokio::test]
async fn the_second_answer_on_a_connection_is_as_the_first() {
    let (origin, edge) = warm().await;
    for (method, fields, status, length) in [
        ("GET", "", 200, 1000),
        ("GET", "Connection: keep-alive\r\nCookie: a=b\r\n", 200, 1000),
        ("HEAD", "", 200, 0),
        ("GET", "If-None-Match: \"1\"\r\n", 304, 0),
        ("HEAD", "If-None-Match: \"1\"\r\n", 304, 0),
        ("GET", "If-None-Match: \"2\"\r\n", 200, 1000),
        ("GET", "Range: bytes=2-5\r\n", 206, 4),
        ("GET", "Range: bytes=2-5\r\nIf-Range: \"2\"\r\n", 200, 1000),
        ("GET", "Range: bytes=2-5,9-\r\n", 206, 1200),
        ("GET", "X-Request-Id: mine\r\n", 200, 1000),
        ("GET", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", 200, 1000),
    ] {
        let mut conversation = Conversation::with(&edge).await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            let mut next = conversation.ask(method, "/x", fields).await;
            for (name, own) in [("server-timing", true), ("x-request-id", !fields.contains("mine"))] {
                let lines = next.fields.get_mut(name).unwrap();
                assert_eq!(lines.len(), 1, "{name}");
                if own {
                    lines.clear();
                }
            }
            if length == 1200 {
                // The boundary is drawn by lot.
                assert_eq!(next.status, 206);
                assert!(next.body.windows(4).any(|at| *at == pattern_bytes(7, 2..6)[..]));
                next.body.clear();
                next.fields.remove("content-type");
            } else {
                assert_eq!((next.status, next.body.len()), (status, length), "{method} {fields}");
            }
            heard.push(next);
        }
        assert_eq!(heard[0], heard[1], "{method} {fields}");
        assert_eq!(heard[0], heard[2], "{method} {fields}");
    }
    assert_eq!(origin.total_hits(), 1);
}

#[tokio::test]
async fn requests_of_all_kinds_take_turns() {
    let (origin, edge) = warm().await;
    let long = 300_000;
    origin.on("/long", Answer::pattern(long, 8).etag("\"1\"").cache_control("max-age=60"));
    origin.on("/never", Answer::ok("never").cache_control("no-store"));
    origin.on("/posted", Answer::ok("posted"));
    let (short, long) = (pattern_bytes(7, 0..1000), pattern_bytes(8, 0..long));
    for posts in [false, true] {
        let mut conversation = Conversation::with(&edge).await;
        for round in 0..4 {
            for (method, path, body) in [
                ("GET", "/x", &short[..]),
                ("GET", "/x", &short),
                ("GET", "/long", &long),
                ("GET", "/x", &short),
                ("HEAD", "/x", b""),
                ("GET", "/never", b"never"),
                ("GET", "/x", &short),
                ("HEAD", "/long", b""),
                ("GET", "/x", &short),
            ] {
                let heard = conversation.ask(method, path, "").await;
                assert_eq!(heard.status, 200, "{method} {path} {round}");
                assert!(heard.body == body, "{method} {path} {round}: {} bytes", heard.body.len());
            }
            if posts {
                conversation.say("POST /posted HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\nhello").await;
                assert_eq!(conversation.hear("POST").await.body, b"posted");
            }
        }
    }
    assert_eq!(origin.hits("/x"), 1);
}

/// Where a request begins and ends does not depend on how it came.
#[tokio::test]
async fn requests_may_come_in_pieces_or_at_once() {
    let (origin, edge) = warm().await;
    origin.on_any(Answer::ok("any").cache_control("max-age=60"));
    let body = pattern_bytes(7, 0..1000);
    let request = "GET /x HTTP/1.1\r\nHost: e\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: e\r\n\r\n";
    for cut in [1, 10, 20, request.len() - 2, request.len() - 1] {
        let mut conversation = Conversation::with(&edge).await;
        conversation.ask("GET", "/x", "").await;
        conversation.ask("GET", "/x", "").await;
        conversation.say(&request[..cut]).await;
        // In the meantime the server most likely reads what there is.
        edge.get("/x").await;
        conversation.say(&request[cut..]).await;
        assert_eq!(conversation.hear("GET").await.body, body, "cut at {cut}");
        conversation.say(&request.repeat(3)).await;
        for _ in 0..3 {
            assert_eq!(conversation.hear("GET").await.body, body, "cut at {cut}");
        }
        assert_eq!(conversation.ask("GET", "/x", "").await.body, body);
    }
    for (framing, end) in [
        (format!("Content-Length: {}\r\n\r\n", smuggled.len()), String::new()),
        (format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", smuggled.len()), "\r\n0\r\n\r\n".to_owned()),
    ] {
        let mut conversation = Conversation::with(&edge).await;
        conversation.ask("GET", "/x", "").await;
        conversation.ask("GET", "/x", "").await;
        conversation.say(&format!("GET /x HTTP/1.1\r\nHost: e\r\n{framing}")).await;
        edge.get("/x").await;
        // It may have been answered, and the connection closed, by now.
        let _ = conversation.stream.write_all(format!("{smuggled}{end}").as_bytes()).await;
        assert_eq!(conversation.hear("GET").await.body, body);
        // The rest was read over, or the connection was closed.
        let _ = conversation.stream.write_all(request.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, conversation.stream.read_buf(&mut rest)).await;
    }
    assert_eq!(origin.hits("/smuggled"), 0);
}

#[tokio::test]
async fn each_answer_counts_once() {
    let (_origin, edge) = warm().await;
    let mut conversation = Conversation::with(&edge).await;
    for _ in 0..5 {
        conversation.ask("GET", "/x", "").await;
    }
    conversation.ask("HEAD", "/x", "").await;
    let hits = ["outcome=\"hit\""];
    eventually("six hits", async || edge.metric("millrace_cache_requests_total", &hits).await == 6).await;
    assert_eq!(edge.metric("millrace_cache_response_bytes_total", &hits).await, 5000);
    assert_eq!(edge.metric("http_server_active_requests", &[]).await, 0);
}

/// A purge that has been acknowledged holds on connections that are open, too; and so does the end of a lifetime.
#[tokio::test]
async fn what_is_gone_is_gone_on_open_connections() {
    let (origin, edge) = warm().await;
    let mut conversation = Conversation::with(&edge).await;
    let mut fetched = 1;
    for _ in 0..3 {
        for _ in 0..3 {
            conversation.ask("GET", "/x", "").await;
        }
        assert_eq!(origin.hits("/x"), fetched);
        edge.purge(r#"{"urls":["/x"]}"#).await;
        let heard = conversation.ask("GET", "/x", "").await;
        assert_eq!(heard.fields["x-cache"], ["MISS"]);
        edge.settled().await;
        edge.advance(61);
        let heard = conversation.ask("GET", "/x", "").await;
        assert_eq!(heard.fields["x-cache"], ["REVALIDATED"]);
        edge.settled().await;
        fetched += 2;
    }
}
