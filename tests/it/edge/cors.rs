//! Pages of other sites: what a route lets them read, whatever is stored.

use millrace::config::raw;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

const PLAYER: (&str, &str) = ("origin", "https://player.example");
const EVIL: (&str, &str) = ("origin", "https://evil.example");

async fn edge(origin: &OriginDouble) -> Edge {
    let route = |path: &str, origins: &[&str]| {
        let allow_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        raw::Route {
            path: path.to_owned(),
            cors: raw::Cors { allow_origins, ..Default::default() },
            ..Default::default()
        }
    };
    Edge::with(origin, |raw| {
        raw.routes = vec![
            route("/films", &["https://player.example", "https://*.player.example"]),
            route("/all", &["*"]),
        ];
    })
    .await
}

/// What is said of other sites, and `Vary`.
async fn told(edge: &Edge, target: &str, fields: &[(&str, &str)]) -> (String, String) {
    let reply = edge.send("GET", target, fields).await;
    assert_eq!(reply.status, 200, "{target}");
    (reply.field("access-control-allow-origin").to_owned(), reply.field("vary").to_owned())
}

fn expected(origin: &str, vary: &str) -> (String, String) {
    (origin.to_owned(), vary.to_owned())
}

#[tokio::test]
async fn one_copy_is_for_all_sites_and_says_to_each_what_it_may() {
    let origin = OriginDouble::start().await;
    let edge = edge(&origin).await;
    // What origins say of it is theirs, where a route has no rule.
    for path in ["/films/a", "/all/a", "/other"] {
        let answer = Answer::ok("x").cache_control("max-age=3600");
        origin.on(path, answer.header("access-control-allow-origin", "https://evil.example"));
    }
    origin.on("/films/vary", Answer::ok("x").cache_control("max-age=3600").header("vary", "Accept-Language"));
    for _ in ["miss", "hit"] {
        assert_eq!(told(&edge, "/films/a", &[EVIL]).await, expected("", "Origin"));
        assert_eq!(told(&edge, "/films/a", &[PLAYER]).await, expected(PLAYER.1, "Origin"));
        let below = "https://x.player.example";
        assert_eq!(told(&edge, "/films/a", &[("origin", below)]).await, expected(below, "Origin"));
        assert_eq!(told(&edge, "/films/a", &[]).await, expected("", "Origin"));
        assert_eq!(told(&edge, "/all/a", &[EVIL]).await, expected("*", ""));
        assert_eq!(told(&edge, "/all/a", &[]).await, expected("*", ""));
        assert_eq!(told(&edge, "/other", &[PLAYER]).await, expected("https://evil.example", ""));
        assert_eq!(
            told(&edge, "/films/vary", &[PLAYER]).await,
            expected(PLAYER.1, "Accept-Language, Origin")
        );
    }
    for path in ["/films/a", "/all/a"] {
        assert_eq!(origin.hits(path), 1, "{path}");
    }
    let exposed = edge.send("GET", "/films/a", &[PLAYER]).await;
    assert!(exposed.field("access-control-expose-headers").contains("Content-Range"));
    // Errors of ours can be read, too.
    let refused = edge.send("GET", "/films/../x", &[PLAYER]).await;
    assert_eq!(refused.status, 400);
    let missing = edge.send("GET", "/films/missing", &[PLAYER]).await;
    assert_eq!((missing.status, missing.field("access-control-allow-origin")), (404, PLAYER.1));
}

#[tokio::test]
async fn browsers_that_ask_first_are_answered_here() {
    let origin = OriginDouble::start().await;
    let edge = edge(&origin).await;
    let asks =
        [("access-control-request-method", "GET"), ("access-control-request-headers", "range, x-mine")];
    let preflight = |from| [asks[0], asks[1], from];
    let reply = edge.send("OPTIONS", "/films/a", &preflight(PLAYER)).await;
    assert_eq!((reply.status, reply.field("access-control-allow-origin")), (204, PLAYER.1));
    assert_eq!(reply.field("access-control-allow-methods"), "GET, HEAD");
    assert_eq!(reply.field("access-control-allow-headers"), "range, x-mine");
    assert_eq!((reply.field("access-control-max-age"), reply.field("vary")), ("86400", "Origin"));
    let evil = edge.send("OPTIONS", "/films/a", &preflight(EVIL)).await;
    assert_eq!((evil.status, evil.field("access-control-allow-origin")), (204, ""));
    assert_eq!(origin.total_hits(), 0);
    // Another kind of OPTIONS, and a route without a rule: for the origin.
    edge.send("OPTIONS", "/films/a", &[PLAYER]).await;
    edge.send("OPTIONS", "/other", &preflight(PLAYER)).await;
    assert_eq!((origin.hits("/films/a"), origin.hits("/other")), (1, 1));
}
