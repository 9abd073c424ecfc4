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
mod tests {
    use super::*;
    use crate::{
        model::Sample,
        promql::Query,
        rules::{Kind, Template},
    };

    const MINUTE: i64 = 60_000;

    fn rule(hold: i64, keep_firing: i64) -> Rule {
        Rule {
            name: "A".to_owned(),
            query: Query::parse("x").unwrap(),
            labels: vec![("severity".to_owned(), Template::parse("page").unwrap())],
            kind: Kind::Alerting(Alerting {
                hold: Duration::from_millis(hold as u64),
                keep_firing: Duration::from_millis(keep_firing as u64),
                keep_pending: Duration::ZERO,
                annotations: vec![("summary".to_owned(), Template::parse("{{ $value }}").unwrap())],
            }),
        }
    }

    fn keep_pending(mut rule: Rule, millis: i64) -> Rule {
        if let Kind::Alerting(alerting) = &mut rule.kind {
            alerting.keep_pending = Duration::from_millis(millis as u64);
        }
        rule
    }

    /// Without a limit.
    fn step(
        rule: &Rule,
        active: &mut Active,
        results: &[VectorSample],
        at: i64,
        context: &Context,
    ) -> Result<Stepped, String> {
        limited(rule, 0, active, results, at, context)
    }

    fn limited(
        rule: &Rule,
        limit: usize,
        active: &mut Active,
        results: &[VectorSample],
        at: i64,
        context: &Context,
    ) -> Result<Stepped, String> {
        let Kind::Alerting(alerting) = &rule.kind else { panic!() };
        let world = World { context, query: &|_| Ok(vec![]), why: &|_| "condition_false" };
        super::step(rule, alerting, limit, active, results, at, &world)
    }

    fn result(value: f64) -> VectorSample {
        let labels = Labels::from_pairs([(METRIC_NAME, "x"), ("i", "1")]);
        VectorSample { labels, sample: Sample { at: 0, value } }
    }

    /// Steps once a minute; `1` is a result, `0` none. Shows the state after each step.
    fn walk(rule: &Rule, active: &mut Active, results: &str, context: &Context) -> String {
        let mut shown = String::new();
        for (minute, present) in results.chars().enumerate() {
            let results = if present == '1' { vec![result(minute as f64)] } else { vec![] };
            let stepped = step(rule, active, &results, minute as i64 * MINUTE, context).unwrap();
            let state = active.values().next().map(|alert| alert.state);
            assert_eq!(
                stepped.series.is_empty(),
                !matches!(state, Some(AlertState::Pending | AlertState::Firing))
            );
            shown.push(match state {
                None => '-',
                Some(AlertState::Pending) => 'p',
                Some(AlertState::Firing) => 'F',
                Some(AlertState::Resolved) => 'r',
            });
        }
        shown
    }

    #[test]
    fn states_over_time() {
        for (hold, keep, results, states) in [
            // Fires when it has been active for as long as `for`, not before.
            (0, 0, "0110", "-FFr"),
            (2, 0, "1111", "ppFF"),
            // A pending alert that disappears is dropped and starts over.
            (2, 0, "110111", "pp-ppF"),
            // Resolved is remembered for 15 minutes.
            (0, 0, "10000000000000000000", "Frrrrrrrrrrrrrrrr---"),
            // A resolved alert that comes back starts over.
            (1, 0, "110011", "pFrrpF"),
            // keep_firing_for bridges gaps shorter than itself, from the first miss on.
            (0, 2, "100100011", "FFFFFFrFF"),
        ] {
            let mut active = Active::new();
            let shown = walk(&rule(hold * MINUTE, keep * MINUTE), &mut active, results, &Context::default());
            assert_eq!(shown, states, "for {hold} keep {keep} {results}");
        }
    }

    #[test]
    fn labels_annotations_and_series() {
        let mut active = Active::new();
        let context = Context::default();
        step(&rule(MINUTE, 0), &mut active, &[result(1.0)], 5_000, &context).unwrap();
        let stepped = step(&rule(MINUTE, 0), &mut active, &[result(2.5)], 65_000, &context).unwrap();
        let alert = active.values().next().unwrap();
        assert_eq!(alert.labels, Labels::from_pairs([("alertname", "A"), ("i", "1"), ("severity", "page")]));
        assert_eq!(alert.annotations, Labels::from_pairs([("summary", "2.5")]));
        assert_eq!((alert.active_at, alert.fired_at), (5_000, Some(65_000)));
        let series: Vec<_> =
            stepped.series.iter().map(|(labels, value)| format!("{labels} {value}")).collect();
        assert_eq!(
            series,
            [
                r#"ALERTS{alertname="A", alertstate="firing", i="1", severity="page"} 1"#,
                r#"ALERTS_FOR_STATE{alertname="A", i="1", severity="page"} 5"#,
            ]
        );
        assert!(stepped.changed);
        assert!(!step(&rule(MINUTE, 0), &mut active, &[result(2.5)], 66_000, &context).unwrap().changed);
    }

    #[test]
    fn alerts_that_become_equal_are_an_error_and_change_nothing() {
        let mut rule = rule(0, 0);
        rule.labels.push(("i".to_owned(), Template::parse("same").unwrap()));
        let other = VectorSample { labels: Labels::from_pairs([("i", "2")]), ..result(1.0) };
        let mut active = Active::new();
        assert!(step(&rule, &mut active, &[result(1.0), other], 0, &Context::default()).is_err());
        assert!(active.is_empty());
    }

    #[test]
    fn restored_alerts_wait_for_data_until_settled() {
        let context = Context { settled_at: 2 * MINUTE, ..Context::default() };
        let mut active = Active::new();
        walk(&rule(0, 0), &mut active, "1", &Context::default());
        for alert in active.values_mut() {
            alert.restored = true;
        }
        assert_eq!(walk(&rule(0, 0), &mut active.clone(), "0000", &context), "FFrr");
        // Once confirmed, it resolves at once.
        assert_eq!(walk(&rule(0, 0), &mut active, "10", &context), "Fr");
    }

    #[test]
    fn a_gap_need_not_start_a_pending_alert_anew() {
        for (keep, results, states) in [
            (0, "11011", "pp-pp"),
            (2, "1101111", "pppFFFF"),
            (2, "110011", "ppppFF"),
            (2, "1100011", "pppp-pp"),
        ] {
            let shown = walk(
                &keep_pending(rule(3 * MINUTE, 0), keep * MINUTE),
                &mut Active::new(),
                results,
                &Context::default(),
            );
            assert_eq!(shown, states, "keep {keep} {results}");
        }
        // It does not begin to fire while it is absent.
        let shown = walk(
            &keep_pending(rule(2 * MINUTE, 0), 5 * MINUTE),
            &mut Active::new(),
            "11001",
            &Context::default(),
        );
        assert_eq!(shown, "ppppF");
    }

    #[test]
    fn too_many_alerts_are_none() {
        let other = VectorSample { labels: Labels::from_pairs([("i", "2")]), ..result(1.0) };
        let mut active = Active::new();
        let context = Context::default();
        limited(&rule(0, 0), 1, &mut active, &[result(1.0)], 0, &context).unwrap();
        let error = limited(&rule(0, 0), 1, &mut active, &[result(1.0), other], 1, &context).unwrap_err();
        assert_eq!(error, "exceeded limit of 1 with 2 alerts");
        // What fired is known to be over.
        assert!(active.values().all(|alert| alert.state == AlertState::Resolved));
    }

    #[test]
    fn a_resolved_alert_says_why() {
        let mut active = Active::new();
        walk(&rule(0, 0), &mut active, "10", &Context::default());
        let alert = active.values().next().unwrap();
        assert_eq!(alert.annotations.get("resolve_reason"), "condition_false");
    }
}
