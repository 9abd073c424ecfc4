//! Joining and leaving a fleet, on the admin port: what peers may have of the cache, having it filled from them, and sending
//! clients elsewhere.

use std::convert::Infallible;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use futures_util::StreamExt;
use http::StatusCode;
use serde::Deserialize;

use super::{
    admin::{Admin, problem},
    gate, translate,
};
use crate::{
    admission::Scope,
    delivery::{
        MAX_LISTED, NotGiven, OBJECT,
        warm::{Order, Refusal},
    },
};

/// Bytes of an order in JSON.
const MAX_BODY: usize = 64 << 10;
/// Listed, when nothing is said.
const LISTED: usize = 1000;

pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/api/v1/cache/hot", web::get().to(hot));
    config.route("/api/v1/cache/purges", web::get().to(purges));
    config.route("/api/v1/cache/object/{id}", web::get().to(object));
    config.route("/api/v1/cache/warm", web::get().to(report));
    config.route("/api/v1/cache/warm", web::post().to(begin));
    config.route("/api/v1/cache/warm", web::delete().to(break_off));
    config.route("/api/v1/drain", web::get().to(drained));
    config.route("/api/v1/drain", web::post().to(drain));
    config.route("/api/v1/drain", web::delete().to(undo));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    limit: Option<usize>,
    bytes: Option<u64>,
}

/// `GET /api/v1/cache/hot?limit=&bytes=`.
async fn hot(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = admit(&request, &admin) {
        return *refusal;
    }
    let Ok(bounds) = web::Query::<Bounds>::from_query(request.query_string()) else {
        return problem(StatusCode::BAD_REQUEST, "`limit` and `bytes` are numbers");
    };
    let most = bounds.limit.unwrap_or(LISTED).min(MAX_LISTED);
    let bytes = bounds.bytes.unwrap_or(u64::MAX);
    // Elsewhere: it looks at each entry in memory.
    match web::block(move || admin.delivery().hottest(most, bytes)).await {
        Ok(list) => HttpResponse::Ok().json(list),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<u64>,
    within_secs: Option<u32>,
}

/// `GET /api/v1/cache/purges?after=N` or `?within_secs=N`.
async fn purges(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = admit(&request, &admin) {
        return *refusal;
    }
    let which = web::Query::<After>::from_query(request.query_string());
    match which.map(web::Query::into_inner) {
        Ok(After { after: Some(number), within_secs: None }) => {
            HttpResponse::Ok().json(admin.delivery().purges_since(number))
        }
        Ok(After { after: None, within_secs: Some(seconds) }) => {
            HttpResponse::Ok().json(admin.delivery().purges_within(seconds))
        }
        _ => problem(StatusCode::BAD_REQUEST, "either `after`, the number of a purge, or `within_secs`"),
    }
}

/// `GET /api/v1/cache/object/{id}?blocks=2-5`.
async fn object(request: HttpRequest, admin: web::Data<Admin>, id: web::Path<String>) -> HttpResponse {
    if let Err(refusal) = admit(&request, &admin) {
        return *refusal;
    }
    let Some(blocks) = blocks(request.query_string()) else {
        return problem(StatusCode::BAD_REQUEST, "the only parameter is `blocks`, such as blocks=0-15");
    };
    match admin.delivery().hand_over(&id, blocks).await {
        Ok(pieces) => HttpResponse::Ok()
            .content_type(OBJECT)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(pieces.map(Ok::<_, Infallible>)),
        Err(NotGiven::Nothing) => problem(StatusCode::NOT_FOUND, "no such object, or none for others"),
        Err(NotGiven::Busy) => {
            let mut busy = problem(StatusCode::SERVICE_UNAVAILABLE, "enough objects are being given away");
            busy.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            busy
        }
    }
}

/// `blocks=2-5`, `blocks=2-` or nothing.
fn blocks(query: &str) -> Option<std::ops::RangeInclusive<u32>> {
    if query.is_empty() {
        return Some(0..=u32::MAX);
    }
    let (first, last) = query.strip_prefix("blocks=")?.split_once('-')?;
    let last = if last.is_empty() { u32::MAX } else { last.parse().ok()? };
    let first: u32 = first.parse().ok()?;
    (first <= last).then_some(first..=last)
}

async fn report(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    match admit(&request, &admin) {
        Ok(()) => HttpResponse::Ok().json(admin.delivery().warmer().report()),
        Err(refusal) => *refusal,
    }
}

/// `POST /api/v1/cache/warm`: begins a run. What the order does not say, the settings do.
async fn begin(request: HttpRequest, payload: web::Payload, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = admit_change(&request, &admin) {
        return *refusal;
    }
    let Ok(Ok(body)) = payload.to_bytes_limited(MAX_BODY).await else {
        let detail = format!("an order has at most {MAX_BODY} bytes, and all of them come");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
    };
    let text = body.trim_ascii();
    let order = match text {
        b"" => Ok(Order::default()),
        // serde would take a list for the fields in their order.
        [b'{', ..] => serde_json::from_slice(text),
        _ => serde_json::from_slice(b""),
    };
    let order = match order {
        Ok(order) => order,
        Err(wrong) => {
            let detail = format!("not an order such as {{\"peers\":[\"http://10.0.0.2:8081\"]}}: {wrong}");
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
    };
    match admin.delivery().warmer().begin(order, bearer(&request)) {
        Ok(report) => HttpResponse::Accepted().json(report),
        Err(refusal @ Refusal::Running) => problem(StatusCode::CONFLICT, &refusal.to_string()),
        Err(refusal) => problem(StatusCode::BAD_REQUEST, &refusal.to_string()),
    }
}

async fn break_off(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = admit_change(&request, &admin) {
        return *refusal;
    }
    let broken_off = admin.delivery().warmer().break_off();
    HttpResponse::Ok().json(serde_json::json!({ "broken_off": broken_off }))
}

async fn drained(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    match admit(&request, &admin) {
        Ok(()) => draining(&admin),
        Err(refusal) => *refusal,
    }
}

/// `POST /api/v1/drain`: not ready from now on, and each answer ends its connection. Whoever comes is served all the same.
async fn drain(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    send_away(&request, &admin, true)
}

async fn undo(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    send_away(&request, &admin, false)
}

fn send_away(request: &HttpRequest, admin: &Admin, away: bool) -> HttpResponse {
    if let Err(refusal) = admit_change(request, admin) {
        return *refusal;
    }
    if admin.lifecycle().sends_away() != away {
        tracing::info!(away, "clients are sent elsewhere, or not any more");
    }
    admin.lifecycle().send_away(away);
    draining(admin)
}

/// With how many answers are still on their way.
fn draining(admin: &Admin) -> HttpResponse {
    let active = admin.delivery().instruments().active.get();
    let draining = admin.lifecycle().sends_away();
    HttpResponse::Ok().json(serde_json::json!({ "draining": draining, "active_requests": active }))
}

/// Only who may do everything, everywhere.
fn admit(request: &HttpRequest, admin: &Admin) -> Result<(), Box<HttpResponse>> {
    let headers = translate::request_headers(request.headers());
    gate::admit(admin, &headers, Scope::Admin).map(drop)
}

/// The same, and no page of another site has sent it.
fn admit_change(request: &HttpRequest, admin: &Admin) -> Result<(), Box<HttpResponse>> {
    if gate::is_foreign(&translate::request_headers(request.headers())) {
        return Err(Box::new(problem(StatusCode::FORBIDDEN, "pages from elsewhere may not do that")));
    }
    admit(request, admin)
}

/// The token that came with it; empty: none.
fn bearer(request: &HttpRequest) -> &str {
    let line = request.headers().get(header::AUTHORIZATION).and_then(|line| line.to_str().ok());
    match line.and_then(|line| line.split_at_checked("bearer ".len())) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_range() {
        for (query, expected) in [
            ("", Some(0..=u32::MAX)),
            ("blocks=2-5", Some(2..=5)),
            ("blocks=2-", Some(2..=u32::MAX)),
            ("blocks=5-2", None),
            ("blocks=2", None),
            ("blocks=-2", None),
            ("other=1-2", None),
        ] {
            assert_eq!(blocks(query), expected, "{query}");
        }
    }
}
