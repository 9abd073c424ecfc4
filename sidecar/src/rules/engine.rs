//! Holds the groups and their state between evaluations; saves what a restart must not forget; survives reloads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use millrace_kit::clock::UnixMillis;
use parking_lot::{Mutex, RwLock};

use super::{
    Alert, AlertState, AlertView, Context, Group, GroupView, StateFile, alert,
    group::{self, RuleState},
    reason,
    state::RuleKey,
};
use crate::{promql::Options, series::Store};

/// File and name.
type GroupKey = (String, String);

/// A group that can be evaluated. Evaluations of one group follow each other.
#[derive(Clone)]
pub struct GroupHandle {
    pub group: Arc<Group>,
    states: Arc<Mutex<Vec<RuleState>>>,
}

/// What one evaluation of a group yielded.
#[derive(Debug)]
pub struct Evaluation {
    pub duration: Duration,
    pub rules: usize,
    /// (rule, error)
    pub failures: Vec<(String, String)>,
    /// All firing and lately resolved alerts of the group.
    pub alerts: Vec<AlertView>,
    /// The state file could not be written.
    pub save_error: Option<String>,
}

pub struct Engine {
    context: Context,
    file: StateFile,
    groups: RwLock<BTreeMap<GroupKey, GroupHandle>>,
    /// What was published last, by group.
    views: RwLock<BTreeMap<GroupKey, GroupView>>,
    /// Alerts of the last run, until a rule claims them.
    unclaimed: Mutex<HashMap<RuleKey, Vec<Alert>>>,
    saved_at: Mutex<UnixMillis>,
}

/// While alerts are active the file is written this often even without change: its age tells how long a sidecar that
/// crashed was away.
const SAVE_AT_LEAST_EVERY_MS: i64 = 15_000;

impl Engine {
    /// Also returns why the alerts of the last run could not be read, if so.
    pub fn new(context: Context, file: StateFile, now: UnixMillis) -> (Self, Option<String>) {
        let (saved, problem) = match file.load(now) {
            Ok(saved) => (saved, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let mut unclaimed: HashMap<RuleKey, Vec<Alert>> = HashMap::new();
        for (key, alert) in saved {
            unclaimed.entry(key).or_default().push(alert);
        }
        let engine = Self {
            context,
            file,
            groups: RwLock::default(),
            views: RwLock::default(),
            unclaimed: Mutex::new(unclaimed),
            saved_at: Mutex::new(UnixMillis::MIN),
        };
        (engine, problem)
    }

    /// Takes over new rules. Rules that stay keep their alerts; those of rules that go are returned as resolved.
    pub fn replace(&self, groups: Vec<Group>, store: &Store, at: UnixMillis) -> Vec<AlertView> {
        let mut unclaimed = self.unclaimed.lock();
        let old = std::mem::take(&mut *self.groups.write());
        let mut leavers: HashMap<RuleKey, (String, RuleState)> = HashMap::new();
        for handle in old.into_values() {
            let states = std::mem::take(&mut *handle.states.lock());
            for (key, (rule, state)) in
                keys(&handle.group).into_iter().zip(handle.group.rules.iter().zip(states))
            {
                leavers.insert(key, (rule.query.text().to_owned(), state));
            }
        }
        let mut handles = BTreeMap::new();
        for group in groups {
            let states = keys(&group).into_iter().map(|key| match leavers.remove(&key) {
                Some((_, state)) => state,
                None => {
                    let alerts = unclaimed.remove(&key).unwrap_or_default();
                    let active = alerts.into_iter().map(|alert| (alert.labels.clone(), alert)).collect();
                    RuleState { active, ..RuleState::default() }
                }
            });
            let states: Vec<_> = states.collect();
            let key = (group.file.clone(), group.name.clone());
            let handle = GroupHandle { group: Arc::new(group), states: Arc::new(Mutex::new(states)) };
            handles.insert(key, handle);
        }
        let mut views = self.views.write();
        views.clear();
        for (key, handle) in &handles {
            views.insert(key.clone(), GroupView::new(&handle.group, &handle.states.lock()));
        }
        *self.groups.write() = handles;
        let mut gone = Vec::new();
        for (key, (query, mut state)) in leavers {
            group::end(&mut state, store, at);
            let alerts = state.active.into_values();
            gone.extend(alerts.filter_map(|alert| resolved(&key.group, &query, alert, at)));
        }
        // Alerts of the last run whose rule is no more.
        for (key, alerts) in unclaimed.drain() {
            gone.extend(alerts.into_iter().filter_map(|alert| resolved(&key.group, "", alert, at)));
        }
        gone
    }

    pub fn groups(&self) -> Vec<GroupHandle> {
        self.groups.read().values().cloned().collect()
    }

    pub fn views(&self) -> Vec<GroupView> {
        self.views.read().values().cloned().collect()
    }

    /// Blocks for as long as the queries take.
    pub fn evaluate(
        &self,
        handle: &GroupHandle,
        store: &Store,
        at: UnixMillis,
        options: &Options<'_>,
    ) -> Evaluation {
        let started = Instant::now();
        let mut states = handle.states.lock();
        let group = &handle.group;
        let mut changed = false;
        let mut failures = Vec::new();
        if states.len() != group.rules.len() {
            // A reload has taken the state over while this evaluation was about to begin.
            return Evaluation {
                duration: Duration::ZERO,
                rules: 0,
                failures,
                alerts: vec![],
                save_error: None,
            };
        }
        for (rule, state) in group.rules.iter().zip(states.iter_mut()) {
            changed |= group::evaluate(group, rule, state, store, at, options, &self.context);
            if let Some(error) = state.last.as_ref().and_then(|last| last.error.clone()) {
                failures.push((rule.name.clone(), error));
            }
        }
        let view = GroupView::new(group, &states);
        drop(states);
        let alerts = view.alerts().filter(|view| view.alert.state != AlertState::Pending).collect();
        let active = view.alerts().next().is_some();
        let key = (group.file.clone(), group.name.clone());
        // A group that a reload has dropped meanwhile is not published again.
        if let Some(published) = self.views.write().get_mut(&key) {
            *published = view;
        }
        let save_error = self.save(at, changed, active);
        Evaluation { duration: started.elapsed(), rules: group.rules.len(), failures, alerts, save_error }
    }

    fn save(&self, at: UnixMillis, changed: bool, active: bool) -> Option<String> {
        let mut saved_at = self.saved_at.lock();
        let due = active && at.saturating_sub(*saved_at) >= SAVE_AT_LEAST_EVERY_MS;
        if !changed && !due {
            return None;
        }
        let views = self.views.read();
        let mut alerts: Vec<(RuleKey, &Alert)> = Vec::new();
        for view in views.values() {
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for rule in &view.rules {
                let nth = seen.entry(&rule.name).or_default();
                let key = RuleKey {
                    file: view.file.clone(),
                    group: view.name.clone(),
                    rule: rule.name.clone(),
                    nth: *nth,
                };
                *nth += 1;
                let active = rule.alerting.iter().flat_map(|alerting| &alerting.alerts);
                alerts.extend(active.map(|alert| (key.clone(), alert)));
            }
        }
        *saved_at = at;
        let saved = self.file.save(at, alerts.iter().map(|(key, alert)| (key, *alert)));
        saved.err().map(|error| error.to_string())
    }
}

/// None unless it was firing.
fn resolved(group: &str, query: &str, alert: Alert, at: UnixMillis) -> Option<AlertView> {
    (alert.state == AlertState::Firing).then(|| AlertView {
        group: group.to_owned(),
        query: query.to_owned(),
        alert: alert::resolved(alert, at, reason::RULE_REMOVED),
    })
}

fn keys(group: &Group) -> Vec<RuleKey> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut keys = Vec::with_capacity(group.rules.len());
    for rule in &group.rules {
        let nth = seen.entry(&rule.name).or_default();
        keys.push(RuleKey {
            file: group.file.clone(),
            group: group.name.clone(),
            rule: rule.name.clone(),
            nth: *nth,
        });
        *nth += 1;
    }
    keys
}

#[cfg(test)]
mod tests;
