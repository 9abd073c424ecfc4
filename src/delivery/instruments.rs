//! What delivery counts.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use millrace_kit::metrics::{Error, Histogram, IntCounter, IntGauge, Registry, catalogue};
use parking_lot::RwLock;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::{Outcome, Reason, Served, fill, route::Route};
use crate::origin::{Attempt, ErrorKind, Observer, Repetition, breaker::State};

pub struct Instruments {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    duration: HistogramVec,
    heads: [(Route, Histogram); Route::ALL.len()],
    pub active: IntGauge,
    /// Instruments of the classes seen so far: finding one here is cheaper than by its label values.
    known: RwLock<Vec<(Class, Handles)>>,
}

/// Answers that count as the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    method: Method,
    route: Route,
    status: StatusCode,
    outcome: Outcome,
    reason: Reason,
}

#[derive(Clone)]
struct Handles {
    requests: IntCounter,
    bytes: IntCounter,
    duration: Histogram,
}

/// Classes kept in `known`; the rest goes the long way.
const MAX_KNOWN: usize = 64;

impl Instruments {
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let heads = registry.histogram(&catalogue::RESPONSE_HEAD)?;
        Ok(Self {
            heads: Route::ALL.map(|route| (route, heads.with_label_values(&[route.template()]))),
            requests: registry.counter(&catalogue::CACHE_REQUESTS)?,
            bytes: registry.counter(&catalogue::CACHE_RESPONSE_BYTES)?,
            duration: registry.histogram(&catalogue::HTTP_SERVER_DURATION)?,
            active: registry.gauge(&catalogue::HTTP_SERVER_ACTIVE)?.with_label_values::<&str>(&[]),
            known: RwLock::default(),
        })
    }

    /// Once for each answer, when it is known but for its body.
    pub fn headed(&self, route: Route, took: Duration) {
        if let Some((_, seconds)) = self.heads.iter().find(|(of, _)| *of == route) {
            seconds.observe(took.as_secs_f64());
        }
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
        let class =
            Class { method: method.clone(), route, status, outcome: served.outcome, reason: served.reason };
        let record = |handles: &Handles| {
            handles.requests.inc();
            handles.bytes.inc_by(bytes);
            handles.duration.observe(took.as_secs_f64());
        };
        if let Some((_, handles)) = self.known.read().iter().find(|(known, _)| *known == class) {
            return record(handles);
        }
        let handles = self.handles(&class);
        record(&handles);
        let mut known = self.known.write();
        if known.len() < MAX_KNOWN && !known.iter().any(|(other, _)| *other == class) {
            known.push((class, handles));
        }
    }

    fn handles(&self, class: &Class) -> Handles {
        let (route, outcome) = (class.route.as_str(), class.outcome.as_str());
        let request = [method_label(&class.method), class.route.template(), class.status.as_str()];
        Handles {
            requests: self.requests.with_label_values(&[route, outcome, class.reason.as_str()]),
            bytes: self.bytes.with_label_values(&[route, outcome]),
            duration: self.duration.with_label_values(&request),
        }
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

/// Counts what happens at origins.
pub struct OriginRequests {
    requests: IntCounterVec,
    heads: HistogramVec,
    broken_bodies: IntCounterVec,
    retries: IntCounterVec,
    refused_retries: IntCounterVec,
    turned_away: IntCounterVec,
    breakers: IntGaugeVec,
    queues: IntGaugeVec,
}

impl OriginRequests {
    pub fn new(registry: &Registry) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            requests: registry.counter(&catalogue::ORIGIN_REQUESTS)?,
            heads: registry.histogram(&catalogue::HTTP_CLIENT_DURATION)?,
            broken_bodies: registry.counter(&catalogue::ORIGIN_BROKEN_BODIES)?,
            retries: registry.counter(&catalogue::ORIGIN_RETRIES)?,
            refused_retries: registry.counter(&catalogue::ORIGIN_RETRIES_REFUSED)?,
            turned_away: registry.counter(&catalogue::ORIGIN_TURNED_AWAY)?,
            breakers: registry.gauge(&catalogue::ORIGIN_BREAKER_STATE)?,
            queues: registry.gauge(&catalogue::QUEUE_DEPTH)?,
        }))
    }
}

fn queue_of(origin: &str) -> String {
    format!("origin:{origin}")
}

impl Observer for OriginRequests {
    fn attempt(&self, origin: &Arc<str>, result: Attempt) {
        self.requests.with_label_values(&[&**origin, result.as_str()]).inc();
    }

    fn head(&self, origin: &Arc<str>, method: &Method, status: StatusCode, took: Duration) {
        let labels = [&**origin, method_label(method), status.as_str()];
        self.heads.with_label_values(&labels).observe(took.as_secs_f64());
    }

    fn body_broke(&self, origin: &Arc<str>, kind: ErrorKind) {
        self.broken_bodies.with_label_values(&[&**origin, kind.as_str()]).inc();
    }

    fn repetition(&self, origin: &Arc<str>, why: Repetition, allowed: bool) {
        let counter = if allowed { &self.retries } else { &self.refused_retries };
        counter.with_label_values(&[&**origin, why.as_str()]).inc();
    }

    fn turned_away(&self, origin: &Arc<str>) {
        self.turned_away.with_label_values(&[&**origin]).inc();
    }

    fn breaker(&self, origin: &Arc<str>, state: State) {
        self.breakers.with_label_values(&[&**origin]).set(state as i64);
    }

    fn gone(&self, origin: &Arc<str>) {
        // What it does not have is not missed.
        let _ = self.breakers.remove_label_values(&[&**origin]);
        let _ = self.queues.remove_label_values(&[queue_of(origin).as_str()]);
    }

    fn waiting(&self, origin: &Arc<str>, requests: usize) {
        self.queues
            .with_label_values(&[queue_of(origin).as_str()])
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }
}
