//! The Prometheus HTTP API, so that Grafana and promtool take the sidecar for a data source.

use actix_web::web;

mod answer;
mod labels;
mod params;
mod query;
mod rules;
mod silences;
mod targets;

use answer::{Error, Kind, success};
use params::Params;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    silences::routes(config);
    // Long queries come as forms.
    for method in [web::get, web::post] {
        config
            .route("/api/v1/query", method().to(query::instant))
            .route("/api/v1/query_range", method().to(query::range))
            .route("/api/v1/series", method().to(labels::series))
            .route("/api/v1/labels", method().to(labels::names));
    }
    config
        .route("/api/v1/label/{name}/values", web::get().to(labels::values))
        .route("/api/v1/rules", web::get().to(rules::rules))
        .route("/api/v1/alerts", web::get().to(rules::alerts))
        .route("/api/v1/targets", web::get().to(targets::targets))
        .route("/api/v1/status/buildinfo", web::get().to(targets::build_info));
}
