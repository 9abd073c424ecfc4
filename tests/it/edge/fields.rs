//! Fields on their way through: what is ours, what is passed on, and what must never be stored or replayed.

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

#[tokio::test]
async fn hop_by_hop_fields_end_at_each_hop() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let hops = [
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x=1"),
        ("proxy-connection", "close"),
        ("te", "trailers"),
        ("trailer", "expires"),
        ("upgrade", "h2c"),
        ("x-named", "secret"),
    ];
    for (path, control) in [("/stored", "max-age=60"), ("/passed", "private")] {
        let answer = Answer::ok("x").etag("\"1\"").cache_control(control).header("x-end", "stays");
        // Naming an end-to-end field in `Connection` removes it, and with it what it says.
        let answer = answer.header("connection", "x-named, keep-alive, x-absent");
        origin.on(path, hops.iter().fold(answer, |answer, (name, value)| answer.header(name, value)));
        for _ in 0..2 {
            let reply = edge.get(path).await;
            assert_eq!((reply.status, reply.field("x-end")), (200, "stays"), "{path}");
            for (name, _) in hops {
                assert_eq!(reply.fields(name), [""; 0], "{path}: {name}");
            }
            assert!(!reply.field("connection").contains("x-named"), "{path}");
        }
    }
    origin.on(
        "/hidden",
        Answer::ok("x").etag("\"1\"").cache_control("max-age=60").header("connection", "cache-control"),
    );
    edge.get("/hidden").await;
    assert_eq!(edge.get("/hidden").await.field("cache-control"), "");

    let sent = [
        ("connection", "x-named, te"),
        ("x-named", "secret"),
        ("te", "gzip"),
        ("proxy-authorization", "Basic eDp5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("x-end", "passes"),
    ];
    edge.ask("GET", "/request", &sent).await;
    let asked = &origin.requests("/request")[0];
    assert_eq!(asked.header("x-end"), "passes");
    for (name, _) in &sent[1..6] {
        assert_eq!(asked.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn nobody_can_speak_for_somebody_else() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let spoofed = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=10.0.0.1;host=evil.example"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-real-ip", "10.0.0.1"),
    ];
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    for (number, method) in ["POST", "GET"].into_iter().enumerate() {
        edge.ask(method, "/x", &spoofed).await;
        let asked = &origin.requests("/x")[number];
        assert_eq!((asked.method.as_str(), asked.target.as_str()), (method, "/x"));
        assert_eq!(asked.header("host"), origin.addr().to_string());
        for (name, _) in spoofed {
            assert_eq!(asked.header(name), "", "{method}: {name}");
        }
    }
    assert_eq!(edge.get("/x").await.cache(), "HIT");
    assert_eq!(edge.ask("GET", "/x", &spoofed).await.cache(), "HIT");
}

#[tokio::test]
async fn our_own_fields_stand_once_and_beside_others() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = Answer::ok("x")
        .etag("\"1\"")
        .cache_control("max-age=60")
        .header("via", "1.1 inner")
        .header("cache-status", "inner; hit")
        .header("x-cache", "inner")
        .header("x-request-id", "inner")
        .header("age", "5")
        .header("server", "inner")
        .header("cdn-cache-control", "max-age=60")
        .header("surrogate-control", "max-age=60")
        .header("surrogate-key", "a b")
        .header("cache-tag", "a,b");
    origin.on("/x", answer);
    for (cache, status) in
        [("MISS", "millrace; fwd=uri-miss; fwd-status=200; stored"), ("HIT", "millrace; hit; ttl=55")]
    {
        let reply = edge.get("/x").await;
        assert_eq!(reply.fields("x-cache"), [cache]);
        assert_eq!(reply.fields("via"), ["1.1 inner", "1.1 millrace"]);
        assert_eq!(reply.fields("cache-status"), ["inner; hit", status]);
        assert_eq!(reply.fields("age"), ["5"]);
        assert_eq!(reply.fields("server"), ["inner"]);
        assert_eq!(reply.fields("date").len(), 1);
        assert_eq!(reply.fields("accept-ranges"), ["bytes"]);
        let id = reply.field("x-request-id");
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        for spent in ["cdn-cache-control", "surrogate-control", "surrogate-key", "cache-tag"] {
            assert_eq!(reply.fields(spent), [""; 0], "{spent}");
        }
        assert!(reply.fields("server-timing").last().unwrap().starts_with("cache;desc="));
    }
    assert_eq!(origin.requests("/x")[0].header("via"), "1.1 millrace");
    edge.ask("GET", "/y", &[("via", "1.0 outer")]).await;
    let asked = &origin.requests("/y")[0];
    let via: Vec<_> = asked.headers.get_all("via").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(via, ["1.0 outer", "1.1 millrace"]);
}

#[tokio::test]
async fn harmless_request_ids_are_kept() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let long = "a".repeat(65);
    for (id, kept) in [("abc-DEF_1.2", true), ("a b", false), ("<script>", false), (long.as_str(), false)] {
        let reply = edge.ask("GET", "/x", &[("x-request-id", id)]).await;
        assert_eq!(reply.field("x-request-id") == id, kept, "{id}");
    }
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (sent, told) in [(parent, parent), ("00-zz", "")] {
        let reply = edge.ask("GET", "/x", &[("traceparent", sent)]).await;
        assert_eq!(reply.field("traceparent"), told);
    }
}

/// Shared answers to those who say who they are: only where the answer says so.
#[tokio::test]
async fn authorization_keeps_answers_private_unless_they_say_otherwise() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (number, (control, stored)) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        origin.on_with(&path, move |request| {
            Answer::ok(format!("for {}", request.header("authorization"))).cache_control(control)
        });
        let first = edge.ask("GET", &path, &[("authorization", "alice")]).await;
        assert_eq!(first.text(), "for alice", "{control}");
        let second = edge.ask("GET", &path, &[("authorization", "bob")]).await;
        let (cache, body) = if stored { ("HIT", "for alice") } else { ("BYPASS", "for bob") };
        assert_eq!(second.told(), (200, cache, body.to_owned()), "{control}");
        if !stored {
            assert!(second.field("cache-status").ends_with("detail=authorization"), "{control}");
        }
    }
}

#[tokio::test]
async fn cookies_are_given_to_those_they_are_meant_for() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_with("/x", |request| {
        Answer::ok("x")
            .cache_control("max-age=60")
            .header("set-cookie", &format!("id={}", request.header("cookie")))
    });
    for user in ["alice", "bob"] {
        let reply = edge.ask("GET", "/x", &[("cookie", user)]).await;
        assert_eq!((reply.cache(), reply.field("set-cookie")), ("BYPASS", &*format!("id={user}")));
    }
    // A cookie in the request alone changes nothing.
    origin.on("/y", Answer::ok("y").cache_control("max-age=60"));
    edge.ask("GET", "/y", &[("cookie", "alice")]).await;
    assert_eq!(edge.ask("GET", "/y", &[("cookie", "bob")]).await.cache(), "HIT");
}

#[tokio::test]
async fn values_pass_byte_for_byte() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = Answer::ok("x").cache_control("max-age=60, x-unknown=\"a, b\"").header("x-empty", "");
    origin.on("/x", answer.header("x-twice", "1").header("x-twice", "2").header("content-encoding", "gzip"));
    for _ in 0..2 {
        let reply = edge.get("/x").await;
        assert_eq!(reply.fields("x-twice"), ["1", "2"]);
        assert_eq!(reply.fields("x-empty"), [""]);
        assert_eq!(reply.field("cache-control"), "max-age=60, x-unknown=\"a, b\"");
        assert_eq!((reply.field("content-encoding"), reply.text()), ("gzip", "x".to_owned()));
    }
}
