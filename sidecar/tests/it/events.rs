//! What the dashboard hears while it is open, and what it is told of alerts that are held back.

use std::time::Duration;

use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{
    alerts::toml,
    harness::{Rig, START, start},
    http_double::Double,
};

const LONG: &str = "queue_depth{queue=\"media\"} 12\n";

/// Server-sent events, read one by one.
struct Listener {
    response: reqwest::Response,
    text: String,
}

impl Listener {
    async fn open(rig: &Rig) -> Self {
        let response = rig.get("/api/v1/events").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let mut listener = Self { response, text: String::new() };
        assert!(listener.block().await.unwrap().starts_with("retry: "));
        listener
    }

    /// None at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let read = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await;
            let chunk = read.expect("news within 20 s").unwrap_or_default()?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    async fn event(&mut self) -> (String, Value) {
        let block = self.block().await.expect("an event");
        let (kind, data) = block.split_once('\n').expect("two lines");
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (kind.strip_prefix("event: ").unwrap().to_owned(), data)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hear_of_alerts_and_targets_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) =
        (Double::start("queue_depth{queue=\"media\"} 3\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    let mut listener = Listener::open(&rig).await;

    rig.step(0).await;
    let (kind, data) = listener.event().await;
    assert_eq!((kind.as_str(), &data["health"], &data["error"]), ("targets", &json!("up"), &Value::Null));
    let (kind, data) = listener.event().await;
    assert_eq!((kind.as_str(), data), ("alert", json!({ "firing": 0, "pending": 0, "changes": [] })));

    target.expose(LONG);
    rig.step(15).await;
    let labels = json!({
        "alertname": "QueueLong", "queue": "media", "severity": "page",
        "job": "millrace", "instance": target.address.to_string(),
    });
    let (_, data) = listener.event().await;
    assert_eq!(
        (&data["pending"], &data["changes"]),
        (&json!(1), &json!([{ "labels": labels, "state": "pending" }]))
    );
    // Nothing has changed: nothing is said.
    rig.step(15).await;
    rig.step(15).await;
    let (_, data) = listener.event().await;
    assert_eq!(
        (&data["firing"], &data["changes"]),
        (&json!(1), &json!([{ "labels": labels, "state": "firing" }]))
    );

    target.fail(500);
    rig.step(15).await;
    let (kind, data) = listener.event().await;
    assert_eq!(
        (kind.as_str(), &data["health"], &data["error"]),
        ("targets", &json!("down"), &json!("answered 500"))
    );
    let (_, data) = listener.event().await;
    assert_eq!(data["changes"], json!([{ "labels": labels, "state": "inactive" }]));

    // An open stream does not keep the sidecar from stopping.
    let stopped = tokio::time::timeout(Duration::from_secs(5), rig.stop()).await;
    assert!(stopped.is_ok(), "the stream ends when the sidecar does");
    assert_eq!(listener.block().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_what_holds_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start(LONG).await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    rig.step(0).await;
    assert_eq!(rig.json("/api/v2/alerts").await, json!([]), "pending ones only when asked for");
    let pending = rig.json("/api/v2/alerts?pending=true&filter=queue%3D~%22me.*%22").await;
    assert_eq!(pending[0]["status"]["state"], "unprocessed", "{pending}");
    for _ in 0..3 {
        rig.step(15).await;
    }
    let firing = rig.json("/api/v2/alerts").await;
    assert_eq!(firing[0]["status"]["state"], "active", "{firing}");
    assert_eq!(firing[0]["receivers"], json!([{ "name": "ops" }]));

    let silence = json!({
        "matchers": [{ "name": "queue", "value": "media", "isRegex": false }],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T01:00:00Z", "createdBy": "kim", "comment": "known",
    });
    let made = rig.post("/api/v2/silences", "application/json", &silence.to_string()).await;
    let made: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
    let held = rig.json("/api/v2/alerts").await;
    assert_eq!(held[0]["status"]["state"], "suppressed");
    assert_eq!(held[0]["status"]["silencedBy"], json!([made["silenceID"]]));
    assert_eq!(held[0]["fingerprint"], firing[0]["fingerprint"]);
    assert_eq!(rig.json("/api/v2/alerts?silenced=false").await, json!([]));
    assert_eq!(rig.json("/api/v2/alerts?filter=queue%3D%22other%22").await, json!([]));
    assert_eq!(rig.get("/api/v2/alerts?filter=queue%3D~%22(%22").await.status().as_u16(), 400);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_listen_than_may() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(Listener::open(&rig).await);
    }
    let refused = rig.get("/api/v1/events").await;
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.text().await.unwrap().contains("/api/v1/alerts"), "and what to do instead");
    rig.stop().await;
}
