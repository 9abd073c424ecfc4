//! `/metadata` and `/targets/metadata`: what targets say of their metrics.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::{Error, Params, answer::object, success};
use crate::{
    http::State,
    model::METRIC_NAME,
    promql,
    scrape::{Described, Metadata},
    series::Matcher,
};

pub(super) async fn metadata(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &[]);
    let (limit, per_metric) = (params.limit("limit")?, params.limit("limit_per_metric")?);
    let wanted = params.get("metric").filter(|name| !name.is_empty());
    let targets = state.roster.all();
    let described = targets.iter().filter_map(|status| Some(&*status.last.as_ref()?.described));
    let mut metrics: BTreeMap<&String, BTreeSet<&Metadata>> = BTreeMap::new();
    for (name, found) in described.flat_map(Described::iter) {
        if wanted.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let full = limit > 0 && metrics.len() >= limit && !metrics.contains_key(name);
        if full {
            continue;
        }
        let of_metric = metrics.entry(name).or_default();
        if per_metric == 0 || of_metric.len() < per_metric {
            of_metric.insert(found);
        }
    }
    let rows = metrics.into_iter().map(|(name, found)| {
        let found: Vec<Value> = found.into_iter().map(shown).collect();
        (name.clone(), Value::from(found))
    });
    Ok(success(rows.collect::<Map<_, _>>()))
}

pub(super) async fn of_targets(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &[]);
    let limit = params.limit("limit")?;
    let wanted = params.get("metric").filter(|name| !name.is_empty());
    let matchers: Vec<Matcher> = match params.get("match_target").filter(|text| !text.is_empty()) {
        Some(text) => promql::parse_selector(text).map_err(|error| Error::bad("match_target", error))?,
        None => Vec::new(),
    };
    let mut rows = Vec::new();
    for status in state.roster.all() {
        let labels = &status.target.labels;
        let fits =
            |matcher: &Matcher| matcher.name == METRIC_NAME || matcher.matches(labels.get(&matcher.name));
        let Some(last) = status.last.as_ref().filter(|_| matchers.iter().all(fits)) else { continue };
        for (name, found) in last.described.iter() {
            if wanted.is_some_and(|wanted| wanted != name) {
                continue;
            }
            if limit > 0 && rows.len() >= limit {
                return Ok(success(rows));
            }
            let mut row = shown(found);
            row["target"] = object(labels);
            if wanted.is_none() {
                row["metric"] = Value::from(name.as_str());
            }
            rows.push(row);
        }
    }
    Ok(success(rows))
}

fn shown(found: &Metadata) -> Value {
    let kind = if found.kind.is_empty() { "unknown" } else { found.kind };
    json!({ "type": kind, "help": found.help, "unit": found.unit })
}
