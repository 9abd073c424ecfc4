//! The alert state machine of Prometheus: inactive → pending → firing → resolved. A function of the rule, the result of
//! its expression, the time, and the alerts so far; no clock, no storage.

use std::{collections::HashMap, time::Duration};

use millrace_kit::clock::UnixMillis;

use super::{
    group::{Alerting, Context, Rule},
    reason::REASON,
    template::{Ask, Data},
};
use crate::{
    model::{ALERT_NAME, ALERTS, ALERTS_FOR_STATE, Labels, METRIC_NAME},
    promql::VectorSample,
};

/// How long a resolved alert is remembered, so that whoever missed the news can still be told.
pub(super) const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    Pending,
    Firing,
    /// Was firing, is no more.
    Resolved,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// With the rule's labels and `alertname`. Identifies the alert within its rule.
    pub labels: Labels,
    pub annotations: Labels,
    pub state: AlertState,
    pub value: f64,
    pub active_at: UnixMillis,
    pub fired_at: Option<UnixMillis>,
    pub resolved_at: Option<UnixMillis>,
    pub absent_since: Option<UnixMillis>,
    /// Came from the state file and has not been confirmed since.
    pub restored: bool,
}

pub(super) type Active = HashMap<Labels, Alert>;

impl AlertState {
    /// As in the label `alertstate` and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "inactive",
        }
    }
}

/// What an evaluation did.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stepped {
    /// `ALERTS` and `ALERTS_FOR_STATE`.
    pub(super) series: Vec<(Labels, f64)>,
    /// Some alert began, fired, resolved or was forgotten: worth writing down.
    pub(super) changed: bool,
}

/// What a step may ask about the world beyond the results of its expression.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) context: &'a Context,
    /// For templates.
    pub(super) query: Ask<'a>,
    /// Why the alert of these labels is no more.
    pub(super) why: &'a dyn Fn(&Labels) -> &'static str,
}

/// Moves the alerts of one rule to the time `at`. An error leaves them as they were, but for that of too many alerts,
/// which ends them all.
pub(super) fn step(
    rule: &Rule,
    alerting: &Alerting,
    limit: usize,
    active: &mut Active,
    results: &[VectorSample],
    at: UnixMillis,
    world: &World<'_>,
) -> Result<Stepped, String> {
    let mut seen: HashMap<Labels, Alert> = HashMap::with_capacity(results.len());
    for result in results {
        let own = result.labels.without_metric_name();
        let data = Data {
            labels: &result.labels,
            value: result.sample.value,
            context: world.context,
            query: world.query,
        };
        let mut labels = own.to_builder();
        for (name, template) in &rule.labels {
            labels.set(name, &template.expand(data));
        }
        labels.set(ALERT_NAME, &rule.name);
        let labels = labels.build();
        let texts =
            alerting.annotations.iter().map(|(name, template)| (name.as_str(), template.expand(data)));
        let texts: Vec<_> = texts.collect();
        let alert = Alert {
            labels: labels.clone(),
            annotations: Labels::from_pairs(texts.iter().map(|(name, text)| (*name, text.as_str()))),
            state: AlertState::Pending,
            value: result.sample.value,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            absent_since: None,
            restored: false,
        };
        if seen.insert(labels, alert).is_some() {
            return Err(
                "vector contains metrics with the same labelset after applying alert labels".to_owned()
            );
        }
    }
    let mut stepped = Stepped::default();
    active.retain(|labels, alert| match seen.remove(labels) {
        Some(now) if alert.state == AlertState::Resolved => {
            *alert = now;
            stepped.changed = true;
            true
        }
        Some(now) => {
            alert.value = now.value;
            alert.annotations = now.annotations;
            alert.absent_since = None;
            alert.restored = false;
            true
        }
        None => keep_without_result(alert, alerting, at, world, &mut stepped.changed),
    });
    stepped.changed |= !seen.is_empty();
    active.extend(seen);
    let alive = active.values().filter(|alert| alert.state != AlertState::Resolved).count();
    if limit != 0 && alive > limit {
        active.retain(|_, alert| alert.state != AlertState::Pending);
        for alert in active.values_mut().filter(|alert| alert.state == AlertState::Firing) {
            *alert = resolved(alert.clone(), at, "limit_exceeded");
        }
        return Err(format!("exceeded limit of {limit} with {alive} alerts"));
    }
    for alert in active.values_mut() {
        if alert.state == AlertState::Pending
            && elapsed(alert.active_at, at) >= millis(alerting.hold)
            && alert.absent_since.is_none()
        {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(at);
            stepped.changed = true;
        }
        if alert.state != AlertState::Resolved {
            let states = alert.labels.with("alertstate", alert.state.as_str());
            stepped.series.push((states.with(METRIC_NAME, ALERTS), 1.0));
            let since = alert.active_at.div_euclid(1000) as f64;
            stepped.series.push((alert.labels.with(METRIC_NAME, ALERTS_FOR_STATE), since));
        }
    }
    Ok(stepped)
}

/// The expression yields nothing for this alert any more. False: forget it.
fn keep_without_result(
    alert: &mut Alert,
    alerting: &Alerting,
    at: UnixMillis,
    world: &World<'_>,
    changed: &mut bool,
) -> bool {
    if alert.restored && at < world.context.settled_at && alert.state != AlertState::Resolved {
        // After a start there may not be data enough yet to know.
        return true;
    }
    let patience = match alert.state {
        AlertState::Pending => alerting.keep_pending,
        AlertState::Firing => alerting.keep_firing,
        AlertState::Resolved => {
            let keep =
                alert.resolved_at.is_some_and(|since| elapsed(since, at) <= millis(RESOLVED_RETENTION));
            *changed |= !keep;
            return keep;
        }
    };
    if !patience.is_zero() {
        let since = *alert.absent_since.get_or_insert(at);
        if elapsed(since, at) < millis(patience) {
            return true;
        }
    }
    *changed = true;
    if alert.state == AlertState::Pending {
        return false;
    }
    let reason = (world.why)(&alert.labels);
    *alert = resolved(alert.clone(), at, reason);
    true
}

/// The reason becomes an annotation.
pub(super) fn resolved(alert: Alert, at: UnixMillis, reason: &str) -> Alert {
    Alert {
        state: AlertState::Resolved,
        resolved_at: Some(at),
        annotations: alert.annotations.with(REASON, reason),
        ..alert
    }
}

fn elapsed(since: UnixMillis, at: UnixMillis) -> i64 {
    at.saturating_sub(since)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
