//! Alertmanagers, Slack and silences, from the outside.

use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{
    alerts::toml,
    harness::{START, start},
    http_double::Double,
};

const LONG: &str = "queue_depth{queue=\"media\"} 12\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_is_kept_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let (target, webhook, manager) =
        (Double::start(LONG).await, Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &webhook)
        + &format!(
            "[[alertmanagers]]\nname = 'am'\nurl = '{}/base/'\n[external_labels]\ndc = 'eu'\n",
            manager.url()
        );
    let rig = start(&folder.path().join("data"), &config, &clock).unwrap();
    for _ in 0..4 {
        rig.step(15).await;
    }
    let posted = manager.posted();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0][0]["labels"]["dc"], "eu");
    assert_eq!(posted[0][0]["startsAt"], "2026-01-01T00:00:45Z");
    assert_eq!(posted[0][0]["endsAt"], "2026-01-01T00:04:45Z", "four minutes from now");
    // Heard of again each minute.
    for _ in 0..8 {
        rig.step(15).await;
    }
    assert_eq!(manager.posted().len(), 2);
    // Away while the alert resolves: it hears of the end all the same.
    manager.fail(500);
    target.expose("queue_depth{queue=\"media\"} 1\n");
    rig.step(15).await;
    manager.expose("");
    rig.step(15).await;
    let posted = manager.posted();
    assert_eq!(posted[0][0]["endsAt"], "2026-01-01T00:03:15Z");
    assert_eq!(posted[0][0]["annotations"]["resolve_reason"], "condition_false");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_set_over_http_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (target, webhook) = (Double::start(LONG).await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &webhook), &clock).unwrap();
    let silence = json!({
        "matchers": [{"name": "queue", "value": "med.*", "isRegex": true, "isEqual": true}],
        "startsAt": "2026-01-01T00:00:00.000Z",
        "endsAt": "2026-01-01T00:02:00+00:00",
        "createdBy": "ops",
        "comment": "works",
    });
    let refused = rig.post("/api/v2/silences", "text/plain", &silence.to_string()).await;
    assert_eq!(refused.status().as_u16(), 415);
    let set = rig.post("/api/v2/silences", "application/json", &silence.to_string()).await;
    assert_eq!(set.status().as_u16(), 200);
    let id: Value = serde_json::from_slice(&set.bytes().await.unwrap()).unwrap();
    let listed = rig.json("/api/v2/silences?filter=queue%3D%22med.*%22").await;
    assert_eq!((&listed[0]["id"], &listed[0]["status"]["state"]), (&id["silenceID"], &json!("active")));
    assert_eq!(rig.json("/api/v2/silences?filter=queue%3D%22other%22").await, json!([]));
    for _ in 0..6 {
        rig.step(15).await;
    }
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    assert!(webhook.posted().is_empty());
    rig.step(30).await;
    assert_eq!(webhook.posted().len(), 1, "told when the silence is over");
    let bad = rig.post("/api/v2/silences", "application/json", "{}").await;
    assert_eq!(bad.status().as_u16(), 400);
    rig.stop().await;
}
