//! Walks through the time of each test, as promtool does: load the samples that are due, evaluate every group, compare.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Outcome,
    file::{AlertTest, ExpectedAlert, ExprTest, File, Span, Test},
    values,
};
use crate::{
    config::rule_paths,
    model::{ALERT_NAME, Labels, Sample},
    promql::{Options, Query, Value, format_value, parse_metric},
    rules::{AlertState, Context, Engine, Group, GroupHandle, StateFile, Text, load},
    scrape::Sink,
    series::{Bounds, Store},
};

const DEFAULT_INTERVAL: Span = Span(Duration::from_secs(60));

/// Of one test: far beyond what anybody writes.
const BOUNDS: Bounds =
    Bounds { retention: Duration::from_secs(100 * 365 * 86_400), max_series: 100_000, max_bytes: 1 << 30 };
const MAX_EVALUATIONS: i64 = 1_000_000;

/// `folder` is where the patterns of `rule_files` start.
pub fn run(text: &str, folder: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let file: File = match serde_yaml_ng::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            outcome.faults.push(error.to_string());
            return outcome;
        }
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in &file.rule_files {
        let pattern = folder.join(pattern).display().to_string();
        match rule_paths(&pattern)
            .map(|found| found.into_iter().map(PathBuf::from).filter(|path| path.exists()))
        {
            Ok(found) => {
                let before = paths.len();
                paths.extend(found);
                if paths.len() == before {
                    outcome.warnings.push(format!("no file match pattern {pattern}"));
                }
            }
            Err(_) => outcome.warnings.push(format!("no file match pattern {pattern}")),
        }
    }
    let interval = file.evaluation_interval.or(DEFAULT_INTERVAL);
    for (index, test) in file.tests.iter().enumerate() {
        let title = match test.name.0.as_str() {
            "" => format!("test {}", index + 1),
            name => format!("name: {name}"),
        };
        let groups = match groups(&paths, test.interval.or(interval)) {
            Ok(groups) => groups,
            Err(faults) => {
                outcome.faults.extend(faults);
                return outcome;
            }
        };
        match Rehearsal::new(&file, test, interval, groups) {
            Ok(mut rehearsal) => {
                rehearsal.run();
                outcome
                    .failures
                    .extend(rehearsal.failures.iter().map(|failure| format!("{title}, {failure}")));
            }
            Err(fault) => outcome.failures.push(format!("{title}, {fault}")),
        }
    }
    outcome
}

fn groups(paths: &[PathBuf], interval: Span) -> Result<Vec<Group>, Vec<String>> {
    let mut groups = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{name}: {error}")])?;
        let loaded = load(&name, &text, interval.0);
        groups.extend(loaded.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?);
    }
    Ok(groups)
}

struct Rehearsal<'a> {
    test: &'a Test,
    evaluation_interval: i64,
    fuzzy: bool,
    store: Store,
    engine: Engine,
    /// In the order of evaluation.
    groups: Vec<GroupHandle>,
    /// Not yet loaded, by time.
    input: std::vec::IntoIter<(i64, Labels, f64)>,
    due: Option<(i64, Labels, f64)>,
    failures: Vec<String>,
}

type Alerts = Vec<(Labels, Labels)>;

impl<'a> Rehearsal<'a> {
    fn new(file: &File, test: &'a Test, interval: Span, groups: Vec<Group>) -> Result<Self, String> {
        let step = test.interval.or(interval).millis();
        let mut input = Vec::new();
        for series in &test.input_series {
            let written = &series.series.0;
            let spaced = written.split('{').next().is_some_and(|name| name.trim_end() != name);
            let labels = match parse_metric(written) {
                Ok(_) if spaced => Err("unexpected space before {".to_owned()),
                parsed => parsed.map_err(|error| error.to_string()),
            };
            let labels = labels.map_err(|error| format!("series {written:?}: {error}"))?;
            let values = values::expand(&series.values.0)
                .map_err(|error| format!("values of {:?}: {error}", series.series.0))?;
            let samples = values.into_iter().enumerate();
            input.extend(
                samples.filter_map(|(index, value)| Some((index as i64 * step, labels.clone(), value?))),
            );
        }
        input.sort_by_key(|(at, ..)| *at);
        let external_labels = labels(&test.external_labels);
        let context =
            Context { external_labels, external_url: test.external_url.0.clone(), ..Context::default() };
        let (engine, _) = Engine::new(context, StateFile::new(None), 0);
        let store = Store::new(BOUNDS);
        engine.replace(groups, &store, 0);
        let mut groups = engine.groups();
        let place = |handle: &GroupHandle| {
            file.group_eval_order.iter().position(|name| *name == handle.group.name).unwrap_or(usize::MAX)
        };
        groups.sort_by_key(place);
        Ok(Self {
            test,
            evaluation_interval: interval.millis().max(1),
            fuzzy: file.fuzzy_compare,
            store,
            engine,
            groups,
            input: input.into_iter(),
            due: None,
            failures: Vec::new(),
        })
    }

    fn run(&mut self) {
        let alert_ends = self.test.alert_rule_test.iter().map(|test| test.eval_time);
        let expr_ends = self.test.promql_expr_test.iter().map(|test| test.eval_time);
        let end = alert_ends.chain(expr_ends).max().unwrap_or_default().millis();
        if end / self.evaluation_interval > MAX_EVALUATIONS {
            self.failures.push(format!("more than {MAX_EVALUATIONS} evaluations"));
            return;
        }
        let test = self.test;
        for at in (0..=end).step_by(usize::try_from(self.evaluation_interval).unwrap_or(usize::MAX)) {
            self.load_until(at);
            for handle in self.groups.clone() {
                let evaluation = self.engine.evaluate(&handle, &self.store, at, &self.options());
                let failures = evaluation.failures.into_iter();
                self.failures.extend(
                    failures.map(|(rule, error)| format!("rule: {rule}, time: {}, err: {error}", span(at))),
                );
            }
            let next = at + self.evaluation_interval;
            for expected in
                test.alert_rule_test.iter().filter(|test| (at..next).contains(&test.eval_time.millis()))
            {
                self.compare_alerts(expected);
            }
        }
        self.load_until(end);
        for expected in &test.promql_expr_test {
            self.compare_samples(expected);
        }
    }

    fn options(&self) -> Options<'static> {
        Options { subquery_step_ms: self.evaluation_interval, ..Options::default() }
    }

    fn load_until(&mut self, at: i64) {
        while let Some((due, labels, value)) = self.due.take().or_else(|| self.input.next()) {
            if due > at {
                self.due = Some((due, labels, value));
                return;
            }
            if let Some(id) = self.store.intern(&labels) {
                self.store.append(&[(id, Sample { at: due, value })]);
            }
        }
    }

    fn compare_alerts(&mut self, test: &AlertTest) {
        let name = &test.alertname.0;
        if name.is_empty() {
            self.failures
                .push("an item under alert_rule_test misses required attribute alertname".to_owned());
            return;
        }
        let views = self.engine.views();
        let rules = views.iter().flat_map(|group| &group.rules).filter(|rule| rule.name == *name);
        let alerts = rules.filter_map(|rule| rule.alerting.as_ref()).flat_map(|alerting| &alerting.alerts);
        let firing = alerts.filter(|alert| alert.state == AlertState::Firing);
        let mut got: Alerts = firing.map(|alert| (alert.labels.clone(), alert.annotations.clone())).collect();
        let expected = test.exp_alerts.iter().flatten();
        let mut expected: Alerts = expected.map(|alert| expected_alert(name, alert)).collect();
        got.sort();
        expected.sort();
        if got != expected {
            let failure = format!(
                "alertname: {name}, time: {},\n    exp: {}\n    got: {}",
                span(test.eval_time.millis()),
                shown(&expected),
                shown(&got),
            );
            self.failures.push(failure);
        }
    }

    fn compare_samples(&mut self, test: &ExprTest) {
        let at = test.eval_time.millis();
        let place = format!("expr: {:?}, time: {}", test.expr.0, span(at));
        let answer =
            Query::parse(&test.expr.0).and_then(|query| query.instant(&self.store, at, &self.options()));
        let mut got: Vec<(Labels, f64)> = match answer {
            Ok(Value::Vector(samples)) => {
                samples.into_iter().map(|found| (found.labels, found.sample.value)).collect()
            }
            Ok(Value::Scalar(sample)) => vec![(Labels::empty(), sample.value)],
            Ok(Value::Matrix(_) | Value::Text(..)) => {
                self.failures.push(format!("{place}, err: rule result is not a vector or scalar"));
                return;
            }
            Err(error) => {
                self.failures.push(format!("{place}, err: {error}"));
                return;
            }
        };
        let mut expected = Vec::new();
        for sample in test.exp_samples.iter().flatten() {
            let labels = match parse_metric(&sample.labels.0) {
                _ if sample.histogram.is_some() => Err("not supported: native histograms".to_owned()),
                labels => labels.map_err(|error| format!("labels {:?}: {error}", sample.labels.0)),
            };
            match labels {
                Ok(labels) => expected.push((labels, sample.value)),
                Err(error) => {
                    self.failures.push(format!("{place}, err: {error}"));
                    return;
                }
            }
        }
        got.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let fuzzy = self.fuzzy;
        let same = got.len() == expected.len()
            && got
                .iter()
                .zip(&expected)
                .all(|(got, expected)| got.0 == expected.0 && equal(got.1, expected.1, fuzzy));
        if !same {
            let list = |samples: &[(Labels, f64)]| {
                let texts =
                    samples.iter().map(|(labels, value)| format!("{labels} {}", format_value(*value)));
                texts.collect::<Vec<_>>().join(", ")
            };
            self.failures.push(format!(
                "{place},\n    exp: {}\n    got: {}",
                if expected.is_empty() { "nil".to_owned() } else { list(&expected) },
                if got.is_empty() { "nil".to_owned() } else { list(&got) },
            ));
        }
    }
}

/// Exactly, so that NaN equals nothing, but for the last digits when the file says `fuzzy_compare`.
#[allow(clippy::float_cmp, reason = "as promtool compares")]
fn equal(got: f64, expected: f64, fuzzy: bool) -> bool {
    got == expected || fuzzy && (got - expected).abs() <= f64::EPSILON * expected.abs().max(got.abs())
}

fn expected_alert(name: &str, alert: &ExpectedAlert) -> (Labels, Labels) {
    let map = |map: &Option<BTreeMap<String, Text>>| labels(map.as_ref().unwrap_or(&BTreeMap::new()));
    (map(&alert.exp_labels).with(ALERT_NAME, name), map(&alert.exp_annotations))
}

fn labels(map: &BTreeMap<String, Text>) -> Labels {
    Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.0.as_str())))
}

fn shown(alerts: &Alerts) -> String {
    let mut text = "[".to_owned();
    for (index, (labels, annotations)) in alerts.iter().enumerate() {
        let _ = write!(text, "\n        {index}: labels {labels}, annotations {annotations}");
    }
    if !alerts.is_empty() {
        text.push_str("\n    ");
    }
    text + "]"
}

/// `1h2m3s`
fn span(millis: i64) -> String {
    let (hours, minutes, seconds) =
        (millis / 3_600_000, millis / 60_000 % 60, (millis % 60_000) as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
