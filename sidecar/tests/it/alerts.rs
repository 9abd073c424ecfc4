//! From a scrape to a message, and back to quiet.

use std::path::Path;

use millrace_kit::clock::Clock;
use serde_json::json;

use crate::{
    harness::{START, start},
    http_double::Double,
};

pub const RULES: &str = "
groups:
- name: test
  rules:
  - alert: QueueLong
    expr: queue_depth > 10
    for: 30s
    labels: {severity: page}
    annotations: {summary: '{{ $value }} wait in {{ $labels.queue }}'}
";

/// Configuration for one target, one rule file and one receiver.
pub fn toml(folder: &Path, target: &Double, receiver: &Double) -> String {
    let rules = folder.join("rules.yml");
    if !rules.exists() {
        std::fs::write(&rules, RULES).unwrap();
    }
    format!(
        "[[targets]]\nurl = '{}'\n[rules]\nfiles = ['{}']\n[scrape]\nitself = false\n[[webhooks]]\nname = 'ops'\nurl = '{}/hook'\ngroup_wait_secs = 0\ngroup_interval_secs = 0\n",
        target.url(),
        rules.display(),
        receiver.url(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_lives_from_pending_to_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) =
        (Double::start("queue_depth{queue=\"media\"} 3\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();

    rig.step(0).await;
    assert_eq!(rig.query("queue_depth").await, ["__name__=queue_depth,queue=media 3"]);
    assert!(rig.alerts().await.is_empty());

    target.expose("queue_depth{queue=\"media\"} 12\n");
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong pending"]);
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong pending"]);
    assert!(receiver.posted().is_empty());

    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    assert_eq!(
        rig.query("ALERTS{alertstate=\"firing\"}").await,
        ["__name__=ALERTS,alertname=QueueLong,alertstate=firing,queue=media,severity=page 1"]
    );
    assert!(rig.query("ALERTS{alertstate=\"pending\"}").await.is_empty());
    let posted = receiver.posted();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0]["status"], "firing");
    assert_eq!(posted[0]["alerts"][0]["annotations"], json!({"summary": "12 wait in media"}));
    assert_eq!(posted[0]["alerts"][0]["startsAt"], "2026-01-01T00:00:45Z");

    rig.step(15).await;
    assert!(receiver.posted().is_empty(), "told once");

    target.expose("queue_depth{queue=\"media\"} 2\n");
    rig.step(15).await;
    assert!(rig.alerts().await.is_empty());
    let posted = receiver.posted();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0]["status"], "resolved");
    assert_eq!(posted[0]["alerts"][0]["endsAt"], "2026-01-01T00:01:15Z");
    assert!(rig.query("ALERTS").await.is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_gets_the_newest_state() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) =
        (Double::start("queue_depth{queue=\"media\"} 12\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    receiver.fail(503);
    for _ in 0..5 {
        rig.step(15).await;
    }
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    let status = rig.json("/status").await;
    assert_eq!(status["receivers"], json!([{"receiver": "ops", "pending": 1, "last_error": "answered 503"}]));

    receiver.expose("");
    target.expose("queue_depth{queue=\"media\"} 40\n");
    rig.step(15).await;
    let posted = receiver.posted();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0]["alerts"][0]["annotations"]["summary"], "40 wait in media");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rules_change_nothing_and_good_ones_keep_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) =
        (Double::start("queue_depth{queue=\"media\"} 12\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    rig.step(0).await;
    assert_eq!(rig.alerts().await, ["QueueLong pending"]);

    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, RULES.replace("queue_depth > 10", "queue_depth >")).unwrap();
    assert!(!rig.evaluation.read_rules());
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong pending"]);

    std::fs::write(&rules, RULES.replace("queue_depth > 10", "queue_depth > 11")).unwrap();
    assert!(rig.evaluation.read_rules());
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    let groups = rig.json("/api/v1/rules").await;
    assert_eq!(groups["data"]["groups"][0]["rules"][0]["query"], "queue_depth > 11");

    // A rule that is taken away resolves what it fired.
    receiver.posted();
    std::fs::write(&rules, "groups: []").unwrap();
    assert!(rig.evaluation.read_rules());
    rig.step(15).await;
    assert_eq!(receiver.posted()[0]["status"], "resolved");
    rig.stop().await;
}
