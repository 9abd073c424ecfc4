//! Paths and queries: one key for what is equal, no way out of the root, nothing reinterpreted on the way.

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

#[tokio::test]
async fn what_points_outside_or_nowhere_is_refused() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("reached").cache_control("max-age=60"));
    let long = format!("/{}", "a".repeat(8 * 1024));
    let query = format!("/x?{}", "a".repeat(8 * 1024));
    for (target, status) in [
        ("/../etc/passwd", 400),
        ("/a/../../etc/passwd", 400),
        ("/a/..", 400),
        ("/./a", 400),
        ("/%2e%2e/etc", 400),
        ("/%2E%2e/etc", 400),
        ("/.%2e/etc", 400),
        ("/..%2fetc", 400),
        ("/a%2f..%2fetc", 400),
        ("/..%5cetc", 400),
        ("/a%5cb", 400),
        ("/a\\b", 400),
        ("/.//..//", 400),
        ("/%00", 400),
        ("/a%00.jpg", 400),
        ("/a%0d%0aset-cookie:x", 400),
        ("/a%7f", 400),
        ("/%zz", 400),
        ("/%2", 400),
        ("/%", 400),
        ("/x?%zz", 400),
        ("/x?a=%0d%0ab", 400),
        (long.as_str(), 414),
        (query.as_str(), 414),
    ] {
        let reply = edge.get(target).await;
        let shown = target.get(..30).unwrap_or(target);
        assert_eq!(reply.status, status, "{shown}");
        assert_eq!(reply.field("content-type"), "application/problem+json", "{shown}");
    }
    assert_eq!(origin.total_hits(), 0);
}

#[tokio::test]
async fn equal_targets_share_a_key_and_others_do_not() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    for (first, same) in [
        ("/a%2Db", "/a-b"),
        ("/%61bc", "/abc"),
        ("/a%c3%a9", "/a%C3%A9"),
        ("/%7Euser", "/~user"),
        ("/q?a=%7e", "/q?a=~"),
        ("/q?x=%2f", "/q?x=%2F"),
        ("/q?b=2&a=1", "/q?a=1&&b=2"),
        ("/r?", "/r"),
    ] {
        edge.get(first).await;
        assert_eq!(edge.get(same).await.cache(), "HIT", "{first} {same}");
    }
    let before = origin.total_hits();
    let different = [
        "/p",
        "/p/",
        "/p??",
        "/P",
        "//p",
        "/p;v=1",
        "/p%3Fa",
        "/p?a",
        "/p%23a",
        "/p%2Fq",
        "/p/q",
        "/p?a=1&b=2",
        "/p?a=1&a=2",
        "/p?a=2&a=1",
        "/p?a=1&a=1",
        "/p?a=1;b=2",
        "/p%20q",
        "/p+q",
        "/p%2Bq",
        "/p?A=1",
        "/p?a=1",
    ];
    for target in different {
        assert_eq!(edge.get(target).await.cache(), "MISS", "{target}");
    }
    for target in different {
        assert_eq!(edge.get(target).await.cache(), "HIT", "{target}");
        assert!(!origin.requests(target).is_empty(), "{target}");
    }
    assert_eq!(origin.total_hits(), before + different.len());
}

/// Row B7: a name that looks like an image does not make an answer public.
#[tokio::test]
async fn storing_goes_by_the_answer_not_by_the_name() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for path in ["/account.php/x.css", "/private;x.jpg", "/account%3F.jpg", "/account%2Fx.css", "/a.jpg"] {
        origin.on_with(path, |request| Answer::ok(format!("for {}", request.header("cookie"))));
        for user in ["alice", "bob"] {
            let reply = edge.ask("GET", path, &[("cookie", user)]).await;
            assert_eq!(reply.told(), (200, "BYPASS", format!("for {user}")), "{path}");
        }
    }
}

#[tokio::test]
async fn the_host_is_no_part_of_the_key_and_does_not_reach_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    edge.get("/x").await;
    let reply = edge.ask("GET", &format!("http://edge.example{}", "/x"), &[]).await;
    assert_eq!((reply.status, reply.cache()), (200, "HIT"), "absolute form");
    assert_eq!(origin.requests("/x")[0].header("host"), origin.addr().to_string());
}

/// Row B6: a body on GET means nothing; it goes nowhere and shapes nothing.
#[tokio::test]
async fn the_body_of_a_get_is_not_passed_on() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_with("/x", |request| {
        Answer::ok(format!("{} bytes", request.body.len())).cache_control("max-age=60")
    });
    let fat = super::client::open(edge.data(), "GET", "/x", &[("content-type", "a/b")], b"poison").await;
    assert_eq!(fat.whole().await.told(), (200, "MISS", "0 bytes".to_owned()));
    edge.settled().await;
    assert_eq!(edge.get("/x").await.told(), (200, "HIT", "0 bytes".to_owned()));
    let asked = &origin.requests("/x")[0];
    assert_eq!((asked.header("content-length"), asked.header("transfer-encoding")), ("", ""));
}

/// Row B9: many variants are bounded by the memory they may take, and nothing else suffers.
#[tokio::test]
async fn many_variants_do_not_outgrow_the_cache() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.cache.memory = "8MiB".to_owned()).await;
    let answer = Answer::ok(vec![b'x'; 20_000]).cache_control("max-age=60").header("vary", "user-agent");
    origin.on("/x", answer);
    for number in 0..800 {
        let agent = format!("agent {number}");
        assert_eq!(edge.send("GET", "/x", &[("user-agent", &agent)]).await.cache(), "MISS");
    }
    edge.settled().await;
    assert!(edge.metric("millrace_cache_tier_bytes", &["memory"]).await <= 8 << 20);
    assert_eq!(edge.ask("GET", "/x", &[("user-agent", "agent 799")]).await.cache(), "HIT");
}

/// Rows B11 to B13: fields that try to be too much.
#[tokio::test]
async fn oversized_fields_are_answered_like_others() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::pattern(1000, 1).etag("\"1\"").cache_control("max-age=60"));
    let tags = vec!["\"x\""; 1_000].join(", ");
    let accept = format!("image/webp;q=nan, {}", "a/b;q=0, ".repeat(1_700));
    let encoding = "gzip;q=0, ".repeat(1_600);
    let ranges = format!("bytes={}", vec!["0-"; 1_000].join(","));
    for (name, value, status) in [
        ("if-none-match", tags.as_str(), 200),
        ("if-match", tags.as_str(), 412),
        ("accept", accept.as_str(), 200),
        ("accept-encoding", encoding.as_str(), 200),
        ("range", ranges.as_str(), 200),
        ("range", "bytes=-0", 416),
        ("range", "bytes=0-0,0-0,0-0,0-0", 206),
    ] {
        for _ in 0..2 {
            let reply = edge.ask("GET", "/x", &[(name, value)]).await;
            assert_eq!(reply.status, status, "{name} of {} bytes", value.len());
            assert!(reply.body.len() <= 1000, "{name}: no more than the object");
        }
    }
}
