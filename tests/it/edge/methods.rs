//! Methods other than GET: HEAD shares what GET has stored, the others go through and may outdate it.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{BLOCK, Edge, Open, client};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for length in [0, 100, BLOCK, 3 * BLOCK + 1] {
        let path = format!("/{length}");
        origin.on(&path, Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=60"));
        let head = edge.ask("HEAD", &path, &[]).await;
        assert_eq!((head.status, head.cache()), (200, "MISS"), "{path}");
        assert_eq!(head.field("content-length"), length.to_string(), "{path}");
        assert_eq!(origin.requests(&path)[0].method, "HEAD", "{path}");
        let again = edge.ask("HEAD", &path, &[]).await;
        assert_eq!((again.cache(), again.field("content-length")), ("HIT", &*length.to_string()), "{path}");

        // What HEAD has stored is completed by GET, never taken for the body.
        let get = edge.get(&path).await;
        assert!(get.is_pattern(1, 0..length), "{path}");
        assert_eq!(edge.get(&path).await.cache(), "HIT", "{path}");
        assert_eq!(origin.bytes_sent(&path), length, "{path}");

        let head = edge.ask("HEAD", &path, &[]).await;
        assert_eq!((head.cache(), head.field("content-length")), ("HIT", &*length.to_string()), "{path}");
        assert_eq!(head.field("etag"), "\"1\"", "{path}");
    }
}

/// Without a strong validator nothing can be fetched later to go with the head.
#[tokio::test]
async fn head_of_what_cannot_be_completed_is_passed_on() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer) in [
        ("/weak", Answer::ok("hello").etag("W/\"1\"").cache_control("max-age=60")),
        ("/none", Answer::ok("hello").cache_control("max-age=60")),
        ("/private", Answer::ok("hello").etag("\"1\"").cache_control("private")),
        ("/missing", Answer::ok("hello").status(404)),
    ] {
        origin.on(path, answer.clone());
        let status = if path == "/missing" { 404 } else { 200 };
        for _ in 0..2 {
            let head = edge.ask("HEAD", path, &[]).await;
            assert_eq!((head.status, head.field("content-length")), (status, "5"), "{path}");
        }
        assert_eq!(origin.hits(path), 2, "{path}");
        let get = edge.get(path).await;
        assert_eq!((get.status, get.text()), (status, "hello".to_owned()), "{path}");
    }
    // A chunked answer says nothing of its length, and neither do we.
    origin.on("/chunked", Answer::ok("hello").cache_control("max-age=60").chunked());
    let head = edge.ask("HEAD", "/chunked", &[]).await;
    assert_eq!((head.status, head.field("content-length")), (200, ""));
    assert_eq!(edge.get("/chunked").await.text(), "hello");
    assert_eq!(edge.ask("HEAD", "/chunked", &[]).await.field("content-length"), "5");
}

#[tokio::test]
async fn head_from_store_and_after_expiry() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let version = |seed, tag| Answer::pattern(3 * BLOCK, seed).etag(tag).cache_control("max-age=60");
    origin.on("/x", version(1, "\"1\""));
    edge.get("/x").await;
    assert_eq!(edge.ask("HEAD", "/x", &[]).await.cache(), "HIT");
    edge.advance(61);
    assert_eq!(edge.ask("HEAD", "/x", &[]).await.cache(), "REVALIDATED");
    assert_eq!(edge.get("/x").await.cache(), "HIT");
    // A changed head outdates the old body.
    origin.on("/x", version(2, "\"2\""));
    edge.advance(61);
    let head = edge.ask("HEAD", "/x", &[]).await;
    assert_eq!((head.cache(), head.field("etag")), ("MISS", "\"2\""));
    assert!(edge.get("/x").await.is_pattern(2, 0..3 * BLOCK));
}

#[tokio::test]
async fn ranges_and_conditions_of_head() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::pattern(1000, 1).etag("\"1\"").cache_control("max-age=60"));
    for _ in 0..2 {
        let head = edge.ask("HEAD", "/x", &[("range", "bytes=0-9")]).await;
        assert_eq!((head.status, head.field("content-length")), (200, "1000"));
        assert_eq!(edge.ask("HEAD", "/x", &[("if-none-match", "\"1\"")]).await.status, 304);
        assert_eq!(edge.ask("HEAD", "/x", &[("if-match", "\"2\"")]).await.status, 412);
        edge.get("/x").await;
    }
}

#[tokio::test]
async fn a_successful_unsafe_method_outdates_what_is_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    // (method, status, outdated)
    for (method, status, outdated) in [
        ("POST", 200, true),
        ("PUT", 204, true),
        ("DELETE", 204, true),
        ("PATCH", 200, true),
        ("M-SEARCH", 200, true),
        ("POST", 303, true),
        ("POST", 400, false),
        ("PUT", 500, false),
        ("OPTIONS", 200, false),
    ] {
        let path = format!("/{method}/{status}");
        origin.on_with(&path, move |request| match request.method.as_str() {
            "GET" => Answer::ok("x").etag("\"1\"").cache_control("max-age=60"),
            _ => {
                Answer::ok(if status == 204 { "" } else { "done" }).status(status).cache_control("max-age=60")
            }
        });
        let case = format!("{method} {status}");
        edge.get(&path).await;
        let reply = edge.ask(method, &path, &[]).await;
        assert_eq!((reply.status, reply.cache()), (status, "BYPASS"), "{case}");
        assert_eq!(reply.field("age"), "", "{case}");
        let after = edge.get(&path).await;
        assert_eq!(after.cache(), if outdated { "MISS" } else { "HIT" }, "{case}");
    }
}

#[tokio::test]
async fn bodies_of_requests_stream_to_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/in", Answer::ok("thanks").gate(&gate));
    gate.release();
    let body = pattern_bytes(4, 0..300_000);
    let reply = client::open(edge.data(), "POST", "/in", &[("content-type", "a/b")], &body).await;
    assert_eq!(reply.whole().await.text(), "thanks");
    let asked = &origin.requests("/in")[0];
    assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", "a/b"));
    assert!(asked.body == body, "{} bytes arrived", asked.body.len());

    // Chunked, and slower than a single read.
    let mut stream = TcpStream::connect(edge.data()).await.unwrap();
    stream.write_all(b"PUT /in HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for part in ["5\r\nhello\r\n", "1\r\n \r\n", "5\r\nworld\r\n", "0\r\n\r\n"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let reply = Open::read(stream, false).await.whole().await;
    assert_eq!((reply.status, reply.text()), (200, "thanks".to_owned()));
    assert_eq!(origin.requests("/in")[1].body, b"hello world");
}

#[tokio::test]
async fn methods_that_are_not_answered() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x"));
    let trace = edge.ask("TRACE", "/x", &[("x-secret", "mirror me")]).await;
    assert_eq!(trace.status, 405);
    assert!(trace.field("allow").contains("GET"));
    assert!(!trace.text().contains("mirror me"));
    assert_eq!(origin.total_hits(), 0);
}

/// An unsafe request is sent once: the origin may have acted on it before it failed.
#[tokio::test]
async fn unsafe_requests_are_not_repeated() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::hang_up());
    let reply = edge.ask("POST", "/x", &[]).await;
    assert_eq!((reply.status, reply.cache()), (502, "ERROR"));
    assert_eq!(reply.field("content-type"), "application/problem+json");
    assert_eq!(origin.hits("/x"), 1);
}

/// The origin judges the conditions of what it is to change, and knows how much is to come.
#[tokio::test]
async fn conditions_and_length_of_writes_go_to_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::empty(204));
    let fields = [("if-match", "\"1\""), ("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")];
    client::open(edge.data(), "PUT", "/x", &fields, b"hello").await.whole().await;
    edge.ask("DELETE", "/x", &[("if-none-match", "*")]).await;
    let [put, delete] = &origin.requests("/x")[..] else { panic!("not two requests") };
    for (name, value) in fields.into_iter().chain([("content-length", "5"), ("transfer-encoding", "")]) {
        assert_eq!(put.header(name), value, "{name}");
    }
    assert_eq!(put.body, b"hello");
    assert_eq!((delete.header("if-none-match"), delete.header("transfer-encoding")), ("*", ""));
}

/// RFC 9111 §4.3.5: the head of the version that is stored, though the origin did not say 304.
#[tokio::test]
async fn head_freshens_what_is_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    const LENGTH: u64 = 3 * BLOCK;
    let answer = || Answer::pattern(LENGTH, 1).etag("\"1\"").cache_control("max-age=60");
    origin.on("/x", answer());
    edge.get("/x").await;
    edge.advance(61);
    // A status that switches conditions off, which is 200 on the wire all the same.
    origin.on_with("/x", move |request| match request.method.as_str() {
        "HEAD" => Answer::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\netag: \"1\"\r\ncache-control: max-age=60\r\n\r\n"
        )),
        _ => answer(),
    });
    assert_eq!(edge.ask("HEAD", "/x", &[]).await.cache(), "REVALIDATED");
    let get = edge.get("/x").await;
    assert!(get.cache() == "HIT" && get.is_pattern(1, 0..LENGTH));
    assert_eq!(origin.bytes_sent("/x") / LENGTH, 1);
}
