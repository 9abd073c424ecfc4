//! How a server stops: what it still does, and what makes it hurry.

use std::time::Duration;

use rustix::process::Signal;

use super::{
    BLOCK, Edge,
    client::{self, is_pattern},
    eventually,
    process::Process,
};
use crate::origin_double::{Answer, Gate, OriginDouble};

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let origin = OriginDouble::start().await;
    let gate = Gate::new();
    origin.on("/x", Answer::pattern(4 * BLOCK, 1).etag("\"1\"").gate_at(BLOCK, &gate));
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT)] {
        let mut process = Process::over(&origin);
        let mut client = client::open(process.data, "GET", "/x", &[], b"").await;
        client.next(10).await;
        process.signal(first);
        eventually("a drain", async || process.admin("/health/ready").await.status == 503).await;
        assert_eq!(process.child.try_wait().unwrap(), None, "it waits for its client");
        process.signal(second);
        let complaints = tokio::task::spawn_blocking(move || (process.complaints(), process.child.wait()));
        let ended = tokio::time::timeout(Duration::from_secs(30), complaints).await;
        let (complaints, status) = ended.expect("the second signal was not heeded").unwrap();
        assert_eq!(status.unwrap().code(), Some(1), "{complaints}");
        assert!(complaints.contains("millrace: told to stop once more"), "{complaints}");
    }
}

#[tokio::test]
async fn one_signal_ends_in_success() {
    let origin = OriginDouble::start().await;
    let mut process = Process::over(&origin);
    process.signal(Signal::TERM);
    let complaints = process.complaints();
    assert_eq!(process.child.wait().unwrap().code(), Some(0), "{complaints}");
}

/// Longer than what the disk tier takes before it must have written something.
#[tokio::test]
async fn a_fill_without_clients_is_stored_during_the_drain() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    const LENGTH: u64 = 200 * BLOCK;
    let gate = Gate::new();
    let answer = Answer::pattern(LENGTH, 1).etag("\"1\"").cache_control("max-age=60");
    origin.on("/x", answer.gate_at(BLOCK, &gate));
    let mut client = edge.open("GET", "/x", &[]).await;
    client.next(10).await;
    drop(client);
    eventually("no clients", async || edge.metric("http_server_active_requests", &[]).await == 0).await;
    let stopped = edge.ask_to_stop();
    eventually("a drain", async || edge.admin_get("/health/ready").await.status == 503).await;
    gate.release();
    stopped.await.unwrap().unwrap();
    let next = edge.second().await.unwrap_or_else(|error| panic!("{error}"));
    let hit = next.get("/x").await;
    assert!(hit.cache() == "HIT" && is_pattern(&hit.body, 1, 0..LENGTH), "{}", hit.cache());
}
