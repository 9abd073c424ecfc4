//! How much of a CDN's load the memory tier answers, beside reference simulations of what the literature recommends.
//!
//! `cargo bench --bench hit_ratio`. Popularity is Zipf with exponent 0.9 (Breslau et al., INFOCOM 1999, and later CDN studies:
//! 0.6 to 1.0). Sizes are lognormal: the shape is that of the objects of the IRCache proxies (Wessels, Web Caching, appendix A:
//! median 3,372 and mean 22,499 bytes), the mean that of Wikipedia's CDN (Song et al., NSDI 2020: 35,234 bytes over 2.8
//! thousand million requests); none is larger than a block. Half of the requests warm the caches up. The reference of
//! W-TinyLFU counts exactly, and remembers the counts of all objects.
//!
//! Prints tables of hit ratios by requests and by bytes, and draws those of a popularity that stays to
//! `docs/plots/hit-ratio.svg` and `docs/plots/hit-ratio-bytes.svg`.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use millrace::cache::{Config, Content, Head, Key, Store};
use millrace_kit::{metrics::Registry, tasks::Tasks};

mod load;
mod plot;
mod policies;

use load::{Load, Ratios, Tally};
use policies::{Lru, Policy, S3Fifo, Sieve, TinyLfu};

/// Of the bytes of all objects.
const SHARES: [f64; 3] = [0.005, 0.02, 0.08];
const NAMES: [&str; 9] = [
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
/// What the tier counts for an entry beside what the head counts.
const OVERHEAD: usize = 128;

/// The memory tier as the server uses it.
async fn millrace(load: &Load, body: &Bytes, capacity: usize) -> anyhow::Result<Ratios> {
    let config = Config { memory_bytes: capacity, disk: None, block_size: 1 << 20 };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await?;
    let keys: Vec<_> = (0..load.sizes.len()).map(|n| Key::new(format!("/{n}"), store.seed())).collect();
    let mut tally = Tally::default();
    for (n, object) in load.requests.iter().enumerate() {
        let object = *object as usize;
        let held = store.peek(&keys[object]).is_some();
        tally.add(n, load.sizes[object], held);
        if !held {
            let head = head(&keys[object], load.sizes[object], body);
            store.put_head(&keys[object], head.into()).await;
        }
    }
    Ok(tally.ratios())
}

fn head(key: &Key, length: usize, body: &Bytes) -> Head {
    let content = Content::Inline(body.slice(..length));
    Head::new(key.text(), StatusCode::OK, &HeaderMap::new(), (0, 0), length as u64, content)
}

fn foyer(
    load: &Load,
    weights: &[usize],
    capacity: usize,
    policy: impl Into<foyer::EvictionConfig>,
) -> Ratios {
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

/// Of each cache, at one size.
async fn compare(load: &Load, body: &Bytes, capacity: usize) -> anyhow::Result<[Ratios; NAMES.len()]> {
    let key = |n: usize| Key::new(format!("/{n}"), millrace::cache::KeySeed(1));
    let weights: Vec<_> = load
        .sizes
        .iter()
        .enumerate()
        .map(|(n, size)| head(&key(n), *size, body).weight() + OVERHEAD)
        .collect();
    let simulate =
        |mut policy: Box<dyn Policy>| load.run(|object| policy.access(object as u64, weights[object]));
    Ok([
        millrace(load, body, capacity).await?,
        simulate(Lru::of(capacity)),
        simulate(S3Fifo::of(capacity)),
        simulate(Sieve::of(capacity)),
        simulate(TinyLfu::of(capacity)),
        foyer(load, &weights, capacity, foyer::S3FifoConfig::default()),
        foyer(load, &weights, capacity, foyer::LfuConfig::default()),
        foyer(load, &weights, capacity, foyer::SieveConfig {}),
        foyer(load, &weights, capacity, foyer::LruConfig::default()),
    ])
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let body = Bytes::from(vec![0; 1 << 20]);
    let mut table = String::new();
    for load in [Load::stationary(), Load::scanned(), Load::shifting()] {
        write!(table, "\nHits {}, per cent of requests (of bytes)\n\n| cache |", load.name)?;
        NAMES.iter().for_each(|name| _ = write!(table, " {name} |"));
        writeln!(table, "\n|---|{}", "--:|".repeat(NAMES.len()))?;
        let mut curves = [vec![Vec::new(); NAMES.len()], vec![Vec::new(); NAMES.len()]];
        for share in SHARES {
            let capacity = (load.bytes() as f64 * share) as usize;
            let ratios = compare(&load, &body, capacity).await?;
            write!(table, "| {} MiB |", capacity >> 20)?;
            for (n, Ratios { requests, bytes }) in ratios.into_iter().enumerate() {
                write!(table, " {requests:.1} ({bytes:.1}) |")?;
                curves[0][n].push(requests);
                curves[1][n].push(bytes);
            }
            writeln!(table)?;
        }
        if load.name == "stationary" {
            for (file, of, curves) in
                [("hit-ratio", "requests", &curves[0]), ("hit-ratio-bytes", "bytes", &curves[1])]
            {
                let drawn = NAMES.iter().zip(curves).take(5).map(|(name, curve)| (*name, &curve[..]));
                let svg = plot::draw(of, &SHARES, &drawn.collect::<Vec<_>>());
                std::fs::write(format!("{}/docs/plots/{file}.svg", env!("CARGO_MANIFEST_DIR")), svg)?;
            }
        }
    }
    std::io::Write::write_all(&mut std::io::stdout(), table.as_bytes())?;
    Ok(())
}
