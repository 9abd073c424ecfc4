//! Origins that go down, stall or break, one or all of them: what clients see, and what the origins have to bear.

use millrace::config::{Raw, raw};

use super::{BLOCK, Edge, Open, eventually, http_origin};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 9;
const LENGTH: u64 = 8 * BLOCK + 100;

fn object(tag: &str) -> Answer {
    Answer::pattern(LENGTH, SEED).etag(tag).cache_control("max-age=60")
}

/// In front of two origins, `main` and `second`.
async fn two(settings: impl FnOnce(&mut Raw)) -> (OriginDouble, OriginDouble, Edge) {
    let (first, second) = (OriginDouble::start().await, OriginDouble::start().await);
    let url = second.url();
    let edge = Edge::with(&first, |raw| {
        raw.origins.push(raw::Origin { name: "second".to_owned(), ..http_origin(&url) });
        settings(raw);
    });
    let edge = edge.await;
    (first, second, edge)
}

/// A hundred offsets in an object; the same ones each time.
fn offsets() -> impl Iterator<Item = u64> {
    let mut random = fastrand::Rng::with_seed(4);
    (0..100).map(move |_| random.u64(0..LENGTH))
}

async fn condition(edge: &Edge, name: &str) -> serde_json::Value {
    let told: serde_json::Value =
        serde_json::from_slice(&edge.admin_get("/api/v1/origins").await.body).unwrap();
    let origins = told["origins"].as_array().unwrap();
    origins.iter().find(|origin| origin["name"] == name).unwrap().clone()
}

const MAIN: &str = "origin=\"main\"";

#[tokio::test]
async fn a_hundred_cuts_are_not_noticed() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let mut sent = 0;
    for (number, offset) in offsets().enumerate() {
        let path = format!("/{number}");
        origin.on(&path, object("\"1\"").cut_at(offset).times(1));
        origin.on(&path, object("\"1\""));
        let reply = edge.get(&path).await;
        assert!(reply.status == 200 && reply.is_pattern(SEED, 0..LENGTH), "{number}: cut at {offset}");
        sent += origin.bytes_sent(&path);
    }
    assert_eq!(sent, 100 * LENGTH, "no byte twice");
    assert_eq!(edge.metric("millrace_origin_resumes_total", &[]).await, 100);
    let short = [MAIN, "reason=\"short_body\""];
    assert_eq!(edge.metric("millrace_origin_broken_bodies_total", &short).await, 100);
    assert_eq!(condition(&edge, "main").await["breaker"], "closed", "of use all the same");
}

#[tokio::test]
async fn a_hundred_cuts_are_made_up_for_by_another_origin() {
    let (first, second, edge) = two(|raw| {
        // The first one is to be asked each time.
        (raw.breaker.least_answers, raw.breaker.unreachable) = (10_000, 10_000);
    })
    .await;
    let (mut sent, mut shared) = (0, 0);
    for (number, offset) in offsets().enumerate() {
        let path = format!("/{number}");
        first.on(&path, object("\"1\"").cut_at(offset).times(1));
        first.on(&path, Answer::hang_up());
        second.on(&path, object("\"1\""));
        let reply = edge.get(&path).await;
        assert!(reply.status == 200 && reply.is_pattern(SEED, 0..LENGTH), "{number}: cut at {offset}");
        sent += first.bytes_sent(&path) + second.bytes_sent(&path);
        shared += usize::from(first.bytes_sent(&path) > 0 && second.bytes_sent(&path) > 0);
    }
    assert!(sent <= LENGTH * 105, "{sent} bytes for {}", 100 * LENGTH);
    assert!(shared >= 95, "{shared} came from both");
}

#[tokio::test]
async fn a_hundred_changed_versions_are_broken_off_and_forgotten() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let other = || Answer::pattern(LENGTH, 77).etag("\"2\"").cache_control("max-age=60");
    for (number, offset) in offsets().enumerate() {
        let path = format!("/{number}");
        // Some of it must have come before.
        let offset = offset.max(1);
        origin.on(&path, object("\"1\"").cut_at(offset).times(1));
        origin.on(&path, other());
        let broken = edge.open("GET", &path, &[]).await.finish().await.expect_err(&path);
        assert!(broken.begins(SEED, 0..LENGTH), "{path}: a mixture");
        edge.settled().await;
        let again = edge.get(&path).await;
        assert!(again.cache() == "MISS" && again.is_pattern(77, 0..LENGTH), "{path}: {}", again.cache());
    }
}

#[tokio::test]
async fn an_origin_that_is_down_costs_one_connection_and_comes_back() {
    let (first, second, edge) = two(|raw| raw.breaker.open_ms = 200).await;
    first.on_any(object("\"1\""));
    second.on_any(object("\"1\""));
    first.go_down().await;
    for number in 0..20 {
        assert!(edge.get(&format!("/{number}")).await.is_pattern(SEED, 0..LENGTH));
    }
    assert_eq!(second.total_hits(), 20);
    let attempts = edge.metric("millrace_origin_requests_total", &[MAIN]).await;
    let away = edge.metric("millrace_origin_turned_away_total", &[MAIN]).await;
    assert!(attempts < 10 && away >= 10, "asked {attempts} times, left alone {away} times");
    assert_eq!(edge.metric("millrace_origin_breaker_state", &[MAIN]).await, 2);
    let told = condition(&edge, "main").await;
    assert_eq!((&told["breaker"], &told["last_error"]["kind"]), (&"open".into(), &"connect".into()));

    first.come_back().await;
    let number = std::cell::Cell::new(100);
    eventually("the first origin being asked again", async || {
        number.set(number.get() + 1);
        edge.get(&format!("/{}", number.get())).await;
        first.hits(&format!("/{}", number.get())) > 0 && condition(&edge, "main").await["breaker"] == "closed"
    })
    .await;
    assert_eq!(edge.metric("millrace_origin_breaker_state", &[MAIN]).await, 0);
}

#[tokio::test]
async fn whoever_stalls_before_the_first_byte_is_replaced() {
    for (name, stalled) in [
        ("tagged", object("\"1\"").stall_at(0)),
        ("untagged", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").stall_at(0)),
        ("chunked", Answer::pattern(LENGTH, SEED).chunked().stall_at(0)),
        ("broken", Answer::pattern(LENGTH, SEED).cut_at(0)),
        ("silent", Answer::silence()),
        ("down", Answer::hang_up()),
    ] {
        let (first, second, edge) = two(|raw| {
            (raw.origins[0].idle_timeout_ms, raw.origins[0].first_byte_timeout_ms) = (200, 200);
        })
        .await;
        first.on("/x", stalled);
        second.on("/x", Answer::pattern(LENGTH, 5).cache_control("max-age=60"));
        let reply = edge.get("/x").await;
        assert!(reply.status == 200 && reply.is_pattern(5, 0..LENGTH), "{name}");
        assert_eq!((first.hits("/x"), second.hits("/x")), (1, 1), "{name}");
        assert_eq!(edge.get("/x").await.cache(), "HIT", "{name}");
    }
}

#[tokio::test]
async fn each_way_to_break_is_counted_by_its_kind() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.origins[0].idle_timeout_ms = 500;
        (raw.origins[0].least_rate, raw.origins[0].least_rate_secs) = ("1MiB".to_owned(), 1);
    });
    let edge = edge.await;
    let dribble = std::time::Duration::from_millis(50);
    for (number, (kind, answer)) in [
        ("short_body", object("\"1\"").cut_at(3 * BLOCK)),
        ("short_body", object("\"1\"").wrong_content_length(LENGTH + 1)),
        ("broken_body", object("\"1\"").reset_at(3 * BLOCK)),
        ("idle_timeout", object("\"1\"").stall_at(3 * BLOCK)),
        ("too_slow", object("\"1\"").chunk_bytes(100).chunk_delay(dribble)),
        (
            "bad_framing",
            Answer::raw(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nxx\r\n",
            ),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let labels = [MAIN, &format!("reason=\"{kind}\"")];
        let before = edge.metric("millrace_origin_broken_bodies_total", &labels).await;
        origin.on(&path, answer.times(1));
        origin.on(&path, object("\"1\""));
        let _ = edge.open("GET", &path, &[]).await.finish().await;
        edge.settled().await;
        let after = edge.metric("millrace_origin_broken_bodies_total", &labels).await;
        assert_eq!(after - before, 1, "{kind}");
    }
}

/// Stale objects are served, the rest is told at once to come back later, and nobody hammers.
#[tokio::test]
async fn in_an_outage_the_stale_stand_in_and_the_rest_is_told_at_once() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.retry = Default::default();
        (raw.breaker.open_ms, raw.breaker.wait_ms) = (300, 0);
    });
    let edge = edge.await;
    origin.on_any(Answer::ok("x").etag("\"1\"").cache_control("max-age=60"));
    let warm: Vec<_> = (0..20).map(|number| format!("/warm/{number}")).collect();
    for path in &warm {
        edge.get(path).await;
    }
    edge.advance(70);
    origin.go_down().await;
    for round in 0..20 {
        let opens = warm.iter().map(|path| edge.open("GET", path, &[]));
        let replies = futures_util::future::join_all(opens).await;
        for reply in futures_util::future::join_all(replies.into_iter().map(Open::whole)).await {
            assert_eq!(reply.told(), (200, "STALE", "x".to_owned()), "round {round}");
        }
    }
    let attempts = edge.metric("millrace_origin_requests_total", &[MAIN]).await - 20;
    let retries = edge.metric("millrace_origin_retries_total", &[MAIN]).await;
    assert!(attempts < 100, "{attempts} connections tried for 400 requests");
    assert!(retries <= 30, "{retries} retries");
    let refused = edge.get("/cold").await;
    assert_eq!((refused.status, refused.cache()), (503, "ERROR"));
    assert!((1..=3).contains(&refused.field("retry-after").parse::<u32>().unwrap()));
    assert!(refused.field("cache-status").contains("detail=breaker_open"));

    origin.come_back().await;
    eventually("fresh objects", async || edge.get("/warm/0").await.cache() == "HIT").await;
    eventually("a closed breaker", async || condition(&edge, "main").await["breaker"] == "closed").await;
}

/// A probe finds out that the origin is back, without anybody who asks.
#[tokio::test]
async fn a_breaker_closes_though_nobody_asks() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.retry = Default::default();
        (raw.breaker.open_ms, raw.breaker.open_max_ms) = (100, 100);
    });
    let edge = edge.await;
    origin.on_any(object("\"1\""));
    for round in 0..2 {
        origin.go_down().await;
        for number in 0..10 {
            let status = edge.get(&format!("/gone/{round}/{number}")).await.status;
            assert!([502, 503].contains(&status), "{status}");
        }
        assert_eq!(condition(&edge, "main").await["breaker"], "open");
        origin.come_back().await;
        eventually("a closed breaker", async || condition(&edge, "main").await["breaker"] == "closed").await;
        assert_eq!(edge.metric("millrace_origin_breaker_state", &[MAIN]).await, 0);
        assert!(edge.get(&format!("/here/{round}")).await.is_pattern(SEED, 0..LENGTH));
    }
}

#[tokio::test]
async fn failing_health_checks_keep_requests_away() {
    let (first, second, edge) = two(|raw| {
        let origin = &mut raw.origins[0];
        origin.health_path = "/healthz".to_owned();
        (origin.health_interval_ms, origin.health_fall, origin.health_rise) = (20, 2, 2);
    })
    .await;
    first.on_any(object("\"1\""));
    second.on_any(object("\"1\""));
    first.on("/healthz", Answer::empty(204));
    eventually("a good word", async || condition(&edge, "main").await["health"] == "healthy").await;
    first.on("/healthz", Answer::empty(500));
    eventually("a bad word", async || condition(&edge, "main").await["health"] == "unhealthy").await;
    assert_eq!(edge.metric("millrace_origin_breaker_state", &[MAIN]).await, 2);
    edge.get("/away").await;
    assert_eq!((first.hits("/away"), second.hits("/away")), (0, 1));
    assert_eq!(condition(&edge, "second").await["health"], "unknown");

    first.on("/healthz", Answer::empty(200));
    eventually("a good word again", async || condition(&edge, "main").await["breaker"] == "closed").await;
    edge.get("/back").await;
    assert_eq!((first.hits("/back"), second.hits("/back")), (1, 0));
}
