//! Routes: which origins are asked for what, and that hosts which are kept apart never meet.

use millrace::config::raw;

use super::{Edge, Reply, http_origin, images::jpeg};
use crate::origin_double::{Answer, OriginDouble};

fn named(name: &str, origin: &OriginDouble) -> raw::Origin {
    raw::Origin { name: name.to_owned(), ..http_origin(&origin.url()) }
}

fn route(host: &str, path: &str, origins: &[&str]) -> raw::Route {
    let origins = origins.iter().map(|name| (*name).to_owned()).collect();
    raw::Route { host: host.to_owned(), path: path.to_owned(), origins, ..Default::default() }
}

async fn get(edge: &Edge, host: &str, target: &str) -> Reply {
    edge.ask("GET", target, &[("host", host)]).await
}

/// Two origins, `a` and `b`, that say their names.
async fn pair() -> [OriginDouble; 2] {
    let pair = [OriginDouble::start().await, OriginDouble::start().await];
    for (origin, name) in pair.iter().zip(["a", "b"]) {
        origin.on_any(Answer::ok(name).etag("\"1\"").cache_control("max-age=60"));
    }
    pair
}

#[tokio::test]
async fn host_and_path_decide_on_the_origins() {
    let [a, b] = pair().await;
    let edge = Edge::with(&a, |raw| {
        raw.origins = vec![named("a", &a), named("b", &b)];
        raw.routes = vec![
            route("", "/b", &["b"]),
            route("b.example", "", &["b"]),
            route("b.example", "/a", &["a"]),
            route("*.wild.example", "/", &["b"]),
        ];
    })
    .await;
    for (host, target, origin) in [
        ("any.example", "/1", "a"),
        ("any.example", "/b", "b"),
        ("any.example", "/b/2", "b"),
        ("any.example", "/bb", "a"),
        ("b.example", "/3", "b"),
        ("B.Example:8080", "/a/4", "a"),
        ("x.wild.example", "/5", "b"),
        ("wild.example", "/6", "a"),
    ] {
        let reply = get(&edge, host, target).await;
        assert_eq!(reply.told(), (200, "MISS", origin.to_owned()), "{host} {target}");
        assert_eq!(get(&edge, host, target).await.cache(), "HIT", "{host} {target}");
    }
}

#[tokio::test]
async fn hosts_meet_only_where_no_route_names_them() {
    let [a, b] = pair().await;
    let edge = Edge::with(&a, |raw| {
        raw.origins = vec![named("a", &a), named("b", &b)];
        raw.routes = vec![route("one.example", "/", &["a"]), route("two.example", "/", &["b"])];
    })
    .await;
    assert_eq!(get(&edge, "one.example", "/x").await.told(), (200, "MISS", "a".to_owned()));
    assert_eq!(get(&edge, "two.example", "/x").await.told(), (200, "MISS", "b".to_owned()));
    assert_eq!(get(&edge, "one.example", "/x").await.told(), (200, "HIT", "a".to_owned()));
    assert_eq!(get(&edge, "two.example:81", "/x").await.told(), (200, "HIT", "b".to_owned()));
    // Strangers cannot fill the cache with hosts that they make up.
    assert_eq!(get(&edge, "made.up", "/x").await.cache(), "MISS");
    for host in ["made.up.too", "127.0.0.1:8080", "[::1]"] {
        assert_eq!(get(&edge, host, "/x").await.cache(), "HIT", "{host}");
    }
    // An absolute target's host counts, not the field's.
    let absolute = get(&edge, "one.example", "http://two.example/x").await;
    assert_eq!(absolute.told(), (200, "HIT", "b".to_owned()));
    let hosts = [&a, &b].map(|origin| {
        origin.requests("/x").iter().all(|one| one.header("host") == origin.addr().to_string())
    });
    assert_eq!(hosts, [true; 2], "no origin is told the client's host");
}

#[tokio::test]
async fn the_chain_of_a_route_falls_back_in_its_order() {
    let [a, b] = pair().await;
    let edge = Edge::with(&a, |raw| {
        raw.origins = vec![named("a", &a), named("b", &b)];
        raw.routes = vec![route("", "/both", &["b", "a"]), route("", "/b", &["b"])];
    })
    .await;
    b.on("/both/missing", Answer::empty(404));
    assert_eq!(edge.get("/both/x").await.text(), "b");
    assert_eq!(edge.get("/both/missing").await.text(), "a");
    b.go_down().await;
    assert_eq!(edge.get("/both/y").await.text(), "a");
    assert_eq!(edge.get("/b/y").await.status, 502);
    assert_eq!(a.hits("/b/y"), 0);
}

#[tokio::test]
async fn what_is_made_of_a_source_follows_it() {
    let [a, b] = pair().await;
    for (origin, tint) in [(&a, 1), (&b, 200)] {
        origin.on("/p.jpg", Answer::ok(jpeg(80, 60, tint)).etag("\"1\"").cache_control("max-age=60"));
    }
    let edge = Edge::with(&a, |raw| {
        raw.origins = vec![named("a", &a), named("b", &b)];
        raw.routes = vec![route("a.example", "/", &["a"]), route("b.example", "/", &["b"])];
    })
    .await;
    let of_a = get(&edge, "a.example", "/p.jpg?w=40").await;
    let of_b = get(&edge, "b.example", "/p.jpg?w=40").await;
    assert_eq!((of_a.status, of_b.status, of_b.cache()), (200, 200, "MISS"));
    assert_ne!(of_a.body, of_b.body);
    assert_eq!((a.hits("/p.jpg"), b.hits("/p.jpg")), (1, 1));
    assert_eq!(get(&edge, "b.example", "/p.jpg").await.cache(), "HIT", "the source is stored beside");
}

#[tokio::test]
async fn writes_and_purges_keep_to_their_host() {
    let [a, b] = pair().await;
    let edge = Edge::with(&a, |raw| {
        raw.origins = vec![named("a", &a), named("b", &b)];
        raw.admin.token.0 = "secret".to_owned();
        raw.routes = vec![route("a.example", "/", &["a"]), route("b.example", "/", &["b"])];
    })
    .await;
    let hosts = ["a.example", "b.example", "c.example"];
    let fill = async || {
        for host in hosts {
            get(&edge, host, "/d/x").await;
        }
    };
    let stored = async || {
        let mut stored = Vec::new();
        for host in hosts {
            let asked = [("host", host), ("cache-control", "only-if-cached")];
            if edge.ask("GET", "/d/x", &asked).await.status == 200 {
                stored.push(host);
            }
        }
        stored
    };
    for (purge, left) in [
        (r#"{"urls":["http://a.example/d/x"]}"#, &["b.example", "c.example"][..]),
        (r#"{"urls":["https://C.example:8443/d/x"]}"#, &["a.example", "b.example"]),
        (r#"{"urls":["/d/x"]}"#, &[]),
        // What c is served, any host without a route of its own may be served.
        (r#"{"prefixes":["http://b.example/d"]}"#, &["a.example"]),
        (r#"{"prefixes":["/d"]}"#, &[]),
    ] {
        fill().await;
        edge.purge(purge).await;
        assert_eq!(stored().await, left, "{purge}");
    }
    fill().await;
    let asked = [("host", "b.example"), ("authorization", "Bearer secret")];
    assert_eq!(edge.ask("PURGE", "/d/x", &asked).await.status, 200);
    assert_eq!(stored().await, ["a.example", "c.example"]);
    fill().await;
    assert_eq!(edge.ask("POST", "/d/x", &[("host", "b.example")]).await.text(), "b");
    assert_eq!(stored().await, ["a.example", "c.example"]);
}

/// What fails under one route does not keep the others from the origin, if the route says so.
#[tokio::test]
async fn a_route_may_have_breakers_and_a_retry_policy_of_its_own() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        let own = raw::Route { name: "api".to_owned(), own_breakers: true, ..route("", "/api", &[]) };
        let retry = raw::RouteRetry { attempts: Some(4), backoff_ms: Some(1), ..Default::default() };
        raw.routes = vec![own, raw::Route { retry, ..route("", "/flaky", &[]) }];
        raw.breaker.least_answers = 5;
        // Nobody finds out meanwhile, nor waits for that.
        (raw.breaker.open_ms, raw.breaker.open_max_ms, raw.breaker.wait_ms) = (60_000, 60_000, 0);
    });
    let edge = edge.await;
    origin.on_any(Answer::ok("x").cache_control("max-age=60"));
    for number in 0..10 {
        origin.on(&format!("/api/{number}"), Answer::empty(500));
        edge.get(&format!("/api/{number}")).await;
    }
    assert_eq!(edge.get("/api/next").await.status, 503);
    assert_eq!(origin.hits("/api/next"), 0);
    assert_eq!(edge.get("/else").await.status, 200);
    let state = async |label: &str| edge.metric("millrace_origin_breaker_state", &[label]).await;
    assert_eq!((state("origin=\"main\"").await, state("origin=\"main@api\"").await), (0, 2));
    let told: serde_json::Value =
        serde_json::from_slice(&edge.admin_get("/api/v1/origins").await.body).unwrap();
    let told = told["origins"].as_array().unwrap();
    let told: Vec<_> =
        told.iter().map(|origin| (&origin["name"], &origin["route"], &origin["breaker"])).collect();
    let none = serde_json::Value::Null;
    assert_eq!(
        told,
        [(&"main".into(), &none, &"closed".into()), (&"main".into(), &"api".into(), &"open".into())]
    );

    for (path, status) in [("/flaky", 200), ("/firm", 502)] {
        origin.on(path, Answer::hang_up().times(3));
        origin.on(path, Answer::ok("x"));
        assert_eq!(edge.get(path).await.status, status, "{path}");
    }
}

/// By choice an origin is told who asks, whoever the client says it is.
#[tokio::test]
async fn an_origin_may_be_told_the_clients_address() {
    for told in [false, true] {
        let origin = OriginDouble::start().await;
        let edge = Edge::with(&origin, |raw| raw.origins[0].forwarded_for = told).await;
        origin.on_with("/x", |request: &crate::origin_double::RecordedRequest| {
            Answer::ok(request.header("x-forwarded-for"))
        });
        let address = if told { "127.0.0.1" } else { "" };
        for method in ["GET", "POST"] {
            let reply = edge.ask(method, "/x", &[("x-forwarded-for", "192.0.2.1")]).await;
            assert_eq!(reply.text(), address, "{method}");
        }
    }
}

/// By choice an origin is told which host a client asked for, and then the answers are told apart by it.
#[tokio::test]
async fn an_origin_may_be_told_the_clients_host() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.origins[0].client_host = true;
        raw.routes = vec![raw::Route { key_headers: vec!["Host".to_owned()], ..route("", "/by-host", &[]) }];
    });
    let edge = edge.await;
    let echo = |request: &crate::origin_double::RecordedRequest| {
        Answer::ok(request.header("host")).cache_control("max-age=60")
    };
    origin.on_with("/by-host", echo);
    origin.on_with("/x", echo);
    for cache in ["MISS", "HIT"] {
        for host in ["a.example", "b.example:8080"] {
            assert_eq!(get(&edge, host, "/by-host").await.told(), (200, cache, host.to_owned()));
        }
    }
    assert_eq!(edge.ask("POST", "/by-host", &[("host", "c.example")]).await.text(), "c.example");
    // Elsewhere it does not count, and does not get there.
    let own = origin.addr().to_string();
    for (host, cache) in [("a.example", "MISS"), ("b.example", "HIT")] {
        assert_eq!(get(&edge, host, "/x").await.told(), (200, cache, own.clone()));
    }
    assert_eq!(edge.ask("POST", "/x", &[("host", "c.example")]).await.text(), own);
}
