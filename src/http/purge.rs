//! Purging, on the admin port and as a method on the data port.

use actix_web::{HttpRequest, HttpResponse, http::header as actix_header, web};
use bytes::BytesMut;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{admin::Admin, data::Data, translate};
use crate::delivery::{
    Answer, Body, Fields, Outcome, PurgeError, PurgeRequest, Reason, Response, Route, Served, Target,
};

/// Bytes of a purge in JSON.
const MAX_BODY: usize = 256 << 10;

/// `PURGE /{path}`, which never goes on to an origin.
pub async fn on_data(data: &Data, headers: &HeaderMap, target: &Target) -> Answer {
    let response = match data.token.admits(headers) {
        false => {
            let detail = "purging wants `Authorization: Bearer` with the token of this server's settings";
            let served = Served::new(Outcome::Error, Reason::NotAllowed);
            Response::problem(StatusCode::FORBIDDEN, detail, served)
        }
        true => {
            let soft = HeaderName::from_static("fastly-soft-purge");
            let soft = headers.get(soft).is_some_and(|value| value.as_bytes() == b"1");
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let purge = PurgeRequest {
                urls: vec![format!("http://{host}{target}")],
                soft,
                ..PurgeRequest::default()
            };
            match data.delivery.purge(&purge).await {
                Ok(sequence) => receipt(sequence),
                Err(error) => {
                    let served = Served::new(Outcome::Error, reason_of(&error));
                    Response::problem(status_of(&error), &error.to_string(), served)
                }
            }
        }
    };
    Answer { route: Route::Asset, response }
}

fn receipt(sequence: u64) -> Response {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = serde_json::json!({ "sequence": sequence }).to_string();
    let served = Served::new(Outcome::Bypass, Reason::Purge);
    Response::new(StatusCode::OK, Fields::Own(fields), Body::Full(body.into()), served)
}

fn reason_of(error: &PurgeError) -> Reason {
    match error {
        PurgeError::NotDurable(_) => Reason::Internal,
        _ => Reason::BadRequest,
    }
}

fn status_of(error: &PurgeError) -> StatusCode {
    match error {
        PurgeError::NotDurable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// `POST /api/v1/purge`.
pub async fn on_admin(
    request: HttpRequest,
    mut payload: web::Payload,
    admin: web::Data<Admin>,
) -> HttpResponse {
    let headers = translate::request_headers(request.headers());
    if is_foreign(&headers) {
        return problem(StatusCode::FORBIDDEN, "pages from elsewhere may not purge");
    }
    if admin.token.as_ref().is_some_and(|token| !token.admits(&headers)) {
        let detail = "this port is open to others: purging wants `Authorization: Bearer` with `admin.token`";
        return problem(StatusCode::FORBIDDEN, detail);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let Ok(chunk) = chunk else { return problem(StatusCode::BAD_REQUEST, "the body broke off") };
        if body.len() + chunk.len() > MAX_BODY {
            let detail = format!("a purge has at most {MAX_BODY} bytes");
            return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
        }
        body.extend_from_slice(&chunk);
    }
    // serde would take a list for the fields in their order.
    let object = body.trim_ascii_start().starts_with(b"{");
    let purge = match serde_json::from_slice::<PurgeRequest>(if object { &body } else { b"" }) {
        Ok(purge) => purge,
        Err(wrong) => {
            let detail = format!("not a purge such as {{\"urls\":[\"/a\"],\"soft\":true}}: {wrong}");
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
    };
    match admin.delivery().purge(&purge).await {
        Ok(sequence) => HttpResponse::Ok().json(serde_json::json!({ "sequence": sequence })),
        Err(error) => problem(status_of(&error), &error.to_string()),
    }
}

/// Whether a browser sent it for a page of another site.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.as_bytes();
        let origin = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        origin != Some(host)
    })
}

pub(super) fn problem(status: StatusCode, detail: &str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({ "status": status.as_u16(), "title": title, "detail": detail });
    let status = actix_web::http::StatusCode::from_u16(status.as_u16());
    HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::BAD_REQUEST))
        .insert_header((actix_header::CONTENT_TYPE, "application/problem+json"))
        .body(body.to_string())
}
