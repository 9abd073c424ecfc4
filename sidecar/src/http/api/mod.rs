//! The Prometheus HTTP API, so that Grafana and promtool take the sidecar for a data source.

use actix_web::web;

mod alerts;
mod answer;
mod describe;
mod events;
mod labels;
mod params;
mod query;
mod rules;
mod scaling;
mod silences;
mod status;
mod targets;

use answer::{Error, Kind, success};
use params::Params;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    silences::routes(config);
    scaling::routes(config);
    alerts::routes(config);
    // Long queries come as forms.
    for method in [web::get, web::post] {
        config
            .route("/api/v1/query", method().to(query::instant))
            .route("/api/v1/query_range", method().to(query::range))
            .route("/api/v1/query_exemplars", method().to(query::exemplars))
            .route("/api/v1/format_query", method().to(query::format))
            .route("/api/v1/series", method().to(labels::series))
            .route("/api/v1/labels", method().to(labels::names));
    }
    config
        .route("/api/v1/label/{name}/values", web::get().to(labels::values))
        .route("/api/v1/metadata", web::get().to(describe::metadata))
        .route("/api/v1/rules", web::get().to(rules::rules))
        .route("/api/v1/alerts", web::get().to(rules::alerts))
        .route("/api/v1/events", web::get().to(events::events))
        .route("/api/v1/targets", web::get().to(targets::targets))
        .route("/api/v1/targets/metadata", web::get().to(describe::of_targets))
        .route("/api/v1/scrape_pools", web::get().to(targets::pools));
    status::routes(config);
}
