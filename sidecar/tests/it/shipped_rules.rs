//! The shipped alerts through our own evaluator: the same cases that `promtool test rules` runs must come out the same.

use std::{collections::BTreeMap, time::Duration};

use millrace_sidecar::{
    model::{Labels, METRIC_NAME, Sample},
    promql::Options,
    rules::{AlertState, Context, Engine, StateFile, load},
    scrape::{Sink, parse},
    series::{Bounds, Store},
};
use serde::Deserialize;

const RULES: &str = include_str!("../../../alerts/millrace.yml");
const CASES: &str = include_str!("../../../alerts/tests/millrace.yml");
const STEP: i64 = 15_000;

#[derive(Deserialize)]
struct Cases {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input_series: Vec<Input>,
    alert_rule_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Input {
    series: String,
    values: serde_yaml_ng::Value,
}

#[derive(Deserialize)]
struct Expectation {
    alertname: String,
    eval_time: String,
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    exp_labels: BTreeMap<String, String>,
    exp_annotations: BTreeMap<String, String>,
}

#[test]
fn our_evaluator_agrees_with_promtool() {
    let cases: Cases = serde_yaml_ng::from_str(CASES).unwrap();
    assert!(cases.tests.len() >= 9);
    for case in cases.tests {
        run(&case);
    }
}

fn run(case: &Case) {
    let bounds = Bounds { retention: Duration::from_secs(86_400), max_series: 1_000, max_bytes: 1 << 26 };
    let store = Store::new(bounds);
    let (engine, _) = Engine::new(Context::default(), StateFile::new(None), 0);
    engine.replace(load("millrace.yml", RULES, Duration::from_secs(15)).unwrap(), &store, 0);
    let series: Vec<_> = case.input_series.iter().map(parsed).collect();
    let end = case.alert_rule_test.iter().map(|test| millis(&test.eval_time)).max().unwrap();
    for (index, at) in (0..=end).step_by(STEP as usize).enumerate() {
        for (labels, values) in &series {
            if let Some(value) = values.get(index).copied().flatten() {
                store.append(&[(store.intern(labels).unwrap(), Sample { at, value })]);
            }
        }
        for group in engine.groups() {
            let evaluation = engine.evaluate(&group, &store, at, &Options::default());
            assert!(evaluation.failures.is_empty(), "{}: {:?}", case.name, evaluation.failures);
        }
        for test in case.alert_rule_test.iter().filter(|test| millis(&test.eval_time) == at) {
            compare(case, test, &engine);
        }
    }
}

fn compare(case: &Case, test: &Expectation, engine: &Engine) {
    let views = engine.views();
    let firing = views.iter().flat_map(|group| group.alerts()).map(|view| view.alert);
    let firing = firing.filter(|alert| alert.state == AlertState::Firing);
    let firing = firing.filter(|alert| alert.labels.get("alertname") == test.alertname);
    let mut found: Vec<_> = firing.map(|alert| (alert.labels, alert.annotations)).collect();
    let labels = |map: &BTreeMap<String, String>| {
        Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    };
    let expected = test.exp_alerts.iter().map(|expected| {
        let named = labels(&expected.exp_labels).with("alertname", &test.alertname);
        (named, labels(&expected.exp_annotations))
    });
    let mut expected: Vec<_> = expected.collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{}: {} at {}", case.name, test.alertname, test.eval_time);
}

fn parsed(input: &Input) -> (Labels, Vec<Option<f64>>) {
    let line = format!("{} 0", input.series.replace(", ", ","));
    let mut parser =
        parse::Parser::new(line.as_bytes(), parse::Format::Text, parse::Limits::default()).unwrap();
    let labels = parser.next().unwrap().unwrap().series.labels();
    assert!(!labels.get(METRIC_NAME).is_empty());
    let text = input.values.as_str().unwrap();
    (labels, text.split_whitespace().flat_map(expand).collect())
}

/// `5`, `_x3`, `5x3` (four times), `0+10x3`.
fn expand(word: &str) -> Vec<Option<f64>> {
    let Some((start, times)) = word.split_once('x') else { return vec![word.parse().ok()] };
    let times: usize = times.parse().unwrap();
    if start == "_" {
        return vec![None; times];
    }
    let (first, step) = start.split_once('+').unwrap_or((start, "0"));
    let (first, step): (f64, f64) = (first.parse().unwrap(), step.parse().unwrap());
    (0..=times).map(|index| Some(first + step * index as f64)).collect()
}

/// `5m`, `4m45s`
fn millis(text: &str) -> i64 {
    let parts = text.split_inclusive(['m', 's']);
    let seconds = parts.map(|part| {
        let number: i64 = part[..part.len() - 1].parse().unwrap();
        if part.ends_with('m') { number * 60 } else { number }
    });
    seconds.sum::<i64>() * 1000
}
