//! Tests of `outbox`.

use super::*;
use crate::{
    notify::{Condition, Inhibition, InhibitionConfig, Silence, Silences},
    rules::Alert,
};

fn outbox(journal: Journal) -> Outbox {
    let group_by = vec!["alertname".to_owned()];
    of_kind(journal, Kind::Webhook { format: Format::Alertmanager, group_by }, vec![])
}

fn of_kind(journal: Journal, kind: Kind, inhibitions: Vec<Inhibition>) -> Outbox {
    let settings = Settings {
        receiver: "ops".to_owned(),
        external_url: "http://sidecar:8090".to_owned(),
        external_labels: Labels::from_pairs([("dc", "eu"), ("severity", "none")]),
        send_resolved: true,
        repeat_interval: Duration::from_secs(3600),
        kind,
        valid_for: Duration::from_secs(240),
        mutes: Arc::new(Mutes { silences: Arc::new(Silences::new(None)), inhibitions }),
    };
    Outbox::new(settings, journal)
}

fn alert(instance: &str, state: AlertState, fired_at: i64) -> AlertView {
    let labels = [("alertname", "Down"), ("instance", instance), ("severity", "page")];
    AlertView {
        group: "g".to_owned(),
        query: "up == 0".to_owned(),
        alert: Alert {
            labels: Labels::from_pairs(labels),
            annotations: Labels::from_pairs([("summary", "gone")]),
            state,
            value: 0.0,
            active_at: 0,
            fired_at: Some(fired_at),
            resolved_at: (state == AlertState::Resolved).then_some(90_000),
            absent_since: None,
            restored: false,
        },
    }
}

fn sent(outbox: &Outbox, now: i64) -> Option<serde_json::Value> {
    outbox.due(now).map(|delivery| delivery.body)
}

fn deliver(outbox: &mut Outbox, now: i64) -> Option<String> {
    let delivery = outbox.due(now)?;
    outbox.delivered(&delivery, now).unwrap();
    Some(delivery.body["status"].as_str().unwrap().to_owned())
}

#[test]
fn payload_is_that_of_alertmanager() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("b", AlertState::Firing, 60_000), alert("a", AlertState::Firing, 60_000)]);
    let mut payload = sent(&outbox, 0).unwrap();
    let fingerprint = payload["alerts"][0]["fingerprint"].take();
    assert_eq!(fingerprint.as_str().map(str::len), Some(16));
    payload["alerts"].as_array_mut().unwrap().truncate(1);
    assert_eq!(
        payload,
        serde_json::json!({
            "version": "4",
            "groupKey": "{}:{alertname=\"Down\"}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "ops",
            "groupLabels": {"alertname": "Down"},
            "commonLabels": {"alertname": "Down", "dc": "eu", "severity": "page"},
            "commonAnnotations": {"summary": "gone"},
            "externalURL": "http://sidecar:8090",
            "alerts": [{
                "status": "firing",
                "labels": {"alertname": "Down", "dc": "eu", "instance": "a", "severity": "page"},
                "annotations": {"summary": "gone"},
                "startsAt": "1970-01-01T00:01:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://sidecar:8090/#query=up+%3D%3D+0",
                "fingerprint": null,
            }],
        })
    );
}

#[test]
fn resolved_follows_a_delivered_firing_and_only_that() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    assert_eq!(deliver(&mut outbox, 0).as_deref(), Some("firing"));
    assert_eq!(deliver(&mut outbox, 1_000), None);
    outbox.update(&[alert("a", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, 2_000).as_deref(), Some("resolved"));
    outbox.update(&[alert("a", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, 3_000), None);
    // Never delivered as firing: the receiver hears nothing.
    outbox.update(&[alert("b", AlertState::Firing, 1)]);
    outbox.failed(4_000);
    outbox.update(&[alert("b", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, 100_000), None);
    assert!(outbox.alerts.is_empty() && outbox.told.is_empty(), "nothing is kept for it");
}

#[test]
fn failures_back_off_and_the_newest_state_arrives() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..11 {
        assert!(outbox.due(now).is_some());
        let next = outbox.failed(now);
        assert!(outbox.due(next - 1).is_none());
        waits.push((next - now) / 1000);
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    outbox.update(&[alert("b", AlertState::Firing, 1)]);
    assert_eq!(sent(&outbox, now).unwrap()["alerts"].as_array().unwrap().len(), 2);
}

#[test]
fn still_firing_is_repeated_and_firing_anew_is_news() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    deliver(&mut outbox, 0);
    assert_eq!(deliver(&mut outbox, 3_599_999), None);
    assert_eq!(deliver(&mut outbox, 3_600_000).as_deref(), Some("firing"));
    outbox.update(&[alert("a", AlertState::Firing, 99)]);
    assert_eq!(deliver(&mut outbox, 3_600_001).as_deref(), Some("firing"));
}

#[test]
fn a_restart_remembers_what_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = || Journal::new(Some(folder.path().join("told.json")));
    let mut before = outbox(journal());
    before.update(&[alert("a", AlertState::Firing, 1)]);
    deliver(&mut before, 0);
    let mut after = outbox(journal());
    after.update(&[alert("a", AlertState::Firing, 1)]);
    assert_eq!(deliver(&mut after, 1_000), None);
    after.update(&[alert("a", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut after, 2_000).as_deref(), Some("resolved"));
}

#[test]
fn the_number_of_alerts_is_bounded() {
    let mut outbox = outbox(Journal::new(None));
    let many: Vec<_> = (0..MAX_ALERTS + 5).map(|n| alert(&n.to_string(), AlertState::Firing, 1)).collect();
    outbox.update(&many);
    assert_eq!((outbox.pending(0), outbox.refused()), (MAX_ALERTS, 5));
}

#[test]
fn an_alertmanager_hears_again_each_minute_and_how_long_it_holds() {
    let mut outbox = of_kind(Journal::new(None), Kind::Alertmanager, vec![]);
    outbox.settings.repeat_interval = alertmanager::RESEND;
    outbox.update(&[alert("a", AlertState::Firing, 60_000)]);
    let first = outbox.due(100_000).unwrap();
    assert_eq!(
        first.body,
        serde_json::json!([{
            "labels": {"alertname": "Down", "dc": "eu", "instance": "a", "severity": "page"},
            "annotations": {"summary": "gone"},
            "startsAt": "1970-01-01T00:01:00Z",
            "endsAt": "1970-01-01T00:05:40Z",
            "generatorURL": "http://sidecar:8090/#query=up+%3D%3D+0",
        }])
    );
    outbox.delivered(&first, 100_000).unwrap();
    assert!(outbox.due(159_999).is_none());
    assert!(outbox.due(160_000).is_some());
    outbox.update(&[alert("a", AlertState::Resolved, 60_000)]);
    assert_eq!(outbox.due(110_000).unwrap().body[0]["endsAt"], "1970-01-01T00:01:30Z");
}

#[test]
fn a_silence_holds_back_the_firing_and_never_the_resolved() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    deliver(&mut outbox, 0);
    let condition =
        Condition { name: "alertname".to_owned(), value: "Down".to_owned(), is_regex: false, is_equal: true };
    let silence = Silence {
        id: String::new(),
        matchers: vec![condition],
        starts_at: 0,
        ends_at: 10_000,
        created_by: String::new(),
        comment: String::new(),
        updated_at: 0,
    };
    outbox.settings.mutes.silences.set(silence, 0).unwrap();
    outbox.update(&[alert("b", AlertState::Firing, 1)]);
    assert_eq!((deliver(&mut outbox, 1_000), outbox.pending(1_000)), (None, 0));
    outbox.update(&[alert("a", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, 2_000).as_deref(), Some("resolved"));
    // When the silence ends, what still fires is told.
    assert_eq!(deliver(&mut outbox, 10_000).as_deref(), Some("firing"));
}

#[test]
fn a_worse_alert_inhibits_the_lesser() {
    let text = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let inhibition = Inhibition::new(&InhibitionConfig {
        source: text(&["alertname=\"TargetDown\""]),
        target: text(&["severity=\"page\""]),
        equal: text(&["instance"]),
    });
    let kind = Kind::Webhook { format: Format::Slack, group_by: vec![] };
    let mut outbox = of_kind(Journal::new(None), kind, vec![inhibition.unwrap()]);
    let mut source = alert("a", AlertState::Firing, 1);
    source.alert.labels = Labels::from_pairs([("alertname", "TargetDown"), ("instance", "a")]);
    outbox.update(&[alert("a", AlertState::Firing, 1), alert("b", AlertState::Firing, 1), source.clone()]);
    let delivery = outbox.due(0).unwrap();
    assert_eq!(delivery.tells.len(), 2);
    assert!(delivery.body["text"].as_str().unwrap().starts_with("[FIRING:2]"), "{}", delivery.body);
    outbox.delivered(&delivery, 0).unwrap();
    source.alert.state = AlertState::Resolved;
    outbox.update(&[source]);
    assert_eq!(outbox.due(1).unwrap().tells.len(), 3);
}
