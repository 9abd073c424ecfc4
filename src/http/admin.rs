//! The admin port: health, metrics, figures. Loopback by default.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use ::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use millrace_kit::metrics::{self, IntGauge, Registry, catalogue};

use super::{explain, gate, jobs, origins, purge, translate, uploads};
use crate::{
    admission::{Admission, Scope},
    delivery::Delivery,
    jobs::Jobs,
    upload::Uploads,
};

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

pub struct Admin {
    phase: AtomicU8,
    registry: Registry,
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
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Starting,
            1 => Self::Ready,
            _ => Self::Draining,
        }
    }
}

impl Admin {
    pub fn new(
        registry: Registry,
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
        };
        Ok(Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            registry,
            delivery,
            admission,
            uploads,
            jobs,
            tiers,
        })
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Acquire))
    }

    fn exposition(&self) -> String {
        let stats = self.delivery.store().stats();
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tiers.memory_bytes.set(gauge(stats.memory_bytes));
        self.tiers.memory_capacity.set(gauge(stats.memory_capacity_bytes));
        self.tiers.disk_capacity.set(gauge(stats.disk_capacity_bytes));
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
    config.route("/api/v1/cache/stats", web::get().to(stats));
    config.route("/api/v1/origins", web::get().to(origins::on_admin));
    config.route("/api/v1/cache/explain", web::get().to(explain::on_admin));
    config.route("/api/v1/assets", web::get().to(uploads::on_admin));
    config.route("/api/v1/purge", web::post().to(purge::on_admin));
    jobs::routes(config);
    config.default_service(web::to(nothing));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

async fn ready(admin: web::Data<Admin>) -> HttpResponse {
    let phase = admin.phase();
    let body = serde_json::json!({ "status": phase.as_str() });
    match phase {
        Phase::Ready => HttpResponse::Ok().json(body),
        Phase::Starting | Phase::Draining => HttpResponse::ServiceUnavailable().json(body),
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

async fn nothing() -> HttpResponse {
    let body = serde_json::json!({
        "status": 404,
        "title": "Not Found",
        "detail": "the admin port has /health, /health/live, /health/ready, /metrics, /api/v1/cache/stats, /api/v1/cache/explain?url=, /api/v1/origins, /api/v1/assets, /api/v1/jobs and POST /api/v1/purge"
    });
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
