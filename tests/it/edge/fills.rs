//! One fill for everybody: collapsed requests, readers of different speed, readers that leave, answers that are for one
//! client only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;

use super::{BLOCK, Edge, client::is_pattern, eventually};
use crate::origin_double::{Answer, Gate, OriginDouble, pattern_bytes};

const SEED: u64 = 5;
const MIB: u64 = 1 << 20;

fn object(length: u64) -> Answer {
    Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600")
}

#[tokio::test]
async fn two_hundred_clients_cost_the_origin_one_transfer() {
    const LENGTH: u64 = 50_000_000;
    const CLIENTS: usize = 200;
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.server.workers = 2;
        raw.cache.memory = "128MiB".to_owned();
        raw.cache.block_size = "1MiB".to_owned();
    });
    let edge = edge.await;
    let gate = Gate::new();
    origin.on("/x", object(LENGTH).gate_at(LENGTH / 10, &gate));
    let expected = pattern_bytes(SEED, 0..LENGTH);

    let mut first = edge.open("GET", "/x", &[]).await;
    let clients = join_all((1..CLIENTS).map(|_| edge.open("GET", "/x", &[]))).await;
    // All are on, and the first leaves in the middle of its body.
    first.next(LENGTH as usize / 20).await;
    drop(first);
    gate.release();
    let whole = join_all(clients.into_iter().map(|client| client.reads(&expected))).await;
    assert_eq!(whole.iter().filter(|same| **same).count(), CLIENTS - 1);
    edge.settled().await;
    assert_eq!((origin.hits("/x"), origin.bytes_sent("/x")), (1, LENGTH));
    let after = edge.open("GET", "/x", &[]).await;
    assert_eq!(after.head.field("x-cache"), "HIT");
    assert!(after.reads(&expected).await);
}

#[tokio::test]
async fn requests_of_one_moment_share_one_question() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer) in [
        ("/small", object(100)),
        ("/large", object(10 * BLOCK)),
        ("/chunked", object(10 * BLOCK).chunked()),
        ("/untagged", Answer::pattern(10 * BLOCK, SEED).cache_control("max-age=60")),
        ("/until-close", Answer::pattern(10 * BLOCK, SEED).cache_control("max-age=60").until_close()),
    ] {
        let length = if path == "/small" { 100 } else { 10 * BLOCK };
        // Held back before the head and again within the body: late comers find both.
        let (head, body) = (Gate::new(), Gate::new());
        origin.on(path, answer.gate(&head).gate_at(length / 2, &body));
        let early = join_all((0..20).map(|_| edge.send("GET", path, &[])));
        let late = async {
            head.arrived(1).await;
            head.release();
            body.arrived(1).await;
            let late = join_all((0..20).map(|_| edge.open("GET", path, &[]))).await;
            body.release();
            join_all(late.into_iter().map(|open| open.whole())).await
        };
        let (early, late) = tokio::join!(early, late);
        for reply in early.iter().chain(&late) {
            assert_eq!((reply.status, reply.cache()), (200, "MISS"), "{path}");
            assert!(reply.is_pattern(SEED, 0..length), "{path}");
        }
        let collapsed = |reply: &&super::Reply| reply.field("cache-status").contains("; collapsed");
        assert_eq!(early.iter().filter(collapsed).count(), 19, "{path}");
        assert_eq!(late.iter().filter(collapsed).count(), 20, "{path}");
        assert_eq!((origin.hits(path), origin.bytes_sent(path)), (1, length), "{path}");
        edge.settled().await;
        let hit = edge.get(path).await;
        assert_eq!((hit.cache(), hit.field("content-length")), ("HIT", &*length.to_string()), "{path}");
        assert!(hit.is_pattern(SEED, 0..length), "{path}");
    }
}

/// Of long objects as many are filled at a time as there is memory for, and others wait for their turn; but not for long, if origins stall or
/// readers do, and short ones not at all.
#[tokio::test]
async fn fills_that_stall_hold_nobody_up_for_long() {
    const TURNS: usize = 16;
    const FILLS: usize = 40;
    const LENGTH: u64 = 3 * MIB + 5;
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        (raw.cache.memory, raw.cache.block_size) = ("64MiB".to_owned(), "1MiB".to_owned());
        raw.fill.read_ahead = "1MiB".to_owned();
    })
    .await;
    let paths = |kind: &str, count| (0..count).map(|n| format!("/{kind}/{n}")).collect::<Vec<_>>();
    // They take their head, and no more.
    let slow = paths("slow", TURNS + 4);
    slow.iter().for_each(|path| origin.on(path, object(12 * MIB)));
    let slow = join_all(slow.iter().map(|path| edge.open("GET", path, &[("range", "bytes=0-")]))).await;
    assert!(slow.iter().all(|open| open.head.status == 206));

    let gate = Gate::new();
    let long = paths("long", FILLS);
    long.iter().for_each(|path| origin.on(path, object(LENGTH).gate_at(MIB / 2, &gate)));
    let whole = join_all(long.iter().map(async |path| edge.open("GET", path, &[]).await.whole().await));
    origin.on("/short", Answer::ok("short").cache_control("max-age=60"));
    let meanwhile = async {
        gate.arrived(FILLS).await;
        assert_eq!(edge.send("GET", "/short", &[]).await.told(), (200, "MISS", "short".to_owned()));
        eventually("a hit", async || edge.send("GET", "/short", &[]).await.cache() == "HIT").await;
        // The room is full of those that stall.
        origin.on("/sound", object(LENGTH));
        assert!(edge.send("GET", "/sound", &[]).await.is_pattern(SEED, 0..LENGTH));
        gate.release();
    };
    let (whole, ()) = tokio::join!(whole, meanwhile);
    assert!(whole.iter().all(|reply| reply.status == 200 && reply.is_pattern(SEED, 0..LENGTH)));
    for open in slow {
        assert!(open.whole().await.is_pattern(SEED, 0..12 * MIB));
    }
}

/// What is for one client only goes to exactly that one, also when many wait for the same answer.
#[tokio::test]
async fn answers_for_one_are_never_shared() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, name, value) in [
        ("/private", "cache-control", "private"),
        ("/no-store", "cache-control", "no-store"),
        ("/cookie", "set-cookie", "id=1"),
        ("/star", "vary", "*"),
    ] {
        let gate = Gate::new();
        let count = Arc::new(AtomicUsize::new(0));
        let held = gate.clone();
        origin.on_with(path, move |_| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            Answer::ok(format!("answer {number:02}")).etag("\"1\"").header(name, value).gate(&held)
        });
        let asking = join_all((0..20).map(|_| edge.send("GET", path, &[])));
        let releasing = async {
            gate.arrived(1).await;
            gate.release();
        };
        let (replies, ()) = tokio::join!(asking, releasing);
        assert!(replies.iter().all(|reply| (reply.status, reply.cache()) == (200, "BYPASS")), "{path}");
        let mut bodies: Vec<_> = replies.iter().map(super::Reply::text).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, (0..20).map(|number| format!("answer {number:02}")).collect::<Vec<_>>(), "{path}");
        assert_eq!(edge.get(path).await.text(), "answer 20", "{path}");
    }
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/x", Answer::hang_up().gate(&gate).times(2));
    origin.on("/x", object(100));
    let asking = join_all((0..20).map(|_| edge.send("GET", "/x", &[])));
    let releasing = async {
        gate.arrived(1).await;
        gate.release();
    };
    let (replies, ()) = tokio::join!(asking, releasing);
    assert!(replies.iter().all(|reply| (reply.status, reply.cache()) == (502, "ERROR")));
    assert_eq!(edge.get("/x").await.cache(), "MISS");
    assert_eq!(edge.get("/x").await.cache(), "HIT");
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_back() {
    const LENGTH: u64 = 24 * MIB;
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.cache.memory = "128MiB".to_owned()).await;
    for (path, answer) in [
        ("/tagged", object(LENGTH)),
        ("/untagged", Answer::pattern(LENGTH, SEED).cache_control("max-age=60")),
        ("/chunked", object(LENGTH).chunked()),
    ] {
        origin.on(path, answer);
        let expected = pattern_bytes(SEED, 0..LENGTH);
        // It reads its head and nothing more until the other is through.
        let slow = edge.open("GET", path, &[]).await;
        let quick = edge.open("GET", path, &[]).await;
        assert!(quick.reads(&expected).await, "{path}");
        edge.settled().await;
        assert_eq!((origin.hits(path), origin.bytes_sent(path)), (1, LENGTH), "{path}");
        assert!(slow.reads(&expected).await, "{path}");
        assert_eq!(origin.hits(path), 1, "{path}");
    }
}

/// Far behind the fill, with nothing to keep the bytes in but eight megabytes of memory.
#[tokio::test]
async fn objects_that_memory_cannot_hold_are_delivered_whole() {
    const LENGTH: u64 = 24 * MIB;
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.cache.memory = "8MiB".to_owned();
        raw.fill.read_ahead = "1MiB".to_owned();
    });
    let edge = edge.await;
    let expected = pattern_bytes(SEED, 0..LENGTH);
    for (path, answer) in [
        ("/tagged", object(LENGTH)),
        ("/chunked", object(LENGTH).chunked()),
        ("/untagged", Answer::pattern(LENGTH, SEED).cache_control("max-age=60")),
        ("/untagged-chunked", Answer::pattern(LENGTH, SEED).cache_control("max-age=60").chunked()),
    ] {
        origin.on(path, answer);
        let alone = edge.open("GET", path, &[]).await;
        // The origin is through, or held back by the only reader.
        tokio::time::timeout(Duration::from_millis(300), origin.reach_bytes(path, LENGTH)).await.ok();
        assert!(alone.reads(&expected).await, "{path}: alone");
        let sent = origin.bytes_sent(path);
        assert!(sent < LENGTH + 16 * MIB, "{path}: {sent} bytes for {LENGTH}");
        edge.settled().await;

        let slow = edge.open("GET", path, &[]).await;
        let quick = edge.open("GET", path, &[]).await;
        let late = async {
            let mut early = edge.open("GET", path, &[]).await;
            early.next(LENGTH as usize / 2).await;
            let late = edge.open("GET", path, &[]).await;
            tokio::join!(early.reads(&expected[LENGTH as usize / 2..]), late.reads(&expected))
        };
        let (quick, late) = tokio::join!(quick.reads(&expected), late);
        assert!(quick, "{path}: quick");
        assert_eq!(late, (true, true), "{path}: late");
        match (path, slow.finish().await) {
            (_, Ok(reply)) => assert!(reply.body == expected, "{path}: slow"),
            // What nobody can give any more is not made up.
            ("/untagged" | "/untagged-chunked", Err(broken)) => {
                assert!(broken.begins(SEED, 0..LENGTH), "{path}")
            }
            (_, Err(broken)) => panic!("{path}: broke off after {} bytes", broken.body.len()),
        }
        assert!(edge.metric("millrace_cache_tier_bytes", &["memory"]).await <= 8 * MIB, "{path}");
        edge.settled().await;
    }
}

#[tokio::test]
async fn clients_that_leave_do_not_end_the_fill() {
    const LENGTH: u64 = 100 * BLOCK;
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for (path, answer) in [
        ("/tagged", object(LENGTH)),
        ("/untagged", Answer::pattern(LENGTH, SEED).cache_control("max-age=60")),
        ("/small", object(100)),
    ] {
        let length = if path == "/small" { 100 } else { LENGTH };
        let gate = Gate::new();
        origin.on(path, answer.gate_at(length / 2, &gate));
        let mut clients = join_all((0..100).map(|_| edge.open("GET", path, &[]))).await;
        gate.arrived(1).await;
        for client in &mut clients {
            client.next(10).await;
        }
        drop(clients);
        gate.release();
        origin.reach_bytes(path, length).await;
        edge.settled().await;
        let hit = edge.get(path).await;
        assert!(hit.cache() == "HIT" && hit.is_pattern(SEED, 0..length), "{path}");
        assert_eq!(
            (origin.hits(path), origin.bytes_sent(path), origin.aborted(path)),
            (1, length, 0),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_nobody_wants_is_not_fetched_to_its_end() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.fill.read_ahead = "1MiB".to_owned();
        raw.fill.finish_max = "4MiB".to_owned();
    });
    let edge = edge.await;
    // (range, length): a whole GET with more to go than is worth finishing, and a range without end.
    for (path, range, length) in [
        ("/whole", None, 1 << 30),
        ("/open", Some("bytes=0-"), 1 << 30),
        ("/tail", Some("bytes=70000-"), 1 << 30),
    ] {
        origin.on(path, object(length));
        let fields: &[(&str, &str)] = match &range {
            Some(range) => &[("range", range)],
            None => &[],
        };
        let mut client = edge.open("GET", path, fields).await;
        client.next(100_000).await;
        drop(client);
        origin.reach_aborted(path, 1).await;
        edge.settled().await;
        // Read-ahead, and what fits into the buffers of two sockets.
        let sent = origin.bytes_sent(path);
        assert!(sent < 40 * MIB, "{path}: {sent} bytes");
        // What came is kept.
        let first = if path == "/tail" { 70_000 } else { 0 };
        let range = format!("bytes={first}-{}", first + 9);
        let reply = edge.get_range(path, &range).await;
        assert!(reply.cache() == "HIT" && reply.is_pattern(SEED, first..first + 10), "{path}");
    }
}

/// A range runs no further ahead of its reader than told; a reader who goes on gets the rest, though the connection to
/// the origin was given back meanwhile.
#[tokio::test]
async fn a_paused_reader_gives_the_connection_back_and_gets_the_rest() {
    const LENGTH: u64 = 64 * MIB;
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.fill.read_ahead = "1MiB".to_owned();
        raw.fill.idle_secs = 1;
    });
    let edge = edge.await;
    origin.on("/x", object(LENGTH));
    let mut client = edge.open("GET", "/x", &[("range", "bytes=0-")]).await;
    assert!(is_pattern(&client.next(100_000).await, SEED, 0..100_000));
    origin.reach_aborted("/x", 1).await;
    let sent = origin.bytes_sent("/x");
    assert!(sent < 40 * MIB, "{sent} bytes");
    assert!(client.reads(&pattern_bytes(SEED, 100_000..LENGTH)).await);
    let resumed = &origin.requests("/x")[1];
    assert_eq!(resumed.header("if-range"), "\"1\"");
    eventually("rest", async || edge.metric("millrace_fills_in_flight", &[]).await == 0).await;
}

#[tokio::test]
async fn every_length_is_stored_whole() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 20 * BLOCK + 7]
    {
        for (kind, answer) in [
            ("tagged", object(length)),
            ("untagged", Answer::pattern(length, SEED).cache_control("max-age=60")),
            ("chunked", object(length).chunked()),
            ("until-close", object(length).until_close()),
            ("odd-pieces", object(length).chunk_bytes(10_007)),
        ] {
            let path = format!("/{kind}/{length}");
            origin.on(&path, answer);
            for cache in ["MISS", "HIT"] {
                let reply = edge.get(&path).await;
                assert_eq!((reply.status, reply.cache()), (200, cache), "{path}");
                assert!(reply.is_pattern(SEED, 0..length), "{path}");
                // A miss of unannounced length may be over before its answer begins.
                let told = reply.field("content-length");
                let open = cache == "MISS" && matches!(kind, "chunked" | "until-close") && told.is_empty();
                assert!(open || told == length.to_string(), "{path}: {told}");
            }
            assert_eq!((origin.hits(&path), origin.bytes_sent(&path)), (1, length), "{path}");
        }
    }
}
