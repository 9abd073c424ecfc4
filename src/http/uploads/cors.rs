//! What pages of other sites may do (the Fetch standard's CORS protocol). Tokens are in a field, so no credentials of the
//! browser's are ever let through.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::empty;
use crate::delivery::Response;

/// Fields of answers that scripts may read.
const EXPOSED: &str = "Content-Location, ETag, Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, \
                       Tus-Version, Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset";
/// Fields of requests that scripts may send.
const ALLOWED: &str = "Authorization, Content-Digest, Content-Type, If-Match, If-None-Match, Tus-Resumable, Upload-Checksum, \
                       Upload-Concat, Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, X-Request-ID, X-Requested-With";
const METHODS: &str = "OPTIONS, HEAD, POST, PATCH, PUT, DELETE";

/// The web origin that asks, if its pages may.
pub fn allowed(allow: &[String], headers: &HeaderMap) -> Option<String> {
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    if allow.iter().any(|allowed| allowed == "*") {
        return Some("*".to_owned());
    }
    allow.iter().find(|allowed| allowed.eq_ignore_ascii_case(origin)).cloned()
}

/// Lets the page read the answer.
pub fn open(response: Response, origin: Option<&str>) -> Response {
    let response = response.with(header::VARY, "Origin");
    match origin {
        Some(origin) => response
            .with(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
            .with(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        None => response,
    }
}

/// Whether a browser asks what it may send.
pub fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

pub fn preflight() -> Response {
    empty(StatusCode::NO_CONTENT)
        .with(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .with(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED)
        .with(header::ACCESS_CONTROL_MAX_AGE, "86400")
        .with(HeaderName::from_static("allow"), METHODS)
}
