//! What one receiver still has to be told. Holds the newest state of every alert, not a queue of messages: a receiver
//! that was away for an hour gets one message per group, the right one.
//!
//! Rules: "resolved" is sent whenever "firing" was delivered, or may have been; nothing is sent twice before the repeat
//! interval; groups keep their [`Rhythm`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use millrace_kit::clock::UnixMillis;

use super::{
    Format, Loss, Mail, Message, Mutes, Payload, Timing, alertmanager,
    journal::{Journal, Told},
    rhythm::{Group, Rhythm},
    slack,
};
use crate::{
    model::Labels,
    rules::{Alert, AlertState, AlertView},
};

/// Alerts known at once; more are refused and counted.
pub const MAX_ALERTS: usize = 10_000;

/// Wait after a failed delivery: doubled each time, up to the last.
const BACK_OFF_FIRST_MS: i64 = 1_000;
const BACK_OFF_LAST_MS: i64 = 300_000;

/// Why an alert is resolved that no rule knows any more, as annotation `resolve_reason`.
const LOST: (&str, &str) = ("resolve_reason", "sidecar_restarted");

/// Whom a receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Webhook(Format),
    Email,
    /// A real Alertmanager, which groups and silences by itself.
    Alertmanager,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub receiver: String,
    /// Without a slash at its end.
    pub external_url: String,
    /// Added to the labels of every alert.
    pub external_labels: Labels,
    pub send_resolved: bool,
    pub kind: Kind,
    /// Labels whose values make a group.
    pub group_by: Vec<String>,
    pub timing: Timing,
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
    /// What the attempt under way tells for the first time.
    attempted: Vec<Labels>,
    rhythm: Rhythm,
    failures: u32,
    not_before: UnixMillis,
    refused: u64,
}

/// One message, and what it will have told.
#[derive(Debug)]
pub struct Delivery {
    pub message: Message,
    group: Group,
    tells: Vec<(Labels, bool, UnixMillis)>,
}

impl Outbox {
    pub fn new(settings: Settings, journal: Journal) -> Self {
        let told = journal.load().into_iter().map(|told| {
            let pairs = told.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            (Labels::from_pairs(pairs), told)
        });
        let told: HashMap<Labels, Told> = told.collect();
        let mut rhythm = Rhythm::new(settings.timing);
        for (labels, told) in told.iter().filter(|(_, told)| told.certain) {
            rhythm.told(settings.group(labels), told.at);
        }
        Self {
            settings,
            journal,
            alerts: HashMap::new(),
            told,
            attempted: Vec::new(),
            rhythm,
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

    /// After a start, when every rule has been evaluated: what the receiver takes for firing and no rule does has ended.
    pub fn end_unknown(&mut self, known: &HashSet<Labels>, now: UnixMillis) {
        let lost = self.told.iter().filter(|(labels, told)| {
            told.firing && !known.contains(*labels) && !self.alerts.contains_key(*labels)
        });
        let ended: Vec<AlertView> = lost.map(|(labels, told)| ended(labels, told, now)).collect();
        self.update(&ended);
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
        let (group, alerts) = match self.settings.kind {
            Kind::Alertmanager => {
                let due = self.alerts.values().filter(due).take(alertmanager::BATCH);
                (Group::new(), due.collect::<Vec<_>>())
            }
            Kind::Webhook(_) | Kind::Email => {
                let muted = self.muted(now);
                let told = self.alerts.values().filter(|view| !muted.contains(&view.alert.labels));
                let mut groups: BTreeMap<Group, Vec<&AlertView>> = BTreeMap::new();
                for view in told {
                    groups.entry(self.settings.group(&view.alert.labels)).or_default().push(view);
                }
                let open = |group: &Group, alerts: &[&AlertView]| {
                    let begun = alerts.iter().map(|view| starts_at(view)).min().unwrap_or(now);
                    self.rhythm.opens(group, begun) <= now
                };
                groups.into_iter().find(|(group, alerts)| alerts.iter().any(due) && open(group, alerts))?
            }
        };
        if alerts.is_empty() {
            return None;
        }
        let payload = || Payload::new(&self.settings, &group, &alerts);
        let message = match self.settings.kind {
            Kind::Alertmanager => Message::json(&alertmanager::body(&self.settings, &alerts, now)),
            Kind::Webhook(Format::Slack) => Message::json(&slack::body(&payload())),
            Kind::Webhook(Format::Alertmanager) => Message::json(&payload()),
            Kind::Email => Message::Mail(Mail::new(&payload())),
        };
        let tells = alerts
            .iter()
            .map(|view| (view.alert.labels.clone(), view.alert.state == AlertState::Firing, starts_at(view)));
        Some(Delivery { message, tells: tells.collect(), group })
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

    /// To be called before the attempt.
    pub fn begin(&mut self, delivery: &Delivery, now: UnixMillis) -> std::io::Result<()> {
        self.attempted.clear();
        for (labels, firing, starts_at) in &delivery.tells {
            if *firing && !self.told.get(labels).is_some_and(|told| told.firing) {
                self.told.insert(labels.clone(), told(labels, *starts_at, now, false));
                self.attempted.push(labels.clone());
            }
        }
        if self.attempted.is_empty() { Ok(()) } else { self.save() }
    }

    pub fn delivered(&mut self, delivery: &Delivery, now: UnixMillis) -> std::io::Result<()> {
        self.failures = 0;
        self.not_before = UnixMillis::MIN;
        for (labels, firing, starts_at) in &delivery.tells {
            if *firing {
                self.told.insert(labels.clone(), told(labels, *starts_at, now, true));
                continue;
            }
            self.told.remove(labels);
            // It may have begun to fire again meanwhile.
            if self.alerts.get(labels).is_some_and(|view| view.alert.state == AlertState::Resolved) {
                self.alerts.remove(labels);
            }
        }
        if self.settings.kind != Kind::Alertmanager {
            self.rhythm.told(delivery.group.clone(), now);
            let alive = self.alerts.keys().map(|labels| self.settings.group(labels)).collect();
            self.rhythm.forget(&alive, now);
        }
        self.save()
    }

    /// Tries again after a while. Returns when.
    pub fn failed(&mut self, loss: Loss, now: UnixMillis) -> UnixMillis {
        for labels in std::mem::take(&mut self.attempted) {
            if loss == Loss::Refused {
                self.told.remove(&labels);
            }
        }
        let wait = BACK_OFF_FIRST_MS.saturating_mul(1 << self.failures.min(20)).min(BACK_OFF_LAST_MS);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(wait);
        self.not_before
    }

    fn save(&self) -> std::io::Result<()> {
        let told: Vec<Told> = self.told.values().cloned().collect();
        self.journal.save(&told)
    }

    fn is_news(&self, view: &AlertView) -> bool {
        match (self.told.get(&view.alert.labels), view.alert.state) {
            (Some(told), AlertState::Firing) => {
                !told.firing || !told.certain || told.starts_at != starts_at(view)
            }
            (None, AlertState::Firing) => true,
            (told, AlertState::Resolved) => told.is_some_and(|told| told.firing),
            (_, AlertState::Pending) => false,
        }
    }

    fn is_repeat(&self, view: &AlertView, now: UnixMillis) -> bool {
        view.alert.state == AlertState::Firing
            && self.told.get(&view.alert.labels).is_some_and(|told| self.rhythm.is_repeat(told.at, now))
    }
}

impl Settings {
    fn group(&self, alert: &Labels) -> Group {
        self.group_by.iter().map(|name| (name.clone(), alert.get(name).to_owned())).collect()
    }
}

fn starts_at(view: &AlertView) -> UnixMillis {
    view.alert.fired_at.unwrap_or(view.alert.active_at)
}

fn told(labels: &Labels, starts_at: UnixMillis, at: UnixMillis, certain: bool) -> Told {
    let map = labels.iter().map(|label| (label.name.to_string(), label.value.to_string()));
    Told { labels: map.collect(), firing: true, starts_at, at, certain }
}

fn ended(labels: &Labels, told: &Told, now: UnixMillis) -> AlertView {
    AlertView {
        group: String::new(),
        query: String::new(),
        alert: Alert {
            labels: labels.clone(),
            annotations: Labels::from_pairs([LOST]),
            state: AlertState::Resolved,
            value: f64::NAN,
            active_at: told.starts_at,
            fired_at: Some(told.starts_at),
            resolved_at: Some(now),
            absent_since: None,
            restored: false,
        },
    }
}

#[cfg(test)]
mod tests;
