//! `/targets` and `/scrape_pools`.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{Params, answer::object, success};
use crate::{http::State, model::time::rfc3339, scrape::TargetStatus};

pub(super) async fn targets(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let params = Params::new(&request, &[]);
    let pool = params.get("scrapePool").filter(|pool| !pool.is_empty());
    let all = state.roster.all();
    let active = all.iter().filter(|status| {
        params.get("state") != Some("dropped") && pool.is_none_or(|pool| status.target.job() == pool)
    });
    let active: Vec<Value> = active.map(|status| target(&state, status)).collect();
    success(json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {} }))
}

pub(super) async fn pools(state: web::Data<State>) -> HttpResponse {
    let pools: BTreeSet<String> =
        state.roster.all().iter().map(|status| status.target.job().to_owned()).collect();
    success(json!({ "scrapePools": pools }))
}

fn target(state: &State, status: &TargetStatus) -> Value {
    let target = &status.target;
    let last = status.last.as_ref();
    let health = match last {
        None => "unknown",
        Some(last) if last.error.is_none() => "up",
        Some(_) => "down",
    };
    json!({
        "discoveredLabels": { "__address__": target.instance(), "job": target.job() },
        "labels": object(&target.labels),
        "scrapePool": target.job(),
        "scrapeUrl": target.url.as_str(),
        "globalUrl": target.url.as_str(),
        "lastError": last.and_then(|last| last.error.as_deref()).unwrap_or_default(),
        "lastScrape": last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |last| rfc3339(last.at)),
        "lastScrapeDuration": last.map_or(0.0, |last| last.duration.as_secs_f64()),
        "health": health,
        "scrapeInterval": format!("{}s", state.scrape.interval.as_secs()),
        "scrapeTimeout": format!("{}s", state.scrape.timeout.as_secs()),
        // Beyond Prometheus' fields, for the dashboard.
        "lastSamples": last.map_or(0, |last| last.samples),
        "lastSuccess": status.last_success.map(rfc3339),
    })
}
