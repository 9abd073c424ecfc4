//! Rules and alerts as others see them: the API, the dashboard, notifications. Copies, so that nobody waits for an
//! evaluation.

use std::time::Duration;

use millrace_kit::clock::UnixMillis;

use super::{
    Alert, AlertState, Group, Kind, Rule,
    group::{Outcome, RuleState},
};

#[derive(Debug, Clone)]
pub struct GroupView {
    pub name: String,
    pub file: String,
    pub interval: Duration,
    pub limit: usize,
    pub rules: Vec<RuleView>,
}

#[derive(Debug, Clone)]
pub struct RuleView {
    pub name: String,
    pub query: String,
    /// None for recording rules.
    pub alerting: Option<AlertingView>,
    /// As written, templates unexpanded.
    pub labels: Vec<(String, String)>,
    pub health: Health,
    pub last_evaluation: Option<UnixMillis>,
    pub evaluation_time: Duration,
}

#[derive(Debug, Clone)]
pub struct AlertingView {
    pub hold: Duration,
    pub keep_firing: Duration,
    pub annotations: Vec<(String, String)>,
    /// Pending, firing and lately resolved.
    pub alerts: Vec<Alert>,
}

/// One alert with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertView {
    pub group: String,
    pub query: String,
    pub alert: Alert,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    Ok,
    Error(String),
}

impl GroupView {
    pub(super) fn new(group: &Group, states: &[RuleState]) -> Self {
        let rules = group.rules.iter().zip(states).map(|(rule, state)| RuleView::new(rule, state));
        Self {
            name: group.name.clone(),
            file: group.file.clone(),
            interval: group.interval,
            limit: group.limit,
            rules: rules.collect(),
        }
    }

    pub fn alerts(&self) -> impl Iterator<Item = AlertView> {
        let alerting = self.rules.iter().filter_map(|rule| Some((rule, rule.alerting.as_ref()?)));
        alerting.flat_map(|(rule, alerting)| {
            alerting.alerts.iter().map(|alert| AlertView {
                group: self.name.clone(),
                query: rule.query.clone(),
                alert: alert.clone(),
            })
        })
    }
}

impl RuleView {
    fn new(rule: &Rule, state: &RuleState) -> Self {
        let texts = |templates: &[(String, super::Template)]| {
            templates.iter().map(|(name, template)| (name.clone(), template.text().to_owned())).collect()
        };
        let alerting = match &rule.kind {
            Kind::Recording => None,
            Kind::Alerting(alerting) => {
                let mut alerts: Vec<Alert> = state.active.values().cloned().collect();
                alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
                Some(AlertingView {
                    hold: alerting.hold,
                    keep_firing: alerting.keep_firing,
                    annotations: texts(&alerting.annotations),
                    alerts,
                })
            }
        };
        let health = match &state.last {
            None => Health::Unknown,
            Some(Outcome { error: None, .. }) => Health::Ok,
            Some(Outcome { error: Some(error), .. }) => Health::Error(error.clone()),
        };
        Self {
            name: rule.name.clone(),
            query: rule.query.text().to_owned(),
            alerting,
            labels: texts(&rule.labels),
            health,
            last_evaluation: state.last.as_ref().map(|last| last.at),
            evaluation_time: state.last.as_ref().map_or(Duration::ZERO, |last| last.duration),
        }
    }

    /// The most advanced state of the rule's alerts; None for recording rules and inactive ones.
    pub fn state(&self) -> Option<AlertState> {
        let alerts = &self.alerting.as_ref()?.alerts;
        let has = |state| alerts.iter().any(|alert| alert.state == state);
        [AlertState::Firing, AlertState::Pending].into_iter().find(|state| has(*state))
    }
}
