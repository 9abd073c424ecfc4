//! Framing on the client's side: what is not HTTP/1.1 is refused, the connection closed, and nothing of it taken for a
//! second request.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Edge, client::Open};
use crate::origin_double::{Answer, OriginDouble, pattern_bytes};

/// What came back on one connection.
struct Exchange {
    closed: bool,
    received: Vec<u8>,
}

impl Exchange {
    fn statuses(&self) -> Vec<u16> {
        statuses(&self.received)
    }
}

/// Everything sent here ends the connection sooner or later, so that nobody has to guess when all has come.
const PATIENCE: Duration = Duration::from_secs(10);

async fn exchange(edge: &Edge, sent: &[u8]) -> Exchange {
    exchange_within(edge, sent, PATIENCE).await
}

async fn exchange_within(edge: &Edge, sent: &[u8], patience: Duration) -> Exchange {
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(sent).await;
    let mut received = Vec::new();
    let closed = loop {
        match timeout(patience, stream.read_buf(&mut received)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(_)) => {}
        }
    };
    Exchange { closed, received }
}

/// Of each answer in a row. Bodies are skipped by their length.
fn statuses(mut received: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    while let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let status: u16 = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        received = &received[(end + 4 + length).min(received.len())..];
        found.push(status);
    }
    found
}

/// Must not be answered where it stands.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n";
/// May be answered.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n";

fn get(head: &str) -> Vec<u8> {
    format!("GET /x HTTP/1.1\r\nHost: e\r\n{head}\r\n\r\n{SECOND}").into_bytes()
}

fn post(head: &str, body: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: e\r\n{head}\r\n\r\n{body}{SECOND}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

/// (row, request, accepted statuses). Each is refused, closed, and not followed by a second answer.
fn rows() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let raw = |text: &str| text.as_bytes().to_vec();
    let line = |line: &str| format!("{line}\r\nHost: e\r\n\r\n{SECOND}").into_bytes();
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(64 << 10));
    let many = (0..1_000).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    vec![
        ("A1 both", post("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), &[400]),
        (
            "A1 both, other order",
            post("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\n"),
            &[400],
        ),
        ("A2 two lengths", post("Content-Length: 5\r\nContent-Length: 6", "hello"), &[400]),
        ("A2 list of lengths", post("Content-Length: 5, 6", "hello"), &[400]),
        ("A3 plus", post("Content-Length: +5", "hello"), &[400]),
        ("A3 minus", post("Content-Length: -1", ""), &[400]),
        ("A3 hexadecimal", post("Content-Length: 0x5", "hello"), &[400]),
        ("A3 two numbers", post("Content-Length: 5 5", "hello"), &[400]),
        ("A3 too large", post("Content-Length: 99999999999999999999", "hello"), &[400, 413]),
        ("A3 empty", post("Content-Length: ", "hello"), &[400]),
        ("A4 chunked twice", post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), &[400, 501]),
        ("A4 unknown", post("Transfer-Encoding: xchunked", "0\r\n\r\n"), &[400, 501]),
        ("A4 vertical tab", post("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"), &[400, 501]),
        ("A4 form feed", post("Transfer-Encoding: chunked\u{c}", "0\r\n\r\n"), &[400, 501]),
        ("A4 identity", post("Transfer-Encoding: identity, chunked", "0\r\n\r\n"), &[400, 501]),
        ("A4 not last", post("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"), &[400, 501]),
        ("A5 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("A5 plus", chunked("+5\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("A5 extension of 64 KiB", chunked(&extension), &[400]),
        ("A5 17 digits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("A5 huge", chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("A5 no line end", chunked("5\r\nhello0\r\n\r\n"), &[400]),
        ("A5 bare line feed", chunked("5\nhello\r\n0\r\n\r\n"), &[400]),
        ("A5 no size", chunked("\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("A6 carriage return in value", get("X-A: a\rb"), &[400]),
        ("A6 NUL in value", get("X-A: a\0b"), &[400]),
        ("A6 NUL in name", get("X-\0A: a"), &[400]),
        ("A6 line feeds only", raw(&format!("GET /x HTTP/1.1\nHost: e\nX-A: a\n\n{SECOND}")), &[400]),
        ("A6 folded", get("X-A: a\r\n b"), &[400]),
        ("A6 folded first", raw(&format!("GET /x HTTP/1.1\r\n Host: e\r\n\r\n{SECOND}")), &[400]),
        ("A7 space before colon", get("X-A : a"), &[400]),
        ("A7 no name", get(": a"), &[400]),
        ("A7 no token", get("X(A): a"), &[400]),
        ("A7 no colon", get("nothing"), &[400]),
        ("A8 no version", raw(&format!("GET /x\r\n\r\n{SECOND}")), &[400, 505]),
        ("A8 three spaces", line("GET  /x  HTTP/1.1"), &[400]),
        ("A8 1.10", line("GET /x HTTP/1.10"), &[400, 505]),
        ("A8 3.0", line("GET /x HTTP/3.0"), &[400, 505]),
        ("A8 lower case", line("GET /x http/1.1"), &[400, 505]),
        ("A8 preface of HTTP/2", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), &[400, 505]),
        ("A8 nonsense", raw("\u{16}\u{3}\u{1}\r\n\r\n"), &[400]),
        ("A9 no host", raw(&format!("GET /x HTTP/1.1\r\n\r\n{SECOND}")), &[400]),
        ("A9 two hosts", get("Host: f"), &[400]),
        ("A10 64 KiB of line", line(&format!("GET /{} HTTP/1.1", "a".repeat(64 << 10))), &[414, 431]),
        ("A10 1 MiB of fields", get(&format!("X-A: {}", "a".repeat(1 << 20))), &[431]),
        ("A10 1,000 fields", get(&many), &[431]),
    ]
}

/// Rows that are answered in another way, and why that will do: (row, statuses, closed, why).
const OTHERWISE: [(&str, &[u16], bool, &str); 10] = [
    ("A5 0x", &[], true, BROKEN_OFF),
    ("A5 plus", &[], true, BROKEN_OFF),
    ("A5 17 digits", &[], true, BROKEN_OFF),
    ("A5 no line end", &[], true, BROKEN_OFF),
    ("A5 bare line feed", &[], true, BROKEN_OFF),
    ("A5 no size", &[], true, BROKEN_OFF),
    ("A5 huge", &[], false, "a lawful size: the bytes are awaited, as long as `limits.min_progress` allows"),
    (
        "A5 extension of 64 KiB",
        &[200, 200],
        true,
        "RFC 9112 §7.1.1: unknown extensions are passed over; none is kept",
    ),
    (
        "A6 line feeds only",
        &[200, 200],
        true,
        "RFC 9112 §2.2 allows to take a line feed alone for a line end",
    ),
    (
        "A10 64 KiB of line",
        &[400],
        true,
        "more than 8 KiB is 414; what is more than a head may have is no request",
    ),
];

/// Closed without a word: the head was good, and the request is under way when its body turns out to be none.
const BROKEN_OFF: &str = "the origin sees the body break off, and the client its connection";

#[tokio::test]
async fn what_is_no_request_is_refused_and_closed() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    let rows = rows();
    let exchanges = rows.iter().map(|(row, sent, _)| {
        let hangs = OTHERWISE.iter().any(|(name, _, closed, _)| name == row && !closed);
        exchange_within(&edge, sent, if hangs { Duration::from_secs(1) } else { PATIENCE })
    });
    let exchanges = join_all(exchanges).await;
    let mut faults = Vec::new();
    for ((row, _, accepted), found) in rows.iter().zip(&exchanges) {
        let fine = match OTHERWISE.iter().find(|(name, ..)| name == row) {
            Some((_, statuses, closed, _)) => found.statuses() == *statuses && found.closed == *closed,
            None => matches!(found.statuses()[..], [status] if accepted.contains(&status)) && found.closed,
        };
        if !fine {
            faults.push(format!("{row}: {:?}, closed: {}", found.statuses(), found.closed));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let understood = OTHERWISE.iter().filter(|(_, statuses, ..)| statuses.len() == 2).count();
    assert!(origin.hits("/smuggled") <= understood, "{} hits", origin.hits("/smuggled"));
    // And the server still serves.
    assert_eq!(edge.get("/fine").await.status, 200);
}

/// Refused for what they say; where they end is clear, so that the connection may go on.
#[tokio::test]
async fn readable_requests_that_are_not_answered() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    let host = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let rows: [(&str, String, &[u16]); 7] = [
        ("A9 host with path", host("e/f"), &[400]),
        ("A9 host with user", host("u@e"), &[400]),
        ("A9 host with space", host("e f"), &[400]),
        ("A9 host with quote", host("e\"f"), &[400]),
        ("A14 expectation", "GET /x HTTP/1.1\r\nHost: e\r\nExpect: 200-ok\r\n\r\n".to_owned(), &[417]),
        ("A15 CONNECT", "CONNECT e:80 HTTP/1.1\r\nHost: e:80\r\n\r\n".to_owned(), &[400, 405, 501]),
        ("A15 TRACE", "TRACE /x HTTP/1.1\r\nHost: e\r\nX-Secret: mirror\r\n\r\n".to_owned(), &[405, 501]),
    ];
    for (row, request, accepted) in rows {
        let found = exchange(&edge, format!("{request}{LAST}").as_bytes()).await;
        let answered = |status| accepted.contains(&status);
        let fine = matches!(found.statuses()[..], [status] | [status, 200] if answered(status));
        assert!(fine && found.closed, "{row}: {:?}", found.statuses());
        assert!(!String::from_utf8_lossy(&found.received).contains("mirror"), "{row}");
    }
    assert_eq!(origin.total_hits(), origin.hits("/last"));
    for (row, request) in [
        ("A9 port", host("e:8080")),
        ("A9 address", host("[::1]:8080")),
        ("A9 absolute form", "GET http://other/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned()),
        (
            "A15 upgrade",
            "GET /x HTTP/1.1\r\nHost: e\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
        ),
        (
            "A15 upgrade with a body",
            "POST /x HTTP/1.1\r\nHost: e\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        ),
        ("A15 unknown method, which is for the origin to know", "BREW /x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned()),
    ] {
        let found = exchange(&edge, format!("{request}{LAST}").as_bytes()).await;
        assert_eq!(found.statuses(), [200, 200], "{row}");
    }
    let found = exchange(&edge, b"GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!((&found.statuses()[..], found.closed), (&[200][..], true), "1.0");
}

/// Row A13: what came before the fault is answered.
#[tokio::test]
async fn pipelined_requests_are_answered_up_to_the_fault() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    let good = "GET /x HTTP/1.1\r\nHost: e\r\n\r\n";
    let found = exchange(&edge, format!("{good}{good}GET /x\r\n\r\n{SECOND}").as_bytes()).await;
    assert_eq!((&found.statuses()[..], found.closed), (&[200, 200, 400][..], true));
    let found = exchange(&edge, format!("{}{LAST}", good.repeat(10)).as_bytes()).await;
    assert_eq!((&found.statuses()[..], found.closed), (&[200; 11][..], true));
    assert_eq!(origin.hits("/smuggled"), 0);
}

/// Long bodies do not pass through the buffer that heads and short ones wait in.
#[tokio::test]
async fn pipelined_answers_keep_their_order_whatever_their_length() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let lengths = [("/short", 100), ("/long", 300_000), ("/blocks", 3_000_000)];
    for (path, length) in lengths {
        origin.on(path, Answer::pattern(length, length).etag("\"1\"").cache_control("max-age=60"));
        edge.get(path).await;
    }
    let mut sent = String::new();
    let mut expected = Vec::new();
    for number in [1, 0, 2, 1, 1, 0, 2] {
        let (path, length) = lengths[number];
        let whole = pattern_bytes(length, 0..length);
        let last = length - 2;
        sent += &format!("GET {path} HTTP/1.1\r\nHost: e\r\n\r\n");
        sent += &format!("GET {path} HTTP/1.1\r\nHost: e\r\nRange: bytes=50-{last}\r\n\r\n");
        expected.extend([(200, whole.clone()), (206, whole[50..whole.len() - 1].to_vec())]);
    }
    let found = exchange(&edge, format!("{sent}{LAST}").as_bytes()).await;
    let mut rest = &found.received[..];
    for (number, (status, body)) in expected.into_iter().enumerate() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "answer {number}");
        assert!(rest[end..].starts_with(&body), "body of answer {number}");
        rest = &rest[end + body.len()..];
    }
    assert_eq!((statuses(rest), found.closed), (vec![404], true));
}

/// actix keeps one flag for all requests that it has read ahead: whether the last was HEAD.
#[tokio::test]
async fn pipelined_requests_of_both_kinds_are_answered_each_as_it_asks() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let lengths = [("/short", 100), ("/long", 300_000), ("/cold", 200), ("/never", 50)];
    for (path, length) in lengths {
        let control = if path == "/never" { "no-store" } else { "max-age=60" };
        origin.on(path, Answer::pattern(length, length).etag("\"1\"").cache_control(control));
    }
    edge.get("/short").await;
    edge.get("/long").await;
    for methods in ["GHG", "GGH", "HGG", "HHG", "GHHGGHG"] {
        for (path, length) in lengths {
            let mut sent = String::new();
            for method in methods.chars() {
                let method = if method == 'G' { "GET" } else { "HEAD" };
                sent += &format!("{method} {path} HTTP/1.1\r\nHost: e\r\n\r\n");
            }
            let found = exchange(&edge, format!("{sent}{LAST}").as_bytes()).await;
            let mut rest = &found.received[..];
            for (number, method) in methods.chars().enumerate() {
                let end = rest
                    .windows(4)
                    .position(|window| window == b"\r\n\r\n")
                    .map_or(rest.len(), |end| end + 4);
                let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
                assert!(head.starts_with("http/1.1 200 "), "{methods} {path} {number}: {head}");
                assert!(
                    head.contains(&format!("content-length: {length}\r\n")),
                    "{methods} {path} {number}: {head}"
                );
                rest = &rest[end..];
                if method == 'G' {
                    assert!(rest.starts_with(&pattern_bytes(length, 0..length)), "{methods} {path} {number}");
                    rest = &rest[length as usize..];
                }
            }
            assert_eq!((statuses(rest), found.closed), (vec![404], true), "{methods} {path}");
        }
    }
}

/// Row A16: the body of a GET that is answered from store is no request.
#[tokio::test]
async fn a_body_on_a_hit_is_no_second_request() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    origin.on("/large", Answer::pattern(300_000, 1).etag("\"1\"").cache_control("max-age=60"));
    origin.on("/second", Answer::ok("second"));
    for path in ["/x", "/large", "/missing", "/.."] {
        edge.get(path).await;
        for method in ["GET", "HEAD"] {
            let (length, size) = (SECOND.len(), format!("{:x}", SECOND.len()));
            for body in [
                format!("Content-Length: {length}\r\n\r\n{SECOND}"),
                format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{SECOND}\r\n0\r\n\r\n"),
            ] {
                let sent = format!("{method} {path} HTTP/1.1\r\nHost: e\r\n{body}{LAST}");
                let found = exchange(&edge, sent.as_bytes()).await;
                // The body was read over, or the connection was closed with it unread.
                let answers = found.received.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
                assert!((1..=2).contains(&answers) && found.closed, "{method} {path}: {answers} answers");
            }
        }
    }
    assert_eq!(origin.hits("/smuggled"), 0);
}

/// Row A11: those who never finish their head are shown out, and hold nobody up.
#[tokio::test]
async fn a_head_that_does_not_come_ends_at_its_time_out() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.server.header_timeout_secs = 1).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let slow = join_all((0..200).map(|_| async {
        let mut stream = TcpStream::connect(edge.data()).await.unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost").await.unwrap();
        stream
    }));
    let mut slow = slow.await;
    for _ in 0..20 {
        assert_eq!(edge.get("/x").await.status, 200);
    }
    // Byte by byte is no way round it.
    let mut drip = TcpStream::connect(edge.data()).await.unwrap();
    let dripping = async {
        for byte in b"GET /x HTTP/1.1\r\nHost: e\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle() {
            if drip.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = async {
        for stream in &mut slow {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(
                rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
                "{}",
                String::from_utf8_lossy(&rest)
            );
        }
    };
    let both = async { tokio::join!(dripping, ended) };
    assert!(timeout(Duration::from_secs(30), both).await.is_ok(), "still open after half a minute");
}

/// Hits are answered below actix, which closes connections on which it has nothing to do for long.
#[tokio::test]
async fn a_connection_in_use_stays_open() {
    let origin = OriginDouble::start().await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let edge = Edge::with(&origin, |raw| raw.server.keep_alive_secs = 2).await;
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: edge.example\r\n\r\n").await.unwrap();
        let reply;
        (reply, stream) = Open::read(stream, false).await.whole_and_on().await;
        assert_eq!((reply.status, reply.cache()), (200, "HIT"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
