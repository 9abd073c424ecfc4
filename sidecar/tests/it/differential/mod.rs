//! The same queries over the same data, here and in a real Prometheus: the answers must be equal within 1e-9. What
//! Prometheus 3.5 answered is recorded in `tests/promql/answers.txt`, so that the comparison needs no Prometheus;
//! `MILLRACE_PROMETHEUS=/usr/bin/prometheus cargo test … -- --ignored record_answers` records it anew.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use millrace_sidecar::{
    model::Labels,
    promql::{Error, Options, Query, Value},
    scrape::Sink,
    series::{Bounds, Store},
};

use crate::harness::START;

mod corpus;
mod data;
pub mod prometheus;

const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promql/answers.txt");
const TOLERANCE: f64 = 1e-9;

/// Away from the samples' own times.
const AT: i64 = START + 2_437_000;
const FROM: i64 = START + 301_000;
const TO: i64 = START + 2_900_000;
const STEP: i64 = 433_000;

/// Series by labels (as JSON), each with times and values. None: the query was refused.
type Answer = Option<Vec<(String, Vec<(i64, f64)>)>>;

fn store() -> Store {
    let store =
        Store::new(Bounds { retention: Duration::from_secs(86_400), max_series: 10_000, max_bytes: 1 << 28 });
    for (labels, samples) in data::all() {
        let id = store.intern(&labels).unwrap();
        let batch: Vec<_> = samples.into_iter().map(|sample| (id, sample)).collect();
        let appended = store.append(&batch);
        assert_eq!(appended.accepted, batch.len());
    }
    store
}

fn name(labels: &Labels) -> String {
    let map: BTreeMap<&str, &str> = labels.iter().map(|label| (&*label.name, &*label.value)).collect();
    serde_json::to_string(&map).unwrap()
}

fn ours(store: &Store, query: &str) -> (Answer, Answer) {
    let options = Options::default();
    let instant = Query::parse(query).and_then(|query| query.instant(store, AT, &options));
    let range = Query::parse(query).and_then(|query| query.range(store, FROM, TO, STEP, &options));
    let rows = |series: Vec<millrace_sidecar::promql::RangeSeries>| {
        let row = |series: &millrace_sidecar::promql::RangeSeries| {
            let samples = series.samples.iter().map(|sample| (sample.at, sample.value));
            (name(&series.labels), samples.collect())
        };
        series.iter().map(row).collect()
    };
    let instant = instant.map(|value| match value {
        Value::Scalar(sample) => vec![("{}".to_owned(), vec![(sample.at, sample.value)])],
        Value::Text(_, text) => vec![(text, Vec::new())],
        Value::Vector(samples) => {
            let row = |found: &millrace_sidecar::promql::VectorSample| {
                (name(&found.labels), vec![(found.sample.at, found.sample.value)])
            };
            samples.iter().map(row).collect()
        }
        Value::Matrix(series) => rows(series),
    });
    let unsupported = |error: &Error| {
        assert!(!matches!(error, Error::Unsupported(_)), "{query}: {error}");
    };
    (instant.inspect_err(unsupported).ok(), range.map(rows).inspect_err(unsupported).ok())
}

/// Of an answer of the HTTP API.
fn theirs(answer: &serde_json::Value) -> Answer {
    if answer["status"] != "success" {
        return None;
    }
    let pair = |pair: &serde_json::Value| -> (i64, f64) {
        let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
        (at, pair[1].as_str().unwrap().replace("+Inf", "inf").parse().unwrap())
    };
    let result = &answer["data"]["result"];
    Some(match answer["data"]["resultType"].as_str().unwrap() {
        "scalar" => vec![("{}".to_owned(), vec![pair(result)])],
        "string" => vec![(result[1].as_str().unwrap().to_owned(), Vec::new())],
        _ => {
            let row = |series: &serde_json::Value| {
                let metric: BTreeMap<String, String> =
                    serde_json::from_value(series["metric"].clone()).unwrap();
                let samples = match series["values"].as_array() {
                    Some(values) => values.iter().map(pair).collect(),
                    None => vec![pair(&series["value"])],
                };
                (serde_json::to_string(&metric).unwrap(), samples)
            };
            result.as_array().unwrap().iter().map(row).collect()
        }
    })
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn same(ours: &Answer, theirs: &Answer, ordered: bool) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return ours.is_none() && theirs.is_none() };
    let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
    if !ordered {
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = |(ours, theirs): (&(i64, f64), &(i64, f64))| ours.0 == theirs.0 && close(ours.1, theirs.1);
    ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(ours, theirs)| {
            ours.0 == theirs.0 && ours.1.len() == theirs.1.len() && ours.1.iter().zip(&theirs.1).all(equal)
        })
}

fn is_ordered(query: &str) -> bool {
    ["sort", "topk", "bottomk"].iter().any(|start| query.starts_with(start))
}

/// One answer as text: a line per series, `-` for a refusal.
fn write(into: &mut String, kind: char, answer: &Answer) {
    let Some(rows) = answer else {
        writeln!(into, "{kind}-").unwrap();
        return;
    };
    writeln!(into, "{kind}{}", rows.len()).unwrap();
    for (labels, samples) in rows {
        write!(into, "{labels}").unwrap();
        for (at, value) in samples {
            write!(into, "\t{}:{value:?}", at - START).unwrap();
        }
        writeln!(into).unwrap();
    }
}

fn read<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Answer {
    let count = lines.next().unwrap()[1..].parse::<usize>().ok()?;
    let row = |line: &str| {
        let mut parts = line.split('\t');
        let labels = parts.next().unwrap().to_owned();
        let sample = |part: &str| {
            let (at, value) = part.split_once(':').unwrap();
            (START + at.parse::<i64>().unwrap(), value.parse().unwrap())
        };
        (labels, parts.map(sample).collect())
    };
    Some(lines.take(count).map(row).collect())
}

#[test]
fn answers_are_those_of_prometheus() {
    let recorded = std::fs::read_to_string(ANSWERS).unwrap();
    let store = store();
    let mut lines = recorded.lines();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for query in corpus::all() {
        assert_eq!(lines.next(), Some(format!("? {query}").as_str()), "the corpus has changed: record anew");
        let (instant, range) = (read(&mut lines), read(&mut lines));
        let (our_instant, our_range) = ours(&store, &query);
        compared += 2;
        if !same(&our_instant, &instant, is_ordered(&query)) {
            wrong.push(format!("{query}\n   ours: {our_instant:?}\n theirs: {instant:?}"));
        }
        if !same(&our_range, &range, false) {
            wrong.push(format!("{query} (range)\n   ours: {our_range:?}\n theirs: {range:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 1000, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "records the answers of the Prometheus 3 named by MILLRACE_PROMETHEUS"]
async fn record_answers() {
    let program = std::env::var("MILLRACE_PROMETHEUS").expect("MILLRACE_PROMETHEUS names the program");
    let folder = tempfile::tempdir().unwrap();
    let prometheus =
        prometheus::Prometheus::start(&program, folder.path(), "global: {evaluation_interval: 15s}\n").await;
    prometheus.write(&data::all()).await;
    let seconds = |at: i64| (at as f64 / 1000.0).to_string();
    let mut recorded = String::new();
    for query in corpus::all() {
        let instant =
            prometheus.ask("/api/v1/query", &[("query", query.clone()), ("time", seconds(AT))]).await;
        let range = [
            ("query", query.clone()),
            ("start", seconds(FROM)),
            ("end", seconds(TO)),
            ("step", seconds(STEP)),
        ];
        let range = prometheus.ask("/api/v1/query_range", &range).await;
        writeln!(recorded, "? {query}").unwrap();
        write(&mut recorded, 'i', &theirs(&instant));
        write(&mut recorded, 'r', &theirs(&range));
    }
    std::fs::write(Path::new(ANSWERS), recorded).unwrap();
}
