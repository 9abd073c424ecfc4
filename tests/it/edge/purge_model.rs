//! Whatever meets on its way: who asks after a receipt gets nothing from before the purge.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use futures_util::future::join_all;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

/// Purges and requests together.
const STEPS: usize = 10_000;
const CLIENTS: u64 = 12;
const OBJECTS: usize = 8;

/// An object at the origin.
#[derive(Default)]
struct Object {
    version: AtomicU64,
    /// No older version may be answered to those who ask from now on.
    least: AtomicU64,
}

fn path(index: usize) -> String {
    format!("/{}/{index}", if index < OBJECTS / 2 { "low" } else { "high" })
}

/// What to purge, and whom that concerns.
fn purge(random: &mut fastrand::Rng) -> (String, Vec<usize>) {
    let one = random.usize(..OBJECTS);
    let soft = random.bool();
    let (name, concerned) = match random.u8(..10) {
        0 => (r#""all":true"#.to_owned(), (0..OBJECTS).collect()),
        1 => (r#""prefixes":["/low"]"#.to_owned(), (0..OBJECTS / 2).collect()),
        2 | 3 => {
            let odd = one % 2;
            (format!(r#""tags":["odd{odd}"]"#), (0..OBJECTS).filter(|index| index % 2 == odd).collect())
        }
        4..7 => (format!(r#""tags":["only{one}"]"#), vec![one]),
        _ => (format!(r#""urls":["{}"]"#, path(one)), vec![one]),
    };
    (format!("{{{name},\"soft\":{soft}}}"), concerned)
}

async fn interleave(edge: &Edge, origin: &OriginDouble, steps: usize, seed: u64) {
    let objects: Arc<Vec<Object>> = Arc::new((0..OBJECTS).map(|_| Object::default()).collect());
    for index in 0..OBJECTS {
        let objects = objects.clone();
        origin.on_with(&path(index), move |request| {
            let version = objects[index].version.load(Ordering::SeqCst);
            let answer = Answer::ok(version.to_string())
                .etag(&format!("\"{version}\""))
                .cache_control("max-age=3600")
                .header("surrogate-key", &format!("odd{} only{index}", index % 2));
            // Some vary; some come with a validator and some without; some late.
            let answer = if index % 4 == 1 { answer.header("vary", "accept") } else { answer };
            let pause = request.header("x-pause").parse().unwrap_or(0);
            answer.latency(std::time::Duration::from_micros(pause))
        });
    }
    let (taken, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    join_all((0..CLIENTS).map(async |client| {
        let mut random = fastrand::Rng::with_seed(seed * CLIENTS + client);
        while taken.fetch_add(1, Ordering::Relaxed) < steps {
            if random.u8(..4) == 0 {
                let (purge, concerned) = purge(&mut random);
                let versions: Vec<_> = concerned
                    .iter()
                    .map(|index| objects[*index].version.fetch_add(1, Ordering::SeqCst) + 1)
                    .collect();
                edge.purge(&purge).await;
                for (index, version) in concerned.iter().zip(versions) {
                    objects[*index].least.fetch_max(version, Ordering::SeqCst);
                }
                continue;
            }
            let index = random.usize(..OBJECTS);
            let least = objects[index].least.load(Ordering::SeqCst);
            let pause = random.choice([0, 0, 500, 2000]).unwrap_or(0).to_string();
            let accept = if random.bool() { "a" } else { "b" };
            let reply = edge.send("GET", &path(index), &[("x-pause", &pause), ("accept", accept)]).await;
            let version: u64 = reply.text().parse().unwrap();
            assert!(version >= least, "seed {seed}: {} {version} < {least}: {reply:?}", path(index));
            hits.fetch_add(usize::from(reply.cache() == "HIT"), Ordering::Relaxed);
        }
    }))
    .await;
    let hits = hits.into_inner();
    assert!(hits > steps / 20, "only {hits} hits: this says little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_from_before_a_receipt_is_answered_after_it() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    interleave(&edge, &origin, STEPS, 1).await;
}

/// With the log, whose receipts take their time, and restarts in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_a_disk_and_restarts() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    for seed in 2..4 {
        interleave(&edge, &origin, STEPS / 20, seed).await;
        let purged = edge.purge(r#"{"all":true}"#).await;
        edge.restart().await;
        assert!(edge.metric("millrace_purge_sequence", &[]).await > purged);
    }
}
