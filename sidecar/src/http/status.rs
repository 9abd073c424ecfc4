//! `/status`: the sidecar at a glance, for people with curl and for the dashboard's head.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;
use crate::{
    model::time::rfc3339,
    rules::{AlertState, Health},
};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/status", web::get().to(status));
}

async fn status(state: web::Data<State>) -> HttpResponse {
    let now = state.clock.unix_millis();
    let targets = state.roster.all();
    let tried = targets.iter().filter_map(|status| status.last.as_ref());
    let (up, down) = tried.fold((0, 0), |(up, down), last| match last.error {
        None => (up + 1, down),
        Some(_) => (up, down + 1),
    });
    let stats = state.store.stats();
    let groups = state.engine.views();
    let rules = groups.iter().flat_map(|group| &group.rules);
    let failing = rules.clone().filter(|rule| matches!(rule.health, Health::Error(_))).count();
    let alerts: Vec<_> = groups.iter().flat_map(|group| group.alerts()).collect();
    let in_state = |wanted| alerts.iter().filter(|view| view.alert.state == wanted).count();
    HttpResponse::Ok().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": state.phase().as_str(),
        "now": rfc3339(now),
        "startedAt": rfc3339(state.started_at),
        "uptimeSeconds": now.saturating_sub(state.started_at) / 1000,
        "scrapeIntervalSeconds": state.scrape.interval.as_secs(),
        "targets": { "up": up, "down": down, "waiting": targets.len() - up - down },
        "series": {
            "held": stats.series,
            "samples": stats.samples,
            "bytes": stats.bytes,
            "bytesMax": state.store.bounds().max_bytes,
            "retentionSeconds": state.store.bounds().retention.as_secs(),
            "oldest": stats.oldest.map(rfc3339),
        },
        "rules": { "groups": groups.len(), "rules": rules.count(), "failing": failing },
        "alerts": { "firing": in_state(AlertState::Firing), "pending": in_state(AlertState::Pending) },
        "receivers": (state.receivers)(),
    }))
}
