//! Tests of `outbox`.

use super::*;
use crate::{
    notify::{Condition, Inhibition, InhibitionConfig, Silence, Silences},
    rules::Alert,
};

fn outbox(journal: Journal) -> Outbox {
    let group_by = vec!["alertname".to_owned()];
    of_kind(journal, Kind::Webhook(Format::Alertmanager), group_by, vec![])
}

fn of_kind(journal: Journal, kind: Kind, group_by: Vec<String>, inhibitions: Vec<Inhibition>) -> Outbox {
    timed(journal, kind, group_by, inhibitions, Timing::at_once(Duration::from_secs(3600)))
}

fn timed(
    journal: Journal,
    kind: Kind,
    group_by: Vec<String>,
    inhibitions: Vec<Inhibition>,
    timing: Timing,
) -> Outbox {
    let settings = Settings {
        receiver: "ops".to_owned(),
        external_url: "http://sidecar:8090".to_owned(),
        external_labels: Labels::from_pairs([("dc", "eu"), ("severity", "none")]),
        send_resolved: true,
        kind,
        group_by,
        timing,
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

fn json(delivery: &Delivery) -> serde_json::Value {
    let Message::Json(text) = &delivery.message else { panic!("not JSON") };
    serde_json::from_str(text).unwrap()
}

fn sent(outbox: &Outbox, now: i64) -> Option<serde_json::Value> {
    outbox.due(now).map(|delivery| json(&delivery))
}

fn deliver(outbox: &mut Outbox, now: i64) -> Option<String> {
    let delivery = outbox.due(now)?;
    outbox.begin(&delivery, now).unwrap();
    outbox.delivered(&delivery, now).unwrap();
    Some(json(&delivery)["status"].as_str().unwrap().to_owned())
}

#[test]
fn payload_is_that_of_alertmanager() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("b", AlertState::Firing, 60_000), alert("a", AlertState::Firing, 60_000)]);
    let mut payload = sent(&outbox, 0).unwrap();
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
                "fingerprint": "5c26771adcea1603",
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
    fail(&mut outbox, Loss::Refused, 4_000);
    outbox.update(&[alert("b", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, 100_000), None);
    assert!(outbox.alerts.is_empty() && outbox.told.is_empty(), "nothing is kept for it");
}

fn fail(outbox: &mut Outbox, loss: Loss, now: i64) -> i64 {
    let delivery = outbox.due(now).unwrap();
    outbox.begin(&delivery, now).unwrap();
    outbox.failed(loss, now)
}

#[test]
fn what_may_have_arrived_is_told_again_and_ended() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    let next = fail(&mut outbox, Loss::Unknown, 0);
    assert!(outbox.due(next).is_some(), "told again");
    outbox.update(&[alert("a", AlertState::Resolved, 1)]);
    assert_eq!(deliver(&mut outbox, next).as_deref(), Some("resolved"));
}

#[test]
fn a_kill_between_post_and_journal_does_not_swallow_the_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let journal = || Journal::new(Some(folder.path().join("told.json")));
    let mut before = outbox(journal());
    before.update(&[alert("a", AlertState::Firing, 1), alert("b", AlertState::Firing, 1)]);
    let delivery = before.due(0).unwrap();
    before.begin(&delivery, 0).unwrap();
    // Here the message goes out, and the process dies.
    let mut after = outbox(journal());
    after.update(&[alert("a", AlertState::Resolved, 1), alert("b", AlertState::Firing, 1)]);
    let next = after.due(1_000).unwrap();
    let statuses: Vec<_> =
        json(&next)["alerts"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, ["resolved", "firing"]);
}

#[test]
fn what_no_rule_knows_after_a_start_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let journal = || Journal::new(Some(folder.path().join("told.json")));
    let mut before = outbox(journal());
    before.update(&[alert("a", AlertState::Firing, 1), alert("b", AlertState::Firing, 1)]);
    deliver(&mut before, 0);
    let mut after = outbox(journal());
    let still = alert("b", AlertState::Firing, 1);
    after.update(std::slice::from_ref(&still));
    after.end_unknown(&HashSet::from([still.alert.labels]), 50_000);
    let body = json(&after.due(60_000).unwrap());
    assert_eq!(
        (&body["alerts"][0]["status"], &body["alerts"][1]["status"]),
        (&"resolved".into(), &"firing".into())
    );
    assert_eq!(body["alerts"][0]["endsAt"], "1970-01-01T00:00:50Z");
    assert_eq!(body["alerts"][0]["annotations"]["resolve_reason"], "sidecar_restarted");
}

#[test]
fn a_group_waits_for_company_and_then_keeps_its_interval() {
    let seconds = Duration::from_secs;
    let timing = Timing { wait: seconds(30), interval: seconds(300), repeat: seconds(3600) };
    let by = vec!["alertname".to_owned()];
    let mut outbox = timed(Journal::new(None), Kind::Webhook(Format::Alertmanager), by, vec![], timing);
    outbox.update(&[alert("a", AlertState::Firing, 1_000)]);
    assert_eq!(deliver(&mut outbox, 30_999), None);
    outbox.update(&[alert("b", AlertState::Firing, 20_000)]);
    assert_eq!(sent(&outbox, 31_000).unwrap()["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(deliver(&mut outbox, 31_000).as_deref(), Some("firing"));
    // News of the group, and its end, wait for the interval.
    outbox.update(&[alert("c", AlertState::Firing, 40_000)]);
    assert_eq!(deliver(&mut outbox, 330_999), None);
    assert_eq!(deliver(&mut outbox, 331_000).as_deref(), Some("firing"));
    outbox.update(&["a", "b", "c"].map(|name| alert(name, AlertState::Resolved, 1_000)));
    assert_eq!(deliver(&mut outbox, 630_999), None);
    assert_eq!(deliver(&mut outbox, 631_000).as_deref(), Some("resolved"));
    // Within the interval it is still the old group, after it a new one.
    outbox.update(&[alert("a", AlertState::Firing, 640_000)]);
    assert_eq!(deliver(&mut outbox, 670_000), None);
    assert_eq!(deliver(&mut outbox, 931_000).as_deref(), Some("firing"));
}

#[test]
fn a_restart_keeps_the_rhythm() {
    let folder = tempfile::tempdir().unwrap();
    let seconds = Duration::from_secs;
    let timing = Timing { wait: seconds(30), interval: seconds(300), repeat: seconds(3600) };
    let open = || {
        let journal = Journal::new(Some(folder.path().join("told.json")));
        let by = vec!["alertname".to_owned()];
        timed(journal, Kind::Webhook(Format::Alertmanager), by, vec![], timing)
    };
    let mut before = open();
    before.update(&[alert("a", AlertState::Firing, 0)]);
    assert_eq!(deliver(&mut before, 30_000).as_deref(), Some("firing"));
    let mut after = open();
    after.update(&[alert("a", AlertState::Firing, 0), alert("b", AlertState::Firing, 31_000)]);
    assert_eq!(deliver(&mut after, 329_999), None);
    assert_eq!(deliver(&mut after, 330_000).as_deref(), Some("firing"));
}

#[test]
fn failures_back_off_and_the_newest_state_arrives() {
    let mut outbox = outbox(Journal::new(None));
    outbox.update(&[alert("a", AlertState::Firing, 1)]);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..11 {
        let next = fail(&mut outbox, Loss::Refused, now);
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
    let mut outbox =
        timed(Journal::new(None), Kind::Alertmanager, vec![], vec![], Timing::at_once(alertmanager::RESEND));
    outbox.update(&[alert("a", AlertState::Firing, 60_000)]);
    let first = outbox.due(100_000).unwrap();
    assert_eq!(
        json(&first),
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
    assert_eq!(sent(&outbox, 110_000).unwrap()[0]["endsAt"], "1970-01-01T00:01:30Z");
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
    let kind = Kind::Webhook(Format::Slack);
    let mut outbox = of_kind(Journal::new(None), kind, vec![], vec![inhibition.unwrap()]);
    let mut source = alert("a", AlertState::Firing, 1);
    source.alert.labels = Labels::from_pairs([("alertname", "TargetDown"), ("instance", "a")]);
    outbox.update(&[alert("a", AlertState::Firing, 1), alert("b", AlertState::Firing, 1), source.clone()]);
    let delivery = outbox.due(0).unwrap();
    assert_eq!(delivery.tells.len(), 2);
    assert!(json(&delivery)["text"].as_str().unwrap().starts_with("[FIRING:2]"));
    outbox.delivered(&delivery, 0).unwrap();
    source.alert.state = AlertState::Resolved;
    outbox.update(&[source]);
    assert_eq!(outbox.due(1).unwrap().tells.len(), 3);
}

#[test]
fn an_email_says_what_fires_and_what_does_not_any_more() {
    let mut outbox = of_kind(Journal::new(None), Kind::Email, vec!["alertname".to_owned()], vec![]);
    let mut first = alert("a\nBcc: x", AlertState::Firing, 60_000);
    outbox.update(std::slice::from_ref(&first));
    let delivery = outbox.due(0).unwrap();
    let Message::Mail(mail) = &delivery.message else { panic!("no mail") };
    assert_eq!(mail.subject, "[FIRING:1] Down (eu a Bcc: x page)");
    for part in
        ["Firing (1)", "* Down", "summary: gone", "instance=\"a\\nBcc: x\"", "since: 1970-01-01T00:01:00Z"]
    {
        assert!(mail.text.contains(part), "{part}: {}", mail.text);
    }
    outbox.delivered(&delivery, 0).unwrap();
    first.alert.state = AlertState::Resolved;
    first.alert.resolved_at = Some(90_000);
    outbox.update(&[first]);
    let Message::Mail(end) = outbox.due(1).unwrap().message else { panic!("no mail") };
    assert!(end.subject.starts_with("[RESOLVED] Down"), "{}", end.subject);
    assert!(end.text.contains("until: 1970-01-01T00:01:30Z"), "{}", end.text);
}
