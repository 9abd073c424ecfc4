//! Bounds of a route: how long and how much is stored, and how long it may stand in.

use millrace::config::raw;

use super::{Edge, eventually};
use crate::origin_double::{Answer, OriginDouble};

async fn with_route(origin: &OriginDouble, route: raw::Route) -> Edge {
    Edge::with(origin, |raw| raw.routes = vec![route]).await
}

/// How two requests, `later` seconds apart, are answered.
async fn twice(edge: &Edge, path: &str, later: u64) -> [String; 2] {
    let first = edge.get(path).await.cache().to_owned();
    edge.advance(later);
    [first, edge.get(path).await.cache().to_owned()]
}

#[tokio::test]
async fn lifetimes_are_kept_within_bounds() {
    let origin = OriginDouble::start().await;
    let route = raw::Route {
        min_ttl_secs: 10,
        max_ttl_secs: 60,
        default_ttl_secs: 30,
        negative_ttl_secs: 5,
        error_ttl_secs: 2,
        ..Default::default()
    };
    let edge = with_route(&origin, route).await;
    for (number, (answer, later, expected)) in [
        (Answer::ok("x").cache_control("max-age=1"), 9, ["MISS", "HIT"]),
        (Answer::ok("x").cache_control("max-age=1"), 10, ["MISS", "MISS"]),
        (Answer::ok("x").cache_control("max-age=3600"), 59, ["MISS", "HIT"]),
        (Answer::ok("x").cache_control("max-age=3600").etag("\"1\""), 60, ["MISS", "REVALIDATED"]),
        (Answer::ok("x"), 29, ["MISS", "HIT"]),
        (Answer::ok("x"), 30, ["MISS", "MISS"]),
        (Answer::ok("none").status(404), 4, ["MISS", "HIT"]),
        (Answer::ok("none").status(410), 5, ["MISS", "MISS"]),
        (Answer::ok("trouble").status(503), 1, ["MISS", "HIT"]),
        (Answer::ok("trouble").status(503), 2, ["MISS", "MISS"]),
        (Answer::ok("x").status(302), 0, ["BYPASS", "BYPASS"]),
        // What the answer forbids stays forbidden.
        (Answer::ok("x").cache_control("no-store"), 0, ["BYPASS", "BYPASS"]),
        (Answer::ok("x").cache_control("private"), 0, ["BYPASS", "BYPASS"]),
        (Answer::ok("x").header("set-cookie", "a=1"), 0, ["BYPASS", "BYPASS"]),
        (Answer::ok("x").cache_control("no-cache").etag("\"1\""), 0, ["MISS", "REVALIDATED"]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        origin.on(&path, answer);
        assert_eq!(twice(&edge, &path, later).await, expected, "{number}");
    }
    origin.on("/ttl", Answer::ok("x").cache_control("max-age=3600"));
    edge.get("/ttl").await;
    assert_eq!(edge.get("/ttl").await.field("cache-status"), "millrace; hit; ttl=60");
}

/// Nobody's page is made to last for others.
#[tokio::test]
async fn what_is_for_one_user_is_not_made_to_last() {
    let origin = OriginDouble::start().await;
    let route = raw::Route { min_ttl_secs: 60, default_ttl_secs: 60, ..Default::default() };
    let edge = with_route(&origin, route).await;
    for (path, answer, stored) in [
        ("/unsaid", Answer::ok("x"), false),
        ("/short", Answer::ok("x").etag("\"1\"").cache_control("max-age=0"), false),
        ("/long", Answer::ok("x").cache_control("max-age=90"), true),
        ("/public", Answer::ok("x").cache_control("public, max-age=0"), true),
    ] {
        origin.on(path, answer);
        edge.ask("GET", path, &[("cookie", "sid=1")]).await;
        let status = edge.ask("GET", path, &[("cache-control", "only-if-cached")]).await.status;
        assert_eq!(status == 200, stored, "{path}");
    }
    let reply = edge.ask("GET", "/unsaid", &[("cookie", "sid=1")]).await;
    assert!(reply.field("cache-status").ends_with("; detail=cookie"), "{}", reply.field("cache-status"));
}

#[tokio::test]
async fn long_answers_are_passed_on_without_being_stored() {
    let origin = OriginDouble::start().await;
    let route = raw::Route { max_object_size: "100KB".to_owned(), ..Default::default() };
    let edge = with_route(&origin, route).await;
    let answer = |length| Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=60");
    for (path, answer, length, caches) in [
        ("/just", answer(100_000), 100_000, ["MISS", "HIT"]),
        ("/long", answer(100_001), 100_001, ["BYPASS", "BYPASS"]),
        ("/open", answer(100_001).chunked(), 100_001, ["MISS", "MISS"]),
    ] {
        origin.on(path, answer);
        for cache in caches {
            let reply = edge.get(path).await;
            assert_eq!((reply.status, reply.cache()), (200, cache), "{path}");
            assert!(reply.is_pattern(1, 0..length), "{path}");
        }
    }
    assert!(edge.get("/long").await.field("cache-status").ends_with("; detail=too-large"));
    let part = edge.get_range("/long", "bytes=5-9").await;
    assert_eq!((part.status, part.cache()), (206, "BYPASS"));
    assert!(part.is_pattern(1, 5..10));
}

#[tokio::test]
async fn grace_is_for_those_who_do_not_say() {
    let origin = OriginDouble::start().await;
    let route = raw::Route { stale_while_revalidate_secs: 30, stale_if_error_secs: 60, ..Default::default() };
    let edge = with_route(&origin, route).await;
    let answer = |control| Answer::ok("x").etag("\"1\"").cache_control(control);
    for (path, control, later, cache) in [
        ("/a", "max-age=60", 89, "STALE"),
        ("/b", "max-age=60", 91, "REVALIDATED"),
        ("/c", "max-age=60, must-revalidate", 61, "REVALIDATED"),
        ("/d", "max-age=60, stale-while-revalidate=1", 70, "REVALIDATED"),
    ] {
        origin.on(path, answer(control));
        edge.get(path).await;
        edge.advance(later);
        assert_eq!(edge.get(path).await.cache(), cache, "{path}");
    }
    edge.settled().await;
    for (path, later, status) in [("/e", 119, 200), ("/f", 121, 502)] {
        origin.on(path, answer("max-age=60"));
        edge.get(path).await;
        origin.go_down().await;
        edge.advance(later);
        eventually("an answer without an origin", async || edge.get(path).await.status == status).await;
        origin.come_back().await;
    }
}

/// Bounds are of the configuration, not of what is stored: they hold for what was stored before.
#[tokio::test]
async fn bounds_hold_after_a_restart() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with(&origin, |raw| {
        raw.cache.disk = "64MiB".to_owned();
        raw.routes = vec![raw::Route { default_ttl_secs: 60, max_ttl_secs: 60, ..Default::default() }];
    })
    .await;
    for (path, answer) in
        [("/unsaid", Answer::ok("x")), ("/long", Answer::ok("x").cache_control("max-age=999"))]
    {
        origin.on(path, answer);
        edge.get(path).await;
    }
    edge.restart().await;
    edge.advance(59);
    for (later, cache) in [(0, "HIT"), (1, "MISS")] {
        edge.advance(later);
        for path in ["/unsaid", "/long"] {
            assert_eq!(edge.get(path).await.cache(), cache, "{path}");
        }
    }
}
