//! Tells the dashboards that are open what has changed: alerts after an evaluation, targets after a scrape.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    discovery::Target,
    events::Hub,
    model::Labels,
    rules::{AlertState, GroupView},
    scrape,
};

/// Changes named in one event; pages ask for the whole state anyway.
const NAMED: usize = 20;

pub(super) struct Reporter {
    hub: Arc<Hub>,
    /// As told last; None while nobody listens.
    alerts: Mutex<Option<BTreeMap<Labels, AlertState>>>,
    /// URL and labels → up. As many as there are targets.
    targets: Mutex<HashMap<(String, Labels), bool>>,
}

impl Reporter {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, alerts: Mutex::new(None), targets: Mutex::default() }
    }

    /// Asks for the state only when somebody wants to know.
    pub(super) fn evaluated(&self, views: impl FnOnce() -> Vec<GroupView>) {
        let mut told = self.alerts.lock();
        if self.hub.listeners() == 0 {
            *told = None;
            return;
        }
        let views = views();
        let now: BTreeMap<Labels, AlertState> = views
            .iter()
            .flat_map(GroupView::alerts)
            .filter(|view| view.alert.state != AlertState::Resolved)
            .map(|view| (view.alert.labels, view.alert.state))
            .collect();
        let before = told.replace(now.clone());
        if before.as_ref() == Some(&now) {
            return;
        }
        // Who has just begun to listen has asked for the state, but perhaps before this evaluation: worth asking again, no news.
        let before = before.unwrap_or_else(|| now.clone());
        let begun = now.iter().filter(|(labels, state)| before.get(*labels) != Some(*state));
        let begun = begun.map(|(labels, state)| change(labels, state.as_str()));
        let ended = before.keys().filter(|labels| !now.contains_key(*labels));
        let ended = ended.map(|labels| change(labels, AlertState::Resolved.as_str()));
        let changes: Vec<Value> = begun.chain(ended).take(NAMED).collect();
        let count = |wanted| now.values().filter(|state| **state == wanted).count();
        let (firing, pending) = (count(AlertState::Firing), count(AlertState::Pending));
        drop(told);
        self.hub.publish("alert", &json!({ "firing": firing, "pending": pending, "changes": changes }));
    }

    pub(super) fn scraped(&self, target: &Target, report: &scrape::Report) {
        let up = report.error.is_none();
        let before = self.targets.lock().insert((target.url.to_string(), target.labels.clone()), up);
        if before != Some(up) {
            let health = if up { "up" } else { "down" };
            self.target(target, health, report.error.as_deref());
        }
    }

    pub(super) fn target_gone(&self, target: &Target) {
        if self.targets.lock().remove(&(target.url.to_string(), target.labels.clone())).is_some() {
            self.target(target, "gone", None);
        }
    }

    fn target(&self, target: &Target, health: &str, error: Option<&str>) {
        let (job, instance) = (target.job(), target.instance());
        let news = json!({ "job": job, "instance": instance, "health": health, "error": error });
        self.hub.publish("targets", &news);
    }
}

fn change(labels: &Labels, state: &str) -> Value {
    let labels: BTreeMap<&str, &str> = labels.iter().map(|label| (&*label.name, &*label.value)).collect();
    json!({ "labels": labels, "state": state })
}
