//! Origins that lie, contradict themselves or talk nonsense: nothing of it is stored, mixed or replayed.

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble, pattern_bytes};

const SEED: u64 = 7;
const LENGTH: u64 = 4 * BLOCK;

fn part(range: std::ops::Range<u64>, content_range: &str) -> Answer {
    let answer = Answer::ok(pattern_bytes(SEED, range)).status(206).cache_control("max-age=60");
    match content_range {
        "" => answer,
        value => answer.header("content-range", value),
    }
}

/// Row C3: parts that nobody asked for, or other ones.
#[tokio::test]
async fn parts_are_what_they_say_or_nothing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let whole = format!("bytes 0-{}/{LENGTH}", LENGTH - 1);
    // (name, answer, asked range, status)
    for (name, answer, range, status) in [
        ("unasked", part(0..10, "bytes 0-9/100"), "", 502),
        ("unasked-unclear", part(0..10, ""), "", 502),
        ("other-unit", part(0..10, "bytes 0-9/100"), "items=0-9", 502),
        ("nameless", part(0..10, ""), "bytes=0-9", 502),
        ("elsewhere", part(50..60, "bytes 50-59/100"), "bytes=0-9", 502),
        ("too-long", part(0..20, "bytes 0-9/100"), "bytes=0-9", 502),
        ("beyond", part(0..10, "bytes 90-109/100"), "bytes=90-99", 502),
        ("backwards", part(0..10, "bytes 9-0/100"), "bytes=0-9", 502),
        ("multipart", part(0..10, "").content_type("multipart/byteranges; boundary=x"), "bytes=0-9", 502),
        ("more", part(0..LENGTH, &whole), "bytes=70000-70009", 206),
    ] {
        for tagged in [false, true] {
            let path = format!("/{name}/{tagged}");
            origin.on(&path, if tagged { answer.clone().etag("\"1\"") } else { answer.clone() });
            let fields: &[(&str, &str)] = if range.is_empty() { &[] } else { &[("range", range)] };
            let open = edge.open("GET", &path, fields).await;
            let reply = match open.finish().await {
                Ok(reply) => reply,
                // With a validator the part is believed, and the rest cannot be had: it must not look whole.
                Err(broken) => {
                    assert!(tagged && broken.head.status != 206, "{path}: {:?}", broken.head);
                    continue;
                }
            };
            edge.settled().await;
            assert!(reply.status == status || tagged && reply.status == 502, "{path}: {}", reply.status);
            if reply.status == 206 {
                assert!(reply.is_pattern(SEED, 70_000..70_010), "{path}");
            }
        }
    }
}

/// Rows C1, C2 and C7.
#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    let origin = OriginDouble::start().await;
    // The origin is never taken for down, whatever it says: each request here is to meet it, and nothing else asks.
    let edge = Edge::with(&origin, |raw| {
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    })
    .await;
    let raw = |text: &str| Answer::raw(text.as_bytes());
    let many: String = (0..400).map(|number| format!("x-{number}: 1\r\n")).collect();
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 1\r\n\r\nx", "a".repeat(600_000));
    for (name, answer) in [
        ("two-lengths", raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy")),
        (
            "length-and-coding",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("bad-length", raw("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx")),
        ("bad-status", raw("HTTP/1.1 2x0 OK\r\ncontent-length: 1\r\n\r\nx")),
        ("bad-version", raw("HTTP/9.9 200 OK\r\ncontent-length: 1\r\n\r\nx")),
        ("no-colon", raw("HTTP/1.1 200 OK\r\nnothing\r\ncontent-length: 1\r\n\r\nx")),
        ("many-fields", raw(&format!("HTTP/1.1 200 OK\r\n{many}content-length: 1\r\n\r\nx"))),
        ("long-field", raw(&long)),
        ("upgrade", raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")),
        ("compressed", raw("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("cut-head", raw("HTTP/1.1 200 OK\r\ncontent-le")),
        ("nothing", Answer::hang_up()),
    ] {
        let path = format!("/{name}");
        origin.on(&path, answer);
        for _ in 0..2 {
            let reply = edge.get(&path).await;
            assert_eq!((reply.status, reply.cache()), (502, "ERROR"), "{name}");
            assert_eq!(reply.field("content-type"), "application/problem+json", "{name}");
        }
        assert_eq!(origin.hits(&path), 4, "{name}: asked twice each time, and nothing kept");
    }
    // A garbled connection does not spoil the next.
    origin.on("/fine", Answer::ok("fine").cache_control("max-age=60"));
    assert_eq!(edge.get("/fine").await.told(), (200, "MISS", "fine".to_owned()));
}

#[tokio::test]
async fn odd_but_lawful_answers_pass() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on(
        "/hints",
        Answer::ok("x").cache_control("max-age=60").interim(103, &[("link", "</a>; rel=preload")]),
    );
    origin.on("/wide", Answer::ok("x").cache_control(&format!("max-age=60, x=\"{}\"", "a".repeat(60_000))));
    origin.on(
        "/old",
        Answer::ok("x")
            .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .cache_control("max-age=60")
            .etag("\"1\""),
    );
    origin.on("/far", Answer::ok("x").header("expires", "Fri, 31 Dec 9999 23:59:59 GMT"));
    origin.on(
        "/aged",
        Answer::ok("x").header("age", "99999999999999999999").cache_control("max-age=60").etag("\"1\""),
    );
    origin.on("/minus", Answer::ok("x").header("age", "-5").cache_control("max-age=60"));
    origin.on("/lying-type", Answer::ok("<html>").content_type("image/png").cache_control("max-age=60"));
    for (path, second) in [
        ("/hints", "HIT"),
        ("/wide", "HIT"),
        ("/old", "REVALIDATED"),
        ("/far", "HIT"),
        ("/aged", "REVALIDATED"),
        ("/minus", "HIT"),
        ("/lying-type", "HIT"),
    ] {
        for cache in ["MISS", second] {
            let reply = edge.get(path).await;
            assert_eq!((reply.status, reply.cache()), (200, cache), "{path}");
        }
    }
}

/// Row C5: a redirect is the client's business, wherever it leads.
#[tokio::test]
async fn redirects_are_not_followed() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (number, location) in
        ["/loop", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "gopher://x/", "//other/x"]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{number}");
        origin.on(&path, Answer::empty(302).header("location", location));
        let reply = edge.get(&path).await;
        assert_eq!((reply.status, reply.field("location")), (302, location));
    }
    assert_eq!(origin.total_hits(), 5);
}

/// Several origins: the next one takes over before the body, and the same object goes on at the next within it.
#[tokio::test]
async fn a_chain_of_origins_carries_an_object_over_a_break() {
    let (first, second) = (OriginDouble::start().await, OriginDouble::start().await);
    let url = second.url();
    let edge = Edge::with(&first, |raw| {
        let second = super::http_origin(&url);
        raw.origins.push(millrace::config::raw::Origin { name: "second".to_owned(), ..second });
    });
    let edge = edge.await;
    let object = |tag: &str| Answer::pattern(LENGTH, SEED).etag(tag).cache_control("max-age=60");
    // Missing at the first.
    second.on("/only-there", object("\"1\""));
    assert!(edge.get("/only-there").await.is_pattern(SEED, 0..LENGTH));
    assert_eq!((first.hits("/only-there"), second.hits("/only-there")), (1, 1));
    // Broken at the first, and from then on down.
    first.on("/broken", object("\"1\"").cut_at(BLOCK + 9).times(1));
    first.on("/broken", Answer::hang_up());
    second.on("/broken", object("\"1\""));
    assert!(edge.get("/broken").await.is_pattern(SEED, 0..LENGTH));
    assert_eq!(second.requests("/broken")[0].header("range"), format!("bytes={}-{}", BLOCK + 9, LENGTH - 1));
    // Another version at the second: not put behind the first.
    first.on("/mixed", object("\"1\"").cut_at(BLOCK + 9).times(1));
    first.on("/mixed", Answer::hang_up());
    second.on("/mixed", Answer::pattern(LENGTH, 99).etag("\"2\"").cache_control("max-age=60"));
    let broken = edge.open("GET", "/mixed", &[]).await.finish().await.unwrap_err();
    assert!(broken.begins(SEED, 0..LENGTH));
    edge.settled().await;
    assert!(edge.get("/mixed").await.is_pattern(99, 0..LENGTH));
}
