//! A group of rules and what evaluating them does: in order, each result visible to the next rule.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use millrace_kit::clock::UnixMillis;

use super::{
    Template,
    alert::{self, Active},
    template::Data,
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
    Alerting { hold: Duration, keep_firing: Duration, annotations: Vec<(String, Template)> },
}

/// What holds for all rules.
#[derive(Debug, Clone)]
pub struct Context {
    pub external_labels: Labels,
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
        Self { external_labels: Labels::empty(), settled_at: UnixMillis::MIN }
    }
}

/// Evaluates one rule and writes its series. True when alerts began, fired, resolved or were forgotten.
pub(super) fn evaluate(
    rule: &Rule,
    limit: usize,
    state: &mut RuleState,
    store: &Store,
    at: UnixMillis,
    options: &Options<'_>,
    context: &Context,
) -> bool {
    let started = Instant::now();
    let yielded = results(rule, limit, store, at, options).and_then(|results| match rule.kind {
        Kind::Recording => recorded(rule, &results, context).map(|series| (series, false)),
        Kind::Alerting { .. } => alert::step(rule, &mut state.active, &results, at, context)
            .map(|stepped| (stepped.series, stepped.changed)),
    });
    let (error, changed) = match yielded {
        Ok((series, changed)) => {
            write(store, state, series, at);
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

fn results(
    rule: &Rule,
    limit: usize,
    store: &Store,
    at: UnixMillis,
    options: &Options<'_>,
) -> Result<Vec<VectorSample>, String> {
    let results = match rule.query.instant(store, at, options).map_err(|error| error.to_string())? {
        Value::Vector(samples) => samples,
        Value::Scalar(sample) => vec![VectorSample { labels: Labels::empty(), sample }],
        Value::Matrix(_) | Value::Text(..) => {
            return Err("rule result is not a vector or scalar".to_owned());
        }
    };
    match limit != 0 && results.len() > limit {
        true => Err(format!("exceeded limit of {limit} with {} results", results.len())),
        false => Ok(results),
    }
}

fn recorded(rule: &Rule, results: &[VectorSample], context: &Context) -> Result<Vec<(Labels, f64)>, String> {
    let mut seen = HashSet::with_capacity(results.len());
    let mut series = Vec::with_capacity(results.len());
    for result in results {
        let mut labels = result.labels.to_builder();
        labels.set(METRIC_NAME, &rule.name);
        for (name, template) in &rule.labels {
            let data = Data {
                labels: &result.labels,
                external_labels: &context.external_labels,
                value: result.sample.value,
            };
            labels.set(name, &template.expand(data));
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
        series.push((labels, result.sample.value));
    }
    Ok(series)
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
