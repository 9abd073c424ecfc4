//! Preconditions of clients, on answers from store and from the origin (RFC 9110 §13).

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble};

const LENGTH: u64 = 5 * BLOCK + 17;

/// Each condition on a miss and on a hit, for an object of one entry and for one of several blocks.
#[tokio::test]
async fn conditions_are_answered_from_the_stored_version() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let (modified, before, after) = (edge.date(-500), edge.date(-501), edge.date(-499));
    let many = vec!["\"x\""; 60].join(", ") + ", \"1\"";
    // (fields, status for GET)
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", "\"1\"")], 304),
        (&[("if-none-match", "W/\"1\"")], 304),
        (&[("if-none-match", "\"2\"")], 200),
        (&[("if-none-match", "\"2\", \"1\"")], 304),
        (&[("if-none-match", &many)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "junk")], 200),
        (&[("if-modified-since", &modified)], 304),
        (&[("if-modified-since", &after)], 304),
        (&[("if-modified-since", &before)], 200),
        (&[("if-modified-since", "not a date")], 200),
        (&[("if-modified-since", "Thu, 32 Foo 99999 25:61:61 GMT")], 200),
        (&[("if-none-match", "\"2\""), ("if-modified-since", &after)], 200),
        (&[("if-match", "\"1\"")], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"2\"")], 412),
        (&[("if-match", "W/\"1\"")], 412),
        (&[("if-unmodified-since", &modified)], 200),
        (&[("if-unmodified-since", &before)], 412),
        (&[("if-none-match", "\"1\""), ("range", "bytes=0-9")], 304),
        (&[("if-match", "\"1\""), ("range", "bytes=0-9")], 206),
        (&[("if-match", "\"2\""), ("range", "bytes=0-9")], 412),
        (&[("if-range", "\"1\""), ("range", "bytes=0-9")], 206),
        (&[("if-range", "\"2\""), ("range", "bytes=0-9")], 200),
        (&[("if-range", "W/\"1\""), ("range", "bytes=0-9")], 200),
        (&[("if-range", &modified), ("range", "bytes=0-9")], 206),
        (&[("if-range", &before), ("range", "bytes=0-9")], 200),
        (&[("if-range", "\"2\""), ("range", "bytes=99999999-")], 200),
        (&[("if-range", "\"1\"")], 200),
    ];
    for length in [100, LENGTH] {
        for (number, (fields, status)) in cases.iter().enumerate() {
            let path = format!("/{length}/{number}");
            let answer = Answer::pattern(length, 3).etag("\"1\"").header("last-modified", &modified);
            origin.on(&path, answer.cache_control("max-age=60").content_type("image/png"));
            for from in ["origin", "store"] {
                let reply = edge.ask("GET", &path, fields).await;
                let case = format!("{fields:?} of {length} from {from}");
                assert_eq!(reply.status, *status, "{case}");
                match status {
                    200 => assert!(reply.is_pattern(3, 0..length), "{case}"),
                    206 => assert!(reply.is_pattern(3, 0..10), "{case}"),
                    304 => {
                        assert_eq!(reply.field("etag"), "\"1\"", "{case}");
                        assert_eq!(reply.field("cache-control"), "max-age=60", "{case}");
                        assert_eq!(reply.field("content-length"), "", "{case}");
                    }
                    _ => assert_eq!(reply.field("content-type"), "application/problem+json", "{case}"),
                }
            }
            // The answer to a client never shapes what others get.
            assert!(edge.get(&path).await.is_pattern(3, 0..length), "{fields:?} of {length}");
            let asked = &origin.requests(&path)[0];
            for name in ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since"] {
                assert_eq!(asked.header(name), "", "{fields:?}: conditions of clients stay here");
            }
        }
    }
}

/// What is passed on without being stored heeds conditions as well, and never shows a part of another version.
#[tokio::test]
async fn conditions_hold_for_answers_that_are_not_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", Answer::pattern(1000, 3).etag("\"1\"").cache_control("private"));
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", "\"1\"")], 304),
        (&[("if-none-match", "\"2\"")], 200),
        (&[("if-match", "\"2\"")], 412),
        (&[("range", "bytes=10-19")], 206),
        (&[("if-range", "\"1\""), ("range", "bytes=10-19")], 206),
        (&[("if-range", "\"2\""), ("range", "bytes=10-19")], 200),
    ];
    for (fields, status) in cases {
        let reply = edge.ask("GET", "/x", fields).await;
        assert_eq!((reply.status, reply.cache()), (*status, "BYPASS"), "{fields:?}");
        match status {
            200 => assert!(reply.is_pattern(3, 0..1000), "{fields:?}"),
            206 => {
                assert!(reply.is_pattern(3, 10..20), "{fields:?}");
                assert_eq!(reply.field("content-range"), "bytes 10-19/1000", "{fields:?}");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_stale_answer_is_validated_before_a_condition_is_answered() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let version = |body: &str, tag: &str| Answer::ok(body).etag(tag).cache_control("max-age=60");
    origin.on("/x", version("one", "\"1\""));
    edge.get("/x").await;
    edge.advance(61);
    origin.on("/x", version("two", "\"2\""));
    let reply = edge.ask("GET", "/x", &[("if-none-match", "\"1\"")]).await;
    assert_eq!(reply.told(), (200, "MISS", "two".to_owned()));
    assert_eq!(origin.requests("/x")[1].header("if-none-match"), "\"1\"");
    edge.advance(61);
    let reply = edge.ask("GET", "/x", &[("if-none-match", "\"2\"")]).await;
    assert_eq!((reply.status, reply.cache()), (304, "REVALIDATED"));
}

/// A client that knows nothing better may go by the time at which it got its copy (RFC 9111 §4.3.2).
#[tokio::test]
async fn the_date_stands_in_for_a_modification_date_that_is_missing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let (dated, before, after) = (edge.date(-10), edge.date(-11), edge.date(-9));
    origin.on("/x", Answer::ok("x").cache_control("max-age=60").header("date", &dated));
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    for (since, status) in [(&dated, 304), (&after, 304), (&before, 200)] {
        let reply = edge.ask("GET", "/x", &[("if-modified-since", since)]).await;
        assert_eq!((reply.status, reply.cache()), (status, "HIT"), "{since}");
    }
    // What is not stored has no such date.
    origin.on("/private", Answer::ok("x").cache_control("private").header("date", &dated));
    assert_eq!(edge.ask("GET", "/private", &[("if-modified-since", &after)]).await.status, 200);
}
