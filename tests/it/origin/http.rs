//! One HTTP origin: exact forwarding, field hygiene, time-outs, and bodies that do not arrive whole.

use std::time::{Duration, Instant};

use ::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use millrace::origin::{Error, ErrorKind, Origin, Request, http as http_origin};
use tokio::net::TcpListener;
use url::Url;

use super::{IMPATIENT, PATIENT, collect, config, failure, get, named, origin, text};
use crate::origin_double::{Answer, Gate, OriginDouble, first_mismatch};

#[tokio::test]
async fn an_answer_arrives_with_its_fields() {
    let double = OriginDouble::start().await;
    double.on("/a.jpg", Answer::ok("body").etag("\"v1\"").header("x-twice", "1").header("x-twice", "2"));
    let answer = origin(&double).fetch(get("/a.jpg", &[])).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(&*answer.origin, "main");
    assert_eq!(answer.content_length, Some(4));
    assert_eq!(answer.headers["etag"], "\"v1\"");
    assert_eq!(answer.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(text(answer).await, "body");
}

#[tokio::test]
async fn targets_reach_the_origin_byte_for_byte_or_not_at_all() {
    let double = OriginDouble::start().await;
    double.on_any(Answer::ok(""));
    let plain = origin(&double);
    let base = Url::parse(&format!("{}/pre/fix/", double.url())).unwrap();
    let prefixed = http_origin::Http::new(http_origin::Config { base, ..config(&double) }).unwrap();
    for target in ["/", "/a%2Fb%5C%zz?x=%27'&y=http://z/../w", "//x//y", "/a?", "/%41;v=1", "/a?b?c&&=*"] {
        plain.fetch(get(target, &[])).await.unwrap();
        assert_eq!(double.hits(target), 1, "{target}");
        prefixed.fetch(get(target, &[])).await.unwrap();
        assert_eq!(double.requests(&format!("/pre/fix{target}")).len(), 1, "{target}");
    }
    let before = double.total_hits();
    for target in ["/../x", "/%2e%2e/x", "/a\\b", "/a b", "/a#b", "/a\r\nx: y", "x", ""] {
        assert_eq!(failure(prefixed.fetch(get(target, &[])).await), ErrorKind::Forbidden, "{target:?}");
    }
    assert_eq!(double.total_hits(), before);
}

#[tokio::test]
async fn only_end_to_end_fields_pass_in_either_direction() {
    let double = OriginDouble::start().await;
    double.on(
        "/x",
        Answer::ok("x")
            .header("connection", "keep-alive, x-hop")
            .header("keep-alive", "timeout=5")
            .header("x-hop", "1")
            .header("proxy-authenticate", "Basic")
            .header("trailer", "expires")
            .header("upgrade", "h2c")
            .header("x-end", "1")
            .header("set-cookie", "a=b")
            .header("content-encoding", "gzip")
            .header_bytes("x-bytes", b"caf\xe9 \xff"),
    );
    let origin = origin(&double);
    let answer = origin
        .fetch(get(
            "/x",
            &[
                ("connection", "close, x-mine"),
                ("x-mine", "1"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("proxy-authorization", "Basic eDp5"),
                ("expect", "100-continue"),
                ("host", "client.example"),
                ("content-length", "7"),
                ("x-end", "1"),
                ("accept-encoding", "br"),
            ],
        ))
        .await
        .unwrap();
    for name in ["connection", "keep-alive", "x-hop", "proxy-authenticate", "trailer", "upgrade"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.headers["x-end"], "1");
    assert_eq!(answer.headers["set-cookie"], "a=b");
    assert_eq!(answer.headers["x-bytes"].as_bytes(), b"caf\xe9 \xff");
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert_eq!(text(answer).await, "x", "not decoded");

    origin.fetch(get("/x", &[])).await.unwrap();
    let requests = double.requests("/x");
    let mut names: Vec<_> = requests[0].headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-encoding", "cdn-loop", "host", "x-end"]);
    assert_eq!(requests[0].header("host"), double.addr().to_string());
    assert!(!requests[1].headers.contains_key("cookie"));
    assert!(!requests[1].headers.contains_key("referer"));
}

#[tokio::test]
async fn the_configured_host_is_sent() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::ok("x"));
    let host_header = Some("media.example".to_owned());
    let origin = http_origin::Http::new(http_origin::Config { host_header, ..config(&double) }).unwrap();
    origin.fetch(get("/x", &[("host", "client.example")])).await.unwrap();
    assert_eq!(double.requests("/x")[0].header("host"), "media.example");
}

#[tokio::test]
async fn redirects_and_odd_statuses_pass_through() {
    let double = OriginDouble::start().await;
    double.on("/moved", Answer::empty(302).header("location", "http://127.0.0.1:1/"));
    let origin = origin(&double);
    let answer = origin.fetch(get("/moved", &[])).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.headers["location"].to_str().unwrap()),
        (302, "http://127.0.0.1:1/")
    );
    for status in [204, 299, 304, 404, 499, 503, 599, 999] {
        double.on("/x", Answer::empty(status));
        let answer = origin.fetch(get("/x", &[])).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.content_length, Some(0), "{status}");
        assert_eq!(text(answer).await, "");
    }
    assert_eq!(double.total_hits(), 9);
}

#[tokio::test]
async fn interim_answers_never_surface() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::ok("x").interim(100, &[]).interim(103, &[("link", "</a>")]).interim(102, &[]));
    let answer = origin(&double).fetch(get("/x", &[])).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("link"));
    assert_eq!(text(answer).await, "x");

    double.on("/x", Answer::raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"));
    assert_eq!(failure(origin(&double).fetch(get("/x", &[])).await), ErrorKind::BadResponse);

    let endless = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    double.on("/x", Answer::raw(endless));
    failure(origin(&double).fetch(get("/x", &[])).await);
}

#[tokio::test]
async fn head_keeps_the_length_and_has_no_body() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::pattern(1 << 30, 1));
    let answer = origin(&double).fetch(Request::new(Method::HEAD, "/x")).await.unwrap();
    assert_eq!(answer.headers["content-length"], (1 << 30).to_string());
    assert_eq!(answer.content_length, Some(0));
    assert_eq!(text(answer).await, "");
}

#[tokio::test]
async fn ranges_are_passed_on() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::pattern(1 << 30, 5).etag("\"v1\""));
    let origin = origin(&double);
    let fields = [("range", "bytes=-1000"), ("if-range", "\"v1\"")];
    let answer = origin.fetch(get("/x", &fields)).await.unwrap();
    assert_eq!(answer.status, 206);
    assert_eq!(answer.headers["content-range"], "bytes 1073740824-1073741823/1073741824");
    let bytes = collect(answer.body).await.unwrap();
    assert_eq!((bytes.len(), first_mismatch(5, 1_073_740_824, &bytes)), (1000, None));
    let answer = origin.fetch(get("/x", &[("range", "bytes=1073741824-")])).await.unwrap();
    assert_eq!(answer.status, 416);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::ok("x"));
    double.on("/chunked", Answer::ok("x").chunked());
    let origin = origin(&double);
    for _ in 0..10 {
        for target in ["/x", "/chunked"] {
            assert_eq!(text(origin.fetch(get(target, &[])).await.unwrap()).await, "x");
        }
    }
    assert_eq!(double.connections(), 1);
}

#[tokio::test]
async fn any_method_and_a_streamed_body_are_sent_once() {
    let double = OriginDouble::start().await;
    double.on_any(Answer::empty(201));
    let origin = origin(&double);
    for (method, length) in [("PUT", Some("6")), ("M-SEARCH", None), ("POST", None)] {
        let chunks = [Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"def"))];
        let mut request = Request {
            body: Some(stream::iter(chunks).boxed()),
            ..Request::new(Method::from_bytes(method.as_bytes()).unwrap(), format!("/{method}"))
        };
        if let Some(length) = length {
            request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        assert_eq!(origin.fetch(request).await.unwrap().status, 201);
        let seen = &double.requests(&format!("/{method}"))[0];
        assert_eq!((seen.method.as_str(), &seen.body[..]), (method, &b"abcdef"[..]));
        assert_eq!(seen.headers.contains_key("content-length"), length.is_some(), "{method}");
    }
    let answer = origin.fetch(Request::new(Method::DELETE, "/gone")).await.unwrap();
    assert_eq!((answer.status.as_u16(), double.requests("/gone")[0].body.len()), (201, 0));
}

#[tokio::test]
async fn a_request_body_that_breaks_says_why() {
    let double = OriginDouble::start().await;
    double.on_any(Answer::empty(201));
    let broken = Error::new(&"client".into(), ErrorKind::IdleTimeout, "the client stalled");
    let body = stream::iter([Ok(Bytes::from_static(b"abc")), Err(broken)]).boxed();
    let request = Request { body: Some(body), ..Request::new(Method::PUT, "/x") };
    let error = origin(&double).fetch(request).await.err().unwrap();
    assert_eq!((&*error.origin, error.kind), ("client", ErrorKind::IdleTimeout));
}

#[tokio::test]
async fn a_slow_request_body_does_not_run_into_the_first_byte_timeout() {
    let double = OriginDouble::start().await;
    double.on_any(Answer::empty(201));
    // Five pauses, together longer than the time-out and each well below it.
    let body = stream::iter(0..5).then(|_| async {
        tokio::time::sleep(IMPATIENT * 3 / 10).await;
        Ok(Bytes::from_static(b"x"))
    });
    let request = Request { body: Some(body.boxed()), ..Request::new(Method::PUT, "/x") };
    assert_eq!(named(&double, "o", IMPATIENT).fetch(request).await.unwrap().status, 201);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_whole_ends_in_an_error() {
    let double = OriginDouble::start().await;
    let len = 1_000_000;
    for (name, answer, kind, expected) in [
        ("cut", Answer::pattern(len, 2).cut_at(600_000), ErrorKind::ShortBody, Some(600_000)),
        ("cut at once", Answer::pattern(len, 2).cut_at(0), ErrorKind::ShortBody, Some(0)),
        (
            "cut at the last byte",
            Answer::pattern(len, 2).cut_at(len - 1),
            ErrorKind::ShortBody,
            Some(999_999),
        ),
        (
            "cut chunked",
            Answer::pattern(len, 2).chunked().cut_at(600_000),
            ErrorKind::ShortBody,
            Some(600_000),
        ),
        (
            "no last chunk",
            Answer::pattern(len, 2).chunked().cut_at(len),
            ErrorKind::ShortBody,
            Some(1_000_000),
        ),
        (
            "short",
            Answer::pattern(len, 2).wrong_content_length(len + 5),
            ErrorKind::ShortBody,
            Some(1_000_000),
        ),
        ("reset", Answer::pattern(len, 2).reset_at(600_000), ErrorKind::BrokenBody, None),
        ("stall", Answer::pattern(len, 2).stall_at(600_000), ErrorKind::IdleTimeout, Some(600_000)),
        (
            "bad chunk",
            Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nxx\r\n"),
            ErrorKind::BadFraming,
            None,
        ),
    ] {
        double.on("/x", answer);
        let patience = if kind == ErrorKind::IdleTimeout { IMPATIENT } else { PATIENT };
        let answer = named(&double, "main", patience).fetch(get("/x", &[])).await.unwrap();
        assert_eq!(answer.status, 200, "{name}");
        let (bytes, error) = collect(answer.body).await.err().unwrap_or_else(|| panic!("{name} came whole"));
        assert_eq!((&*error.origin, error.kind), ("main", kind), "{name}: {error}");
        if name != "bad chunk" {
            assert_eq!(first_mismatch(2, 0, &bytes), None, "{name}");
        }
        if let Some(expected) = expected {
            assert_eq!(bytes.len(), expected, "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn more_than_declared_is_cut_to_what_was_declared_and_the_connection_is_not_reused() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::ok("0123456789").wrong_content_length(4).times(1));
    double.on("/x", Answer::ok("0123456789"));
    let origin = origin(&double);
    assert_eq!(text(origin.fetch(get("/x", &[])).await.unwrap()).await, "0123");
    assert_eq!(text(origin.fetch(get("/x", &[])).await.unwrap()).await, "0123456789");
    assert_eq!(double.connections(), 2);
    assert_eq!(origin.too_long_answers(), 1);
}

#[tokio::test]
async fn answers_that_are_no_http_are_bad_responses() {
    let double = OriginDouble::start().await;
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let large_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    for (answer, kind) in [
        ("nonsense\r\n\r\n", ErrorKind::BadResponse),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", ErrorKind::BadResponse),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", ErrorKind::BadResponse),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", ErrorKind::BadResponse),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            ErrorKind::BadResponse,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ErrorKind::BadResponse),
        ("HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", ErrorKind::BadResponse),
        (many_fields.as_str(), ErrorKind::BadResponse),
        (large_head.as_str(), ErrorKind::BadResponse),
        ("", ErrorKind::BrokenBody),
        ("HTTP/1.1 200 OK\r\netag: \"", ErrorKind::BrokenBody),
    ] {
        double.on("/x", Answer::raw(answer));
        let result = origin(&double).fetch(get("/x", &[])).await;
        let start: String = answer.chars().take(80).collect();
        assert_eq!(failure(result), kind, "{start:?}");
    }
}

#[tokio::test]
async fn a_coding_nobody_knows_is_read_to_the_end_of_the_connection() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: xyzzy\r\n\r\nbody"));
    let answer = origin(&double).fetch(get("/x", &[])).await.unwrap();
    assert_eq!(answer.content_length, None);
    assert!(!answer.headers.contains_key("transfer-encoding"));
    assert_eq!(text(answer).await, "body");
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_timed_out() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::silence());
    let origin = named(&double, "main", IMPATIENT);
    let started = Instant::now();
    assert_eq!(failure(origin.fetch(get("/x", &[])).await), ErrorKind::FirstByteTimeout);
    let waited = started.elapsed();
    assert!(waited >= IMPATIENT && waited < Duration::from_secs(5), "{waited:?}");
    double.reach_aborted("/x", 1).await;
}

#[tokio::test]
async fn an_origin_that_refuses_or_cannot_be_found_is_a_connect_error() {
    let double = OriginDouble::start().await;
    let origin = origin(&double);
    double.go_down().await;
    let error = origin.fetch(get("/x?token=secret", &[])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Connect);
    assert!(!error.detail.contains("secret"), "no URL in logs: {error}");
    assert!(error.detail.contains("refused"), "the last cause is told: {error}");

    let base = Url::parse("http://no-such-host.invalid/").unwrap();
    let lost = http_origin::Http::new(http_origin::Config::new("lost", base)).unwrap();
    assert_eq!(failure(lost.fetch(get("/", &[])).await), ErrorKind::Dns);

    double.on("/x", Answer::ok("x"));
    double.come_back().await;
    assert_eq!(text(origin.fetch(get("/x", &[])).await.unwrap()).await, "x");
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_ended_by_the_connect_timeout() {
    // Accepted by the kernel, never answered.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let connect_timeout = Duration::from_millis(200);
    let config = http_origin::Config { connect_timeout, ..http_origin::Config::new("tls", base) };
    let started = Instant::now();
    assert_eq!(
        failure(http_origin::Http::new(config).unwrap().fetch(get("/", &[])).await),
        ErrorKind::Connect
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn dropping_the_body_ends_the_transfer() {
    let double = OriginDouble::start().await;
    double.on("/x", Answer::pattern(1 << 30, 1));
    let mut answer = origin(&double).fetch(get("/x", &[])).await.unwrap();
    answer.body.next().await.unwrap().unwrap();
    drop(answer);
    double.reach_aborted("/x", 1).await;
    assert!(double.bytes_sent("/x") < 100 << 20);
}

#[tokio::test]
async fn a_body_streams_while_the_origin_is_still_sending() {
    let double = OriginDouble::start().await;
    let gate = Gate::new();
    double.on("/x", Answer::pattern(200_000, 4).gate_at(100_000, &gate));
    let mut body = origin(&double).fetch(get("/x", &[])).await.unwrap().body;
    let mut bytes = Vec::new();
    while bytes.len() < 100_000 {
        bytes.extend_from_slice(&body.next().await.unwrap().unwrap());
    }
    assert_eq!(bytes.len(), 100_000);
    gate.release();
    bytes.extend(collect(body).await.unwrap());
    assert_eq!((bytes.len(), first_mismatch(4, 0, &bytes)), (200_000, None));
}

#[tokio::test]
async fn a_large_body_comes_through_unaltered_in_small_pieces() {
    let double = OriginDouble::start().await;
    let len: u64 = 256 << 20;
    double.on("/x", Answer::pattern(len, 8));
    let answer = origin(&double).fetch(get("/x", &[])).await.unwrap();
    assert_eq!(answer.content_length, Some(len));
    let mut body = answer.body;
    let mut offset = 0;
    let mut largest = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.unwrap();
        assert_eq!(first_mismatch(8, offset, &chunk), None);
        offset += chunk.len() as u64;
        largest = largest.max(chunk.len());
    }
    assert_eq!(offset, len);
    assert_eq!(double.bytes_sent("/x"), len);
    assert!(largest <= 1 << 20, "pieces of up to {largest} bytes");
}

#[tokio::test]
async fn bases_that_make_no_origin_are_refused() {
    for base in ["ftp://host/", "http://user:hunter2@host/", "http://host/?a=1", "http://host/#x"] {
        let error =
            http_origin::Http::new(http_origin::Config::new("o", Url::parse(base).unwrap())).err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

/// Runs itself again with a trust store that does not exist: the environment of a running process is shared.
#[test]
fn without_ca_certificates_plain_http_still_works() {
    const NAME: &str = "origin::http::without_ca_certificates_plain_http_still_works";
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != "/nowhere/ca.pem") {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("SSL_CERT_FILE", "/nowhere/ca.pem")
            .env("SSL_CERT_DIR", "/nowhere")
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && report.contains("1 passed"), "{report}");
        return;
    }
    let make = |base| http_origin::Http::new(http_origin::Config::new("o", Url::parse(base).unwrap()));
    assert!(make("http://127.0.0.1/").is_ok());
    let error = make("https://127.0.0.1/").err().unwrap();
    assert!(error.to_string().contains("CA certificates"), "{error}");
}
