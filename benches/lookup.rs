//! What a lookup in memory costs, beside a bare lookup in foyer's cache.
//!
//! `cargo bench --bench lookup`: one and two threads, each on all objects and on one that all want. Takes turns, so that all see
//! the same machine; prints medians. A look of the server also tells whether the object has been purged.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use millrace::cache::{Config, Content, Head, Key, Store};
use millrace_kit::{metrics::Registry, tasks::Tasks};

const OBJECTS: usize = 20_000;
const LOOKS: usize = 200_000;
const ROUNDS: usize = 15;
const MEMORY: usize = 64 << 20;

/// Nanoseconds for one look of one thread.
fn time(threads: usize, hot: bool, look: &(impl Fn(usize) -> bool + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        let mut random = fastrand::Rng::with_seed(thread as u64);
        barrier.wait();
        let begun = Instant::now();
        let found = (0..LOOKS).filter(|_| look(if hot { 7 } else { random.usize(..OBJECTS) })).count();
        assert_eq!(black_box(found), LOOKS);
        begun.elapsed().as_nanos() as f64 / LOOKS as f64
    };
    let run = &run;
    let times: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config { memory_bytes: MEMORY, disk: None, block_size: 1 << 20 };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await?;
    let foyer: foyer::Cache<u128, Arc<Head>> = foyer::CacheBuilder::new(MEMORY)
        .with_shards(2)
        .with_eviction_config(foyer::S3FifoConfig::default())
        .with_weighter(|_, head: &Arc<Head>| head.weight())
        .build();
    let keys: Vec<_> = (0..OBJECTS).map(|n| Key::new(format!("/{n}"), store.seed())).collect();
    for key in &keys {
        let content = Content::Inline(Bytes::from(vec![0; 1000]));
        let head = Arc::new(Head::new(key.text(), StatusCode::OK, &HeaderMap::new(), (0, 0), 1000, content));
        foyer.insert(key.hash(), head.clone());
        store.put_head(key, head).await;
    }
    let in_store = |n: usize| store.peek(black_box(&keys[n])).is_some();
    let in_foyer = |n: usize| foyer.get(black_box(&keys[n].hash())).is_some();
    let mut lines = String::new();
    for (threads, hot) in [(1, false), (2, false), (1, true), (2, true)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(time(threads, hot, &in_store));
            theirs.push(time(threads, hot, &in_foyer));
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_unstable_by(f64::total_cmp);
            times[ROUNDS / 2]
        };
        let what = if hot { "one object" } else { "all objects" };
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        lines += &format!("{threads} threads, {what}: {ours:.0} ns, foyer alone {theirs:.0} ns\n");
    }
    std::io::Write::write_all(&mut std::io::stdout(), lines.as_bytes())?;
    Ok(())
}
