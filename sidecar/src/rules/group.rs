//! A group of rules and what evaluating them does: in order, each result visible to the next rule.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use millrace_kit::clock::UnixMillis;

use super::{
    Template,
    alert::{self, Active, World},
    reason,
};
use crate::{
    model::{Labels, METRIC_NAME, STALE_NAN, Sample},
    promql::{Options, Query, Value, VectorSample},
    scrape::Sink,
    series::Store,
};

#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    pub file: String,
    pub interval: Duration,
    /// Series or alerts that a rule may yield; zero is no limit.
    pub limit: usize,
    /// Rules look at the data of so long ago.
    pub query_offset: Duration,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    pub kind: Kind,
    pub query: Query,
    pub labels: Vec<(String, Template)>,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Recording,
    Alerting(Alerting),
}

#[derive(Debug, Clone)]
pub struct Alerting {
    /// `for`
    pub hold: Duration,
    pub keep_firing: Duration,
    /// How long a pending alert may be absent without starting over: a failed scrape is no good news.
    pub keep_pending: Duration,
    pub annotations: Vec<(String, Template)>,
}

/// What holds for all rules.
#[derive(Debug, Clone)]
pub struct Context {
    pub external_labels: Labels,
    /// Of the sidecar, for templates.
    pub external_url: String,
    /// Until then alerts from before the start are not resolved for lack of data.
    pub settled_at: UnixMillis,
}

/// Of one rule, over time.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleState {
    pub(super) active: Active,
    /// Series of the last evaluation, to be ended when they are gone.
    pub(super) written: HashSet<Labels>,
    pub(super) last: Option<Outcome>,
}

#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) at: UnixMillis,
    pub(super) duration: Duration,
    pub(super) error: Option<String>,
}

impl Default for Context {
    fn default() -> Self {
        Self { external_labels: Labels::empty(), external_url: String::new(), settled_at: UnixMillis::MIN }
    }
}

/// Evaluates one rule and writes its series. True when alerts began, fired, resolved or were forgotten.
pub(super) fn evaluate(
    group: &Group,
    rule: &Rule,
    state: &mut RuleState,
    store: &Store,
    at: UnixMillis,
    options: &Options<'_>,
    context: &Context,
) -> bool {
    let started = Instant::now();
    let offset = i64::try_from(group.query_offset.as_millis()).unwrap_or(i64::MAX);
    let data_at = at.saturating_sub(offset);
    let query = |text: &str| {
        let query = Query::parse(text).map_err(|error| error.to_string())?;
        vector(query.instant(store, data_at, options).map_err(|error| error.to_string())?)
    };
    let why = |labels: &Labels| reason::of_end(rule, labels, store, data_at);
    let world = World { context, query: &query, why: &why };
    let results = rule.query.instant(store, data_at, options).map_err(|error| error.to_string());
    let yielded = results.and_then(vector).and_then(|results| match &rule.kind {
        Kind::Recording => recorded(rule, group.limit, &results).map(|series| (series, false)),
        Kind::Alerting(alerting) => {
            alert::step(rule, alerting, group.limit, &mut state.active, &results, at, &world)
                .map(|stepped| (stepped.series, stepped.changed))
        }
    });
    let (error, changed) = match yielded {
        Ok((series, changed)) => {
            write(store, state, series, data_at);
            (None, changed)
        }
        Err(error) => (Some(error), false),
    };
    state.last = Some(Outcome { at, duration: started.elapsed(), error });
    changed
}

/// Ends the series of a rule that is no more.
pub(super) fn end(state: &mut RuleState, store: &Store, at: UnixMillis) {
    write(store, state, Vec::new(), at);
}

fn vector(value: Value) -> Result<Vec<VectorSample>, String> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(sample) => Ok(vec![VectorSample { labels: Labels::empty(), sample }]),
        Value::Matrix(_) | Value::Text(..) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// Labels of recording rules are no templates.
fn recorded(rule: &Rule, limit: usize, results: &[VectorSample]) -> Result<Vec<(Labels, f64)>, String> {
    let mut seen = HashSet::with_capacity(results.len());
    let mut series = Vec::with_capacity(results.len());
    for result in results {
        let mut labels = result.labels.to_builder();
        labels.set(METRIC_NAME, &rule.name);
        for (name, template) in &rule.labels {
            labels.set(name, template.text());
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
        series.push((labels, result.sample.value));
    }
    match limit != 0 && series.len() > limit {
        true => Err(format!("exceeded limit of {limit} with {} series", series.len())),
        false => Ok(series),
    }
}

fn write(store: &Store, state: &mut RuleState, series: Vec<(Labels, f64)>, at: UnixMillis) {
    let mut batch = Vec::with_capacity(series.len());
    let mut written = HashSet::with_capacity(series.len());
    for (labels, value) in series {
        state.written.remove(&labels);
        batch.extend(store.intern(&labels).map(|id| (id, Sample { at, value })));
        written.insert(labels);
    }
    for gone in &state.written {
        batch.extend(store.intern(gone).map(|id| (id, Sample { at, value: STALE_NAN })));
    }
    state.written = written;
    store.append(&batch);
}
