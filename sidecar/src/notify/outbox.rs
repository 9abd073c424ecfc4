//! What one receiver still has to be told. Holds the newest state of every alert, not a queue of messages: a receiver
//! that was away for an hour gets one message per alert, the right one.
//!
//! Rules: "resolved" is sent exactly when "firing" was delivered; nothing is sent twice before the repeat interval.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use millrace_kit::clock::UnixMillis;

use super::{
    Payload,
    journal::{Journal, Told},
};
use crate::{
    model::{ALERT_NAME, Labels},
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
    pub payload: Payload,
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
    pub fn pending(&self) -> usize {
        self.alerts.values().filter(|view| self.is_news(view)).count()
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next message: all alerts of one name, if any of them is due. None also while backing off.
    pub fn due(&self, now: UnixMillis) -> Option<Delivery> {
        if now < self.not_before {
            return None;
        }
        let mut by_name: BTreeMap<&str, Vec<&AlertView>> = BTreeMap::new();
        for view in self.alerts.values() {
            by_name.entry(view.alert.labels.get(ALERT_NAME)).or_default().push(view);
        }
        let due = |view: &&AlertView| self.is_news(view) || self.is_repeat(view, now);
        let (_, group) = by_name.into_iter().find(|(_, group)| group.iter().any(due))?;
        let tells = group
            .iter()
            .map(|view| (view.alert.labels.clone(), view.alert.state == AlertState::Firing, starts_at(view)));
        Some(Delivery { payload: Payload::new(&self.settings, &group), tells: tells.collect() })
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
    use crate::rules::Alert;

    fn outbox(journal: Journal) -> Outbox {
        let settings = Settings {
            receiver: "ops".to_owned(),
            external_url: "http://sidecar:8090".to_owned(),
            external_labels: Labels::from_pairs([("dc", "eu"), ("severity", "none")]),
            send_resolved: true,
            repeat_interval: Duration::from_secs(3600),
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
        outbox.due(now).map(|delivery| serde_json::to_value(&delivery.payload).unwrap())
    }

    fn deliver(outbox: &mut Outbox, now: i64) -> Option<String> {
        let delivery = outbox.due(now)?;
        outbox.delivered(&delivery, now).unwrap();
        Some(serde_json::to_value(&delivery.payload).unwrap()["status"].as_str().unwrap().to_owned())
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
        assert_eq!((outbox.pending(), outbox.refused()), (MAX_ALERTS, 5));
    }
}
