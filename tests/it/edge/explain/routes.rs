//! What a route decides is said to be the route's, and mended there.

use millrace::config::raw;

use super::{super::Edge, explain, verdict};
use crate::origin_double::{Answer, OriginDouble};

#[tokio::test]
async fn what_a_route_decides_is_mended_there() {
    let origin = OriginDouble::start().await;
    let routes = || {
        let route = |path: &str| raw::Route { path: path.to_owned(), ..Default::default() };
        vec![
            raw::Route { max_ttl_secs: 5, min_ttl_secs: 2, ..route("/ttl") },
            raw::Route { max_object_size: "1KiB".to_owned(), ..route("/size") },
            raw::Route { key_headers: vec!["x-a".to_owned()], ..route("/field") },
            raw::Route { key_cookies: vec!["lang".to_owned()], ..route("/cookie") },
        ]
    };
    let edge = Edge::with(&origin, |raw| raw.routes = routes()).await;
    origin.on_any(Answer::pattern(2000, 1).cache_control("max-age=600"));
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&str, Fields, Fields, &str, &str, &str); 4] = [
        (
            "/ttl",
            &[],
            &[],
            "max_ttl_secs of its route; Cache-Control: max-age=600",
            "raise-max-ttl",
            "10 min",
        ),
        ("/size", &[], &[], "too large", "raise-max-object-size", "2.0 KiB"),
        ("/field", &[("x-a", "1")], &[("x-a", "2")], "(key of its route: x-a)", "narrow-key", "`X-A`"),
        (
            "/cookie",
            &[("cookie", "lang=de")],
            &[("cookie", "lang=en")],
            "(key of its route: cookie)",
            "narrow-key",
            "key_cookies",
        ),
    ];
    for (path, before, fields, because, what, how) in cases {
        edge.ask("GET", path, before).await;
        edge.advance(6);
        let told = explain(&edge, "GET", path, fields).await;
        assert!(verdict(&told).2.contains(because), "{path}: {}", verdict(&told).2);
        let changes = told["smallest_change"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{path}: {changes:?}");
        assert_eq!((&changes[0]["who"], &changes[0]["what"]), (&"config".into(), &what.into()), "{path}");
        assert!(changes[0]["how"].as_str().unwrap().contains(how), "{path}: {changes:?}");
        assert_ne!(edge.ask("GET", path, fields).await.cache(), "HIT", "{path}");
    }
    origin.on("/ttl/short", Answer::ok("x").cache_control("max-age=1"));
    edge.get("/ttl/short").await;
    let told = explain(&edge, "GET", "/ttl/short", &[]).await;
    assert!(told["freshness"][0].to_string().contains("min_ttl_secs of its route; Cache-Control: max-age=1"));
}

/// To mark as public what sets cookies would be a way to hand one visitor's cookie to all.
#[tokio::test]
async fn public_is_not_proposed_beside_a_cookie() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").cache_control("no-cache").header("set-cookie", "a=1"));
    let asked = [("authorization", "Bearer x"), ("cookie", "a=1")];
    edge.ask("GET", "/x", &asked).await;
    let told = explain(&edge, "GET", "/x", &asked).await;
    let what: Vec<_> =
        told["smallest_change"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert!(what.iter().any(|what| what == "drop-set-cookie"), "{what:?}");
}
