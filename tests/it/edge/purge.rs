//! Purges: what they reach, what a soft one leaves, and who may ask for them.

use serde_json::Value;

use super::{Edge, eventually, images::jpeg};
use crate::origin_double::{Answer, Gate, OriginDouble};

const CONTROL: &str = "max-age=3600";

fn tagged(path: &str, tags: &str) -> Answer {
    Answer::ok(path).etag("\"1\"").cache_control(CONTROL).header("surrogate-key", tags)
}

/// Which of these are still stored, in this order.
async fn stored<'a>(edge: &Edge, targets: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for target in targets {
        let asked = [("cache-control", "only-if-cached")];
        if edge.ask("GET", target, &asked).await.status == 200 {
            found.push(*target);
        }
    }
    found
}

#[tokio::test]
async fn purges_reach_what_they_name_and_nothing_else() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let targets = ["/", "/a", "/a?x", "/a/b", "/ab", "/c/d/e?y=1"];
    for (target, tags) in targets.iter().zip(["", "red", "RED blue", "blue", "green", "green"]) {
        origin.on(target, tagged(target, tags));
    }
    for (purge, left) in [
        (r#"{"urls":["/a"]}"#, &["/", "/a?x", "/a/b", "/ab", "/c/d/e?y=1"][..]),
        (r#"{"urls":["http://edge.example/%61?x"]}"#, &["/", "/a", "/a/b", "/ab", "/c/d/e?y=1"]),
        (r#"{"prefixes":["/a"]}"#, &["/", "/ab", "/c/d/e?y=1"]),
        (r#"{"prefixes":["/a/"]}"#, &["/", "/ab", "/c/d/e?y=1"]),
        (r#"{"prefixes":["/c/d"]}"#, &["/", "/a", "/a?x", "/a/b", "/ab"]),
        (r#"{"prefixes":["/"]}"#, &[]),
        (r#"{"tags":["red"]}"#, &["/", "/a/b", "/ab", "/c/d/e?y=1"]),
        (r#"{"tags":["blue","nothing"],"urls":["/"]}"#, &["/a", "/ab", "/c/d/e?y=1"]),
        (r#"{"tags":["nothing"]}"#, &targets),
        (r#"{"all":true}"#, &[]),
    ] {
        for target in targets {
            edge.get(target).await;
        }
        edge.purge(purge).await;
        assert_eq!(stored(&edge, &targets).await, left, "{purge}");
    }
    let reply = edge.get("/a").await;
    assert_eq!((reply.cache(), reply.field("surrogate-key")), ("MISS", ""));
    assert_eq!(edge.get("/a").await.cache(), "HIT", "what came since is stored");
}

#[tokio::test]
async fn variants_and_derived_objects_go_with_their_source() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let photo = |tint| {
        Answer::ok(jpeg(80, 60, tint)).etag("\"same\"").cache_control(CONTROL).header("cache-tag", "a, photo")
    };
    origin.on_with("/v", |request| tagged(request.header("accept"), "v").header("vary", "accept"));
    let kinds = [[("accept", "a")], [("accept", "b")]];
    let derived = ["/p.jpg?w=40", "/p.jpg?w=20"];
    for (tint, purge) in [
        (1, r#"{"urls":["/p.jpg","/v"]}"#),
        (200, r#"{"tags":["photo","v"]}"#),
        (1, r#"{"prefixes":["/v","/p.jpg"]}"#),
        (200, r#"{"all":true}"#),
    ] {
        // Under the same validator, which a hard purge does not believe.
        origin.on("/p.jpg", photo(tint));
        let mut made = Vec::new();
        for target in derived {
            made.push(edge.get(target).await.body);
            assert_eq!(edge.get(target).await.cache(), "HIT");
        }
        for kind in &kinds {
            edge.ask("GET", "/v", kind).await;
            assert_eq!(edge.ask("GET", "/v", kind).await.cache(), "HIT");
        }
        edge.purge(purge).await;
        origin.on("/p.jpg", photo(201 - tint));
        for (target, before) in derived.iter().zip(made) {
            let reply = edge.get(target).await;
            assert!(reply.cache() == "MISS" && reply.body != before, "{purge} {target}");
        }
        for kind in &kinds {
            assert_eq!(edge.ask("GET", "/v", kind).await.cache(), "MISS", "{purge}");
        }
        edge.purge(r#"{"all":true}"#).await;
    }
    for target in derived {
        edge.get(target).await;
    }
    edge.purge(r#"{"urls":["/p.jpg?w=40"]}"#).await;
    assert_eq!(stored(&edge, &["/p.jpg", derived[0], derived[1]]).await, ["/p.jpg", derived[1]]);
}

/// An address is purged as it is served: in the size of the grid, and in each format that clients get.
#[tokio::test]
async fn an_images_address_stands_for_what_is_served_there() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/p.jpg", Answer::ok(jpeg(80, 60, 1)).etag("\"1\"").cache_control(CONTROL));
    let target = "/p.jpg?w=37&q=71&auto=format";
    let kinds = [[("accept", "image/webp")], [("accept", "image/jpeg")]];
    for kind in &kinds {
        assert_eq!(edge.ask("GET", target, kind).await.cache(), "MISS");
        assert_eq!(edge.ask("GET", target, kind).await.cache(), "HIT");
    }
    assert_eq!(edge.get("/p.jpg?w=20").await.cache(), "MISS");
    edge.purge(&format!(r#"{{"urls":["{target}"]}}"#)).await;
    for kind in &kinds {
        assert_eq!(edge.ask("GET", target, kind).await.cache(), "MISS", "{kind:?}");
    }
    assert_eq!(edge.get("/p.jpg?w=20").await.cache(), "HIT");
    assert_eq!(edge.get("/p.jpg").await.cache(), "HIT");
}

/// An answer that says why there is nothing does not know the tags of what it is about.
#[tokio::test]
async fn a_remembered_refusal_dies_with_any_tag() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/p.jpg", Answer::ok("no photo").cache_control(CONTROL).header("cache-tag", "a"));
    assert_eq!(edge.get("/p.jpg?w=40").await.status, 415);
    assert_eq!(edge.get("/p.jpg?w=40").await.cache(), "HIT");
    origin.on("/p.jpg", Answer::ok(jpeg(80, 60, 1)).cache_control(CONTROL));
    edge.purge(r#"{"tags":["a"]}"#).await;
    assert_eq!(edge.get("/p.jpg?w=40").await.status, 200);
}

#[tokio::test]
async fn a_soft_purge_asks_whether_it_is_still_good() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", tagged("x", "t"));
    origin.on("/swr", tagged("old", "t").cache_control("stale-while-revalidate=60"));
    for target in ["/x", "/swr"] {
        edge.get(target).await;
    }
    edge.purge(r#"{"tags":["t"],"soft":true}"#).await;
    assert_eq!(edge.get("/x").await.told(), (200, "REVALIDATED", "x".to_owned()));
    assert_eq!(edge.get("/x").await.cache(), "HIT");
    origin.on("/swr", Answer::ok("new").etag("\"2\"").cache_control(CONTROL));
    let stale = edge.get("/swr").await;
    assert_eq!(stale.told(), (200, "STALE", "old".to_owned()));
    assert_eq!(stale.field("cache-status"), "millrace; hit; ttl=0; detail=stale-while-revalidate");
    let new = (200, "HIT", "new".to_owned());
    eventually("the new one", async || edge.get("/swr").await.told() == new).await;

    // What was purged softly may stand in for an origin that is gone; what was purged may not.
    edge.purge(r#"{"urls":["/x"],"soft":true}"#).await;
    origin.go_down().await;
    assert_eq!(edge.get("/x").await.told(), (200, "STALE", "x".to_owned()));
    edge.purge(r#"{"urls":["/x"]}"#).await;
    assert_eq!(edge.get("/x").await.status, 502);
}

/// While the source is served stale, what is made of it is no newer.
#[tokio::test]
async fn what_is_made_of_a_stale_source_stays_outdated() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let photo = |tint: u8, etag| Answer::ok(jpeg(80, 60, tint)).etag(etag).cache_control(CONTROL);
    origin.on("/p.jpg", photo(1, "\"1\""));
    let old = edge.get("/p.jpg?w=40").await.body;
    edge.purge(r#"{"urls":["/p.jpg"],"soft":true}"#).await;
    origin.go_down().await;
    assert!(edge.get("/p.jpg?w=40").await.body == old);
    origin.come_back().await;
    origin.on("/p.jpg", photo(200, "\"2\""));
    assert!(edge.get("/p.jpg?w=40").await.body != old);
    assert_eq!(edge.get("/p.jpg?w=40").await.cache(), "HIT");
}

#[tokio::test]
async fn a_fill_from_before_a_purge_serves_nobody_after_it() {
    for purge in
        [r#"{"urls":["/x"]}"#, r#"{"tags":["t"]}"#, r#"{"all":true}"#, r#"{"urls":["/x"],"soft":true}"#]
    {
        let origin = OriginDouble::start().await;
        let edge = Edge::over(&origin).await;
        let gate = Gate::new();
        origin.on(
            "/x",
            Answer::ok("old")
                .etag("\"1\"")
                .cache_control(CONTROL)
                .header("surrogate-key", "t")
                .gate(&gate)
                .times(1),
        );
        origin.on("/x", Answer::ok("new").etag("\"2\"").cache_control(CONTROL));
        let (before, after) = tokio::join!(edge.send("GET", "/x", &[]), async {
            gate.arrived(1).await;
            edge.purge(purge).await;
            let after = edge.send("GET", "/x", &[]).await;
            gate.release();
            after
        });
        assert_eq!((before.text(), after.text()), ("old".to_owned(), "new".to_owned()), "{purge}");
        edge.settled().await;
        assert_eq!(edge.get("/x").await.told(), (200, "HIT", "new".to_owned()), "{purge}");
    }
}

#[tokio::test]
async fn the_admin_port_says_what_it_does_not_understand() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let receipt = edge.admin_post("/api/v1/purge", &[], br#"{"all":true}"#).await;
    assert_eq!((receipt.status, receipt.field("content-type")), (200, "application/json"));
    let sequence = edge.purge(r#"{"urls":["/a"],"soft":true}"#).await;
    assert_eq!(sequence, 2);
    let long = format!(r#"{{"urls":["/{}"]}}"#, "a".repeat(300_000));
    for (body, status, reason) in [
        ("", 400, "not a purge"),
        ("{", 400, "not a purge"),
        ("[]", 400, "not a purge"),
        (r#"{"url":"/a"}"#, 400, "unknown field `url`"),
        (r#"{"urls":"/a"}"#, 400, "not a purge"),
        ("{}", 400, "nothing to purge"),
        (r#"{"prefixes":["a"]}"#, 400, "does not begin with a slash"),
        (&long, 413, "262144 bytes"),
    ] {
        let reply = edge.admin_post("/api/v1/purge", &[], body.as_bytes()).await;
        assert_eq!((reply.status, reply.field("content-type")), (status, "application/problem+json"));
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    for (origin, status) in [("http://evil.example", 403), ("null", 403), ("http://edge.example", 200)] {
        let reply = edge.admin_post("/api/v1/purge", &[("origin", origin)], br#"{"all":true}"#).await;
        assert_eq!(reply.status, status, "{origin}");
    }
    assert_eq!(edge.metric("millrace_purge_sequence", &[]).await, 3);
    assert_eq!(edge.metric("millrace_purge_apply_seconds_count", &[]).await, 3);
}

#[tokio::test]
async fn the_purge_method_wants_the_token() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.admin.token.0 = "s3cret".to_owned()).await;
    let closed = Edge::over(&origin).await;
    origin.on("/x", tagged("x", ""));
    edge.get("/x").await;
    for (edge, fields, status, challenge) in [
        (&edge, &[][..], 401, "Bearer realm=\"millrace\""),
        (
            &edge,
            &[("authorization", "Bearer s3cre")],
            401,
            "Bearer realm=\"millrace\", error=\"invalid_token\"",
        ),
        (&edge, &[("authorization", "Bearer ")], 401, "Bearer realm=\"millrace\""),
        (&closed, &[("authorization", "Bearer s3cret")], 403, ""),
        (&closed, &[("authorization", "Bearer ")], 403, ""),
    ] {
        let reply = edge.ask("PURGE", "/x", fields).await;
        assert_eq!((reply.status, reply.cache()), (status, "ERROR"), "{fields:?}");
        assert_eq!(reply.field("www-authenticate"), challenge, "{fields:?}");
    }
    assert_eq!(edge.get("/x").await.cache(), "HIT");
    let admitted = ("authorization", "Bearer s3cret");
    let soft = edge.ask("PURGE", "/x", &[admitted, ("fastly-soft-purge", "1")]).await;
    assert_eq!((soft.status, soft.text()), (200, r#"{"sequence":1}"#.to_owned()));
    assert_eq!(edge.get("/x").await.cache(), "REVALIDATED");
    assert_eq!(edge.ask("PURGE", "/x", &[admitted]).await.status, 200);
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    assert_eq!(edge.ask("PURGE", "/p.jpg?w=0", &[admitted]).await.status, 400);
    assert!(origin.requests("/x").iter().all(|request| request.method == "GET"), "never sent on");
    let counted = ["outcome=\"bypass\"", "reason=\"purge\""];
    eventually("two purges", async || edge.metric("millrace_cache_requests_total", &counted).await == 2)
        .await;
}

/// On a port that others can reach, the admin API wants it too.
#[tokio::test]
async fn an_open_admin_port_wants_the_token() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.server.admin = "0.0.0.0:0".to_owned();
        raw.admin.token.0 = "s3cret".to_owned();
    });
    let edge = edge.await;
    let purge = br#"{"all":true}"#;
    assert_eq!(edge.admin_post("/api/v1/purge", &[], purge).await.status, 401);
    let token = [("authorization", "Bearer s3cret")];
    assert_eq!(edge.admin_post("/api/v1/purge", &token, purge).await.status, 200);
}

#[tokio::test]
async fn a_restart_keeps_purges_and_begins_a_new_round() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    for path in ["/a", "/b"] {
        origin.on(path, tagged(path, ""));
        edge.get(path).await;
    }
    assert_eq!(edge.purge(r#"{"urls":["/a"]}"#).await, 1);
    edge.restart().await;
    assert_eq!(stored(&edge, &["/a", "/b"]).await, ["/b"]);
    assert_eq!(edge.purge(r#"{"urls":["/b"]}"#).await, 1_000_000_001);
    assert!(stored(&edge, &["/a", "/b"]).await.is_empty());
    edge.get("/a").await;
    edge.restart().await;
    assert_eq!(stored(&edge, &["/a", "/b"]).await, ["/a"]);
    // Without its log nobody knows what was purged.
    edge.ask_to_stop().await.unwrap().unwrap();
    std::fs::remove_file(edge.directory().join("cache/purge.log")).unwrap();
    let edge = edge.second().await.unwrap_or_else(|error| panic!("{error}"));
    assert!(stored(&edge, &["/a", "/b"]).await.is_empty());
}
