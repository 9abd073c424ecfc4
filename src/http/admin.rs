//! The admin port: health, metrics, figures. Loopback by default.

use std::sync::Arc;

use ::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use arc_swap::ArcSwap;
use millrace_kit::metrics::{self, IntGauge, Registry, catalogue};
use serde_json::Value;

use super::{
    explain, gate, jobs,
    lifecycle::{Lifecycle, Phase},
    openapi, origins, purge, translate, uploads, warm,
};
use crate::{
    admission::{Admission, Scope},
    delivery::Delivery,
    jobs::Jobs,
    upload::Uploads,
};

pub struct Admin {
    lifecycle: Arc<Lifecycle>,
    registry: Registry,
    config: Arc<ArcSwap<Value>>,
    delivery: Arc<Delivery>,
    /// Asks for a token, but for health and metrics; None on a port that others cannot reach.
    pub(super) admission: Option<Arc<Admission>>,
    pub(super) uploads: Option<Uploads>,
    pub(super) jobs: Option<Jobs>,
    tiers: Tiers,
}

struct Tiers {
    memory_bytes: IntGauge,
    memory_capacity: IntGauge,
    disk_capacity: IntGauge,
    lent: IntGauge,
}

impl Admin {
    pub fn new(
        registry: Registry,
        config: Arc<ArcSwap<Value>>,
        delivery: Arc<Delivery>,
        admission: Option<Arc<Admission>>,
        uploads: Option<Uploads>,
        jobs: Option<Jobs>,
    ) -> Result<Self, metrics::Error> {
        let bytes = registry.gauge(&catalogue::CACHE_TIER_BYTES)?;
        let capacity = registry.gauge(&catalogue::CACHE_TIER_CAPACITY)?;
        registry
            .gauge(&catalogue::BUILD_INFO)?
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "server"])
            .set(1);
        let tiers = Tiers {
            memory_bytes: bytes.with_label_values(&["memory"]),
            memory_capacity: capacity.with_label_values(&["memory"]),
            disk_capacity: capacity.with_label_values(&["disk"]),
            lent: registry.gauge(&catalogue::MEMORY_LENT)?.with_label_values::<&str>(&[]),
        };
        Ok(Self { lifecycle: Arc::default(), registry, config, delivery, admission, uploads, jobs, tiers })
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    pub fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.lifecycle
    }

    /// What probes are told.
    fn status(&self) -> (bool, &'static str) {
        match self.lifecycle.phase() {
            Phase::Ready if self.delivery.warmer().is_starting() => (false, "warming"),
            phase => (phase == Phase::Ready, phase.as_str()),
        }
    }

    fn exposition(&self) -> String {
        let stats = self.delivery.store().stats();
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tiers.memory_bytes.set(gauge(stats.memory_bytes));
        self.tiers.memory_capacity.set(gauge(stats.memory_capacity_bytes));
        self.tiers.disk_capacity.set(gauge(stats.disk_capacity_bytes));
        self.tiers.lent.set(gauge(self.delivery.store().lender().lent() as u64));
        self.delivery.observe();
        self.registry.encode()
    }
}

pub fn routes(config: &mut web::ServiceConfig) {
    for path in ["/health/live", "/livez"] {
        config.route(path, web::get().to(live));
    }
    for path in ["/health", "/healthz", "/health/ready", "/readyz"] {
        config.route(path, web::get().to(ready));
    }
    config.route("/metrics", web::get().to(exposition));
    config.route("/openapi.json", web::get().to(openapi::on_admin));
    config.route("/api/v1/cache/stats", web::get().to(stats));
    config.route("/api/v1/origins", web::get().to(origins::on_admin));
    config.route("/api/v1/cache/explain", web::get().to(explain::on_admin));
    config.route("/api/v1/assets", web::get().to(uploads::on_admin));
    config.route("/api/v1/config", web::get().to(in_force));
    config.route("/api/v1/purge", web::post().to(purge::on_admin));
    jobs::routes(config);
    config.configure(warm::routes);
    config.default_service(web::to(nothing));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

async fn ready(admin: web::Data<Admin>) -> HttpResponse {
    let (ready, status) = admin.status();
    let body = serde_json::json!({ "status": status });
    match ready {
        true => HttpResponse::Ok().json(body),
        false => HttpResponse::ServiceUnavailable().json(body),
    }
}

async fn exposition(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, metrics::CONTENT_TYPE)).body(admin.exposition())
}

async fn stats(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = gate::admit(&admin, &translate::request_headers(request.headers()), Scope::Admin) {
        return *refusal;
    }
    HttpResponse::Ok().json(admin.delivery.store().stats())
}

/// The settings that are in force, without secrets.
async fn in_force(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = gate::admit(&admin, &translate::request_headers(request.headers()), Scope::Admin) {
        return *refusal;
    }
    HttpResponse::Ok().json(&**admin.config.load())
}

async fn nothing() -> HttpResponse {
    let detail = format!("the admin port has {}", openapi::known());
    let body = serde_json::json!({ "status": 404, "title": "Not Found", "detail": detail });
    HttpResponse::NotFound().content_type("application/problem+json").body(body.to_string())
}

pub(super) fn problem(status: StatusCode, detail: &str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({ "status": status.as_u16(), "title": title, "detail": detail });
    let status = actix_web::http::StatusCode::from_u16(status.as_u16());
    HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::BAD_REQUEST))
        .insert_header((header::CONTENT_TYPE, "application/problem+json"))
        .body(body.to_string())
}
