//! What a small object costs in memory beyond its payload.
//!
//! `cargo bench --bench memory`: stores many objects of 1 KiB with the fields of a usual answer, with the server's
//! allocator, and counts resident memory: as they were stored, and after each was asked for once. Payload is the body, the
//! text of the key, and the text of names and values of the fields.

use std::hint::black_box;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use millrace::cache::{Config, Content, Found, Head, Key, Store};
use millrace_kit::{metrics::Registry, tasks::Tasks};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const OBJECTS: usize = 200_000;
const BODY: usize = 1024;

const FIELDS: [(&str, &str); 6] = [
    ("content-type", "image/webp"),
    ("cache-control", "public, max-age=86400"),
    ("etag", "\"5f3c9a1b7e2d4c60\""),
    ("last-modified", "Tue, 18 Nov 2025 09:30:12 GMT"),
    ("date", "Fri, 20 Nov 2026 11:02:45 GMT"),
    ("accept-ranges", "bytes"),
];

fn resident() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:"));
    Ok(line.unwrap_or("0").trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config { memory_bytes: 4 << 30, disk: None, block_size: 1 << 20 };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await?;
    let mut headers = HeaderMap::new();
    for (name, value) in FIELDS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let fields: usize = FIELDS.iter().map(|(name, value)| name.len() + value.len()).sum();
    let before = resident()?;
    let mut payload = 0;
    let key = |n: usize| Key::new(format!("/images/products/{n}.webp?w=640"), store.seed());
    for n in 0..OBJECTS {
        let key = key(n);
        let content = Content::Inline(Bytes::from(vec![n as u8; BODY]));
        let head = Head::new(key.text(), StatusCode::OK, &headers, (0, 0), BODY as u64, content);
        payload += BODY + key.text().len() + fields;
        store.put_head(&key, head.into()).await;
    }
    let stored = resident()? - before;
    for n in 0..OBJECTS {
        // As for an answer.
        if let Some(Found::Head(head)) = store.peek(&key(n)) {
            black_box((head.fields.iter().count(), head.inline()));
        }
    }
    let used = resident()? - before;
    let counted = store.stats().memory_bytes as usize;
    let each = |bytes: usize| bytes as f64 / OBJECTS as f64;
    let lines = [
        format!("resident, for each object:    {:.0} bytes; {:.0} after use", each(stored), each(used)),
        format!("payload (key, fields, body):  {:.0} bytes", each(payload)),
        format!(
            "beyond payload:               {:.0} bytes; {:.0} after use",
            each(stored) - each(payload),
            each(used) - each(payload)
        ),
        format!("what the tier counts:         {:.0} bytes", each(counted)),
        format!("of that, the head itself:     {} bytes", size_of::<Head>()),
    ];
    std::io::Write::write_all(&mut std::io::stdout(), (lines.join("\n") + "\n").as_bytes())?;
    Ok(())
}
