//! `/scaling`: groups as they are, decisions with what they were made of, and what people decide by hand.

use actix_web::{HttpRequest, HttpResponse, web};
use millrace_kit::clock::UnixMillis;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Kind, Params, success};
use crate::{
    http::{State, authority},
    model::time::rfc3339,
    scaling::{self, Decision, Group, InstanceView, Override, Policy},
};

/// Decisions of one answer.
const MAX_DECISIONS: usize = 4000;
const DECISIONS: usize = 100;
/// Changes by hand that are shown of a group.
const BY_HAND: usize = 50;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/api/v1/scaling", web::get().to(all))
        .route("/api/v1/scaling/decisions", web::get().to(decisions))
        .route("/api/v1/scaling/override", web::post().to(set_override))
        .route("/api/v1/scaling/override", web::delete().to(end_override))
        .route("/api/v1/scaling/instances/{name}/drain", web::post().to(drain));
}

impl From<scaling::Error> for Error {
    fn from(error: scaling::Error) -> Self {
        let kind = match error {
            scaling::Error::UnknownGroup(_) | scaling::Error::UnknownInstance { .. } => Kind::NotFound,
            scaling::Error::Invalid(_) => Kind::BadData,
            scaling::Error::Journal(_) => Kind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

async fn all(state: web::Data<State>) -> HttpResponse {
    let now = state.clock.unix_millis();
    let groups = state.scaling.groups().iter().map(|group| shown(group, now));
    success(json!({ "groups": groups.collect::<Vec<_>>() }))
}

fn shown(group: &Group, now: UnixMillis) -> Value {
    let (policy, view) = (group.policy(), group.view(now));
    let signals = policy.signals.iter().map(|signal| {
        let read = view.readings.iter().find(|(reading, _)| reading.name == signal.name);
        let reading = read.map(|(reading, _)| reading);
        let why = match read {
            Some((_, why)) => why.clone().unwrap_or_default(),
            None => "has not been asked for yet".to_owned(),
        };
        json!({
            "name": signal.name,
            "expr": signal.expr,
            "unit": signal.unit,
            "value": reading.and_then(|reading| reading.value),
            "age_seconds": reading.and_then(|reading| reading.age_ms).map(|age| age as f64 / 1000.0),
            "coverage": reading.map_or(0.0, |reading| reading.coverage),
            "usable": why.is_empty(),
            "why": why,
            "up": threshold(&policy.up, &signal.name),
            "down": threshold(&policy.down, &signal.name),
            "target": target(&policy, &signal.name),
        })
    });
    json!({
        "name": policy.name,
        "mode": view.mode.as_str(),
        "advise": policy.act == scaling::Act::Advise,
        "override": view.manual,
        "min": policy.min,
        "max": policy.max,
        "desired": view.fleet.aim,
        "ready": view.ready,
        "reachable": view.fleet.reachable,
        "converging": view.fleet.converging,
        "error": view.fleet.error,
        "instances": view.fleet.instances.iter().map(instance).collect::<Vec<_>>(),
        "signals": signals.collect::<Vec<_>>(),
        "last": view.last,
        "by_hand": group.by_hand(BY_HAND),
    })
}

fn instance(view: &InstanceView) -> Value {
    let mut shown = json!(view);
    shown["since"] = json!(rfc3339(view.since));
    shown
}

fn threshold(rules: &[scaling::Rule], signal: &str) -> Option<f64> {
    rules.iter().find(|rule| rule.signal == signal).map(|rule| rule.threshold)
}

fn target(policy: &Policy, signal: &str) -> Option<f64> {
    policy.targets.iter().find(|target| target.signal == signal).map(|target| target.target)
}

async fn decisions(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &[]);
    let limit = match params.limit("limit")? {
        0 => DECISIONS,
        limit => limit.min(MAX_DECISIONS),
    };
    let (start, end) = (params.time("start")?, params.time("end")?);
    let action = params.get("action").filter(|action| !action.is_empty());
    if action.is_some_and(|action| !["up", "down", "hold"].contains(&action)) {
        return Err(Error::bad("action", "is none of up, down, hold"));
    }
    let fold = params.get("fold") == Some("true");
    let groups = match params.get("group").filter(|group| !group.is_empty()) {
        Some(name) => std::slice::from_ref(state.scaling.group(name)?),
        None => state.scaling.groups(),
    };
    let wanted = |decision: &Decision| {
        start.is_none_or(|start| decision.at >= start)
            && end.is_none_or(|end| decision.at <= end)
            && action.is_none_or(|action| decision.action.as_str() == action)
    };
    // Folded ones stand for many.
    let most = if fold { MAX_DECISIONS } else { limit };
    let mut rows: Vec<(UnixMillis, Value)> = Vec::new();
    for group in groups {
        let found = group.decisions(most, wanted);
        rows.extend(if fold {
            folded(&found)
        } else {
            found.iter().map(|one| (one.at, json!(one))).collect()
        });
    }
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    rows.truncate(limit);
    let rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(success(json!({ "decisions": rows })))
}

/// Holds that repeat the same constraint become one, the first of them, that says until when.
fn folded(newest_first: &[Decision]) -> Vec<(UnixMillis, Value)> {
    let holds = |a: &Decision, b: &Decision| {
        a.from == a.to && b.from == b.to && a.binding == b.binding && a.to == b.to
    };
    let runs = newest_first.chunk_by(holds);
    let row = |run: &[Decision]| {
        let (first, last) = (run.last()?, run.first()?);
        let mut row = json!(first);
        if run.len() > 1 {
            row["repeated"] = json!(run.len() - 1);
            row["until"] = json!(rfc3339(last.at));
        }
        Some((first.at, row))
    };
    runs.filter_map(row).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    group: String,
    #[serde(default)]
    desired: Option<u32>,
    #[serde(default)]
    pause: bool,
    seconds: u64,
    #[serde(default)]
    reason: String,
}

async fn set_override(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let by = who(&state, &request)?;
    // Pages of other sites cannot send this type without asking first.
    let kind = request.headers().get("content-type").and_then(|value| value.to_str().ok());
    if kind.and_then(|kind| kind.split(';').next()).map(str::trim) != Some("application/json") {
        let message = "an override comes as application/json".to_owned();
        return Err(Error { kind: Kind::BadData, message });
    }
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| Error {
        kind: Kind::BadData,
        message: format!("the body is not as expected: {error}"),
    })?;
    let now = state.clock.unix_millis();
    let millis = i64::try_from(wanted.seconds).unwrap_or(i64::MAX).saturating_mul(1000);
    let manual = Override {
        desired: wanted.desired,
        pause: wanted.pause,
        by,
        reason: wanted.reason,
        until: now.saturating_add(millis),
    };
    Ok(success(state.scaling.group(&wanted.group)?.set_override(manual, now).await?))
}

async fn end_override(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let by = who(&state, &request)?;
    let params = Params::new(&request, &[]);
    let group = state.scaling.group(params.required("group")?)?;
    group.end_override(by, state.clock.unix_millis()).await?;
    Ok(success(Value::Null))
}

async fn drain(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let by = who(&state, &request)?;
    let params = Params::new(&request, &[]);
    let group = state.scaling.group(params.required("group")?)?;
    group.drain(&name, by, state.clock.unix_millis()).await?;
    Ok(success(Value::Null))
}

/// For the journal: from where a change comes, once it is allowed.
fn who(state: &State, request: &HttpRequest) -> Result<String, Error> {
    authority::may_change(state, request)
        .map_err(|refusal| Error { kind: Kind::Forbidden, message: refusal.to_owned() })?;
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    Ok(match peer {
        Some(_) if authority::is_local(request) => "this machine".to_owned(),
        Some(ip) => format!("token from {ip}"),
        None => "unknown".to_owned(),
    })
}
