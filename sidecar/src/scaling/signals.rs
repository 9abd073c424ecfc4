//! Asks metrics for the signals of a policy: the sidecar's own series, or a Prometheus. A value comes with the age of its
//! newest sample and the share of ready instances it is made of; whether that is good enough, `decide` says.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use serde_json::Value as Json;
use url::Url;

use super::{
    decision::Reading,
    policy::{Policy, Signal},
};
use crate::{
    model::{INSTANCE, Labels},
    promql::{Options, Query, Value},
    scrape::innermost,
    series::Store,
};

/// A signal that takes longer is unknown.
const TIMEOUT: Duration = Duration::from_secs(5);
/// All signals of a decision together.
const BUDGET: Duration = Duration::from_secs(10);
const MAX_SAMPLES: usize = 5_000_000;
const MAX_SERIES: usize = 50_000;
/// Bytes of an answer of Prometheus; signals are single numbers.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Where metrics come from.
#[derive(Clone)]
pub enum Source {
    Own { store: Arc<Store>, parsed: Arc<Parsed> },
    Prometheus { http: reqwest::Client, base: Url },
}

/// Expressions are the same at each tick, until instances come or go.
#[derive(Default)]
pub struct Parsed(Mutex<HashMap<String, Arc<Query>>>);

/// Expressions kept in parsed form; more than a tick of all groups asks for.
const MAX_PARSED: usize = 1024;

/// Labels and value.
pub type Evaluated = Vec<(Labels, f64)>;

impl Parsed {
    fn get(&self, text: &str) -> Result<Arc<Query>, String> {
        if let Some(known) = self.0.lock().get(text) {
            return Ok(known.clone());
        }
        let query = Arc::new(Query::parse(text).map_err(|error| error.to_string())?);
        let mut known = self.0.lock();
        if known.len() >= MAX_PARSED {
            known.clear();
        }
        known.insert(text.to_owned(), query.clone());
        Ok(query)
    }
}

impl Source {
    pub fn own(store: Arc<Store>) -> Self {
        Self::Own { store, parsed: Arc::default() }
    }

    /// `base` as `http://prometheus:9090`, possibly with a path.
    pub fn prometheus(base: &str) -> Result<Self, String> {
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/')));
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")))
            .build();
        let http = http.map_err(|error| error.to_string())?;
        Ok(Self::Prometheus { http, base: base.map_err(|error| error.to_string())? })
    }

    fn parsed(&self, text: &str) -> Result<Arc<Query>, String> {
        match self {
            Self::Own { parsed, .. } => parsed.get(text),
            Self::Prometheus { .. } => Query::parse(text).map(Arc::new).map_err(|error| error.to_string()),
        }
    }

    pub async fn instant(&self, query: &str, at: UnixMillis) -> Result<Evaluated, String> {
        match self {
            Self::Own { store, parsed } => {
                let (store, query) = (store.clone(), parsed.get(query)?);
                let evaluated = tokio::task::spawn_blocking(move || own(&store, &query, at)).await;
                evaluated.map_err(|_| "the sidecar is stopping".to_owned())?
            }
            Self::Prometheus { http, base } => ask(http, base, query, at).await,
        }
    }
}

fn own(store: &Store, query: &Query, at: UnixMillis) -> Result<Evaluated, String> {
    let started = Instant::now();
    let expired = || started.elapsed() > TIMEOUT;
    let options =
        Options { max_samples: MAX_SAMPLES, max_series: MAX_SERIES, expired: &expired, ..Options::default() };
    match query.instant(store, at, &options).map_err(|error| error.to_string())? {
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), sample.value)]),
        Value::Vector(samples) => {
            Ok(samples.into_iter().map(|found| (found.labels, found.sample.value)).collect())
        }
        Value::Text(..) | Value::Matrix(_) => Err("is neither a number nor a vector".to_owned()),
    }
}

async fn ask(http: &reqwest::Client, base: &Url, query: &str, at: UnixMillis) -> Result<Evaluated, String> {
    let url = base.join("api/v1/query").map_err(|error| error.to_string())?;
    let time = (at as f64 / 1000.0).to_string();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("query", query), ("time", &time)])
        .finish();
    let request = http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let mut answer = request.send().await.map_err(|error| innermost(&error))?;
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + bytes.len() > MAX_ANSWER_BYTES {
            return Err(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&bytes);
    }
    let status = answer.status();
    let body: Json = serde_json::from_slice(&body).map_err(|_| format!("answered {status}, not in JSON"))?;
    if body["status"] != "success" {
        return Err(body["error"].as_str().map_or_else(|| format!("answered {status}"), str::to_owned));
    }
    read(&body["data"]).ok_or_else(|| "is neither a number nor a vector".to_owned())
}

fn read(data: &Json) -> Option<Evaluated> {
    let number = |pair: &Json| pair[1].as_str()?.parse::<f64>().ok();
    match data["resultType"].as_str()? {
        "scalar" => Some(vec![(Labels::empty(), number(&data["result"])?)]),
        "vector" => {
            let one = |found: &Json| {
                let labels = found["metric"].as_object()?.iter();
                let labels: Vec<_> =
                    labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
                Some((Labels::from_pairs(labels), number(&found["value"])?))
            };
            data["result"].as_array()?.iter().map(one).collect()
        }
        _ => None,
    }
}

/// Fills in `$ready`, a pattern within a PromQL string: each instance by its label, escaped for both.
pub(super) fn with_ready(text: &str, ready: &[String]) -> String {
    if !text.contains("$ready") {
        return text.to_owned();
    }
    let escaped = |name: &String| regex::escape(name).replace('\\', "\\\\").replace('"', "\\\"");
    let pattern = ready.iter().map(escaped).collect::<Vec<_>>().join("|");
    // Empty would be a pattern for series without the label.
    text.replace("$ready", if pattern.is_empty() { "no instance is ready" } else { &pattern })
}

/// All signals at one time. `ready`: labels `instance` of the ready instances.
pub(super) async fn read_all(
    source: &Source,
    policy: &Policy,
    ready: &[String],
    at: UnixMillis,
) -> Vec<Reading> {
    let mut heard = Heard { source, at, known: HashMap::new() };
    let mut readings = Vec::with_capacity(policy.signals.len());
    let deadline = tokio::time::Instant::now() + BUDGET;
    for signal in &policy.signals {
        let reading = tokio::time::timeout_at(deadline, read_one(&mut heard, signal, policy, ready)).await;
        let reading = reading.unwrap_or_else(|_| Err(format!("all signals took longer than {BUDGET:?}")));
        readings.push(reading.unwrap_or_else(|error| Reading {
            name: signal.name.clone(),
            error: format!("cannot be asked for: {error}"),
            ..Reading::default()
        }));
    }
    readings
}

/// One after another: what a Prometheus is asked within a tick is not much, and shall not come all at once.
async fn read_one(
    heard: &mut Heard<'_>,
    signal: &Signal,
    policy: &Policy,
    ready: &[String],
) -> Result<Reading, String> {
    let expr = with_ready(&signal.expr, ready);
    let found = heard.source.instant(&expr, heard.at).await?;
    let mut reading = Reading { name: signal.name.clone(), ..Reading::default() };
    match found.as_slice() {
        [(_, value)] if value.is_finite() => reading.value = Some(*value),
        [] | [_] => {}
        several => reading.error = format!("gives {} values, not one", several.len()),
    }
    let reports = with_ready(&signal.reports, ready);
    let witness = if reports.is_empty() { &expr } else { &reports };
    let mut reporting: HashSet<String> = ready.iter().cloned().collect();
    if !reports.is_empty() {
        let present = heard.source.instant(&reports, heard.at).await?;
        let present: HashSet<&str> = present.iter().map(|(labels, _)| labels.get(INSTANCE)).collect();
        reporting.retain(|instance| present.contains(instance.as_str()));
    }
    for matchers in heard.source.parsed(witness)?.selectors() {
        let matchers: Vec<_> = matchers.iter().map(ToString::to_string).collect();
        let selector = format!("{{{}}}", matchers.join(","));
        let newest = heard.newest(&selector).await?;
        let fresh = heard.at.saturating_sub(policy.max_age_ms);
        reporting.retain(|instance| newest.get(instance).is_some_and(|at| *at >= fresh));
        // The age is that of whichever part is oldest.
        let age = newest.values().max().map(|at| heard.at.saturating_sub(*at).max(0));
        reading.age_ms = match (reading.age_ms, age) {
            (Some(before), Some(age)) => Some(before.max(age)),
            (None, age) => age,
            (before, None) => before,
        };
    }
    let reporting = if signal.elsewhere { ready.len() } else { reporting.len() };
    reading.reporting = u32::try_from(reporting).unwrap_or(u32::MAX);
    reading.coverage = match ready.len() {
        // With no instance there is nobody to be missed.
        0 if reading.age_ms.is_some() => 1.0,
        0 => 0.0,
        all => f64::from(reading.reporting) / all as f64,
    };
    Ok(reading)
}

/// When each instance was last heard of, by selector; many signals share selectors.
struct Heard<'a> {
    source: &'a Source,
    at: UnixMillis,
    known: HashMap<String, HashMap<String, UnixMillis>>,
}

impl Heard<'_> {
    async fn newest(&mut self, selector: &str) -> Result<HashMap<String, UnixMillis>, String> {
        if let Some(known) = self.known.get(selector) {
            return Ok(known.clone());
        }
        let query = format!("max by ({INSTANCE}) (timestamp({selector}))");
        let found = self.source.instant(&query, self.at).await?;
        let newest: HashMap<_, _> = found
            .iter()
            .map(|(labels, seconds)| (labels.get(INSTANCE).to_owned(), (seconds * 1000.0).round() as i64))
            .collect();
        self.known.insert(selector.to_owned(), newest.clone());
        Ok(newest)
    }
}

/// Instances that a query says are there, whatever the value: one that cannot be scraped is not gone.
pub(super) async fn instances(source: &Source, query: &str, at: UnixMillis) -> Result<Vec<String>, String> {
    let found = source.instant(query, at).await?;
    let mut names: Vec<String> = found.iter().map(|(labels, _)| labels.get(INSTANCE).to_owned()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests;
