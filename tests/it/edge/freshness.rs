//! How long an answer is used: lifetimes, ages, validation at the origin, and what a request says about it.

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble};

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// How `Cache-Status` tells of an object that was not there.
const MISSED: &str = "millrace; fwd=uri-miss; fwd-status=200; stored";

#[tokio::test]
async fn a_miss_becomes_a_hit_and_a_stale_hit_is_validated() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let modified = edge.date(-1_000_000);
    for (path, validator, value, condition) in [
        ("/tagged", "etag", "\"v1\"", "if-none-match"),
        ("/weakly", "etag", "W/\"v1\"", "if-none-match"),
        ("/dated", "last-modified", modified.as_str(), "if-modified-since"),
    ] {
        origin.on(path, Answer::ok("hello").header(validator, value).cache_control("max-age=60"));
        let miss = edge.get(path).await;
        assert_eq!(miss.told(), (200, "MISS", "hello".to_owned()), "{path}");
        assert_eq!(miss.field("cache-status"), MISSED, "{path}");
        assert_eq!(miss.field("age"), "0", "{path}");

        edge.advance(40);
        let hit = edge.get(path).await;
        assert_eq!(hit.told(), (200, "HIT", "hello".to_owned()), "{path}");
        assert_eq!(hit.field("cache-status"), "millrace; hit; ttl=20", "{path}");
        assert_eq!(hit.field("age"), "40", "{path}");
        assert_eq!(hit.field(validator), value, "{path}");
        assert_eq!(origin.hits(path), 1, "{path}");

        edge.advance(21);
        let validated = edge.get(path).await;
        assert_eq!(validated.told(), (200, "REVALIDATED", "hello".to_owned()), "{path}");
        assert_eq!(
            validated.field("cache-status"),
            "millrace; fwd=stale; fwd-status=304; stored; detail=not-modified",
            "{path}"
        );
        assert_eq!(validated.field("age"), "0", "{path}");
        assert_eq!(origin.requests(path)[1].header(condition), value, "{path}");

        edge.advance(59);
        assert_eq!(edge.get(path).await.cache(), "HIT", "{path}");
        assert_eq!((origin.hits(path), origin.bytes_sent(path)), (2, 5), "{path}");
    }
}

#[tokio::test]
async fn a_changed_object_replaces_the_stale_one() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, length) in [("/small", 100), ("/large", 300_000)] {
        let version = |seed| {
            let tag = format!("\"{seed}\"");
            Answer::pattern(length, seed).etag(&tag).cache_control("max-age=60")
        };
        origin.on(path, version(1));
        let first = edge.get(path).await;
        origin.on(path, version(2));
        assert_eq!(edge.get(path).await.body, first.body, "{path}: still fresh");
        edge.advance(61);
        let second = edge.get(path).await;
        assert_eq!((second.status, second.cache()), (200, "MISS"), "{path}");
        assert_eq!(second.field("cache-status"), "millrace; fwd=stale; fwd-status=200; stored", "{path}");
        assert_ne!(second.body, first.body, "{path}");
        let third = edge.get(path).await;
        assert_eq!((third.cache(), third.field("etag")), ("HIT", "\"2\""), "{path}");
        assert_eq!(third.body, second.body, "{path}");
        assert_eq!(origin.hits(path), 2, "{path}");
    }
}

#[tokio::test]
async fn lifetimes_end_where_the_fields_say() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let (soon, past, modified) = (edge.date(60), edge.date(-50), edge.date(-1_000));
    // (fields, seconds of freshness that are left when it comes)
    let cases: &[(Fields<'_>, u64)] = &[
        (&[("cache-control", "max-age=60")], 60),
        (&[("cache-control", "max-age=60, s-maxage=10")], 10),
        (&[("cache-control", "max-age=10, s-maxage=60")], 60),
        (&[("cache-control", "max-age=60"), ("expires", &past)], 60),
        (&[("cache-control", "max-age=60"), ("age", "50")], 10),
        (&[("cache-control", "max-age=60"), ("age", "70")], 0),
        (&[("cache-control", "max-age=60"), ("date", &past)], 10),
        (&[("cache-control", "max-age=60"), ("date", &soon)], 60),
        (&[("cache-control", "MAX-AGE=60")], 60),
        (&[("cache-control", "max-age=60"), ("cache-control", "max-age=10")], 10),
        (&[("cache-control", "max-age=60"), ("pragma", "no-cache")], 60),
        (&[("cache-control", "max-age=soon")], 0),
        (&[("cache-control", "max-age=99999999999999999999")], 1 << 31),
        (&[("cache-control", "no-cache, max-age=60")], 0),
        (&[("expires", &soon)], 60),
        (&[("expires", &past)], 0),
        (&[("expires", "0")], 0),
        (&[("expires", &soon), ("expires", &soon)], 0),
        (&[("last-modified", &modified)], 100),
        (&[], 0),
    ];
    for (number, (fields, _)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        let answer = Answer::ok("x").etag("\"1\"");
        origin.on(&path, fields.iter().fold(answer, |answer, (name, value)| answer.header(name, value)));
    }
    let ask = async |number: usize| edge.get(&format!("/{number}")).await.cache().to_owned();
    for (number, (fields, _)) in cases.iter().enumerate() {
        assert_eq!(ask(number).await, "MISS", "{fields:?}");
    }
    // Each is asked a second before and right at the end of its life, in the order of time.
    let mut moments: Vec<(u64, usize, &str)> = Vec::new();
    for (number, (_, left)) in cases.iter().enumerate() {
        moments.extend(left.checked_sub(1).map(|before| (before, number, "HIT")));
        moments.push((*left, number, "REVALIDATED"));
    }
    moments.sort_unstable();
    let mut now = 0;
    for (moment, number, expected) in moments {
        edge.advance(moment - now);
        now = moment;
        assert_eq!(ask(number).await, expected, "{:?} after {now} s", cases[number]);
    }
}

#[tokio::test]
async fn what_may_not_be_stored_is_asked_for_each_time() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let cases: &[(Fields<'_>, &str)] = &[
        (&[("cache-control", "no-store, max-age=60")], "miss; fwd-status=200; detail=no-store"),
        (&[("cache-control", "private, max-age=60")], "miss; fwd-status=200; detail=private"),
        (&[("cache-control", "private=\"x\", max-age=60")], "miss; fwd-status=200; detail=private"),
        (&[("cache-control", "max-age=60"), ("vary", "*")], "miss; fwd-status=200; detail=vary-star"),
        (
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
            "miss; fwd-status=200; detail=set-cookie",
        ),
        (&[], "miss; fwd-status=200; detail=no-lifetime-no-validator"),
        (&[("cache-control", "max-age=0")], "miss; fwd-status=200; detail=no-lifetime-no-validator"),
    ];
    for (number, (fields, told)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        let answer = |body: &str| {
            let answer = Answer::ok(body).times(1);
            fields.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
        };
        origin.on(&path, answer("one"));
        origin.on(&path, answer("two"));
        for body in ["one", "two"] {
            let reply = edge.get(&path).await;
            assert_eq!(reply.told(), (200, "BYPASS", body.to_owned()), "{fields:?}");
            assert_eq!(reply.field("cache-status"), format!("millrace; fwd={told}"), "{fields:?}");
            assert_eq!(reply.field("age"), "", "{fields:?}: not from store");
        }
        assert_eq!(origin.hits(&path), 2, "{fields:?}");
    }
}

#[tokio::test]
async fn requests_narrow_and_widen_what_is_fresh_enough() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let cases: &[(u64, Fields<'_>, &str, &str)] = &[
        (20, &[("cache-control", "no-cache")], "REVALIDATED", "fwd=request; fwd-status=304"),
        (20, &[("pragma", "no-cache")], "REVALIDATED", "fwd=request; fwd-status=304"),
        (20, &[("pragma", "unrelated")], "HIT", "hit; ttl=40"),
        (20, &[("cache-control", "max-age=30"), ("pragma", "no-cache")], "HIT", "hit; ttl=40"),
        (20, &[("cache-control", "max-age=10")], "REVALIDATED", "fwd=request; fwd-status=304"),
        (20, &[("cache-control", "min-fresh=40")], "HIT", "hit; ttl=40"),
        (20, &[("cache-control", "min-fresh=41")], "REVALIDATED", "fwd=request; fwd-status=304"),
        (20, &[("cache-control", "unknown=1, x")], "HIT", "hit; ttl=40"),
        (20, &[("cache-control", "only-if-cached")], "HIT", "hit; ttl=40"),
        (20, &[("cache-control", "no-store")], "HIT", "hit; ttl=40"),
        (70, &[("cache-control", "max-stale")], "STALE", "hit; ttl=-10; detail=stale-accepted"),
        (70, &[("cache-control", "max-stale=10")], "STALE", "hit; ttl=-10; detail=stale-accepted"),
        (70, &[("cache-control", "max-stale=9")], "REVALIDATED", "fwd=stale; fwd-status=304"),
        (70, &[], "REVALIDATED", "fwd=stale; fwd-status=304"),
    ];
    for (number, (age, fields, cache, told)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        origin.on(&path, Answer::ok("x").etag("\"1\"").cache_control("max-age=60"));
        edge.get(&path).await;
        edge.advance(*age);
        let reply = edge.ask("GET", &path, fields).await;
        assert_eq!(reply.told(), (200, *cache, "x".to_owned()), "{fields:?} at {age}");
        let status = reply.field("cache-status");
        assert!(status.starts_with(&format!("millrace; {told}")), "{fields:?} at {age}: {status}");
    }
}

#[tokio::test]
async fn only_if_cached_never_asks_the_origin() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").etag("\"1\"").cache_control("max-age=60"));
    let only = [("cache-control", "only-if-cached")];
    let refused = edge.ask("GET", "/x", &only).await;
    assert_eq!((refused.status, refused.cache()), (504, "ERROR"));
    assert_eq!(refused.field("cache-status"), "millrace; detail=only-if-cached");
    assert_eq!(refused.field("content-type"), "application/problem+json");
    edge.get("/x").await;
    assert_eq!(edge.ask("GET", "/x", &only).await.told(), (200, "HIT", "x".to_owned()));
    edge.advance(61);
    assert_eq!(edge.ask("GET", "/x", &only).await.status, 504);
    assert_eq!(origin.hits("/x"), 1);

    // Nor for the rest of what is there in part.
    origin.on("/part", Answer::pattern(5 * BLOCK, 1).etag("\"1\"").cache_control("max-age=60"));
    edge.get_range("/part", "bytes=0-9").await;
    for (range, status) in
        [("bytes=10-19", 206), ("bytes=300000-300009", 504), ("bytes=0-,-1", 504), ("", 504)]
    {
        let fields = [only[0], ("range", range)];
        let fields = if range.is_empty() { &only[..] } else { &fields[..] };
        assert_eq!(edge.ask("GET", "/part", fields).await.status, status, "{range}");
    }
    assert_eq!(origin.hits("/part"), 1);
}

#[tokio::test]
async fn a_request_with_no_store_leaves_nothing_behind() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::ok("x").etag("\"1\"").cache_control("max-age=60"));
    let reply = edge.ask("GET", "/x", &[("cache-control", "no-store")]).await;
    assert_eq!(reply.told(), (200, "BYPASS", "x".to_owned()));
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    assert_eq!(edge.get("/x").await.cache(), "HIT");
}

#[tokio::test]
async fn statuses_are_stored_as_they_say() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    // (status, fields, outcome of the first and of the second request)
    let cases: &[(u16, Fields<'_>, &str, &str)] = &[
        (404, &[], "MISS", "HIT"),
        (404, &[("cache-control", "max-age=0")], "MISS", "MISS"),
        (404, &[("cache-control", "max-age=60")], "MISS", "HIT"),
        (410, &[], "MISS", "HIT"),
        (403, &[], "BYPASS", "BYPASS"),
        (500, &[], "BYPASS", "BYPASS"),
        (503, &[("retry-after", "100")], "BYPASS", "BYPASS"),
        (503, &[("cache-control", "max-age=60"), ("retry-after", "100")], "MISS", "HIT"),
        (301, &[("cache-control", "max-age=60"), ("location", "/elsewhere")], "MISS", "HIT"),
        (302, &[("location", "/elsewhere")], "BYPASS", "BYPASS"),
        (302, &[("cache-control", "max-age=60"), ("location", "/elsewhere")], "MISS", "HIT"),
        (204, &[("cache-control", "max-age=60")], "MISS", "HIT"),
        (299, &[("cache-control", "max-age=60")], "MISS", "HIT"),
        (599, &[("cache-control", "max-age=60")], "MISS", "HIT"),
        (405, &[("cache-control", "max-age=60"), ("allow", "PUT")], "MISS", "HIT"),
        (416, &[("cache-control", "max-age=60")], "BYPASS", "BYPASS"),
    ];
    for (number, (status, fields, first, second)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        let body = if *status == 204 { "" } else { "what the origin said" };
        let answer = Answer::ok(body).status(*status);
        origin.on(&path, fields.iter().fold(answer, |answer, (name, value)| answer.header(name, value)));
        for cache in [first, second] {
            let reply = edge.get(&path).await;
            assert_eq!(reply.told(), (*status, *cache, body.to_owned()), "{status} {fields:?}");
            for (name, value) in *fields {
                assert_eq!(reply.field(name), *value, "{status}");
            }
        }
    }
}

#[tokio::test]
async fn a_304_updates_the_stored_fields() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let answer = || Answer::ok("x").etag("\"1\"").content_type("text/plain");
    origin.on("/x", answer().cache_control("max-age=10").header("x-old", "1"));
    edge.get("/x").await;
    edge.advance(11);
    origin.on("/x", answer().cache_control("max-age=60").header("x-new", "2"));
    let validated = edge.get("/x").await;
    assert_eq!(validated.cache(), "REVALIDATED");
    edge.advance(50);
    let hit = edge.get("/x").await;
    assert_eq!(hit.told(), (200, "HIT", "x".to_owned()));
    assert_eq!((hit.field("x-old"), hit.field("x-new")), ("1", "2"));
    assert_eq!(hit.field("cache-control"), "max-age=60");
    assert_eq!(hit.field("content-type"), "text/plain");
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_asked_again_and_then_an_error() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/once", Answer::empty(304).etag("\"1\"").times(1));
    origin.on("/once", Answer::ok("whole").etag("\"1\"").cache_control("max-age=60"));
    assert_eq!(edge.get("/once").await.told(), (200, "MISS", "whole".to_owned()));
    assert_eq!(edge.get("/once").await.cache(), "HIT");

    origin.on("/always", Answer::empty(304).etag("\"1\""));
    let refused = edge.get("/always").await;
    assert_eq!((refused.status, refused.cache()), (502, "ERROR"));
    assert_eq!(origin.hits("/always"), 2);
}

#[tokio::test]
async fn a_304_never_gives_stored_bytes_another_validator() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let version = |seed, tag| Answer::pattern(4 * BLOCK, seed).etag(tag).cache_control("max-age=60");
    origin.on("/x", version(1, "\"1\"").times(1));
    origin.on("/x", Answer::empty(304).etag("\"2\"").cache_control("max-age=60").times(1));
    origin.on("/x", version(2, "\"2\""));
    edge.get_range("/x", "bytes=0-9").await;
    edge.advance(61);
    let validated = edge.get_range("/x", "bytes=0-9").await;
    assert_eq!((validated.status, validated.field("etag")), (206, "\"1\""));
    // The rest is of the other version, and is not put behind the first block of this one.
    let broken = edge.open("GET", "/x", &[]).await.finish().await.unwrap_err();
    assert!(broken.begins(1, 0..4 * BLOCK));
    edge.settled().await;
    let whole = edge.get("/x").await;
    assert_eq!((whole.status, whole.field("etag")), (200, "\"2\""));
    assert!(whole.is_pattern(2, 0..4 * BLOCK));
}

/// The bytes are the same, but they are not for everybody any more.
#[tokio::test]
async fn a_304_can_take_the_permission_back() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for control in ["private", "no-store"] {
        let path = format!("/{control}");
        origin.on(&path, Answer::ok("x").etag("\"1\"").cache_control("max-age=60"));
        edge.get(&path).await;
        edge.advance(61);
        origin.on(&path, Answer::ok("x").etag("\"1\"").cache_control(control));
        for _ in 0..2 {
            let reply = edge.get(&path).await;
            assert_eq!(reply.told(), (200, "BYPASS", "x".to_owned()), "{control}");
            assert_eq!(reply.field("cache-control"), control, "{control}");
        }
        origin.on(&path, Answer::hang_up());
        assert_eq!(edge.get(&path).await.status, 502, "{control}");
    }
}

/// An error that one request brought upon itself says nothing about the object.
#[tokio::test]
async fn a_refused_request_does_not_cost_the_stored_object() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (status, kept) in [(400, true), (405, true), (429, true), (431, true), (404, false), (410, false)] {
        let path = format!("/{status}");
        let good = Answer::ok("good").etag("\"1\"").cache_control("max-age=60");
        origin.on(&path, good.clone());
        edge.get(&path).await;
        edge.advance(61);
        origin.on(&path, Answer::empty(status));
        assert_eq!(edge.get(&path).await.status, status);
        origin.on(&path, good);
        // A 404 is remembered for 2 s.
        edge.advance(2);
        let cache = if kept { "REVALIDATED" } else { "MISS" };
        assert_eq!(edge.get(&path).await.told(), (200, cache, "good".to_owned()), "{status}");
    }
}

/// Browsers reload with `max-age=0`; what is immutable has not changed by that (RFC 8246 §2).
#[tokio::test]
async fn what_is_immutable_is_not_validated_because_a_page_is_reloaded() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let cases = [
        ("max-age=60, immutable", "max-age=0", 59, "HIT"),
        ("max-age=60, immutable", "max-age=0", 60, "REVALIDATED"),
        ("max-age=60, immutable", "no-cache", 0, "REVALIDATED"),
        ("max-age=60", "max-age=0", 59, "REVALIDATED"),
    ];
    for (number, (control, asked, later, expected)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        origin.on(&path, Answer::ok("x").etag("\"1\"").cache_control(control));
        edge.get(&path).await;
        edge.advance(*later);
        let reply = edge.ask("GET", &path, &[("cache-control", asked)]).await;
        assert_eq!(reply.cache(), *expected, "{control} | {asked} after {later} s");
    }
}
