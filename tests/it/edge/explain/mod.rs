//! Why a request hits or misses, as the admin port and the command tell it.

use serde_json::Value;

use super::{BLOCK, Edge, client};
use crate::origin_double::{Answer, Gate, OriginDouble};

mod misconfigured;
mod routes;
mod seeds;

fn fresh() -> Answer {
    Answer::ok("hello").cache_control("max-age=60")
}

async fn explain(edge: &Edge, method: &str, target: &str, fields: &[(&str, &str)]) -> Value {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("url", &format!("http://edge.example{target}")).append_pair("method", method);
    for (name, value) in fields {
        query.append_pair("header", &format!("{name}: {value}"));
    }
    let reply = edge.admin_get(&format!("/api/v1/cache/explain?{}", query.finish())).await;
    assert_eq!((reply.status, reply.field("content-type")), (200, "application/json"), "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

fn verdict(told: &Value) -> (&str, &str, &str) {
    let part = |name: &str| told["verdict"][name].as_str().unwrap();
    (part("outcome"), part("reason"), part("because"))
}

#[tokio::test]
async fn purges_are_named_that_hide_an_object() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/films/a", fresh().etag("\"1\"").header("surrogate-key", "red blue"));
    for (purge, named, verdict_then) in [
        (r#"{"urls":["/films/a"]}"#, "url /films/a", ("miss", "uri-miss")),
        (r#"{"prefixes":["/films"]}"#, "prefix /films/", ("miss", "uri-miss")),
        (r#"{"tags":["blue"]}"#, "tag blue", ("miss", "uri-miss")),
        (r#"{"all":true}"#, "everything", ("miss", "uri-miss")),
        (r#"{"tags":["red"],"soft":true}"#, "tag red", ("miss", "stale")),
    ] {
        edge.get("/films/a").await;
        let told = explain(&edge, "GET", "/films/a", &[]).await;
        assert_eq!((verdict(&told).0, &told["purges"]), ("hit", &Value::Array(Vec::new())), "{purge}");
        let sequence = edge.purge(purge).await;
        let told = explain(&edge, "GET", "/films/a", &[]).await;
        let (outcome, reason, because) = verdict(&told);
        assert_eq!((outcome, reason), verdict_then, "{purge}");
        assert!(because.contains(&format!("purge {sequence} of {named}")), "{because}");
        assert_eq!(told["purges"].as_array().unwrap().len(), 1, "{told}");
        assert_eq!(told["purges"][0]["sequence"], sequence);
        assert_eq!(told["purges"][0]["named"], named);
        assert_eq!(told["smallest_change"][0]["what"], "ask-once");
        let told = edge.get("/films/a").await.cache().to_owned();
        assert!(told == "MISS" || told == "REVALIDATED", "{told}");
    }
}

#[tokio::test]
async fn the_way_to_the_verdict_is_shown() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with_disk(&origin).await;
    let control = "max-age=100, stale-while-revalidate=10";
    origin.on("/a", Answer::ok("hello").etag("\"1\"").cache_control(control).header("age", "7"));
    edge.get("/a?x=1").await;
    edge.advance(10);
    let told = explain(&edge, "GET", "/a?x=1", &[]).await;
    assert_eq!(told["verdict"]["because"], "stored 10 s ago and fresh for 83 s more");
    assert_eq!(told["route"]["kind"], "asset");
    assert_eq!(told["key"]["text"], "/a?x=1");
    assert_eq!(told["key"]["parts"], serde_json::json!([["path", "/a"], ["query", "x=1"]]));
    assert_eq!(told["object"]["ttl_secs"], 83);
    assert_eq!(told["object"]["age_secs"], 17);
    assert_eq!(told["object"]["tiers"][0], "memory");
    assert_eq!(told["last_fill"]["became"], "stored");
    let step = |told: &Value, what: &str| {
        let steps = told["freshness"].as_array().unwrap();
        let found = steps.iter().find(|step| step["what"] == what);
        found.unwrap_or_else(|| panic!("no step {what}: {steps:?}")).clone()
    };
    assert_eq!(step(&told, "lifetime")["value"], "100 s");
    assert_eq!(step(&told, "lifetime")["because"], format!("Cache-Control: {control}"));
    assert_eq!(step(&told, "age it came with")["value"], "7 s");
    assert_eq!(step(&told, "time in the cache")["value"], "10 s");
    assert_eq!(step(&told, "left")["value"], "83 s");
    assert_eq!(step(&told, "verdict")["value"], "fresh");

    edge.advance(85);
    let told = explain(&edge, "GET", "/a?x=1", &[]).await;
    assert_eq!((verdict(&told).0, verdict(&told).1), ("stale", "stale-while-revalidate"));

    origin.on("/b", Answer::ok("hello").cache_control("max-age=60").header("set-cookie", "a=b"));
    edge.get("/b").await;
    let told = explain(&edge, "GET", "/b", &[]).await;
    let asked = told["storability"].as_array().unwrap();
    let good: Vec<bool> = asked.iter().map(|step| step["good"].as_bool().unwrap()).collect();
    assert_eq!(good.iter().filter(|good| !**good).count(), 1, "{asked:?}");
    assert_eq!(asked.last().unwrap()["because"], "Set-Cookie: a=...");
    assert_eq!(told["last_fill"]["reason"], "set-cookie");
    assert_eq!(told["last_fill"]["origin"], "main");
}

#[tokio::test]
async fn the_tier_is_named_and_looking_moves_nothing() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    origin.on("/small", fresh());
    origin.on("/large", Answer::pattern(3 * BLOCK, 1).cache_control("max-age=60").etag("\"1\""));
    edge.get("/small").await;
    edge.get_range("/large", "bytes=0-9").await;
    edge.restart().await;
    for _ in 0..2 {
        let told = explain(&edge, "GET", "/small", &[]).await;
        assert_eq!((verdict(&told).0, &told["object"]["tiers"]), ("hit", &serde_json::json!(["disk"])));
        assert_eq!(told["last_fill"], Value::Null, "it was before the start");
    }
    assert_eq!(edge.get("/small").await.cache(), "HIT");
    let told = explain(&edge, "GET", "/small", &[]).await;
    assert_eq!(told["object"]["tiers"], serde_json::json!(["memory", "disk"]));

    for (fields, expected) in [
        (&[("range", "bytes=5-6")][..], ("hit", "fresh")),
        (&[("range", "bytes=100000-100009")], ("miss", "partial")),
        (&[], ("miss", "partial")),
    ] {
        let told = explain(&edge, "GET", "/large", fields).await;
        assert_eq!(told["object"]["blocks"], serde_json::json!([3, 1]), "{told}");
        assert_eq!((verdict(&told).0, verdict(&told).1), expected, "{told}");
    }
    let reply = edge.get_range("/large", "bytes=100000-100009").await;
    assert_eq!((reply.cache(), reply.field("cache-status").contains("partial")), ("MISS", true));
}

#[tokio::test]
async fn an_open_admin_port_wants_the_token() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.server.admin = "0.0.0.0:0".to_owned();
        raw.admin.token.0 = "s3cret".to_owned();
    });
    let edge = edge.await;
    let status = async |fields: &[(&str, &str)]| {
        client::open(edge.admin(), "GET", "/api/v1/cache/explain?url=/x", fields, b"").await.head.status
    };
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&[("authorization", "Bearer other")]).await, 401);
    assert_eq!(status(&[("authorization", "Bearer s3cret")]).await, 200);
}

#[tokio::test]
async fn variants_are_shown_with_what_tells_them_apart() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", fresh().header("vary", "Accept, Cookie"));
    edge.ask("GET", "/x", &[("accept", "a"), ("cookie", "id=s3cret")]).await;
    edge.ask("GET", "/x", &[("accept", "b")]).await;
    let told = explain(&edge, "GET", "/x", &[("accept", "b"), ("cookie", "id=s4cret")]).await;
    let variants = &told["variants"];
    assert_eq!(variants["by"], serde_json::json!(["accept", "cookie"]));
    assert_eq!(variants["asked"], serde_json::json!([["accept", "b"], ["cookie", "id=..."]]));
    let known = variants["known"].as_array().unwrap();
    assert_eq!(known[0]["differs"], serde_json::json!([["cookie", null, "id=..."]]));
    assert_eq!(known[0]["tiers"], serde_json::json!(["memory"]));
    assert_eq!(known[1]["differs"].as_array().unwrap().len(), 2);
    assert_eq!(told["smallest_change"].as_array().unwrap().len(), 1, "of the nearest one");
    assert!(!told.to_string().contains("cret"));
}

/// Either keys leave it out already, or the fix says so.
#[tokio::test]
async fn noise_in_queries_is_named() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, before, asked, what) in [
        ("/tracked", "?id=1&utm_source=a", "?id=1&utm_source=b&utm_medium=c", "drop-parameter"),
        ("/clicked", "?gclid=1", "?gclid=2", "drop-parameter"),
        ("/ordered", "?a=1&b=2", "?b=2&a=1", "sort-query"),
    ] {
        origin.on(path, fresh().etag("\"1\""));
        edge.get(&format!("{path}{before}")).await;
        let told = explain(&edge, "GET", &format!("{path}{asked}"), &[]).await;
        let named = told["smallest_change"][0]["what"] == what;
        assert!(verdict(&told).0 == "hit" || named, "{told}");
    }
    origin.on_with("/page", |request| fresh().etag(&format!("\"{}\"", request.target)));
    for number in 1..5 {
        edge.get(&format!("/page?number={number}")).await;
    }
    let told = explain(&edge, "GET", "/page?number=5", &[]).await;
    assert_eq!(told["smallest_change"][0]["what"], "ask-once", "the parameter matters");
}

#[tokio::test]
async fn what_is_on_its_way_or_was_for_others_is_told() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/slow", fresh().gate(&gate));
    let (reply, told) = tokio::join!(edge.get("/slow"), async {
        origin.reach_hits("/slow", 1).await;
        let told = explain(&edge, "GET", "/slow", &[]).await;
        gate.release();
        told
    });
    assert_eq!(reply.cache(), "MISS");
    assert_eq!(verdict(&told), ("miss", "uri-miss", "it is being fetched at this moment"));
    assert!(told["smallest_change"][0]["how"].as_str().unwrap().contains("shares that fill"), "{told}");

    origin.on("/x", fresh());
    edge.ask("GET", "/x", &[("authorization", "Bearer s3cret")]).await;
    let told = explain(&edge, "GET", "/x", &[]).await;
    assert_eq!((verdict(&told).0, verdict(&told).1), ("miss", "uri-miss"));
    assert!(verdict(&told).2.contains("could not be stored"), "{told}");
    assert_eq!(told["last_fill"]["asked_with"], serde_json::json!(["authorization"]));
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    assert_eq!(edge.get("/x").await.cache(), "HIT");
}

#[tokio::test]
async fn derived_objects_are_explained_with_their_source() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", Answer::ok("no image").cache_control("no-store"));
    edge.get("/a.jpg?w=10").await;
    let told = explain(&edge, "GET", "/a.jpg?w=10", &[]).await;
    assert_eq!(told["route"]["kind"], "image");
    assert_eq!(told["source"]["key"]["text"], "/a.jpg");
    assert_eq!(verdict(&told["source"]).1, "no-store");
    let told = explain(&edge, "GET", "/a.jpg?w=0", &[]).await;
    assert_eq!(verdict(&told).1, "bad-request");
    assert!(verdict(&told).2.contains("`w`"));
}

#[tokio::test]
async fn it_reads_well_and_refuses_what_makes_no_sense() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", fresh().header("set-cookie", "session=s3cret"));
    edge.get("/x").await;
    let reply = edge.admin_get("/api/v1/cache/explain?url=/x&format=text").await;
    assert_eq!(reply.field("content-type"), "text/plain; charset=utf-8");
    let text = reply.text();
    for line in [
        "GET /x\n",
        "BYPASS (set-cookie): its answer is not stored",
        "Smallest change that would make it a hit:\n  -> origin: don't send `Set-Cookie: session=...`",
        "\nkey          /x\n",
        "\nstored       no\n",
        "  - no cookie that is meant for one client",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    for (query, reason) in
        [("", "`url` is missing"), ("?url=/../x", "segment"), ("?url=/x&header=x", "not a field")]
    {
        let reply = edge.admin_get(&format!("/api/v1/cache/explain{query}")).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(reason), "{}", reply.text());
    }
}

#[tokio::test]
async fn the_command_asks_a_running_server() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", fresh().header("vary", "accept"));
    edge.ask("GET", "/x", &[("accept", "a")]).await;
    let admin = edge.admin().to_string();
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_millrace"));
        let output = command.arg("explain").args(arguments).args(["--admin", &admin]).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = run(&["http://edge.example/x", "-H", "Accept: a"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("\nHIT (fresh): stored 0 s ago and fresh for 60 s more\n"), "{said}");
    let (code, said, _) = run(&["/x", "-H", "Accept: b", "--json"]).await;
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, told["verdict"]["reason"].as_str()), (Some(0), Some("vary-miss")));
    let (code, said, _) = run(&["/x", "-X", "DELETE"]).await;
    assert!(code == Some(0) && said.contains("BYPASS (method)"), "{said}");
    let (code, _, complained) = run(&["x"]).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("does not begin with a slash"), "{complained}");
    assert_eq!(origin.hits("/x"), 1);
}

/// Whatever way the origin is down, when it was asked last.
#[tokio::test]
async fn what_stands_in_for_an_origin_that_is_down_is_told() {
    for (path, control, down, outcome, how) in [
        ("/cut", "max-age=60", Answer::hang_up(), "stale", "stale-if-error"),
        ("/500", "max-age=60", Answer::ok("").status(500), "stale", "stale-if-error"),
        ("/must", "max-age=60, must-revalidate", Answer::hang_up(), "miss", "stale"),
    ] {
        let origin = OriginDouble::start().await;
        let edge = Edge::over(&origin).await;
        origin.on(path, fresh().cache_control(control));
        edge.get(path).await;
        edge.settled().await;
        edge.advance(61);
        let told = explain(&edge, "GET", path, &[]).await;
        assert_eq!(verdict(&told).0, "miss", "{path}: nobody knows yet");
        origin.on(path, down);
        let reply = edge.get(path).await;
        assert_eq!(reply.cache() == "STALE", outcome == "stale", "{path}");
        let told = explain(&edge, "GET", path, &[]).await;
        let (foretold, reason, because) = verdict(&told);
        assert_eq!((foretold, reason), (outcome, how), "{path}: {because}");
        if outcome == "stale" {
            assert!(because.contains("stands in: the origin could not answer 0 s ago"), "{because}");
            assert_eq!(told["smallest_change"][0]["what"], "mend-origin");
        }
    }
}

/// Browsers say both when a page is reloaded with force, and leaving one out changes nothing.
#[tokio::test]
async fn a_forced_reload_is_two_fields() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a", fresh());
    edge.get("/a").await;
    let reload = [("cache-control", "no-cache"), ("pragma", "no-cache")];
    let told = explain(&edge, "GET", "/a", &reload).await;
    let changes = told["smallest_change"].as_array().unwrap();
    let what: Vec<_> = changes.iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["drop-request-directive", "drop-pragma"]);
    assert_eq!(edge.get("/a").await.cache(), "HIT");
}

/// What an origin says of stale answers is in vain beside what forbids them, which is not widely known.
#[tokio::test]
async fn what_forbids_stale_use_is_named() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, control, noted) in [
        ("/a", "s-maxage=60, stale-while-revalidate=600", true),
        ("/b", "max-age=60, must-revalidate, stale-if-error=600", true),
        ("/c", "max-age=60, stale-while-revalidate=600", false),
        ("/d", "s-maxage=60", false),
    ] {
        origin.on(path, Answer::ok("x").cache_control(control));
        edge.get(path).await;
        let told = explain(&edge, "GET", path, &[]).await;
        assert_eq!(told["notes"].to_string().contains("forbids to use it stale"), noted, "{control}");
    }
}
