//! Purging, on the admin port and as a method on the data port.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    admin::{Admin, problem},
    data::Data,
    gate, translate,
};
use crate::{
    admission::{Denied, Grant, Scope},
    delivery::{
        Answer, Body, Fields, Outcome, PurgeError, PurgeRequest, Reason, Response, Route, Served, Target,
        split_url,
    },
};

/// Bytes of a purge in JSON.
const MAX_BODY: usize = 256 << 10;

/// `PURGE /{path}`, which never goes on to an origin.
pub async fn on_data(data: &Data, headers: &HeaderMap, target: &Target) -> Answer {
    let response = match data.admission.admit(headers, Scope::Purge, target.path()) {
        Err(denied) => *gate::refusal(denied),
        Ok(_) => {
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
    if gate::is_foreign(&headers) {
        return problem(StatusCode::FORBIDDEN, "pages from elsewhere may not purge");
    }
    let grant = match gate::admit(&admin, &headers, Scope::Purge) {
        Ok(grant) => grant,
        Err(refusal) => return *refusal,
    };
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
    if let Some(Err(denied)) = grant.map(|grant| check(&grant, &purge)) {
        return gate::refusal_on_admin(denied);
    }
    match admin.delivery().purge(&purge).await {
        Ok(sequence) => HttpResponse::Ok().json(serde_json::json!({ "sequence": sequence })),
        Err(error) => problem(status_of(&error), &error.to_string()),
    }
}

/// A token for some paths is for no purge that reaches others.
fn check(grant: &Grant, purge: &PurgeRequest) -> Result<(), Denied> {
    if grant.is_limited() && (purge.all || !purge.tags.is_empty()) {
        return Err(Denied::Path(Scope::Purge));
    }
    // In the form that is purged, or what is refused for its form later.
    let path = |place: &String| Target::parse(split_url(place).1).map(|target| target.path().to_owned());
    let mut paths = purge.urls.iter().chain(&purge.prefixes).filter_map(|place| path(place).ok());
    paths.try_for_each(|path| grant.check_path(Scope::Purge, &path))
}
