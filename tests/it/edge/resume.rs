//! Bodies that break on their way from the origin: resumed where that is safe, and never taken for whole where not.

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 6;
const LENGTH: u64 = 6 * BLOCK + 100;

fn tagged(length: u64) -> Answer {
    Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600")
}

fn impatient(raw: &mut millrace::config::Raw) {
    raw.origins[0].idle_timeout_ms = 200;
    raw.origins[0].first_byte_timeout_ms = 2_000;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Cut,
    Reset,
    Stall,
}

impl Trouble {
    fn at(self, offset: u64, answer: Answer) -> Answer {
        match self {
            Self::Cut => answer.cut_at(offset),
            Self::Reset => answer.reset_at(offset),
            Self::Stall => answer.stall_at(offset),
        }
    }
}

#[tokio::test]
async fn with_a_strong_validator_the_client_notices_nothing() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, impatient).await;
    let mut expected_resumes = 0;
    let places = [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 4 * BLOCK + 17, LENGTH - 1];
    for (trouble, places) in
        [(Trouble::Cut, &places[..]), (Trouble::Reset, &places[..]), (Trouble::Stall, &places[3..6])]
    {
        for (length, place) in places
            .iter()
            .map(|place| (LENGTH, *place))
            .chain([(100, 0), (100, 50), (BLOCK, BLOCK - 1)])
            .filter(|(length, _)| trouble != Trouble::Stall || *length == LENGTH)
        {
            let path = format!("/{trouble:?}/{length}/{place}");
            origin.on(&path, trouble.at(place, tagged(length)).times(1));
            origin.on(&path, tagged(length));
            let reply = edge.get(&path).await;
            assert_eq!((reply.status, reply.cache()), (200, "MISS"), "{path}");
            assert!(reply.is_pattern(SEED, 0..length), "{path}");
            let requests = origin.requests(&path);
            assert_eq!(requests.len(), 2, "{path}");
            assert_eq!(requests[1].header("if-range"), "\"1\"", "{path}");
            let range = requests[1].header("range");
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(last, length - 1, "{path}");
            // A reset may take with it what was sent before.
            let exact = trouble != Trouble::Reset;
            assert!(first == place || !exact && first < place, "{path}: resumed at {first}");
            let hit = edge.get(&path).await;
            assert!(hit.cache() == "HIT" && hit.is_pattern(SEED, 0..length), "{path}");
            expected_resumes += 1;
        }
    }
    assert_eq!(edge.metric("millrace_origin_resumes_total", &[]).await, expected_resumes);
}

#[tokio::test]
async fn a_body_may_break_more_than_once() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.fill.resumes = 4).await;
    for place in [1, 2, 3, 4] {
        origin.on("/x", tagged(LENGTH).cut_at(place * BLOCK).times(1));
    }
    origin.on("/x", tagged(LENGTH));
    assert!(edge.get("/x").await.is_pattern(SEED, 0..LENGTH));
    assert_eq!((origin.hits("/x"), origin.bytes_sent("/x")), (5, LENGTH));

    // Not for ever: one that never gets further is given up.
    origin.on("/stuck", tagged(LENGTH).cut_at(BLOCK));
    let broken = edge.open("GET", "/stuck", &[]).await.finish().await.unwrap_err();
    assert!(broken.begins(SEED, 0..LENGTH));
    edge.settled().await;
    assert!(origin.hits("/stuck") <= 5 + 1, "asked {} times", origin.hits("/stuck"));
}

#[tokio::test]
async fn an_origin_that_ignores_ranges_is_read_again_from_the_start() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/x", tagged(LENGTH).no_ranges().cut_at(3 * BLOCK + 5).times(1));
    origin.on("/x", tagged(LENGTH).no_ranges());
    assert!(edge.get("/x").await.is_pattern(SEED, 0..LENGTH));
    assert_eq!(origin.bytes_sent("/x"), 3 * BLOCK + 5 + LENGTH);
    assert_eq!(edge.get("/x").await.cache(), "HIT");
}

#[tokio::test]
async fn without_a_strong_validator_the_client_sees_that_it_broke() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, impatient).await;
    let answers = [
        ("weak", Answer::pattern(LENGTH, SEED).etag("W/\"1\"").cache_control("max-age=60")),
        ("none", Answer::pattern(LENGTH, SEED).cache_control("max-age=60")),
        ("dated", {
            let recently = edge.date(-10);
            Answer::pattern(LENGTH, SEED).header("last-modified", &recently).cache_control("max-age=60")
        }),
        ("chunked", tagged(LENGTH).chunked()),
        ("private", tagged(LENGTH).header("cache-control", "private")),
        ("longer", tagged(LENGTH).wrong_content_length(LENGTH + 1)),
    ];
    for (name, answer) in answers {
        for (trouble, place) in [
            (Trouble::Cut, 10),
            (Trouble::Cut, 3 * BLOCK),
            (Trouble::Reset, 4 * BLOCK + 1),
            (Trouble::Stall, BLOCK),
        ] {
            let path = format!("/{name}/{trouble:?}/{place}");
            if name == "longer" {
                // A lie without any fault; every attempt to resume it is answered in the same way.
                origin.on(&path, answer.clone());
            } else {
                origin.on(&path, trouble.at(place, answer.clone()).times(1));
                origin.on(&path, answer.clone());
            }
            let broken = edge.open("GET", &path, &[]).await.finish().await.expect_err(&path);
            // What broke at once may take the head with it.
            assert!(matches!(broken.head.status, 200 | 0), "{path}: {}", broken.head.status);
            let whole_but_more_was_promised = name == "longer";
            assert!(
                broken.begins(SEED, 0..LENGTH) || whole_but_more_was_promised,
                "{path}: {} bytes",
                broken.body.len()
            );
            edge.settled().await;
            if name == "longer" {
                continue;
            }
            assert_eq!(origin.hits(&path), 1, "{path}: nothing to resume it by");
            // Nothing of it is left.
            let again = edge.get(&path).await;
            assert!(again.cache() != "HIT" && again.is_pattern(SEED, 0..LENGTH), "{path}");
        }
    }
}

#[tokio::test]
async fn another_version_is_not_put_behind_the_first() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let other = || Answer::pattern(LENGTH, 77).etag("\"2\"").cache_control("max-age=3600");
    for (name, then) in [
        ("new", other()),
        ("new-whole", other().no_ranges()),
        ("new-and-longer", Answer::pattern(LENGTH + 9, 77).etag("\"2\"").cache_control("max-age=3600")),
        ("untagged", Answer::pattern(LENGTH, 77).cache_control("max-age=3600")),
        (
            "same-tag-other-length",
            Answer::pattern(LENGTH - 1, 77).etag("\"1\"").cache_control("max-age=3600"),
        ),
        ("gone", Answer::empty(404)),
        ("forbidden", Answer::empty(403)),
    ] {
        let path = format!("/{name}");
        origin.on(&path, tagged(LENGTH).cut_at(2 * BLOCK + 5).times(1));
        origin.on(&path, then.clone());
        let broken = edge.open("GET", &path, &[]).await.finish().await.expect_err(&path);
        assert!(broken.begins(SEED, 0..LENGTH), "{path}: {} bytes", broken.body.len());
        edge.settled().await;
        let again = edge.get(&path).await;
        match name {
            "gone" => assert_eq!(again.status, 404, "{path}"),
            "forbidden" => assert_eq!(again.status, 403, "{path}"),
            "new-and-longer" => assert!(again.is_pattern(77, 0..LENGTH + 9), "{path}"),
            "same-tag-other-length" => assert!(again.is_pattern(77, 0..LENGTH - 1), "{path}"),
            _ => assert!(again.is_pattern(77, 0..LENGTH), "{path}"),
        }
    }
}

/// All who follow the broken fill are served by the resumed one.
#[tokio::test]
async fn everybody_is_carried_over_the_break() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = crate::origin_double::Gate::new();
    origin.on("/x", tagged(LENGTH).gate_at(BLOCK, &gate).cut_at(3 * BLOCK + 1).times(1));
    origin.on("/x", tagged(LENGTH));
    let clients = futures_util::future::join_all((0..20).map(|_| edge.open("GET", "/x", &[]))).await;
    gate.release();
    for reply in futures_util::future::join_all(clients.into_iter().map(super::Open::whole)).await {
        assert!(reply.is_pattern(SEED, 0..LENGTH));
    }
    assert_eq!((origin.hits("/x"), origin.bytes_sent("/x")), (2, LENGTH));
}

/// An origin whose body breaks before its first byte still lets us answer with an error.
#[tokio::test]
async fn a_break_before_the_first_byte_is_an_error_answer() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, impatient).await;
    for (name, answer, status) in [
        ("cut", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").cut_at(0), 502),
        ("reset", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").reset_at(0), 502),
        ("stall", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").stall_at(0), 504),
        ("always", tagged(LENGTH).cut_at(0), 502),
        ("chunked", tagged(LENGTH).chunked().cut_at(0), 502),
        ("chunked-stall", tagged(LENGTH).chunked().stall_at(0), 504),
    ] {
        let path = format!("/{name}");
        origin.on(&path, answer);
        let reply = edge.get(&path).await;
        assert_eq!((reply.status, reply.cache()), (status, "ERROR"), "{path}");
        assert_eq!(reply.field("content-type"), "application/problem+json", "{path}");
        assert_eq!(reply.field("etag"), "", "{path}");
    }
}
