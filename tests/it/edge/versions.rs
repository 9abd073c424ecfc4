//! Which version an answer is of, where several rules meet: what a 304, HEAD, or a part says of what is stored.

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble, RecordedRequest};

fn version(body: &str) -> Answer {
    Answer::ok(body).etag(&format!("\"{body}\"")).cache_control("max-age=60")
}

fn not_modified() -> Answer {
    Answer::empty(304).cache_control("max-age=60")
}

fn is_conditional(request: &RecordedRequest) -> bool {
    !request.header("if-none-match").is_empty() || !request.header("if-modified-since").is_empty()
}

/// An origin that looks at the date only, or a cache before it, can say that nothing has changed and mean something else
/// (RFC 9111 §4.3.4).
#[tokio::test]
async fn what_a_304_says_of_another_version_confirms_nothing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let (then, before) = (edge.date(-5000), edge.date(-9000));
    let dated =
        |date: &str, body: &str| Answer::ok(body).header("last-modified", date).cache_control("max-age=60");
    for (path, first, confirmation, second, expected) in [
        (
            "/other",
            version("1").header("last-modified", &then),
            not_modified().etag("\"2\"").header("last-modified", &before),
            version("2"),
            ("MISS", "2"),
        ),
        // Some servers have a suffix for what they send in a coding, and leave it out with 304.
        ("/suffix", version("1-gzip"), not_modified().etag("\"1\""), version("2"), ("REVALIDATED", "1-gzip")),
        (
            "/mirror",
            version("1").header("last-modified", &then),
            not_modified().etag("\"1\"").header("last-modified", &before),
            version("2"),
            ("REVALIDATED", "1"),
        ),
        ("/same", version("1"), not_modified().etag("\"1\""), version("2"), ("REVALIDATED", "1")),
        ("/weaker", version("1"), not_modified().etag("W/\"1\""), version("2"), ("REVALIDATED", "1")),
        ("/silent", version("1"), not_modified(), version("2"), ("REVALIDATED", "1")),
        (
            "/rolled-back",
            dated(&then, "1"),
            not_modified().header("last-modified", &before),
            dated(&before, "2"),
            ("MISS", "2"),
        ),
    ] {
        origin.on(path, first);
        edge.get(path).await;
        edge.advance(61);
        origin.on_with(path, move |request| match is_conditional(request) {
            true => confirmation.clone(),
            false => second.clone(),
        });
        for (cache, body) in [expected, ("HIT", expected.1)] {
            assert_eq!(edge.get(path).await.told(), (200, cache, body.to_owned()), "{path}");
        }
    }
}

/// What it varies by is told late; from then on it counts.
#[tokio::test]
async fn vary_in_a_304_counts_from_then_on() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, vary) in [("/language", "x-language"), ("/anything", "*")] {
        origin.on(path, version("en"));
        edge.ask("GET", path, &[("x-language", "en")]).await;
        edge.advance(61);
        origin.on_with(path, move |request| match request.header("if-none-match").is_empty() {
            false => not_modified().etag("\"en\"").header("vary", vary),
            true => version(request.header("x-language")).header("vary", vary),
        });
        let reply = edge.ask("GET", path, &[("x-language", "en")]).await;
        let cache = if vary == "*" { "BYPASS" } else { "REVALIDATED" };
        assert_eq!(reply.told(), (200, cache, "en".to_owned()), "{path}");
        let reply = edge.ask("GET", path, &[("x-language", "de")]).await;
        assert_eq!((reply.status, reply.text()), (200, "de".to_owned()), "{path}");
        let cache = if vary == "*" { "BYPASS" } else { "HIT" };
        for language in ["en", "de"] {
            let reply = edge.ask("GET", path, &[("x-language", language)]).await;
            assert_eq!(reply.told(), (200, cache, language.to_owned()), "{path}");
        }
    }
}

/// RFC 9111 §4.3.5. With a strong tag HEAD brings a new head itself; these can not.
#[tokio::test]
async fn a_head_that_tells_of_another_version_outdates_the_stored_one() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let plain = |body: &str| Answer::ok(body).cache_control("max-age=60");
    for (path, one, other, cache) in [
        ("/tag", plain("one").etag("W/\"1\""), plain("two").etag("W/\"2\""), "MISS"),
        ("/length", plain("one"), plain("three"), "MISS"),
        ("/same", plain("one").etag("W/\"1\""), plain("one").etag("W/\"1\""), "HIT"),
        ("/says-nothing", plain("one"), plain(""), "HIT"),
    ] {
        origin.on(path, one);
        edge.get(path).await;
        assert_eq!(edge.get(path).await.cache(), "HIT");
        origin.on(path, other);
        edge.ask("HEAD", path, &[("cache-control", "no-cache")]).await;
        assert_eq!(edge.get(path).await.cache(), cache, "{path}");
    }
}

/// A date is no strong validator within a minute of itself, and what came then may be older than what has it now.
#[tokio::test]
async fn a_date_that_was_weak_stays_weak() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    let (recent, old) = (edge.date(-5), edge.date(-5000));
    for (path, date, status) in [("/recent", &recent, 200), ("/old", &old, 206)] {
        for length in [100, 3 * BLOCK] {
            let path = format!("{path}/{length}");
            let answer = Answer::pattern(length, 1).cache_control("max-age=60");
            origin.on(&path, answer.header("last-modified", date));
            edge.get(&path).await;
        }
        edge.advance(600);
        for length in [100, 3 * BLOCK] {
            let path = format!("{path}/{length}");
            assert_eq!(edge.get(&path).await.cache(), "REVALIDATED", "{path}");
        }
        for restarted in [false, true] {
            if restarted {
                edge.restart().await;
            }
            for length in [100, 3 * BLOCK] {
                let path = format!("{path}/{length}");
                let part = [("range", "bytes=0-9"), ("if-range", &**date)];
                let reply = edge.ask("GET", &path, &part).await;
                assert_eq!((reply.status, reply.cache()), (status, "HIT"), "{path} {restarted}");
            }
        }
    }
}

/// RFC 9110 §13.1.5 compares a date with the date, whatever stands beside it.
#[tokio::test]
async fn a_date_in_if_range_is_compared_with_the_date() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let (modified, other) = (edge.date(-500), edge.date(-400));
    origin.on("/x", version("0123456789").header("last-modified", &modified));
    edge.get("/x").await;
    for (date, status) in [(&modified, 206), (&other, 200)] {
        let reply = edge.ask("GET", "/x", &[("range", "bytes=2-4"), ("if-range", date)]).await;
        assert_eq!((reply.status, reply.cache()), (status, "HIT"));
    }
}

/// RFC 9530 §2: `Content-Digest` is of the bytes that it comes with, `Repr-Digest` of the whole.
#[tokio::test]
async fn a_digest_goes_with_its_bytes_only() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let digests = |answer: Answer, of: &str| {
        answer.header("content-digest", of).header("content-md5", of).header("repr-digest", "sha-256=:whole:")
    };
    let told = |reply: &super::Reply| {
        ["content-digest", "content-md5", "repr-digest"].map(|name| reply.field(name).to_owned())
    };
    let [whole, part] = ["sha-256=:whole:", "sha-256=:part:"];
    origin.on("/whole", digests(version("0123456789"), whole));
    assert_eq!(told(&edge.get("/whole").await), [whole; 3]);
    assert_eq!(told(&edge.get("/whole").await), [whole; 3]);
    for range in ["bytes=2-4", "bytes=0-1,5-6"] {
        let reply = edge.get_range("/whole", range).await;
        assert_eq!((reply.status, told(&reply)), (206, ["", "", whole].map(str::to_owned)), "{range}");
    }
    // A part is stored with what it says of the whole.
    let length = 3 * BLOCK;
    let answer = Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=60");
    origin.on_with("/part", move |request| {
        digests(answer.clone(), if request.header("range").is_empty() { whole } else { part })
    });
    assert_eq!(edge.get_range("/part", "bytes=0-9").await.status, 206);
    let reply = edge.get("/part").await;
    assert!(reply.is_pattern(1, 0..length));
    assert_eq!(told(&reply), ["", "", whole]);
    // Of what is not stored, a part that is cut out of a longer one.
    let private = Answer::pattern(length, 1).etag("\"1\"").cache_control("private");
    origin.on("/private", digests(private, part));
    let reply = edge.get_range("/private", "bytes=10-19").await;
    assert_eq!((reply.status, told(&reply)), (206, ["", "", whole].map(str::to_owned)));
}

/// RFC 9110 §15.3.7: in answer to `If-Range`, an origin may leave out what the client has already. Others have not.
#[tokio::test]
async fn what_a_part_leaves_out_is_not_missing_from_the_whole() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on_with("/x", |request| {
        let answer = Answer::pattern(2 * BLOCK, 1).etag("\"1\"").cache_control("max-age=60");
        match request.header("if-range").is_empty() {
            true => answer.content_type("image/png").header("content-language", "en"),
            false => answer,
        }
    });
    let part = [("range", "bytes=10-19"), ("if-range", "\"1\"")];
    let reply = edge.ask("GET", "/x", &part).await;
    assert!(reply.status == 206 && reply.is_pattern(1, 10..20));
    for _ in 0..2 {
        let reply = edge.get("/x").await;
        assert!(reply.is_pattern(1, 0..2 * BLOCK));
        assert_eq!((reply.field("content-type"), reply.field("content-language")), ("image/png", "en"));
    }
    let reply = edge.ask("GET", "/x", &part).await;
    assert_eq!((reply.status, reply.cache(), reply.field("content-type")), (206, "HIT", "image/png"));
}

/// RFC 9110 §6.6.1: whoever receives an answer without a date says when that was, not when it is sent on.
#[tokio::test]
async fn an_answer_without_a_date_is_dated_when_it_came() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, length) in [("/short", 100), ("/long", 5 * BLOCK)] {
        let came = edge.date(0);
        origin.on(path, Answer::pattern(length, 1).etag("\"1\"").cache_control("max-age=600").no_date());
        assert_eq!(edge.get(path).await.field("date"), came, "{path}");
        edge.advance(100);
        for fields in [&[][..], &[("range", "bytes=0-9")], &[("if-none-match", "\"1\"")]] {
            let reply = edge.ask("GET", path, fields).await;
            assert_eq!((reply.cache(), reply.field("date")), ("HIT", &*came), "{path} {fields:?}");
        }
        assert_eq!(edge.ask("HEAD", path, &[]).await.field("date"), came, "{path}");
    }
}

/// Conditions are for all answers that would be a success (RFC 9110 §13.2.1).
#[tokio::test]
async fn conditions_are_for_all_successes() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, status, expected) in [("/203", 203, 304), ("/404", 404, 404)] {
        origin.on(path, Answer::ok("x").status(status).etag("\"1\"").cache_control("max-age=60"));
        for _ in 0..2 {
            let reply = edge.ask("GET", path, &[("if-none-match", "\"1\"")]).await;
            assert_eq!(reply.status, expected, "{path}");
        }
    }
}
