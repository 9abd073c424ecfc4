//! What purges cost those who look something up: nothing on the books against a million purges there.
//!
//! `cargo bench --bench purge`. Takes turns, so that both sides see the same machine; prints medians.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use millrace::cache::{Config, Content, Head, Key, Store, purge::Purge};
use millrace_kit::{metrics::Registry, tasks::Tasks};

const OBJECTS: usize = 1000;
const PURGES: usize = 1_000_000;
const ROUNDS: usize = 101;
/// Looks at each object per round.
const LOOKS: usize = 20;

struct Side {
    store: Arc<Store>,
    keys: Vec<Key>,
}

impl Side {
    async fn open() -> anyhow::Result<Self> {
        let config = Config { memory_bytes: 64 << 20, disk: None, block_size: 1 << 20 };
        let store = Store::open(&config, &Registry::new(), &Tasks::new()).await?;
        let keys =
            (0..OBJECTS).map(|n| Key::new(format!("/films/{}/{n}.mp4", n % 7), store.seed())).collect();
        Ok(Self { store, keys })
    }

    /// Five tags each, as if fetched now.
    async fn fill(&self) {
        for (n, key) in self.keys.iter().enumerate() {
            let mut headers = HeaderMap::new();
            let tags = format!("film cast{} year{} region{} id{n}", n % 90, n % 30, n % 5);
            headers.extend(HeaderValue::try_from(tags).ok().map(|tags| (SURROGATE_KEY, tags)));
            let content = Content::Inline(Bytes::from_static(b"hello"));
            let head = Head::new(key.text(), StatusCode::OK, &headers, (0, 0), 5, content);
            let born = self.store.purges().latest();
            self.store.put_head(key, head.born_after(born).into()).await;
        }
    }

    /// Time for one look.
    fn look(&self, times: usize) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for _ in 0..times {
            for key in &self.keys {
                black_box(self.store.peek(key)).context("hidden")?;
            }
        }
        Ok(begun.elapsed() / u32::try_from(times * self.keys.len())?)
    }

    async fn purge_something_else(&self, n: usize) -> anyhow::Result<()> {
        let purge = match n % 3 {
            0 => Purge::hard().url(&format!("/other/{n}")),
            1 => Purge::hard().tag(&format!("other{n}"))?,
            _ => Purge::hard().prefix("", &format!("/other/{n}/"))?,
        };
        self.store.purges().purge(&purge, 0).await?;
        Ok(())
    }
}

const SURROGATE_KEY: http::HeaderName = http::HeaderName::from_static("surrogate-key");

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |median| median.as_nanos() as f64)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (without, with) = (Side::open().await?, Side::open().await?);
    without.fill().await;
    with.fill().await;
    let begun = Instant::now();
    for n in 0..PURGES {
        with.purge_something_else(n).await?;
    }
    let entered = begun.elapsed();
    let (mut none, mut million, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        none.push(without.look(LOOKS)?);
        // The first look after a purge asks the books, the others do not.
        with.purge_something_else(PURGES + round).await?;
        after.push(with.look(1)?);
        million.push(with.look(LOOKS)?);
    }
    let (none, million, after) = (median(&mut none), median(&mut million), median(&mut after));
    let lines = [
        format!("entering a purge, in memory: {:.0} ns", entered.as_nanos() as f64 / PURGES as f64),
        format!("a look, no purges:           {none:.0} ns"),
        format!("a look, a million purges:    {million:.0} ns ({:+.1} %)", (million / none - 1.0) * 100.0),
        format!("the first look after one:    {after:.0} ns"),
    ];
    std::io::Write::write_all(&mut std::io::stdout(), (lines.join("\n") + "\n").as_bytes())?;
    Ok(())
}
