//! Stale answers: when they may stand in, and when not (RFC 5861, RFC 9111 §4.2.4).

use super::{BLOCK, Edge, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble};

fn version(body: &str, control: &str) -> Answer {
    Answer::ok(body).etag(&format!("\"{body}\"")).cache_control(control)
}

#[tokio::test]
async fn while_revalidating_the_stale_answer_is_served_at_once() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let control = "max-age=60, stale-while-revalidate=30";
    let gate = Gate::new();
    origin.on("/x", version("old", control));
    edge.get("/x").await;
    origin.on("/x", version("new", control).gate(&gate));
    edge.advance(70);
    // The origin does not answer yet; nobody waits for it, and it is asked once.
    for _ in 0..5 {
        let reply = edge.send("GET", "/x", &[]).await;
        assert_eq!(reply.told(), (200, "STALE", "old".to_owned()));
        assert_eq!(reply.field("cache-status"), "millrace; hit; ttl=-10; detail=stale-while-revalidate");
        assert_eq!(reply.field("age"), "70");
    }
    gate.arrived(1).await;
    assert_eq!(origin.hits("/x"), 2);
    assert_eq!(edge.metric("millrace_collapsed_requests_total", &[]).await, 0, "nobody waits");
    assert_eq!(origin.requests("/x")[1].header("if-none-match"), "\"old\"");
    gate.release();
    edge.settled().await;
    assert_eq!(edge.get("/x").await.told(), (200, "HIT", "new".to_owned()));
    assert_eq!(origin.hits("/x"), 2);
}

#[tokio::test]
async fn the_refresh_behind_confirms_and_survives_failure() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let control = "max-age=60, stale-while-revalidate=30";
    origin.on("/x", version("same", control));
    edge.get("/x").await;
    edge.advance(70);
    assert_eq!(edge.send("GET", "/x", &[]).await.cache(), "STALE");
    origin.reach_hits("/x", 2).await;
    edge.settled().await;
    assert_eq!(edge.get("/x").await.cache(), "HIT");
    assert_eq!(origin.bytes_sent("/x"), 4, "the second answer was a 304");

    // A range on a stale object of several blocks neither waits nor breaks the refresh.
    let large = || Answer::pattern(5 * BLOCK, 1).etag("\"1\"").cache_control(control);
    origin.on("/large", large());
    edge.get("/large").await;
    edge.advance(70);
    let reply = edge.send("GET", "/large", &[("range", "bytes=100000-100009")]).await;
    assert_eq!((reply.status, reply.cache()), (206, "STALE"));
    assert!(reply.is_pattern(1, 100_000..100_010));
    origin.reach_hits("/large", 2).await;
    edge.settled().await;
    assert_eq!(edge.get("/large").await.cache(), "HIT");
    assert_eq!(origin.bytes_sent("/large"), 5 * BLOCK);

    origin.on("/x", Answer::empty(500));
    edge.advance(70);
    assert_eq!(edge.send("GET", "/x", &[]).await.cache(), "STALE");
    origin.reach_hits("/x", 3).await;
    edge.settled().await;
    assert_eq!(edge.send("GET", "/x", &[]).await.told(), (200, "STALE", "same".to_owned()));
}

#[tokio::test]
async fn after_the_window_everybody_waits() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, control, later) in [
        ("/over", "max-age=60, stale-while-revalidate=30", 91),
        ("/must", "max-age=60, stale-while-revalidate=30, must-revalidate", 61),
        ("/proxy", "max-age=60, stale-while-revalidate=30, proxy-revalidate", 61),
        ("/shared", "s-maxage=60, stale-while-revalidate=30", 61),
        ("/no-cache", "max-age=60, stale-while-revalidate=30, no-cache", 1),
    ] {
        origin.on(path, version("old", control));
        edge.get(path).await;
        edge.advance(later);
        origin.on(path, version("new", control));
        assert_eq!(edge.get(path).await.told(), (200, "MISS", "new".to_owned()), "{path}");
    }
}

/// What an origin in trouble does: (name, answer); None stands for refused connections.
fn troubles() -> Vec<(&'static str, Option<Answer>)> {
    vec![
        ("500", Some(Answer::empty(500).header("retry-after", "99"))),
        ("502", Some(Answer::empty(502).header("retry-after", "99"))),
        ("503", Some(Answer::empty(503).header("retry-after", "99"))),
        ("504", Some(Answer::empty(504).header("retry-after", "99"))),
        ("hang-up", Some(Answer::hang_up())),
        ("nonsense", Some(Answer::raw("nonsense\r\n\r\n"))),
        ("silence", Some(Answer::silence())),
        ("down", None),
    ]
}

#[tokio::test]
async fn on_error_the_stale_answer_stands_in_where_it_may() {
    let origin = OriginDouble::start().await;
    let impatient = |raw: &mut millrace::config::Raw| {
        raw.origins[0].first_byte_timeout_ms = 150;
        // It is asked however often it fails.
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    };
    let edge = Edge::with(&origin, impatient).await;
    // (Cache-Control, seconds of age, request's Cache-Control, served)
    let cases = [
        ("max-age=60", 70, "", true),
        ("max-age=60, stale-if-error=30", 89, "", true),
        ("max-age=60, stale-if-error=30", 91, "", false),
        ("max-age=60, must-revalidate", 70, "", false),
        ("max-age=60, proxy-revalidate", 70, "", false),
        ("s-maxage=60", 70, "", false),
        ("max-age=60", 60 + 86_401, "", false),
        ("max-age=60", 70, "no-cache", false),
        ("max-age=60, no-cache", 10, "", false),
    ];
    for (trouble, answer) in troubles() {
        for (number, (control, later, request, served)) in cases.iter().enumerate() {
            // Every case with one trouble, and every trouble with two.
            if number > 3 && trouble != "hang-up" || number == 1 || number == 2 && trouble == "silence" {
                continue;
            }
            let path = format!("/{trouble}/{number}");
            let case = format!("{trouble}: {control} at {later}, asked with {request:?}");
            origin.on(&path, version("old", control));
            edge.get(&path).await;
            edge.advance(*later);
            match &answer {
                Some(answer) => origin.on(&path, answer.clone()),
                None => origin.go_down().await,
            }
            let fields: &[(&str, &str)] =
                if request.is_empty() { &[] } else { &[("cache-control", request)] };
            let reply = edge.ask("GET", &path, fields).await;
            match served {
                true => {
                    assert_eq!(reply.told(), (200, "STALE", "old".to_owned()), "{case}");
                    let status = reply.field("cache-status");
                    assert!(status.ends_with("; detail=stale-if-error"), "{case}: {status}");
                }
                false => {
                    assert!(reply.status >= 500 && reply.cache() != "STALE", "{case}: {}", reply.status);
                }
            }
            if answer.is_none() {
                origin.come_back().await;
            }
        }
    }
}

#[tokio::test]
async fn an_origin_that_comes_back_is_heard_again() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", version("old", "max-age=60"));
    edge.get("/x").await;
    edge.advance(70);
    origin.go_down().await;
    assert_eq!(edge.get("/x").await.cache(), "STALE");
    origin.come_back().await;
    origin.on("/x", version("new", "max-age=60"));
    assert_eq!(edge.get("/x").await.told(), (200, "MISS", "new".to_owned()));
}

/// An answer that is no error replaces the stale one even if it may not be stored itself.
#[tokio::test]
async fn what_the_origin_has_taken_back_does_not_stand_in() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer, status) in [
        ("/gone", Answer::empty(410), 410),
        ("/missing", Answer::empty(404), 404),
        ("/now-private", version("secret", "private"), 200),
        ("/now-no-store", version("secret", "no-store"), 200),
        ("/moved", Answer::empty(302).header("location", "/y"), 302),
    ] {
        origin.on(path, version("old", "max-age=60"));
        edge.get(path).await;
        edge.advance(70);
        origin.on(path, answer);
        assert_eq!(edge.get(path).await.status, status, "{path}");
        origin.on(path, Answer::hang_up());
        // A 404 is remembered for 2 s, and does not stand in after that.
        edge.advance(2);
        let reply = edge.get(path).await;
        assert_eq!((reply.status, reply.cache()), (502, "ERROR"), "{path}");
    }
}

#[tokio::test]
async fn errors_without_anything_stored_are_told_plainly() {
    let origin = OriginDouble::start().await;
    let impatient = |raw: &mut millrace::config::Raw| raw.origins[0].first_byte_timeout_ms = 150;
    let edge = Edge::with(&origin, impatient).await;
    for (trouble, answer) in troubles() {
        let path = format!("/{trouble}");
        let expected = match trouble {
            "silence" => (504, "ERROR"),
            "hang-up" | "nonsense" | "down" => (502, "ERROR"),
            status => (status.parse().unwrap(), "BYPASS"),
        };
        match answer {
            Some(answer) => origin.on(&path, answer),
            None => origin.go_down().await,
        }
        for method in ["GET", "HEAD"] {
            let reply = edge.ask(method, &path, &[]).await;
            assert_eq!((reply.status, reply.cache()), expected, "{method} {trouble}");
            if expected.1 == "ERROR" {
                assert_eq!(reply.field("content-type"), "application/problem+json", "{method} {trouble}");
                assert_eq!(reply.field("cache-control"), "no-store", "{method} {trouble}");
            }
            if method == "GET" && expected.1 == "ERROR" {
                let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
                assert_eq!(problem["status"], expected.0, "{trouble}");
                let told = reply.text();
                assert!(!told.contains("127.0.0.1") && !told.contains(&path), "{trouble}: {told}");
            }
        }
    }
    // Nothing of it is remembered.
    origin.come_back().await;
    origin.on("/hang-up", version("fine", "max-age=60"));
    eventually("an answer", async || edge.get("/hang-up").await.status == 200).await;
}

/// Some origins say the same of all their answers. What fails is of no use when it is stale, and what is good still is.
#[tokio::test]
async fn an_error_that_would_be_stale_replaces_nothing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        // It is asked however often it fails.
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    })
    .await;
    let control = "max-age=0, stale-while-revalidate=60";
    let stale = (200, "STALE", "good".to_owned());
    for path in ["/behind", "/waited-for"] {
        origin.on(path, Answer::ok("good").cache_control(control));
        assert_eq!(edge.get(path).await.told(), (200, "MISS", "good".to_owned()));
        origin.on(path, Answer::empty(500).cache_control(control));
    }
    edge.advance(10);
    assert_eq!(edge.send("GET", "/behind", &[]).await.told(), stale);
    origin.reach_hits("/behind", 2).await;
    edge.settled().await;
    assert_eq!(edge.send("GET", "/behind", &[]).await.told(), stale);

    edge.ask("GET", "/waited-for", &[("cache-control", "no-cache")]).await;
    assert!(origin.hits("/waited-for") > 1);
    assert_eq!(edge.send("GET", "/waited-for", &[]).await.told(), stale);
}

/// An answer that is stale as it comes, and has no validator: it is kept for the use it says it has.
#[tokio::test]
async fn what_is_only_of_use_when_stale_is_stored_for_that() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let bare = |body: &str, control: &str| Answer::ok(body).cache_control(control);
    let control = "max-age=0, stale-while-revalidate=30";
    let gate = Gate::new();
    origin.on("/swr", bare("old", control));
    assert_eq!(edge.get("/swr").await.told(), (200, "MISS", "old".to_owned()));
    origin.on("/swr", bare("new", control).gate(&gate));
    edge.advance(10);
    assert_eq!(edge.send("GET", "/swr", &[]).await.told(), (200, "STALE", "old".to_owned()));
    gate.arrived(1).await;
    gate.release();
    edge.settled().await;
    assert_eq!(edge.send("GET", "/swr", &[]).await.told(), (200, "STALE", "new".to_owned()));

    // From another cache, longer after its end than it may be used.
    let control = "max-age=5, stale-if-error=30";
    for (path, age, stored) in [("/error", "20", true), ("/late", "36", false)] {
        origin.on(path, bare("old", control).header("age", age));
        let cache = if stored { "MISS" } else { "BYPASS" };
        assert_eq!(edge.get(path).await.told(), (200, cache, "old".to_owned()));
        origin.on(path, Answer::empty(500));
        let reply = edge.ask("GET", path, &[]).await;
        match stored {
            true => assert_eq!(reply.told(), (200, "STALE", "old".to_owned())),
            false => assert_eq!(reply.status, 500),
        }
    }
    let control = "max-age=0, stale-while-revalidate=30, must-revalidate";
    origin.on("/must", bare("old", control));
    assert_eq!(edge.get("/must").await.cache(), "BYPASS");
}

/// RFC 5861 §4: a request may say it, too, and then that counts for it.
#[tokio::test]
async fn a_request_says_how_stale_it_may_be_when_the_origin_fails() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, control, asked, status) in [
        ("/1", "max-age=60, stale-if-error=10", "", 503),
        ("/2", "max-age=60, stale-if-error=10", "stale-if-error=200", 200),
        ("/3", "max-age=60", "", 200),
        ("/4", "max-age=60", "stale-if-error=10", 503),
        ("/5", "max-age=60, must-revalidate", "stale-if-error=200", 503),
    ] {
        origin.on(path, version("old", control));
        edge.get(path).await;
        edge.advance(160);
        origin.on(path, Answer::empty(503));
        let fields = [("cache-control", asked)];
        let fields = if asked.is_empty() { &[][..] } else { &fields[..] };
        assert_eq!(edge.ask("GET", path, fields).await.status, status, "{control} | {asked}");
    }
}

/// Nothing of the new answer has reached anybody, so what would have stood in for a 502 stands in for this one.
#[tokio::test]
async fn the_stale_answer_stands_in_for_a_body_that_breaks_before_its_first_byte() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let broken = |length| Answer::pattern(length, 1).cache_control("max-age=60").cut_at(0);
    for (path, length) in [("/short", 100), ("/long", 5 * BLOCK)] {
        origin.on(path, version("old", "max-age=60"));
        edge.get(path).await;
        edge.advance(61);
        origin.on(path, broken(length));
        for _ in 0..2 {
            let reply = edge.get(path).await;
            assert_eq!(reply.told(), (200, "STALE", "old".to_owned()), "{path}");
            assert_eq!(reply.field("cache-status"), "millrace; fwd=stale; ttl=-1; detail=stale-if-error");
        }
        origin.on(path, version("new", "max-age=60"));
        assert_eq!(edge.get(path).await.told(), (200, "MISS", "new".to_owned()));
    }
    // Nothing stands in where that is forbidden, or where there is nothing.
    origin.on("/strict", version("old", "max-age=60, must-revalidate"));
    edge.get("/strict").await;
    edge.advance(61);
    for path in ["/strict", "/never"] {
        origin.on(path, Answer::pattern(100, 1).cache_control("max-age=60").cut_at(0));
        let reply = edge.get(path).await;
        assert_eq!((reply.status, reply.cache()), (502, "ERROR"), "{path}");
        assert!(!reply.field("cache-status").contains("stored"), "{}", reply.field("cache-status"));
    }
}

/// An error that may be stored does not take the place of what its origin wants to be shown in its stead.
#[tokio::test]
async fn an_error_with_a_lifetime_does_not_displace_what_stands_in_for_it() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, control, asked, expected) in [
        ("/said", "max-age=60, stale-if-error=600", "", "STALE"),
        // One client's word is not for those who wait with it.
        ("/asked", "max-age=60", "stale-if-error=600", "MISS"),
        ("/unsaid", "max-age=60", "", "MISS"),
    ] {
        origin.on(path, version("old", control));
        edge.get(path).await;
        edge.advance(61);
        origin.on(path, Answer::empty(503).cache_control("max-age=60"));
        let fields = [("cache-control", asked)];
        let fields = if asked.is_empty() { &[][..] } else { &fields[..] };
        assert_eq!(edge.ask("GET", path, fields).await.cache(), expected, "{path}");
    }
    origin.on("/said", version("new", "max-age=60"));
    assert_eq!(edge.get("/said").await.told(), (200, "MISS", "new".to_owned()));
    // Where there is nothing to stand in it is an answer like any other.
    origin.on("/cold", Answer::empty(503).cache_control("max-age=60"));
    assert_eq!(edge.get("/cold").await.status, 503);
    assert_eq!(edge.get("/cold").await.cache(), "HIT");
}

/// RFC 9111 §5.2.1.1.
#[tokio::test]
async fn who_says_max_age_without_max_stale_wants_nothing_stale() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, asked, cache) in
        [("/1", "max-age=600", "MISS"), ("/2", "max-age=600, max-stale=60", "STALE"), ("/3", "x", "STALE")]
    {
        origin.on(path, version("old", "max-age=60, stale-while-revalidate=600"));
        edge.get(path).await;
        edge.advance(70);
        origin.on(path, version("new", "max-age=60"));
        assert_eq!(edge.ask("GET", path, &[("cache-control", asked)]).await.cache(), cache, "{asked}");
    }
}
