//! What stands in in the last resort, and the keys that operators may have shown.

use std::fs;

use millrace::config::raw;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

fn fallback(path: &str, fallback: raw::Fallback) -> raw::Route {
    raw::Route { path: path.to_owned(), fallback, ..Default::default() }
}

#[tokio::test]
async fn a_file_or_another_address_stands_in() {
    let origin = OriginDouble::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slate.svg");
    fs::write(&file, "<svg/>").unwrap();
    let of_file = raw::Fallback { file: file.to_str().unwrap().to_owned(), ..Default::default() };
    let of_path = raw::Fallback {
        path: "/slate".to_owned(),
        status: 200,
        cache_control: "public, max-age=1".to_owned(),
        ..Default::default()
    };
    let edge = Edge::with(&origin, |raw| {
        raw.routes = vec![fallback("/file", of_file), fallback("/path", of_path)];
        // Each request here is to meet the failure itself.
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    })
    .await;
    origin.on("/slate", Answer::ok("slate").etag("\"1\"").cache_control("max-age=3600"));
    edge.get("/slate").await;
    origin.on("/file/stored", Answer::ok("old").etag("\"1\"").cache_control("max-age=1"));
    edge.get("/file/stored").await;
    edge.advance(2);
    for target in ["/file/a", "/path/a", "/bare"] {
        origin.on(target, Answer::empty(503));
    }
    for target in ["/file/missing", "/path/missing"] {
        origin.on(target, Answer::empty(404));
    }
    for down in [false, true] {
        if down {
            origin.go_down().await;
        }
        let expected = match down {
            true => "millrace; fwd=miss; detail=connect",
            false => "millrace; fwd=miss; fwd-status=503; detail=no-lifetime-no-validator",
        };
        let reply = edge.get("/file/a").await;
        assert_eq!(reply.told(), (503, "FALLBACK", "<svg/>".to_owned()));
        assert_eq!(
            (reply.field("content-type"), reply.field("cache-control")),
            ("image/svg+xml", "no-store")
        );
        assert_eq!(reply.field("cache-status"), expected);
        let asked = [("range", "bytes=1-2"), ("if-none-match", "\"1\"")];
        let reply = edge.ask("GET", "/path/a", &asked).await;
        assert_eq!(reply.told(), (200, "FALLBACK", "slate".to_owned()));
        assert_eq!(reply.fields("cache-control"), ["public, max-age=1"]);
        let head = edge.ask("HEAD", "/file/a", &[]).await;
        assert_eq!((head.status, head.field("content-length"), head.body.len()), (503, "6", 0));
        let bare = edge.get("/bare").await;
        assert_eq!((bare.status, bare.cache()), if down { (502, "ERROR") } else { (503, "BYPASS") });
        // What is stored comes first; who wants nothing else, and who writes, gets to know.
        assert_eq!(edge.get("/file/stored").await.text(), "old");
        let only = edge.ask("GET", "/file/a", &[("cache-control", "only-if-cached")]).await;
        assert_eq!((only.status, only.cache()), (504, "ERROR"));
        assert_ne!(edge.ask("POST", "/file/a", &[]).await.cache(), "FALLBACK");
        if !down {
            assert_eq!(edge.get("/file/missing").await.status, 404);
        }
    }
    let counted = edge.metric("millrace_cache_requests_total", &["outcome=\"fallback\""]).await;
    assert_eq!(counted, 6);
}

#[tokio::test]
async fn without_the_other_address_the_error_stays() {
    let origin = OriginDouble::start().await;
    let of_path = raw::Fallback { path: "/a/slate".to_owned(), ..Default::default() };
    let edge = Edge::with(&origin, |raw| raw.routes = vec![fallback("/", of_path)]).await;
    origin.on_any(Answer::empty(503));
    assert_eq!(edge.get("/a/x").await.cache(), "BYPASS");
    assert_eq!(edge.get("/a/slate").await.cache(), "BYPASS");
}

#[tokio::test]
async fn keys_are_shown_to_who_wants_them_without_secrets() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.cache.show_keys = true;
        raw.routes = vec![raw::Route {
            host: "edge.example".to_owned(),
            key_headers: vec!["x-country".to_owned()],
            ..Default::default()
        }];
    })
    .await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    for (host, shown) in [
        ("edge.example", r#"; key="edge.example/x?a=1&token=*** x-country""#),
        ("other.example", r#"; key="/x?a=1&token=***""#),
    ] {
        for status in ["millrace; fwd=uri-miss; fwd-status=200; stored", "millrace; hit; ttl=60"] {
            let reply = edge.ask("GET", "/x?token=s3cret&a=1&utm_id=1", &[("host", host)]).await;
            assert_eq!(reply.field("cache-status"), format!("{status}{shown}"));
        }
    }
}
