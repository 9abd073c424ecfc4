//! Fills, and those who wait for them, when there is no memory.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, Method, header};
use millrace_kit::metrics::Registry;

use super::*;
use crate::{
    cache::{Config, Found, Loan, control::RequestControl},
    delivery::{instruments, policy::tests::policies, reader::Reader},
};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 4 * MIB;

/// Has one object, and counts how often it is asked.
#[derive(Default)]
struct Counting {
    asked: AtomicUsize,
}

impl Upstream for Counting {
    fn open(&self, ask: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let part = ask.range.map(|range| match range {
            crate::delivery::range::Spec::FromTo(first, last) => first..(last + 1).min(LENGTH),
            crate::delivery::range::Spec::From(first) => first..LENGTH,
            crate::delivery::range::Spec::Suffix(count) => LENGTH - count..LENGTH,
        });
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
        if let Some(part) = &part {
            let value = format!("bytes {}-{}/{LENGTH}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(value).unwrap());
        }
        let status = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let part = part.unwrap_or(0..LENGTH);
        let bytes = part.clone().map(byte_at).collect::<Vec<_>>();
        let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
        let content_length = Some(part.end - part.start);
        let origin = Arc::from("counting");
        async move { Ok(origin::Response { status, headers, content_length, body, origin }) }.boxed()
    }
}

fn byte_at(offset: u64) -> u8 {
    (offset / 7 % 251) as u8
}

struct Bench {
    fills: Arc<Fills>,
    tasks: Tasks,
    upstream: Arc<Counting>,
    key: Key,
}

impl Bench {
    /// Without a disk; a sixteenth of the memory is one of its blocks.
    async fn new() -> Self {
        let tasks = Tasks::new();
        let config = Config { memory_bytes: 16 << 20, disk: None, block_size: 1 << 20 };
        let store = Store::open(&config, &Registry::new(), &tasks).await.unwrap();
        let limits =
            Limits { read_ahead: 8 * MIB, finish: 1 << 30, idle: Duration::from_secs(20), resumes: 1 };
        let key = Key::new("/x", store.seed());
        let instruments = instruments::of_fills(&Registry::new()).unwrap();
        let fills = Fills::new(store, limits, Clock::System, tasks.clone(), instruments);
        Self { fills, tasks, upstream: Arc::default(), key }
    }

    /// More than may be.
    fn all_lent(&self) -> Loan {
        self.fills.store().lend(300 << 20)
    }

    /// Of all there is room for.
    async fn all_taken(&self) -> room::Place {
        self.fills.context.room.enter(16 * MIB, room::Taker::New).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.upstream.asked.load(Ordering::Relaxed)
    }

    /// What is stored is to be validated.
    fn board(&self, stored: Option<&Arc<Head>>) -> Boarding {
        let wanted = Wanted {
            primary: self.key.clone(),
            key: self.key.clone(),
            upstream: self.upstream.clone(),
            method: Method::GET,
            headers: Arc::default(),
            policy: policies(&[]).of("", "/").clone(),
            control: RequestControl::default(),
            range: None,
            seen: stored.cloned(),
            stale: stored.cloned(),
        };
        let Boarded::Boarding(boarding) = self.fills.board(wanted) else { panic!("no flight") };
        boarding
    }

    async fn put(&self, length: u64, content: Content) -> Arc<Head> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
        let head = Head::new(self.key.text(), StatusCode::OK, &headers, (0, 0), length, content);
        let head = Arc::new(head);
        self.fills.store().put_head(&self.key, head.clone()).await;
        head
    }

    /// Of which the first block is stored.
    async fn begun(&self) -> Object {
        let incarnation = Incarnation::new();
        let head = self.put(LENGTH, Content::Blocks { incarnation, block_size: 1 << 20 }).await;
        self.fills.store().put_block(incarnation, 0, (0..MIB).map(byte_at).collect()).await;
        Object { key: self.key.clone(), head, upstream: self.upstream.clone(), headers: Arc::default() }
    }

    fn stored(&self) -> Option<Arc<Head>> {
        match self.fills.store().peek(&self.key) {
            Some(Found::Head(head)) => Some(head),
            _ => None,
        }
    }

    /// Without time passing.
    async fn soon(&self, what: &str, is: impl Fn() -> bool) {
        for _ in 0..1000 {
            if is() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{what}");
    }
}

#[tokio::test]
async fn what_is_stored_stays_when_there_is_no_memory_for_what_would_replace_it() {
    let bench = Bench::new().await;
    let old = bench.put(3, Content::Inline(Bytes::from_static(b"old"))).await;
    let lent = bench.all_lent();
    assert!(matches!(bench.board(Some(&old)).landed().await, Landed::Full));
    assert!(bench.stored().is_some_and(|stored| Arc::ptr_eq(&stored, &old)));
    drop(lent);
    assert!(matches!(bench.board(Some(&old)).landed().await, Landed::Object(_)));
    assert_eq!(bench.stored().unwrap().length, LENGTH);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_the_fill_out_of_the_line() {
    let bench = Bench::new().await;
    let object = bench.begun().await;
    let room = &bench.fills.context.room;
    // Scarce, else it would not wait for long.
    let _lent = bench.fills.store().lend(200 << 20);
    for whole in [false, true] {
        let _taken = bench.all_taken().await;
        let mut clients = (None, None);
        match whole {
            false => match bench.fills.cover(&object, MIB..LENGTH, Pace::Whole) {
                Some(Cover::Transfer(attachment)) => clients.0 = Some(attachment),
                _ => panic!("no transfer"),
            },
            true => clients.1 = Some(bench.board(bench.stored().as_ref())),
        }
        bench.soon("it waits", || room.is_wanted()).await;
        drop(clients);
        tokio::time::sleep(3 * room::PATIENCE).await;
        bench.soon("it waits no more", || !room.is_wanted()).await;
        bench.soon("it is gone", || bench.tasks.running() == 0).await;
    }
    assert!(bench.stored().is_some());
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_memory_without_asking_the_origin() {
    let bench = Bench::new().await;
    let object = bench.begun().await;
    let reader = |range| Reader::new(bench.fills.clone(), object.clone(), range, Pace::Demand, None);
    let mut begun = reader(0..LENGTH);
    let mut got = Vec::new();
    while (got.len() as u64) < MIB {
        got.extend(begun.next().await.unwrap().unwrap());
    }
    let lent = bench.all_lent();
    assert!(matches!(reader(MIB..LENGTH).next().await, Some(Err(Error::Full))), "nothing has come yet");
    {
        let mut next = std::pin::pin!(begun.next());
        assert!(tokio::time::timeout(Duration::from_secs(20), &mut next).await.is_err());
        assert_eq!(bench.asked(), 0);
        drop(lent);
        got.extend(next.await.unwrap().unwrap());
    }
    while let Some(bytes) = begun.next().await {
        got.extend(bytes.unwrap());
    }
    assert!(got.into_iter().eq((0..LENGTH).map(byte_at)));
    assert_eq!(bench.asked(), 1);
}
