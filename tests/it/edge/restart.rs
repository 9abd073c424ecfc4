//! What survives a restart on the same directory.

use millrace::app::Error;

use super::{BLOCK, Edge};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 8;

#[tokio::test]
async fn a_restart_finds_what_was_stored() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    let length = 20 * BLOCK + 5;
    let tagged = |length| Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600");
    origin.on("/small", tagged(100));
    origin.on("/large", tagged(length));
    origin.on("/untagged", Answer::pattern(length, SEED).cache_control("max-age=3600"));
    origin.on("/chunked", tagged(length).chunked());
    origin.on("/part", tagged(length));
    origin.on("/head", tagged(length));
    origin.on_with("/vary", |request| {
        Answer::ok(request.header("accept")).cache_control("max-age=3600").header("vary", "accept")
    });
    origin.on("/missing", Answer::ok("none").status(404).cache_control("max-age=3600"));
    origin.on("/validated", Answer::ok("same").etag("\"1\"").cache_control("max-age=60"));
    for path in ["/small", "/large", "/untagged", "/chunked", "/missing", "/validated"] {
        edge.get(path).await;
    }
    edge.get_range("/part", "bytes=200000-200009").await;
    edge.ask("HEAD", "/head", &[]).await;
    for accept in ["a", "b"] {
        edge.ask("GET", "/vary", &[("accept", accept)]).await;
    }
    let asked = origin.total_hits();

    edge.advance(30);
    edge.restart().await;
    for path in ["/large", "/untagged", "/chunked"] {
        let reply = edge.get(path).await;
        assert_eq!((reply.status, reply.cache(), reply.field("age")), (200, "HIT", "30"), "{path}");
        assert!(reply.is_pattern(SEED, 0..length), "{path}");
    }
    let small = edge.get("/small").await;
    assert!(small.cache() == "HIT" && small.is_pattern(SEED, 0..100));
    assert_eq!(edge.get("/missing").await.told(), (404, "HIT", "none".to_owned()));
    let part = edge.get_range("/part", "bytes=200000-200009").await;
    assert!(part.cache() == "HIT" && part.is_pattern(SEED, 200_000..200_010));
    let head = edge.ask("HEAD", "/head", &[]).await;
    assert_eq!((head.cache(), head.field("content-length")), ("HIT", &*length.to_string()));
    for accept in ["b", "a"] {
        let reply = edge.ask("GET", "/vary", &[("accept", accept)]).await;
        assert_eq!(reply.told(), (200, "HIT", accept.to_owned()));
    }
    assert_eq!(origin.total_hits(), asked);

    // What was there in part is completed, and what has expired meanwhile is validated, not fetched.
    let whole = edge.get("/part").await;
    assert!(whole.cache() == "MISS" && whole.is_pattern(SEED, 0..length));
    // The one block between two gaps is not worth a question of its own.
    assert!(origin.bytes_sent("/part") <= length + BLOCK);
    edge.advance(31);
    edge.restart().await;
    assert_eq!(edge.get("/validated").await.told(), (200, "REVALIDATED", "same".to_owned()));
    assert_eq!(edge.get("/part").await.cache(), "HIT");
}

#[tokio::test]
async fn what_was_outdated_stays_outdated() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    origin.on_with("/x", |request| match request.method.as_str() {
        "GET" => Answer::ok("x").etag("\"1\"").cache_control("max-age=3600"),
        _ => Answer::ok("changed"),
    });
    edge.get("/x").await;
    edge.ask("POST", "/x", &[]).await;
    edge.restart().await;
    assert_eq!(edge.get("/x").await.cache(), "MISS");
}

/// A second server would write over the first one's blocks.
#[tokio::test]
async fn a_directory_serves_one_server() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    match edge.second().await {
        Ok(_) => panic!("two servers on one directory"),
        Err(error @ Error::Cache(_)) => {
            assert!(error.to_string().ends_with(" is in use by another server"), "{error}");
        }
        Err(other) => panic!("{other}"),
    }
    // The first one has not noticed, and leaves the directory to the next.
    origin.on("/x", Answer::ok("x").cache_control("max-age=3600"));
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    edge.ask_to_stop().await.unwrap().unwrap();
    let second = edge.second().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(second.get("/x").await.cache(), "HIT");
}

/// More than memory holds: most of it is read back from the disk.
#[tokio::test]
async fn the_disk_holds_what_memory_does_not() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.cache.memory = "8MiB".to_owned();
        raw.cache.disk = "128MiB".to_owned();
    });
    let mut edge = edge.await;
    let length = 256 * BLOCK;
    for (path, answer) in [
        ("/tagged", Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600")),
        ("/untagged", Answer::pattern(length, SEED).cache_control("max-age=3600")),
    ] {
        origin.on(path, answer);
        edge.get(path).await;
    }
    for round in ["running", "restarted"] {
        for path in ["/tagged", "/untagged"] {
            let reply = edge.get(path).await;
            assert!(reply.cache() == "HIT" && reply.is_pattern(SEED, 0..length), "{path}, {round}");
            assert_eq!(origin.hits(path), 1, "{path}, {round}");
        }
        assert!(
            edge.metric("millrace_cache_tier_requests_total", &["tier=\"disk\"", "result=\"hit\""]).await > 0
        );
        edge.restart().await;
    }
}
