//! How long answers take, by route template.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use millrace_kit::metrics::{self, Registry, catalogue};
use prometheus::HistogramVec;

use super::State;

#[derive(Clone)]
pub struct Instruments {
    durations: HistogramVec,
}

impl Instruments {
    pub fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        Ok(Self { durations: registry.histogram(&catalogue::SIDECAR_HTTP_DURATION)? })
    }
}

pub(super) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = std::time::Instant::now();
    let durations = request.app_data::<web::Data<State>>().map(|state| state.instruments.durations.clone());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "OPTIONS") => known.to_owned(),
        _ => "_OTHER".to_owned(),
    };
    // Paths that no route matches must not become label values.
    let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let response = next.call(request).await?;
    if let Some(durations) = durations {
        let status = response.status();
        let labels = [method.as_str(), &route, status.as_str()];
        durations.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
    }
    Ok(response)
}
