//! What delivery counts.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use millrace_kit::metrics::{Error, IntCounter, IntGauge, Registry, catalogue};
use prometheus::{HistogramVec, IntCounterVec};

use super::{Served, fill, route::Route};
use crate::origin::{Attempt, Observer};

pub struct Instruments {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    duration: HistogramVec,
    pub active: IntGauge,
}

impl Instruments {
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            requests: registry.counter(&catalogue::CACHE_REQUESTS)?,
            bytes: registry.counter(&catalogue::CACHE_RESPONSE_BYTES)?,
            duration: registry.histogram(&catalogue::HTTP_SERVER_DURATION)?,
            active: registry.gauge(&catalogue::HTTP_SERVER_ACTIVE)?.with_label_values::<&str>(&[]),
        })
    }

    /// Once for each answer, when its last byte has gone out or its client has left.
    pub fn answered(
        &self,
        method: &Method,
        route: Route,
        status: StatusCode,
        served: &Served,
        bytes: u64,
        took: Duration,
    ) {
        let outcome = served.outcome.as_str();
        self.requests.with_label_values(&[route.as_str(), outcome, served.reason.as_str()]).inc();
        self.bytes.with_label_values(&[route.as_str(), outcome]).inc_by(bytes);
        self.duration
            .with_label_values(&[method_label(method), route.template(), status.as_str()])
            .observe(took.as_secs_f64());
    }
}

/// OpenTelemetry's word for methods outside of the known set keeps the label bounded.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => method.as_str(),
        _ => "_OTHER",
    }
}

pub(super) fn of_fills(registry: &Registry) -> Result<fill::Instruments, Error> {
    let none: [&str; 0] = [];
    let single = |def| -> Result<IntCounter, Error> { Ok(registry.counter(def)?.with_label_values(&none)) };
    Ok(fill::Instruments {
        in_flight: registry.gauge(&catalogue::FILLS_IN_FLIGHT)?.with_label_values(&none),
        collapsed: single(&catalogue::COLLAPSED_REQUESTS)?,
        resumes: single(&catalogue::ORIGIN_RESUMES)?,
        received: single(&catalogue::ORIGIN_RESPONSE_BYTES)?,
    })
}

/// Counts attempts at origins.
pub struct OriginRequests(IntCounterVec);

impl OriginRequests {
    pub fn new(registry: &Registry) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(registry.counter(&catalogue::ORIGIN_REQUESTS)?)))
    }
}

impl Observer for OriginRequests {
    fn attempt(&self, origin: &Arc<str>, result: Attempt) {
        self.0.with_label_values(&[&**origin, result.as_str()]).inc();
    }
}
