//! What clients are told when no origin could answer, or the answer cannot be used.

use http::{StatusCode, header};

use super::{
    fill,
    outcome::{Outcome, Reason, Served},
    response::Response,
};
use crate::origin;

/// No origin could answer.
pub(super) fn failed(error: &origin::Error, served: Served) -> Response {
    use origin::ErrorKind;
    let (status, detail) = match error.kind {
        ErrorKind::Saturated => (StatusCode::SERVICE_UNAVAILABLE, "too much is asked of the origin"),
        ErrorKind::FirstByteTimeout
        | ErrorKind::IdleTimeout
        | ErrorKind::TotalTimeout
        | ErrorKind::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time"),
        ErrorKind::BreakerOpen => {
            (StatusCode::SERVICE_UNAVAILABLE, "the origin is in trouble and left alone")
        }
        ErrorKind::Forbidden => (StatusCode::NOT_FOUND, "there is nothing at this path"),
        ErrorKind::Connect | ErrorKind::Dns | ErrorKind::Tls | ErrorKind::PrivateAddress => {
            (StatusCode::BAD_GATEWAY, "the origin cannot be reached")
        }
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "the origin cannot answer now"),
        _ => (StatusCode::BAD_GATEWAY, "the origin's answer cannot be used"),
    };
    // Of an open breaker the log has heard when it opened.
    match error.kind {
        ErrorKind::BreakerOpen => tracing::debug!("{error}"),
        _ => tracing::warn!("{error}"),
    }
    let response = Response::problem(status, detail, served);
    match error.retry_after {
        Some(after) => {
            response.with(header::RETRY_AFTER, (after.as_secs_f64().ceil().max(1.0) as u64).to_string())
        }
        None => response,
    }
}

/// The body broke before its first byte.
pub(super) fn broken(error: &fill::Error, served: Served) -> Response {
    let served = Served { stored: false, ..served };
    if let fill::Error::Origin(error) = error {
        return failed(
            error,
            Served { outcome: Outcome::Error, reason: Reason::Origin(error.kind), ..served },
        );
    }
    if matches!(error, fill::Error::Full) {
        let served = Served { outcome: Outcome::Error, reason: Reason::Overloaded, ..served };
        return Response::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "too much is being fetched already",
            served,
        )
        .with(header::RETRY_AFTER, "1");
    }
    tracing::warn!("{error}");
    let reason = Reason::Origin(origin::ErrorKind::BrokenBody);
    let served = Served { outcome: Outcome::Error, reason, ..served };
    Response::problem(StatusCode::BAD_GATEWAY, "the origin's answer broke off", served)
}
