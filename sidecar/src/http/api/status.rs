//! `/status/…` as Prometheus has them, and `/-/…`: whom one talks to, how it is set, what it holds, and that it should read
//! its rules and its policy anew.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{Error, Kind, Params, success};
use crate::{
    http::{Phase, State, authority},
    model::{METRIC_NAME, time::rfc3339},
};

/// Rows of each table of `/status/tsdb`.
const ROWS: usize = 10;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/api/v1/status/buildinfo", web::get().to(build_info))
        .route("/api/v1/status/runtimeinfo", web::get().to(runtime_info))
        .route("/api/v1/status/config", web::get().to(settings))
        .route("/api/v1/status/flags", web::get().to(flags))
        .route("/api/v1/status/tsdb", web::get().to(tsdb))
        .route("/api/v1/alertmanagers", web::get().to(alertmanagers))
        .route("/-/healthy", web::get().to(healthy))
        .route("/-/ready", web::get().to(ready))
        .route("/-/reload", web::post().to(reload))
        .route("/-/reload", web::put().to(reload));
}

async fn build_info() -> HttpResponse {
    success(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "millrace-sidecar",
        "features": {},
    }))
}

async fn runtime_info(state: web::Data<State>) -> HttpResponse {
    let retention = state.store.bounds().retention.as_secs();
    success(json!({
        "startTime": rfc3339(state.started_at),
        "serverTime": rfc3339(state.clock.unix_millis()),
        "CWD": "",
        "reloadConfigSuccess": true,
        "lastConfigTime": rfc3339(state.started_at),
        "corruptionCount": 0,
        "storageRetention": format!("{}h", retention / 3600),
    }))
}

/// The part of the settings that Prometheus has too, in its form; without secrets.
async fn settings(state: web::Data<State>) -> HttpResponse {
    success(json!({ "yaml": state.settings_yaml }))
}

async fn flags(state: web::Data<State>) -> HttpResponse {
    let bounds = state.store.bounds();
    success(json!({
        "query.timeout": format!("{}s", state.bounds.timeout.as_secs()),
        "query.max-samples": state.bounds.max_samples.to_string(),
        "query.lookback-delta": "5m",
        "storage.tsdb.retention.time": format!("{}h", bounds.retention.as_secs() / 3600),
        "storage.tsdb.retention.size": format!("{}B", bounds.max_bytes),
        "web.enable-lifecycle": "true",
    }))
}

async fn tsdb(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &[]);
    let rows = match params.limit("limit")? {
        0 => ROWS,
        more => more.min(10_000),
    };
    let stats = state.store.stats();
    let mut by_metric: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_pair: BTreeMap<String, u64> = BTreeMap::new();
    let mut values: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for labels in state.store.label_sets(&[], i64::MIN, i64::MAX) {
        for label in labels.iter() {
            if &*label.name == METRIC_NAME {
                *by_metric.entry(label.value.to_string()).or_default() += 1;
            }
            *by_pair.entry(format!("{}={}", label.name, label.value)).or_default() += 1;
            *values.entry(label.name.to_string()).or_default().entry(label.value.to_string()).or_default() +=
                1;
        }
    }
    let distinct = values.iter().map(|(name, values)| (name.clone(), values.len() as u64));
    let bytes = values.iter().map(|(name, values)| {
        (name.clone(), values.iter().map(|(value, count)| value.len() as u64 * count).sum())
    });
    Ok(success(json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": by_pair.len(),
            "chunkCount": stats.chunks,
            "minTime": stats.oldest,
            "maxTime": stats.newest,
        },
        "seriesCountByMetricName": top(by_metric.clone(), rows),
        "labelValueCountByLabelName": top(distinct.collect(), rows),
        "memoryInBytesByLabelName": top(bytes.collect(), rows),
        "seriesCountByLabelValuePair": top(by_pair, rows),
    })))
}

fn top(counts: BTreeMap<String, u64>, rows: usize) -> Value {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().take(rows).map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

async fn alertmanagers(state: web::Data<State>) -> HttpResponse {
    let active: Vec<Value> = state.alertmanagers.iter().map(|url| json!({ "url": url })).collect();
    success(json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] }))
}

async fn healthy() -> HttpResponse {
    HttpResponse::Ok().body("millrace-sidecar is Healthy.\n")
}

async fn ready(state: web::Data<State>) -> HttpResponse {
    match state.phase() {
        Phase::Ready => HttpResponse::Ok().body("millrace-sidecar is Ready.\n"),
        Phase::Starting | Phase::Draining => HttpResponse::ServiceUnavailable().body("Service Unavailable\n"),
    }
}

/// The old ones stay when the new ones are bad.
async fn reload(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    if let Err(message) = authority::may_change(&state, &request) {
        return Err(Error { kind: Kind::Forbidden, message: message.to_owned() });
    }
    Ok(match (state.reload)() {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(wrong) => HttpResponse::InternalServerError().body(wrong),
    })
}
