//! What clients see when as much memory is lent as may be: what is long and new is told to come back, and nothing else is the worse for it.

use futures_util::future::join_all;

use super::{Edge, eventually};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 7;
const MIB: u64 = 1 << 20;

fn object(length: u64, tag: &str) -> Answer {
    Answer::pattern(length, SEED).etag(tag).cache_control("max-age=60")
}

#[tokio::test]
async fn what_is_long_is_refused_until_there_is_memory_again() {
    const LONG: u64 = 20 * MIB;
    let origin = OriginDouble::start().await;
    // Sixteen readers may hold blocks, however large these are: all that may be lent.
    let edge = Edge::with(&origin, |raw| {
        (raw.cache.memory, raw.cache.block_size) = ("128MiB".to_owned(), "16MiB".to_owned());
    })
    .await;
    origin.on("/held", object(LONG, "\"1\""));
    let readers = join_all((0..24).map(|_| edge.open("GET", "/held", &[]))).await;
    edge.settled().await;
    let lent = async || edge.metric("millrace_memory_lent_bytes", &[]).await;
    assert!(lent().await > 256 * MIB);

    for path in ["/old", "/hit"] {
        origin.on(path, Answer::ok(path).etag("\"1\"").cache_control("max-age=60"));
    }
    assert_eq!(edge.get("/old").await.told(), (200, "MISS", "/old".to_owned()), "it is short");
    edge.advance(61);
    assert_eq!(edge.get("/hit").await.cache(), "MISS");
    for path in ["/new", "/old"] {
        origin.on(path, object(LONG, "\"2\""));
    }
    for (method, path) in [("GET", "/new"), ("HEAD", "/new"), ("GET", "/new")] {
        let reply = edge.send(method, path, &[]).await;
        match method {
            "HEAD" => assert_eq!(reply.status, 200),
            _ => assert_eq!((reply.status, reply.cache(), reply.field("retry-after")), (503, "ERROR", "1")),
        }
    }
    let old = edge.send("GET", "/old", &[]).await;
    assert_eq!(
        old.told(),
        (200, "STALE", "/old".to_owned()),
        "a new version takes its place when it can come"
    );
    assert_eq!(edge.send("GET", "/hit", &[]).await.told(), (200, "HIT", "/hit".to_owned()));

    drop(readers);
    for path in ["/new", "/old"] {
        eventually("memory", async || edge.send("GET", path, &[]).await.is_pattern(SEED, 0..LONG)).await;
    }
    eventually("all given back", async || lent().await < MIB).await;
}
