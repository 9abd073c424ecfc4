//! Requests that meet on their way: none decides for the others, and what has been outdated meanwhile is not stored.

use futures_util::future::join_all;

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, Gate, OriginDouble};

const SEED: u64 = 8;

/// A request that forbids storing, or carries credentials, does not spoil the answer for those who come with it.
#[tokio::test]
async fn a_request_of_its_own_kind_leads_nobody() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, field) in
        [("/no-store", ("cache-control", "no-store")), ("/authorized", ("authorization", "Basic eDp5"))]
    {
        let gate = Gate::new();
        origin.on(path, Answer::ok("shared").etag("\"1\"").cache_control("max-age=60").gate(&gate));
        let own = [field];
        let (first, others) = tokio::join!(edge.send("GET", path, &own), async {
            gate.arrived(1).await;
            let others = join_all((0..5).map(|_| edge.send("GET", path, &[])));
            let release = async {
                gate.arrived(2).await;
                gate.release();
            };
            tokio::join!(others, release).0
        });
        assert_eq!(first.told(), (200, "BYPASS", "shared".to_owned()), "{path}");
        for reply in others {
            // Those who come last may find it stored.
            assert!(matches!(reply.cache(), "MISS" | "HIT"), "{path}: {}", reply.cache());
            assert_eq!((reply.status, reply.text()), (200, "shared".to_owned()), "{path}");
        }
        edge.settled().await;
        assert_eq!(edge.get(path).await.cache(), "HIT", "{path}");
        assert_eq!(origin.hits(path), 2, "{path}");
    }
}

/// Small answers without a validator are found only when they are complete; until then by variant too.
#[tokio::test]
async fn late_comers_for_a_variant_share_its_fill() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    let answer = Answer::ok("hello").cache_control("max-age=60").header("vary", "accept-language");
    origin.on("/x", answer.gate_at(2, &gate));
    let de = [("accept-language", "de")];
    let early = edge.open("GET", "/x", &de).await;
    gate.arrived(1).await;
    let late = join_all((0..5).map(|_| edge.open("GET", "/x", &de))).await;
    gate.release();
    for open in late.into_iter().chain([early]) {
        assert_eq!(open.whole().await.text(), "hello");
    }
    edge.settled().await;
    assert_eq!(edge.ask("GET", "/x", &de).await.cache(), "HIT");
    assert_eq!(origin.hits("/x"), 1);
}

/// What was on its way when an unsafe method went through is of the time before it.
#[tokio::test]
async fn a_fill_that_an_unsafe_method_overtakes_is_not_stored() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, length, validator) in [
        ("/small", 1000, true),
        ("/small-untagged", 1000, false),
        ("/large", 5 * BLOCK, true),
        ("/large-untagged", 5 * BLOCK, false),
    ] {
        for at_head in [true, false] {
            let path = format!("{path}/{at_head}");
            let gate = Gate::new();
            let old = Answer::pattern(length, SEED).cache_control("max-age=60");
            let old = if validator { old.etag("\"1\"") } else { old };
            let held = if at_head { old.gate(&gate) } else { old.gate_at(length / 2, &gate) };
            origin.on_with(&path, move |request| match request.method.as_str() {
                "PUT" => Answer::ok("done"),
                _ => held.clone(),
            });
            let (before, ()) = tokio::join!(edge.send("GET", &path, &[]), async {
                gate.arrived(1).await;
                assert_eq!(edge.send("PUT", &path, &[]).await.status, 200);
                let new = Answer::pattern(length, 99).etag("\"2\"").cache_control("max-age=60");
                origin.on(&path, new);
                gate.release();
            });
            assert!(before.is_pattern(SEED, 0..length), "{path}");
            edge.settled().await;
            let after = edge.get(&path).await;
            assert!(after.cache() == "MISS" && after.is_pattern(99, 0..length), "{path}");
        }
    }
}

#[tokio::test]
async fn an_unsafe_method_outdates_every_variant() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for version in ["old", "new"] {
        origin.on_with("/x", move |request| match request.method.as_str() {
            "PUT" => Answer::ok("done"),
            _ => Answer::ok(format!("{version} {}", request.header("accept-language")))
                .cache_control("max-age=60")
                .header("vary", "accept-language"),
        });
        for language in ["de", "en"] {
            let reply = edge.ask("GET", "/x", &[("accept-language", language)]).await;
            assert_eq!(reply.told(), (200, "MISS", format!("{version} {language}")));
        }
        edge.ask("PUT", "/x", &[]).await;
    }
}

/// Who wants what a running transfer brings much later does not wait for it.
#[tokio::test]
async fn a_range_far_ahead_of_a_fill_gets_its_own() {
    const LENGTH: u64 = 64 * BLOCK;
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    let whole = Answer::pattern(LENGTH, SEED).etag("\"1\"").cache_control("max-age=60");
    origin.on("/x", whole.clone().gate_at(BLOCK, &gate).times(1));
    origin.on("/x", whole);
    let first = edge.open("GET", "/x", &[]).await;
    gate.arrived(1).await;
    let far = 60 * BLOCK..60 * BLOCK + 10;
    let range = format!("bytes={}-{}", far.start, far.end - 1);
    let reply = edge.send("GET", "/x", &[("range", &range)]).await;
    assert!(reply.status == 206 && reply.is_pattern(SEED, far));
    gate.release();
    assert!(first.whole().await.is_pattern(SEED, 0..LENGTH));
    edge.settled().await;
    assert!(origin.bytes_sent("/x") <= LENGTH + BLOCK, "{} bytes", origin.bytes_sent("/x"));
}
