//! The envelope of every answer: `{"status": "success", "data": …}` or the error that Prometheus would give.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use millrace_kit::clock::UnixMillis;
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{model::Labels, promql};

#[derive(Debug, Error)]
#[error("{message}")]
pub(super) struct Error {
    pub(super) kind: Kind,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BadData,
    Execution,
    Timeout,
    Unavailable,
    Forbidden,
    NotFound,
    Internal,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
        }
    }
}

impl Error {
    pub(super) fn bad(parameter: &str, message: impl std::fmt::Display) -> Self {
        Self { kind: Kind::BadData, message: format!("invalid parameter {parameter:?}: {message}") }
    }
}

impl From<promql::Error> for Error {
    fn from(error: promql::Error) -> Self {
        let kind = match error {
            promql::Error::Parse(_) | promql::Error::Unsupported(_) => Kind::BadData,
            promql::Error::Execution(_)
            | promql::Error::TooManySamples { .. }
            | promql::Error::TooManySeries { .. } => Kind::Execution,
            promql::Error::Expired => Kind::Timeout,
        };
        Self { kind, message: error.to_string() }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self.kind {
            Kind::BadData => StatusCode::BAD_REQUEST,
            Kind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Timeout | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({ "status": "error", "errorType": self.kind.as_str(), "error": self.message });
        HttpResponse::build(self.status_code()).json(body)
    }
}

pub(super) fn success(data: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "success", "data": data }))
}

/// The first `limit` (0: all) of `items`, and a warning when there were more.
pub(super) fn limited(mut items: Vec<Value>, limit: usize) -> HttpResponse {
    let cut = limit > 0 && items.len() > limit;
    if cut {
        items.truncate(limit);
    }
    with_warnings(Value::from(items), if cut { &[TRUNCATED] } else { &[] })
}

pub(super) const TRUNCATED: &str = "results truncated due to limit";

pub(super) fn with_warnings(data: Value, warnings: &[&str]) -> HttpResponse {
    let mut body = json!({ "status": "success", "data": data });
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    HttpResponse::Ok().json(body)
}

pub(super) fn object(labels: &Labels) -> Value {
    let fields = labels.iter().map(|label| (label.name.to_string(), Value::from(&*label.value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Unix seconds; whole ones without a fraction.
pub(super) fn seconds(at: UnixMillis) -> Value {
    if at % 1000 == 0 { Value::from(at / 1000) } else { Value::from(at as f64 / 1000.0) }
}
