//! What one receiver still has to be told. Holds the newest state of every alert, not a queue of messages: a receiver
//! that was away for an hour gets one message per alert, the right one.
//!
//! Rules: "resolved" is sent exactly when "firing" was delivered; nothing is sent twice before the repeat interval.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use millrace_kit::clock::UnixMillis;

use super::{
    Format, Kind, Mutes, Payload, alertmanager,
    journal::{Journal, Told},
    slack,
};
use crate::{
    model::Labels,
    rules::{AlertState, AlertView},
};

/// Alerts known at once; more are refused and counted.
pub const MAX_ALERTS: usize = 10_000;

/// Wait after a failed delivery: doubled each time, up to the last.
const BACK_OFF_FIRST_MS: i64 = 1_000;
const BACK_OFF_LAST_MS: i64 = 300_000;

#[derive(Debug, Clone)]
pub struct Settings {
    pub receiver: String,
    /// Without a slash at its end.
    pub external_url: String,
    /// Added to the labels of every alert.
    pub external_labels: Labels,
    pub send_resolved: bool,
    pub repeat_interval: Duration,
    pub kind: Kind,
    /// How long an Alertmanager takes a firing alert for firing without hearing of it again.
    pub valid_for: Duration,
    pub mutes: Arc<Mutes>,
}

pub struct Outbox {
    settings: Settings,
    journal: Journal,
    /// Firing, and resolved ones that must still be told.
    alerts: HashMap<Labels, AlertView>,
    told: HashMap<Labels, Told>,
    failures: u32,
    not_before: UnixMillis,
    refused: u64,
}

/// One POST, and what it will have told.
#[derive(Debug)]
pub struct Delivery {
    pub body: serde_json::Value,
    tells: Vec<(Labels, bool, UnixMillis)>,
}

impl Outbox {
    pub fn new(settings: Settings, journal: Journal) -> Self {
        let told = journal.load().into_iter().map(|told| {
            let pairs = told.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            (Labels::from_pairs(pairs), told)
        });
        let told = told.collect();
        Self {
            settings,
            journal,
            alerts: HashMap::new(),
            told,
            failures: 0,
            not_before: UnixMillis::MIN,
            refused: 0,
        }
    }

    pub fn receiver(&self) -> &str {
        &self.settings.receiver
    }

    /// Takes the newest state of alerts that fire or have resolved.
    pub fn update(&mut self, alerts: &[AlertView]) {
        for view in alerts {
            let labels = &view.alert.labels;
            match view.alert.state {
                AlertState::Firing => {
                    if self.alerts.len() >= MAX_ALERTS && !self.alerts.contains_key(labels) {
                        self.refused += 1;
                        continue;
                    }
                    self.alerts.insert(labels.clone(), view.clone());
                }
                AlertState::Resolved => {
                    let told_firing = self.told.get(labels).is_some_and(|told| told.firing);
                    if told_firing && self.settings.send_resolved {
                        self.alerts.insert(labels.clone(), view.clone());
                    } else {
                        self.alerts.remove(labels);
                        self.told.remove(labels);
                    }
                }
                AlertState::Pending => {}
            }
        }
    }

    /// Alerts that the receiver does not know about yet.
    pub fn pending(&self, now: UnixMillis) -> usize {
        let muted = self.muted(now);
        let news = self.alerts.values().filter(|view| self.is_news(view));
        news.filter(|view| !muted.contains(&view.alert.labels)).count()
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next message: all alerts of a group, if any of them is due. None also while backing off.
    pub fn due(&self, now: UnixMillis) -> Option<Delivery> {
        if now < self.not_before {
            return None;
        }
        let due = |view: &&AlertView| self.is_news(view) || self.is_repeat(view, now);
        let (body, alerts) = match &self.settings.kind {
            Kind::Alertmanager => {
                let due: Vec<&AlertView> =
                    self.alerts.values().filter(due).take(alertmanager::BATCH).collect();
                (alertmanager::body(&self.settings, &due, now), due)
            }
            Kind::Webhook { format, group_by } => {
                let muted = self.muted(now);
                let told = self.alerts.values().filter(|view| !muted.contains(&view.alert.labels));
                let mut groups: BTreeMap<Vec<(String, String)>, Vec<&AlertView>> = BTreeMap::new();
                for view in told {
                    let group =
                        group_by.iter().map(|name| (name.clone(), view.alert.labels.get(name).to_owned()));
                    groups.entry(group.collect()).or_default().push(view);
                }
                let (group, alerts) = groups.into_iter().find(|(_, alerts)| alerts.iter().any(due))?;
                let payload = Payload::new(&self.settings, &group, &alerts);
                let body = match format {
                    Format::Slack => slack::body(&payload),
                    Format::Alertmanager => serde_json::to_value(&payload).ok()?,
                };
                (body, alerts)
            }
        };
        let tells = alerts
            .iter()
            .map(|view| (view.alert.labels.clone(), view.alert.state == AlertState::Firing, starts_at(view)));
        (!alerts.is_empty()).then(|| Delivery { body, tells: tells.collect() })
    }

    /// Firing alerts that are held back. A "resolved" never is: whoever was told of the fire is told of its end. An
    /// Alertmanager has silences of its own.
    fn muted(&self, now: UnixMillis) -> HashSet<&Labels> {
        if self.settings.kind == Kind::Alertmanager {
            return HashSet::new();
        }
        let firing = self.alerts.values().filter(|view| view.alert.state == AlertState::Firing);
        let firing = firing.map(|view| &view.alert.labels);
        let in_force = self.settings.mutes.in_force(firing.clone(), now);
        firing.filter(|labels| in_force.mute(labels)).collect()
    }

    pub fn delivered(&mut self, delivery: &Delivery, now: UnixMillis) -> std::io::Result<()> {
        self.failures = 0;
        self.not_before = UnixMillis::MIN;
        for (labels, firing, starts_at) in &delivery.tells {
            let map = labels.iter().map(|label| (label.name.to_string(), label.value.to_string()));
            let told = Told { labels: map.collect(), firing: *firing, starts_at: *starts_at, at: now };
            if *firing {
                self.told.insert(labels.clone(), told);
                continue;
            }
            self.told.remove(labels);
            // It may have begun to fire again meanwhile.
            if self.alerts.get(labels).is_some_and(|view| view.alert.state == AlertState::Resolved) {
                self.alerts.remove(labels);
            }
        }
        let told: Vec<Told> = self.told.values().cloned().collect();
        self.journal.save(&told)
    }

    /// Tries again after a while. Returns when.
    pub fn failed(&mut self, now: UnixMillis) -> UnixMillis {
        let wait = BACK_OFF_FIRST_MS.saturating_mul(1 << self.failures.min(20)).min(BACK_OFF_LAST_MS);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(wait);
        self.not_before
    }

    fn is_news(&self, view: &AlertView) -> bool {
        match (self.told.get(&view.alert.labels), view.alert.state) {
            (Some(told), AlertState::Firing) => !told.firing || told.starts_at != starts_at(view),
            (None, AlertState::Firing) => true,
            (told, AlertState::Resolved) => told.is_some_and(|told| told.firing),
            (_, AlertState::Pending) => false,
        }
    }

    fn is_repeat(&self, view: &AlertView, now: UnixMillis) -> bool {
        let repeat = i64::try_from(self.settings.repeat_interval.as_millis()).unwrap_or(i64::MAX);
        view.alert.state == AlertState::Firing
            && self.told.get(&view.alert.labels).is_some_and(|told| now.saturating_sub(told.at) >= repeat)
    }
}

fn starts_at(view: &AlertView) -> UnixMillis {
    view.alert.fired_at.unwrap_or(view.alert.active_at)
}

#[cfg(test)]
mod tests {
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
        let many: Vec<_> =
            (0..MAX_ALERTS + 5).map(|n| alert(&n.to_string(), AlertState::Firing, 1)).collect();
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
        let condition = Condition {
            name: "alertname".to_owned(),
            value: "Down".to_owned(),
            is_regex: false,
            is_equal: true,
        };
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
        outbox.update(&[
            alert("a", AlertState::Firing, 1),
            alert("b", AlertState::Firing, 1),
            source.clone(),
        ]);
        let delivery = outbox.due(0).unwrap();
        assert_eq!(delivery.tells.len(), 2);
        assert!(delivery.body["text"].as_str().unwrap().starts_with("[FIRING:2]"), "{}", delivery.body);
        outbox.delivered(&delivery, 0).unwrap();
        source.alert.state = AlertState::Resolved;
        outbox.update(&[source]);
        assert_eq!(outbox.due(1).unwrap().tells.len(), 3);
    }
}
