//! Tests of `alert`.

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
    let series: Vec<_> = stepped.series.iter().map(|(labels, value)| format!("{labels} {value}")).collect();
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
    for (keep, results, states) in
        [(0, "11011", "pp-pp"), (2, "1101111", "pppFFFF"), (2, "110011", "ppppFF"), (2, "1100011", "pppp-pp")]
    {
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
