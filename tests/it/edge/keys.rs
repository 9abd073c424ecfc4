//! What is in the key, and that nothing else reaches an origin.

use millrace::config::raw;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

async fn with_route(origin: &OriginDouble, route: raw::Route) -> Edge {
    Edge::with(origin, |raw| raw.routes = vec![route]).await
}

fn fresh(body: &str) -> Answer {
    Answer::ok(body).etag("\"1\"").cache_control("max-age=60")
}

#[tokio::test]
async fn order_and_tracking_neither_multiply_nor_reach_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_any(fresh("x"));
    let same = ["/x?b=2&a=1", "/x?a=1&b=2", "/x?utm_source=mail&a=1&b=2&gclid=q", "/x?a=1&b=2&FBCLID=1&"];
    for (number, target) in same.into_iter().enumerate() {
        assert_eq!(edge.get(target).await.cache(), if number == 0 { "MISS" } else { "HIT" }, "{target}");
    }
    assert_eq!(origin.requests("/x").iter().map(|one| &*one.target).collect::<Vec<_>>(), ["/x?a=1&b=2"]);
    // A purge of any of them is a purge of all.
    edge.purge(r#"{"urls":["/x?b=2&utm_id=9&a=1"]}"#).await;
    assert_eq!(edge.get("/x?a=1&b=2").await.cache(), "MISS");
}

#[tokio::test]
async fn lists_of_parameters_hold_for_the_key_and_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = with_route(
        &origin,
        raw::Route { query_allow: texts(&["v", "w"]), query_deny: texts(&["v2"]), ..Default::default() },
    )
    .await;
    origin.on_any(fresh("x"));
    edge.get("/x?v=1&evil=%3C").await;
    assert_eq!(edge.get("/x?cb=9&v=1&v2=0").await.cache(), "HIT");
    assert_eq!(edge.get("/x?v=2").await.cache(), "MISS");
    let asked: Vec<_> = origin.requests("/x").into_iter().map(|one| one.target).collect();
    assert_eq!(asked, ["/x?v=1", "/x?v=2"]);
}

#[tokio::test]
async fn fields_with_which_clients_could_poison_stay_here() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    // An origin that believes what it should not, and even says so in Vary.
    let poisoned = |name: &'static str| {
        move |request: &crate::origin_double::RecordedRequest| {
            fresh(&format!("<{}>", request.header(name))).header("vary", "x-forwarded-host, host")
        }
    };
    for (number, name) in
        ["x-forwarded-host", "x-original-url", "x-host", "x-forwarded-scheme", "x-http-method-override"]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{number}");
        origin.on_with(&path, poisoned(name));
        let reply = edge.ask("GET", &path, &[(name, "evil")]).await;
        assert_eq!(reply.told(), (200, "MISS", "<>".to_owned()), "{name}");
        assert_eq!(edge.ask("GET", &path, &[("x-forwarded-host", "b")]).await.cache(), "HIT", "{name}");
    }
}

#[tokio::test]
async fn a_strict_route_sends_on_what_is_in_the_key_and_no_more() {
    let origin = OriginDouble::start().await;
    let edge = with_route(
        &origin,
        raw::Route {
            forward_headers: Vec::new(),
            key_headers: texts(&["X-Country"]),
            key_cookies: texts(&["lang"]),
            ..Default::default()
        },
    )
    .await;
    origin.on_with("/x", |request| {
        let seen = ["x-country", "cookie", "user-agent", "x-other", "authorization"];
        // It does not say that it varies.
        fresh(&seen.map(|name| request.header(name)).join("|"))
    });
    let asked = |country: &'static str, cookie: &'static str| {
        [
            ("x-country", country),
            ("cookie", cookie),
            ("user-agent", "u"),
            ("x-other", "evil"),
            ("authorization", "Basic eDp5"),
        ]
    };
    for (country, cookie, cache, body) in [
        ("at", "sid=1; lang=de", "MISS", "at|lang=de|||"),
        ("at", "lang=de; sid=2", "HIT", "at|lang=de|||"),
        ("at", "lang=en", "MISS", "at|lang=en|||"),
        ("ch", "lang=de", "MISS", "ch|lang=de|||"),
        ("ch", "lang=de; a=b", "HIT", "ch|lang=de|||"),
        ("at", "sid=3", "MISS", "at||||"),
        ("at", "", "HIT", "at||||"),
    ] {
        let reply = edge.ask("GET", "/x", &asked(country, cookie)).await;
        assert_eq!(reply.told(), (200, cache, body.to_owned()), "{country} {cookie}");
    }
    // The address stands for all of them, for writes and purges.
    for outdate in ["POST", "purge"] {
        match outdate {
            "POST" => drop(edge.ask("POST", "/x", &[]).await),
            _ => drop(edge.purge(r#"{"urls":["/x"]}"#).await),
        }
        for country in ["at", "ch"] {
            assert_eq!(edge.ask("GET", "/x", &asked(country, "lang=de")).await.cache(), "MISS", "{outdate}");
        }
    }
}

#[tokio::test]
async fn a_source_is_asked_for_with_what_is_in_the_key() {
    let origin = OriginDouble::start().await;
    let edge =
        with_route(&origin, raw::Route { key_headers: texts(&["x-country"]), ..Default::default() }).await;
    origin.on_with("/p.jpg", |request| {
        let tint = if request.header("x-country") == "at" { 1 } else { 200 };
        Answer::ok(super::images::jpeg(80, 60, tint)).etag(&format!("\"{tint}\"")).cache_control("max-age=60")
    });
    let [at, ch] = ["at", "ch"].map(|country| [("x-country", country), ("user-agent", "u")]);
    let of_at = edge.ask("GET", "/p.jpg?w=40", &at).await;
    let of_ch = edge.ask("GET", "/p.jpg?w=40", &ch).await;
    assert_eq!((of_at.cache(), of_ch.cache()), ("MISS", "MISS"));
    assert_ne!(of_at.body, of_ch.body);
    assert_eq!(edge.ask("GET", "/p.jpg?w=40", &at).await.body, of_at.body);
    assert_eq!(edge.ask("GET", "/p.jpg", &ch).await.cache(), "HIT");
    assert_eq!(origin.requests("/p.jpg")[0].header("user-agent"), "");
}

/// An answer to POST is stored for GET only under a key that tells all that the origin has seen.
#[tokio::test]
async fn a_post_does_not_speak_for_another_address() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (target, cache) in [("/form?a=1", "HIT"), ("/other?utm_source=evil", "MISS")] {
        origin.on(target.split('?').next().unwrap(), fresh("x").header("content-location", target));
        edge.ask("POST", target, &[]).await;
        assert_eq!(edge.get(target).await.cache(), cache, "{target}");
    }
}
