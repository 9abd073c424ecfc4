//! Health for balancers and container engines, and the process's own metrics.

use actix_web::{HttpResponse, http::header, web};
use millrace_kit::metrics::CONTENT_TYPE;
use serde_json::json;

use super::{Phase, State};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    for path in ["/health/live", "/livez"] {
        config.route(path, web::get().to(live));
    }
    for path in ["/health", "/healthz", "/health/ready", "/readyz"] {
        config.route(path, web::get().to(ready));
    }
    config.route("/metrics", web::get().to(metrics));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn ready(state: web::Data<State>) -> HttpResponse {
    let phase = state.phase();
    let body = json!({ "status": phase.as_str() });
    match phase {
        Phase::Ready => HttpResponse::Ok().json(body),
        Phase::Starting | Phase::Draining => HttpResponse::ServiceUnavailable().json(body),
    }
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, CONTENT_TYPE)).body((state.exposition)())
}
