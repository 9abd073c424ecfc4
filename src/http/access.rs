//! How requests show in logs and traces. A span, in which a request waits. The access log: a line for each answer when its last byte is out, in the words of `Cache-Status` and the metrics. No
//! query and no fields, which may hold secrets. At level debug under the name `access`, for there may be very many.

use std::{net::IpAddr, time::Duration};

use actix_http::header::HeaderValue as ActixValue;
use http::{Method, StatusCode};
use tracing::{Level, Span, field::Empty};

use crate::delivery::{Route, Served};

/// Around all that a request waits for, so that warnings tell whom they concern. What is answered at once has none.
pub fn span(method: &Method, path: &str, id: &ActixValue) -> Span {
    tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        %method,
        path = cut(path),
        outcome = Empty,
        reason = Empty,
        cache_status = Empty,
    )
}

/// Says how it ended.
pub fn conclude(span: &Span, served: &Served) {
    span.record("outcome", served.outcome.as_str());
    span.record("reason", served.reason.as_str());
    if !span.is_disabled() {
        span.record("cache_status", served.cache_status(None));
    }
}

/// What is to be said of a request that the answer does not know.
pub struct Access {
    id: Box<str>,
    path: Box<str>,
    client: IpAddr,
}

/// Bytes of a path that are logged.
const MAX_PATH: usize = 512;

impl Access {
    /// None when nobody listens, which is all that it costs then.
    pub fn of(path: &str, id: &ActixValue, client: impl FnOnce() -> IpAddr) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "access", Level::DEBUG) {
            return None;
        }
        let id = id.to_str().unwrap_or_default().into();
        Some(Box::new(Self { id, path: cut(path).into(), client: client() }))
    }

    pub fn log(
        &self,
        method: &Method,
        route: Route,
        status: StatusCode,
        served: &Served,
        bytes: u64,
        took: Duration,
    ) {
        tracing::debug!(
            target: "access",
            id = &*self.id,
            client = %self.client,
            %method,
            path = &*self.path,
            route = route.as_str(),
            status = status.as_u16(),
            outcome = served.outcome.as_str(),
            reason = served.reason.as_str(),
            cache_status = served.cache_status(None),
            bytes,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

fn cut(path: &str) -> &str {
    path.get(..MAX_PATH).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::{fmt::Debug, sync::Arc};

    use parking_lot::Mutex;
    use tracing::{Event, Metadata, Subscriber, field::Field, span};

    use super::*;
    use crate::delivery::{Outcome, Reason};

    /// Keeps the fields of all spans.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    impl tracing::field::Visit for Recorder {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.lock().push(format!("{field}={value:?}"));
        }
    }

    impl Subscriber for Recorder {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
            span.record(&mut self.clone());
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, values: &span::Record<'_>) {
            values.record(&mut self.clone());
        }

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {}

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn spans_have_the_words_of_the_answer() {
        let recorder = Recorder::default();
        tracing::subscriber::with_default(recorder.clone(), || {
            let long = format!("/{}", "x".repeat(MAX_PATH));
            let span = span(&Method::GET, &long, &ActixValue::from_static("id-1"));
            conclude(&span, &Served::new(Outcome::Bypass, Reason::Purge));
        });
        let told = recorder.0.lock().join(" ");
        let path = format!("/{}", "x".repeat(MAX_PATH - 1));
        let status = "outcome=\"bypass\" reason=\"purge\" cache_status=\"millrace; detail=purge\"";
        assert_eq!(told, format!("id=\"id-1\" method=GET path={path:?} {status}"));
    }
}
