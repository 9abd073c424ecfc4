//! How much of a CDN's load the memory tier answers, beside reference simulations of what the literature recommends.
//!
//! `cargo bench --bench hit_ratio`. Popularity is Zipf with exponent 0.9 (Breslau et al., INFOCOM 1999, and later CDN studies:
//! 0.6 to 1.0). Sizes are lognormal: the shape is that of the objects of the IRCache proxies (Wessels, Web Caching, appendix A:
//! median 3,372 and mean 22,499 bytes), the mean that of Wikipedia's CDN (Song et al., NSDI 2020: 35,234 bytes over 2.8
//! thousand million requests); none is larger than a block. Half of the requests warm the caches up.
//! Prints a table of object hit ratios and draws them to `docs/plots/hit-ratio.svg`.

use std::{collections::HashMap, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use millrace::cache::{Config, Content, Head, Key, Store};
use millrace_kit::{metrics::Registry, tasks::Tasks};

mod plot;
mod policies;

use policies::{Lru, Policy, S3Fifo, Sieve, TinyLfu};

const OBJECTS: usize = 100_000;
const REQUESTS: usize = 500_000;
const EXPONENT: f64 = 0.9;
const SHAPE: f64 = 1.948;
const MEAN: f64 = 35_234.0;
const LARGEST: f64 = 1_048_576.0;
/// Of the bytes of all objects.
const SHARES: [f64; 3] = [0.005, 0.02, 0.08];

struct Load {
    sizes: Vec<usize>,
    requests: Vec<u32>,
}

impl Load {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let middle = MEAN.ln() - SHAPE * SHAPE / 2.0;
        let mut size = || {
            let normal =
                (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
            (middle + SHAPE * normal).exp().clamp(64.0, LARGEST) as usize
        };
        let sizes = (0..OBJECTS).map(|_| size()).collect();
        let mut sum = 0.0;
        let cumulated: Vec<f64> = (1..=OBJECTS)
            .map(|rank| {
                sum += (rank as f64).powf(-EXPONENT);
                sum
            })
            .collect();
        let mut request = || cumulated.partition_point(|up_to| *up_to < random.f64() * sum) as u32;
        let requests = (0..REQUESTS).map(|_| request()).collect();
        Self { sizes, requests }
    }

    /// Hit ratio of the second half, in per cent.
    fn run(&self, mut access: impl FnMut(usize) -> bool) -> f64 {
        let mut hits = 0;
        for (n, object) in self.requests.iter().enumerate() {
            hits += usize::from(access(*object as usize) && n >= REQUESTS / 2);
        }
        hits as f64 * 200.0 / REQUESTS as f64
    }
}

/// The memory tier as the server uses it.
async fn millrace(load: &Load, capacity: usize) -> anyhow::Result<f64> {
    let config = Config { memory_bytes: capacity, disk: None, block_size: 1 << 20 };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await?;
    let body = Bytes::from(vec![0; 1 << 20]);
    let keys: Vec<_> = (0..OBJECTS).map(|n| Key::new(format!("/{n}"), store.seed())).collect();
    let mut hits = 0;
    for (n, object) in load.requests.iter().enumerate() {
        let object = *object as usize;
        if store.peek(&keys[object]).is_some() {
            hits += usize::from(n >= REQUESTS / 2);
            continue;
        }
        store.put_head(&keys[object], head(load, &keys, object, &body).into()).await;
    }
    Ok(hits as f64 * 200.0 / REQUESTS as f64)
}

fn head(load: &Load, keys: &[Key], object: usize, body: &Bytes) -> Head {
    let length = load.sizes[object];
    let content = Content::Inline(body.slice(..length));
    Head::new(keys[object].text(), StatusCode::OK, &HeaderMap::new(), (0, 0), length as u64, content)
}

fn foyer(load: &Load, weights: &[usize], capacity: usize, policy: impl Into<foyer::EvictionConfig>) -> f64 {
    let shards = (capacity >> 25).next_power_of_two().clamp(1, 64);
    let cache: foyer::Cache<u64, usize> = foyer::CacheBuilder::new(capacity)
        .with_shards(shards)
        .with_eviction_config(policy)
        .with_weighter(|_, weight: &usize| *weight)
        .build();
    load.run(|object| {
        let held = cache.get(&(object as u64)).is_some();
        if !held {
            cache.insert(object as u64, weights[object]);
        }
        held
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let load = Load::new();
    let all: usize = load.sizes.iter().sum();
    let body = Bytes::from(vec![0; 1 << 20]);
    let keys: Vec<_> = (0..OBJECTS).map(|n| Key::new(format!("/{n}"), millrace::cache::KeySeed(1))).collect();
    // What the tier counts for each: the head, the body and its own bookkeeping.
    let weights: Vec<_> = (0..OBJECTS).map(|n| head(&load, &keys, n, &body).weight() + 256).collect();
    let mut curves: HashMap<&'static str, Vec<f64>> = HashMap::new();
    let names = [
        "millrace",
        "LRU",
        "S3-FIFO",
        "SIEVE",
        "W-TinyLFU",
        "foyer S3-FIFO",
        "foyer LFU",
        "foyer SIEVE",
        "foyer LRU",
    ];
    for share in SHARES {
        let capacity = (all as f64 * share) as usize;
        let simulate =
            |mut policy: Box<dyn Policy>| load.run(|object| policy.access(object as u64, weights[object]));
        let ratios = [
            millrace(&load, capacity).await?,
            simulate(Lru::of(capacity)),
            simulate(S3Fifo::of(capacity)),
            simulate(Sieve::of(capacity)),
            simulate(TinyLfu::of(capacity)),
            foyer(&load, &weights, capacity, foyer::S3FifoConfig::default()),
            foyer(&load, &weights, capacity, foyer::LfuConfig::default()),
            foyer(&load, &weights, capacity, foyer::SieveConfig {}),
            foyer(&load, &weights, capacity, foyer::LruConfig::default()),
        ];
        for (name, ratio) in names.iter().zip(ratios) {
            curves.entry(name).or_default().push(ratio);
        }
    }
    let mut table = format!("{OBJECTS} objects, {} MiB, {REQUESTS} requests\n\n| cache |", all >> 20);
    names.iter().for_each(|name| _ = write!(table, " {name} |"));
    writeln!(table, "\n|---|{}", "--:|".repeat(names.len()))?;
    for (n, share) in SHARES.iter().enumerate() {
        write!(table, "| {:.0} MiB, {:.1} % |", all as f64 * share / 1_048_576.0, share * 100.0)?;
        names.iter().for_each(|name| _ = write!(table, " {:.2} |", curves[name][n]));
        writeln!(table)?;
    }
    std::io::Write::write_all(&mut std::io::stdout(), table.as_bytes())?;
    let curves: Vec<_> = names[..5].iter().map(|name| (*name, curves[name].as_slice())).collect();
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plots/hit-ratio.svg");
    std::fs::write(target, plot::draw(&SHARES, &curves))?;
    Ok(())
}
