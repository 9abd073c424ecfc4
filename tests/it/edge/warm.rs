//! Joining a fleet with a warm cache, and leaving it gently.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{BLOCK, Edge, Reply, eventually, images::jpeg};
use crate::origin_double::{Answer, OriginDouble};

const DE: &[(&str, &str)] = &[("accept-language", "de")];
const EN: &[(&str, &str)] = &[("accept-language", "en")];
const BR: &[(&str, &str)] = &[("accept-encoding", "br")];

/// What is asked of both servers: target, fields.
type Ask = (&'static str, &'static [(&'static str, &'static str)]);

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}: {}", reply.status, reply.text()))
}

fn url(edge: &Edge) -> String {
    format!("http://{}", edge.admin())
}

async fn report(edge: &Edge) -> Value {
    json(&edge.admin_get("/api/v1/cache/warm").await)
}

async fn order(edge: &Edge, order: Value) -> Reply {
    edge.admin_post("/api/v1/cache/warm", &[], order.to_string().as_bytes()).await
}

/// A run to its end.
async fn warm(edge: &Edge, from: &Edge) -> Value {
    let begun = order(edge, json!({ "peers": [url(from)] })).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    over(edge).await
}

async fn ready(edge: &Edge) {
    eventually("a server that is ready", async || edge.admin_get("/health/ready").await.status == 200).await;
}

async fn over(edge: &Edge) -> Value {
    eventually("the end of a run", async || report(edge).await["state"] != "running").await;
    report(edge).await
}

/// Inline, in blocks, in parts, in variants, coded, made: and how a server answers each.
fn assets(origin: &OriginDouble) -> Vec<Ask> {
    origin.on("/small", Answer::ok("small").cache_control("max-age=60"));
    origin.on("/long", Answer::pattern(5 * BLOCK + 7, 1).etag("\"1\"").cache_control("max-age=60"));
    origin.on("/unnamed", Answer::pattern(3 * BLOCK + 7, 2).cache_control("max-age=60"));
    origin.on("/parts", Answer::pattern(40 * BLOCK, 3).etag("\"3\"").cache_control("max-age=60"));
    let photo = Answer::ok(jpeg(80, 60, 1)).etag("\"4\"").cache_control("max-age=60");
    origin.on("/a.jpg", photo.content_type("image/jpeg"));
    origin.on_with("/spoken", |request| {
        let language = request.headers.get("accept-language").unwrap().to_str().unwrap().to_owned();
        Answer::ok(format!("{language} ").repeat(1000))
            .content_type("text/plain")
            .etag(&format!("\"{language}\""))
            .cache_control("max-age=60")
            .header("vary", "accept-language")
    });
    vec![
        ("/small", &[]),
        ("/long", &[]),
        ("/unnamed", &[]),
        ("/parts", &[("range", "bytes=1000000-1000009")]),
        ("/a.jpg?w=40", &[]),
        ("/spoken", DE),
        ("/spoken", EN),
        ("/spoken", &[("accept-language", "de"), ("accept-encoding", "br")]),
    ]
}

#[tokio::test]
async fn a_new_server_has_what_its_peers_are_asked_for() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    let asks = assets(&origin);
    let mut expected = Vec::new();
    for round in 0..2 {
        for (target, fields) in &asks {
            let reply = old.ask("GET", target, fields).await;
            if round > 0 {
                assert_eq!(reply.cache(), "HIT", "{target}");
                expected.push(reply);
            }
        }
    }
    let fetched = origin.total_hits();
    old.advance(7);
    let peers = vec![url(&old)];
    let new = old.sibling(|raw| raw.warm.peers = peers).await;
    ready(&new).await;
    let told = report(&new).await;
    assert_eq!((&told["state"], &told["ratio"], &told["error"]), (&json!("done"), &json!(1.0), &Value::Null));
    assert_eq!(told["bytes"], told["goal_bytes"], "{told}");
    assert_eq!(new.metric("millrace_warm_ratio", &[]).await, 1);
    for ((target, fields), expected) in asks.iter().zip(&expected) {
        let reply = new.ask("GET", target, fields).await;
        assert_eq!((reply.status, reply.cache()), (expected.status, "HIT"), "{target} {fields:?}");
        assert!(reply.body == expected.body, "{target}");
        for field in ["etag", "vary", "content-range", "content-encoding", "date"] {
            assert_eq!(reply.headers.get(field), expected.headers.get(field), "{target}: {field}");
        }
        assert_eq!(reply.field("age"), "7", "{target}");
    }
    assert_eq!(origin.total_hits(), fetched, "the origin has heard nothing of it");
    // Variants join those that are there.
    let other = old.sibling(|_| {}).await;
    other.ask("GET", "/spoken", &[("accept-language", "fr")]).await;
    warm(&other, &old).await;
    for (fields, cache) in [(DE, "HIT"), (EN, "HIT"), (&[("accept-language", "fr")][..], "HIT")] {
        assert_eq!(other.ask("GET", "/spoken", fields).await.cache(), cache, "{fields:?}");
    }
    // Of the object that came in part, the rest is fetched when it is wanted.
    let part = new.get_range("/parts", "bytes=0-9").await;
    assert_eq!((part.status, part.cache(), origin.hits("/parts")), (206, "MISS", 2));
    assert!(part.is_pattern(3, 0..10));
    // And it is as old as it was.
    new.advance(54);
    assert_eq!(new.get("/small").await.cache(), "MISS");
    // What is here already is not fetched again.
    let again = warm(&new, &old).await;
    assert_eq!((&again["state"], &again["objects"]), (&json!("done"), &json!(0)), "{again}");
}

#[tokio::test]
async fn what_is_asked_for_most_comes_first_and_within_bounds() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    for n in 0..10 {
        origin.on(&format!("/{n}"), Answer::pattern(1000, n).cache_control("max-age=60"));
        for _ in 0..=n {
            old.get(&format!("/{n}?access_token=secret")).await;
        }
    }
    let list = json(&old.admin_get("/api/v1/cache/hot?limit=3").await);
    let urls: Vec<_> = list["objects"].as_array().unwrap().iter().map(|one| one["url"].clone()).collect();
    assert_eq!(urls, ["/9?access_token=***", "/8?access_token=***", "/7?access_token=***"]);
    assert_eq!((&list["objects"][0]["hits"], &list["bytes"]), (&json!(10), &json!(3000)));
    let few = json(&old.admin_get("/api/v1/cache/hot?bytes=2500").await);
    assert_eq!(few["bytes"], 2000);
    let new = old.sibling(|_| {}).await;
    assert_eq!(order(&new, json!({ "peers": [url(&old)], "bytes": 2500 })).await.status, 202);
    let told = over(&new).await;
    assert_eq!((&told["objects"], &told["goal_bytes"]), (&json!(2), &json!(2000)), "{told}");
    for (n, cache) in [(9, "HIT"), (8, "HIT"), (7, "MISS")] {
        assert_eq!(new.get(&format!("/{n}?access_token=secret")).await.cache(), cache, "{n}");
    }
    for wrong in ["limit=x", "bytes=-1", "other=1"] {
        assert_eq!(old.admin_get(&format!("/api/v1/cache/hot?{wrong}")).await.status, 400, "{wrong}");
    }
}

/// A server that leaves hands over what only it has: those that stay are told the names.
#[tokio::test]
async fn an_order_may_name_what_is_to_be_taken() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    for n in 0..4 {
        origin.on(&format!("/{n}"), Answer::pattern(1000, n).cache_control("max-age=60"));
        old.get(&format!("/{n}")).await;
    }
    let list = json(&old.admin_get("/api/v1/cache/hot").await);
    let name = |path: &str| {
        let mut all = list["objects"].as_array().unwrap().iter();
        all.find(|one| one["url"].as_str().unwrap().ends_with(path)).unwrap()["name"].clone()
    };
    let new = old.sibling(|_| {}).await;
    // The second is unknown there, or gone meanwhile.
    let named = json!({ "peers": [url(&old)], "objects": [name("/2"), "0".repeat(32), name("/3")] });
    assert_eq!(order(&new, named).await.status, 202);
    let told = over(&new).await;
    assert_eq!((&told["state"], &told["objects"], &told["bytes"]), (&json!("done"), &json!(2), &json!(2000)));
    for (path, cache) in [("/0", "MISS"), ("/1", "MISS"), ("/2", "HIT"), ("/3", "HIT")] {
        assert_eq!(new.get(path).await.cache(), cache, "{path}");
    }
    for (objects, said) in [
        (json!(["2"]), "\"2\" is not the name of an object, of 32 hexadecimal digits"),
        (json!(vec!["0".repeat(32); 1001]), "at most 1000 objects"),
    ] {
        let refused = order(&new, json!({ "peers": [url(&old)], "objects": objects })).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(&said.replace('"', "\\\"")), "{}", refused.text());
    }
}

/// Each server numbers its purges itself, and hears of them at its own time.
#[tokio::test]
async fn what_was_purged_here_does_not_come_back() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    let photo = Answer::ok(jpeg(80, 60, 1)).etag("\"4\"").cache_control("max-age=600");
    origin.on("/made.jpg", photo.content_type("image/jpeg"));
    origin.on("/tagged", Answer::ok("t").cache_control("max-age=600").header("cache-tag", "news"));
    for path in ["/named", "/written", "/kept", "/late"] {
        origin.on(path, Answer::ok("x").etag("\"1\"").cache_control("max-age=600"));
    }
    // A round of other numbers, so that equal ones mean different things.
    old.purge(r#"{"urls":["/nothing"]}"#).await;
    for path in ["/named", "/tagged", "/written", "/kept", "/made.jpg"] {
        old.get(path).await;
    }
    old.advance(10);
    let new = old.sibling(|_| {}).await;
    // The peer has not been told yet.
    new.purge(r#"{"urls":["/named", "/late", "/made.jpg"]}"#).await;
    new.purge(r#"{"tags":["news"]}"#).await;
    new.ask("POST", "/written", &[]).await;
    new.advance(10);
    // These are made and fetched after the purge, but the image of a source from before it.
    old.get("/late").await;
    old.get("/made.jpg?w=40").await;
    let told = warm(&new, &old).await;
    assert_eq!((&told["state"], &told["objects"]), (&json!("done"), &json!(2)), "{told}");
    for (path, cache) in [
        ("/named", "MISS"),
        ("/tagged", "MISS"),
        ("/made.jpg?w=40", "MISS"),
        ("/written", "MISS"),
        ("/kept", "HIT"),
        ("/late", "HIT"),
    ] {
        assert_eq!(new.get(path).await.cache(), cache, "{path}");
    }
}

/// A purge is on its way through the fleet when a server joins, which is told nothing of it.
#[tokio::test]
async fn what_one_peer_was_told_to_forget_does_not_come_from_another() {
    let origin = OriginDouble::start().await;
    let told = Edge::over(&origin).await;
    let untold = told.sibling(|_| {}).await;
    for path in ["/gone", "/again", "/kept"] {
        origin.on(path, Answer::ok("x").etag("\"1\"").cache_control("max-age=3600"));
        told.get(path).await;
        untold.get(path).await;
    }
    told.advance(10);
    told.purge(r#"{"urls":["/gone", "/again"]}"#).await;
    told.advance(10);
    // The new version.
    told.get("/again").await;
    let new = told.sibling(|_| {}).await;
    let begun = order(&new, json!({ "peers": [url(&untold), url(&told)] })).await;
    assert_eq!(begun.status, 202);
    let report = over(&new).await;
    assert_eq!((&report["objects"], &report["skipped_objects"]), (&json!(2), &json!(1)), "{report}");
    for (path, cache) in [("/gone", "MISS"), ("/again", "HIT"), ("/kept", "HIT")] {
        assert_eq!(new.get(path).await.cache(), cache, "{path}");
    }
    let wrong = told.admin_get("/api/v1/cache/purges?after=x").await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn what_only_the_peer_is_told_to_forget_is_forgotten_here_too() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    origin.on("/soon", Answer::ok("soon").etag("\"1\"").cache_control("max-age=600"));
    origin.on("/kept", Answer::ok("kept!").etag("\"1\"").cache_control("max-age=600"));
    origin.on("/long", Answer::pattern(20 * BLOCK, 1).etag("\"1\"").cache_control("max-age=600"));
    origin.on("/gone", Answer::ok("gone").etag("\"1\"").cache_control("max-age=600"));
    for path in ["/soon", "/kept", "/long", "/gone"] {
        old.get(path).await;
    }
    old.purge(r#"{"urls":["/gone"]}"#).await;
    let new = old.sibling(|_| {}).await;
    let slowly = json!({ "peers": [url(&old)], "bytes_per_sec": 16_384 });
    assert_eq!(order(&new, slowly.clone()).await.status, 202);
    eventually("small objects", async || report(&new).await["objects"] == 2).await;
    assert_eq!(order(&new, slowly).await.status, 409, "one at a time");
    old.purge(r#"{"urls":["/soon"]}"#).await;
    assert_eq!(json(&new.admin_delete("/api/v1/cache/warm").await)["broken_off"], true);
    let told = over(&new).await;
    assert_eq!((&told["state"], &told["error"]), (&json!("failed"), &json!("broken off")));
    assert!(told["ratio"].as_f64().unwrap() < 0.5, "{told}");
    for (path, cache) in [("/soon", "MISS"), ("/gone", "MISS"), ("/kept", "HIT"), ("/long", "MISS")] {
        assert_eq!(new.get(path).await.cache(), cache, "{path}");
    }
}

#[tokio::test]
async fn what_is_damaged_on_its_way_is_not_taken() {
    let origin = OriginDouble::start().await;
    let old = Edge::over(&origin).await;
    origin.on("/x", Answer::pattern(2 * BLOCK + 7, 1).etag("\"1\"").cache_control("max-age=600"));
    old.get("/x").await;
    let list = old.admin_get("/api/v1/cache/hot").await;
    let id = json(&list)["objects"][0]["id"].as_str().unwrap().to_owned();
    let target = format!("/api/v1/cache/object/{id}");
    let whole = old.admin_get(&target).await;
    assert_eq!(whole.field("content-type"), "application/vnd.millrace.object");
    let part = old.admin_get(&format!("{target}?blocks=1-1")).await;
    assert!((BLOCK..BLOCK + 1000).contains(&(part.body.len() as u64)), "{}", part.body.len());
    for (wrong, status) in [("object/00", 404), ("object/zz", 404), (&*format!("object/{id}?blocks=x"), 400)]
    {
        assert_eq!(old.admin_get(&format!("/api/v1/cache/{wrong}")).await.status, status, "{wrong}");
    }
    let middle = whole.body.len() / 2;
    let flipped: Vec<u8> =
        whole.body.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == middle)).collect();
    let cut = whole.body[..whole.body.len() - 30].to_vec();
    let peer = OriginDouble::start().await;
    peer.on("/api/v1/cache/hot", Answer::ok(list.body));
    peer.on("/api/v1/cache/purges", Answer::ok(r#"{"latest":0,"now":0,"at":0,"purges":[]}"#));
    let new = old.sibling(|raw| raw.warm.peers = vec![peer.url()]).await;
    ready(&new).await;
    for (body, objects) in [(flipped, 0), (cut, 0), (part.body, 1), (whole.body, 0)] {
        peer.on(&target, Answer::ok(body));
        assert_eq!(order(&new, json!({})).await.status, 202);
        let told = over(&new).await;
        assert_eq!((&told["state"], &told["objects"]), (&json!("done"), &json!(objects)), "{told}");
        let cached =
            new.ask("GET", "/x", &[("cache-control", "only-if-cached"), ("range", "bytes=70000-70009")]);
        assert_eq!(cached.await.status == 206, objects == 1 || told["goal_bytes"] == 0, "{told}");
    }
    let whole = new.get("/x").await;
    assert!(whole.is_pattern(1, 0..2 * BLOCK + 7));
}

/// A server that waits for a peer is not ready, serves all the same, and does not wait for ever.
#[tokio::test]
async fn a_server_that_warms_up_is_not_ready() {
    let origin = OriginDouble::start().await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let edge = Edge::over(&origin).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = format!("http://{}", silent.local_addr().unwrap());
    let new = edge.sibling(|raw| raw.warm.peers = vec![peer]).await;
    eventually("a server that warms up", async || {
        let told = new.admin_get("/health/ready").await;
        assert_eq!(told.status, 503);
        told.text() == r#"{"status":"warming"}"#
    })
    .await;
    assert_eq!(new.admin_get("/health/live").await.status, 200);
    assert_eq!(new.get("/x").await.status, 200);
    assert_eq!(new.metric("millrace_warm_ratio", &[]).await, 0);
    new.admin_delete("/api/v1/cache/warm").await;
    ready(&new).await;
    drop(silent);
    let nobody = edge.sibling(|raw| raw.warm.peers = vec!["http://127.0.0.1:1".to_owned()]).await;
    ready(&nobody).await;
    let told = report(&nobody).await;
    assert_eq!(told["state"], "failed", "{told}");
    for (wrong, status) in [
        (json!({}), 400),
        (json!({ "peers": ["ftp://x"] }), 400),
        (json!({ "peers": vec!["http://127.0.0.1:1"; 17] }), 400),
        (json!({ "peers": ["http://127.0.0.1:1"], "deadline_secs": 0 }), 400),
        (json!({ "other": 1 }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(order(&edge, wrong.clone()).await.status, status, "{wrong}");
    }
    let foreign = edge.admin_post("/api/v1/cache/warm", &[("origin", "http://elsewhere")], b"{}").await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn clients_are_sent_elsewhere_and_served_all_the_same() {
    let origin = OriginDouble::start().await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    origin.on("/long", Answer::pattern(5 * BLOCK, 1).etag("\"1\"").cache_control("max-age=60"));
    let edge = Edge::over(&origin).await;
    let closes = |reply: &Reply| reply.headers.get("connection").is_some_and(|told| told == "close");
    for (away, status) in [(true, 503), (false, 200), (true, 503)] {
        let told = match away {
            true => edge.admin_post("/api/v1/drain", &[], b"").await,
            false => edge.admin_delete("/api/v1/drain").await,
        };
        assert_eq!(json(&told), json!({ "draining": away, "active_requests": 0 }));
        assert_eq!(json(&edge.admin_get("/api/v1/drain").await)["draining"], away);
        assert_eq!(edge.admin_get("/health/ready").await.status, status);
        for _ in 0..2 {
            for path in ["/x", "/long", "/nowhere"] {
                assert_eq!(closes(&edge.get(path).await), away, "{path}");
            }
        }
        assert!(edge.get("/long").await.is_pattern(1, 0..5 * BLOCK));
    }
    let coded = edge.ask("GET", "/x", BR).await;
    assert_eq!(coded.cache(), "HIT");
}

#[tokio::test]
async fn where_others_reach_the_port_a_token_is_shown_to_those_it_is_for() {
    let origin = OriginDouble::start().await;
    origin.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let guarded = |raw: &mut millrace::config::Raw| {
        raw.server.admin = "0.0.0.0:0".to_owned();
        raw.admin.token.0 = "sesame".to_owned();
    };
    let old = Edge::with(&origin, guarded).await;
    old.get("/x").await;
    for target in ["cache/hot", "cache/purges?after=0", "cache/object/00", "cache/warm", "drain"] {
        let reply = old.admin_get(&format!("/api/v1/{target}")).await;
        assert_eq!(
            (reply.status, reply.field("www-authenticate")),
            (401, "Bearer realm=\"millrace\""),
            "{target}"
        );
    }
    assert_eq!(old.admin_post("/api/v1/drain", &[], b"").await.status, 401);
    assert_eq!(order(&old, json!({})).await.status, 401);
    let peer = format!("http://127.0.0.1:{}", old.admin().port());
    for (token, state) in [("wrong", "failed"), ("sesame", "done")] {
        let peers = vec![peer.clone()];
        let with = |raw: &mut millrace::config::Raw| {
            raw.warm.peers = peers;
            raw.warm.token.0 = token.to_owned();
        };
        let new = old.sibling(with).await;
        ready(&new).await;
        assert_eq!(over(&new).await["state"], state);
        let stranger = OriginDouble::start().await;
        assert_eq!(order(&new, json!({ "peers": [stranger.url()] })).await.status, 202);
        over(&new).await;
        let asked = stranger.requests("/api/v1/cache/hot");
        assert!(!asked.is_empty() && asked.iter().all(|one| !one.headers.contains_key("authorization")));
    }
}
