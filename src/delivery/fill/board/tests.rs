//! Who keeps a flight in the air.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::HeaderValue;
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    cache::{Config, Store},
    delivery::{fill::Ask, fill::Limits, instruments, policy::tests::policies},
};

/// Answers when it is let, and is left when nobody waits.
struct Gated(Arc<Semaphore>);

impl Upstream for Gated {
    fn open(&self, _: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>> {
        async {
            let _ = self.0.acquire().await;
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            let body = stream::iter([Ok(Bytes::from_static(b"x"))]).boxed();
            let origin = Arc::from("gated");
            Ok(origin::Response { status: StatusCode::OK, headers, content_length: Some(1), body, origin })
        }
        .boxed()
    }

    fn is_abandonable(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_refresh_outlives_the_client_whose_flight_it_shares() {
    let tasks = Tasks::new();
    let config = Config { memory_bytes: 1 << 20, disk: None, block_size: 1 << 16 };
    let store = Store::open(&config, &Registry::new(), &tasks).await.unwrap();
    let limits = Limits { read_ahead: 1, finish: 1, idle: Duration::from_secs(1), resumes: 1 };
    let instruments = instruments::of_fills(&Registry::new()).unwrap();
    let fills = Fills::new(store.clone(), limits, Clock::System, tasks.clone(), instruments);
    let policy = policies(&[]).of("", "/").clone();
    for refreshed in [false, true] {
        let gate = Arc::new(Semaphore::new(0));
        let key = Key::new(format!("/{refreshed}"), store.seed());
        let wanted = || Wanted {
            primary: key.clone(),
            key: key.clone(),
            upstream: Arc::new(Gated(gate.clone())),
            method: Method::GET,
            headers: Arc::default(),
            policy: policy.clone(),
            control: RequestControl::default(),
            range: None,
            seen: None,
            stale: None,
        };
        let Boarded::Boarding(client) = fills.board(wanted()) else { panic!("no flight") };
        if refreshed {
            fills.refresh(wanted());
        }
        // It has begun to wait before its only client leaves.
        tokio::task::yield_now().await;
        drop(client);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if refreshed {
            gate.add_permits(1);
        }
        assert!(tasks.drain(Duration::from_secs(10)).await, "{refreshed}");
        assert_eq!(store.find(&key).await.is_some(), refreshed);
    }
}
