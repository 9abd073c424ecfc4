//! Tests of `engine`.

use super::*;
use crate::{
    model::{Labels, METRIC_NAME, Sample},
    rules::load,
    scrape::Sink,
    series::{Bounds, Matcher},
};

const RULES: &str = "
groups:
- name: g
  rules:
  - record: doubled
    expr: x * 2
  - alert: High
    expr: doubled > 10
    for: 1m
";

fn groups(text: &str) -> Vec<Group> {
    load("r.yml", text, Duration::from_secs(15)).unwrap()
}

fn store() -> Store {
    Store::new(Bounds { retention: Duration::from_secs(86_400), max_series: 100, max_bytes: 1 << 20 })
}

fn put(store: &Store, at: i64, value: f64) {
    let id = store.intern(&Labels::from_pairs([(METRIC_NAME, "x")])).unwrap();
    store.append(&[(id, Sample { at, value })]);
}

fn evaluate(engine: &Engine, store: &Store, at: i64) -> Vec<String> {
    let handle = &engine.groups()[0];
    engine.evaluate(handle, store, at, &Options::default());
    let views = engine.views();
    views[0].alerts().map(|view| format!("{} {}", view.alert.state.as_str(), view.alert.value)).collect()
}

fn engine(file: StateFile, now: i64) -> Engine {
    let context = Context { settled_at: now + 60_000, ..Context::default() };
    let (engine, problem) = Engine::new(context, file, now);
    assert_eq!(problem, None);
    engine
}

#[test]
fn rules_see_the_results_of_those_before_them() {
    let (engine, store) = (engine(StateFile::new(None), 0), store());
    engine.replace(groups(RULES), &store, 0);
    put(&store, 0, 6.0);
    assert_eq!(evaluate(&engine, &store, 0), ["pending 12"]);
    assert_eq!(evaluate(&engine, &store, 60_000), ["firing 12"]);
    put(&store, 70_000, 1.0);
    assert_eq!(evaluate(&engine, &store, 75_000), ["inactive 12"]);
    // Both series of the alert end with it.
    let all = store.select(&[Matcher::equal("alertname", "High")], 0, i64::MAX, 100).unwrap();
    for series in all {
        assert!(crate::model::is_stale(series.samples.last().unwrap().value), "{}", series.labels);
    }
}

#[test]
fn a_restart_neither_forgets_nor_waits_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = || StateFile::new(Some(folder.path().join("alerts.json")));
    let (first, data) = (engine(file(), 0), store());
    first.replace(groups(RULES), &data, 0);
    put(&data, 0, 6.0);
    evaluate(&first, &data, 0);
    assert_eq!(evaluate(&first, &data, 60_000), ["firing 12"]);
    // Killed; all samples are lost.
    let (second, empty) = (engine(file(), 70_000), store());
    assert!(second.replace(groups(RULES), &empty, 70_000).is_empty());
    assert_eq!(evaluate(&second, &empty, 75_000), ["firing 12"]);
    put(&empty, 80_000, 7.0);
    assert_eq!(evaluate(&second, &empty, 90_000), ["firing 14"]);
    put(&empty, 100_000, 1.0);
    assert_eq!(evaluate(&second, &empty, 105_000), ["inactive 14"]);
}

#[test]
fn reload_keeps_alerts_and_resolves_those_of_removed_rules() {
    let (engine, store) = (engine(StateFile::new(None), 0), store());
    engine.replace(groups(RULES), &store, 0);
    put(&store, 0, 6.0);
    evaluate(&engine, &store, 0);
    assert!(engine.replace(groups(&RULES.replace("> 10", "> 11")), &store, 30_000).is_empty());
    assert_eq!(evaluate(&engine, &store, 60_000), ["firing 12"]);
    let gone = engine.replace(groups("groups: []"), &store, 61_000);
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].alert.state, gone[0].alert.resolved_at), (AlertState::Resolved, Some(61_000)));
    assert!(engine.views().is_empty());
}

#[test]
fn a_failing_rule_keeps_its_alerts_and_says_why() {
    let text = "groups:\n- {name: g, rules: [{alert: A, expr: 'x > 0'}, {alert: B, expr: 'x + on() {__name__=~\"x|y\"}'}]}";
    let (engine, store) = (engine(StateFile::new(None), 0), store());
    engine.replace(groups(text), &store, 0);
    put(&store, 0, 6.0);
    let id = store.intern(&Labels::from_pairs([(METRIC_NAME, "y")])).unwrap();
    store.append(&[(id, Sample { at: 0, value: 1.0 })]);
    let evaluation = engine.evaluate(&engine.groups()[0], &store, 0, &Options::default());
    assert_eq!(evaluation.failures.len(), 1);
    assert!(evaluation.failures[0].1.contains("duplicate series"), "{:?}", evaluation.failures);
    assert_eq!(evaluation.alerts.len(), 1);
}
