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
mod tests;
