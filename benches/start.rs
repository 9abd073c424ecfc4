//! How long opening takes with a million entries on disk.
//!
//! `cargo bench --bench start`: writes them (4 GiB), closes, opens again. `DIR` keeps them in `$DIR/cache`, so that a server can
//! be started on them with `--data-dir $DIR --disk 8GiB`; `ENTRIES` is how many.

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace::cache::{Config, Content, DiskConfig, Head, Key, Store};
use millrace_kit::{metrics::Registry, tasks::Tasks};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let entries: usize = std::env::var("ENTRIES").map_or(Ok(1_000_000), |count| count.parse())?;
    let temporary = tempfile::tempdir()?;
    let dir = std::env::var("DIR").map_or_else(|_| temporary.path().to_owned(), PathBuf::from);
    let disk = Some(DiskConfig { dir: dir.join("cache"), bytes: 8 << 30, write_rate: 0 });
    let config = Config { memory_bytes: 64 << 20, disk, block_size: 1 << 20 };
    let tasks = Tasks::new();
    let store = Store::open(&config, &Registry::new(), &tasks).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    let key = |n: usize, store: &Store| Key::new(format!("/images/{n}.webp"), store.seed());
    for n in 0..entries {
        let content = Content::Inline(Bytes::from(vec![n as u8; 1024]));
        let key = key(n, &store);
        let head = Head::new(key.text(), StatusCode::OK, &headers, (0, 0), 1024, content);
        store.put_head(&key, head.into()).await;
    }
    store.close().await;
    drop(store);
    let begun = Instant::now();
    let store = Store::open(&config, &Registry::new(), &tasks).await?;
    let opened = begun.elapsed();
    let (mut found, looks) = (0, 1000);
    for look in 0..looks {
        found += usize::from(store.find(&key(look * entries / looks, &store)).await.is_some());
    }
    let line = format!("{entries} entries: open after {opened:?}; {found} of {looks} looked for are there\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    store.close().await;
    Ok(())
}
