//! Silences as Alertmanager's API has them, so that `amtool --alertmanager.url=` works on the sidecar. Changes are taken
//! from this machine or with the token, and as JSON only: no page of another site can send that without asking first.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::{Value, json};

use super::Params;
use crate::{
    http::{State, authority},
    notify::{Silence, SilenceError},
};

const MAX_BODY_BYTES: usize = 64 * 1024;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/api/v2/silences", web::get().to(all))
        .route("/api/v2/silences", web::post().to(set))
        .route("/api/v2/silence/{id}", web::get().to(one))
        .route("/api/v2/silence/{id}", web::delete().to(expire));
}

async fn all(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let params = Params::new(&request, &[]);
    let wanted = match params.filters() {
        Ok(wanted) => wanted,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let fits = |silence: &Silence| {
        wanted.iter().all(|matcher| {
            let named = silence.matchers.iter().find(|condition| condition.name == matcher.name);
            matcher.matches(named.map_or("", |condition| condition.value.as_str()))
        })
    };
    let silences = state.silences.all().into_iter().filter(fits);
    HttpResponse::Ok().json(silences.map(|silence| shown(&state, &silence)).collect::<Vec<_>>())
}

async fn one(state: web::Data<State>, id: web::Path<String>) -> HttpResponse {
    let found = state.silences.all().into_iter().find(|silence| silence.id == *id);
    match found {
        Some(silence) => HttpResponse::Ok().json(shown(&state, &silence)),
        None => refused(StatusCode::NOT_FOUND, "no such silence"),
    }
}

async fn set(state: web::Data<State>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    if let Some(refusal) = not_allowed(&state, &request) {
        return refusal;
    }
    let kind = request.headers().get("content-type").and_then(|value| value.to_str().ok());
    let media_type = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if media_type != Some("application/json") {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a silence comes as application/json");
    }
    if body.len() > MAX_BODY_BYTES {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "too large");
    }
    let silence: Silence = match serde_json::from_slice(&body) {
        Ok(silence) => silence,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match state.silences.set(silence, state.clock.unix_millis()) {
        Ok(id) => HttpResponse::Ok().json(json!({ "silenceID": id })),
        Err(error) => failed(&error),
    }
}

async fn expire(state: web::Data<State>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    if let Some(refusal) = not_allowed(&state, &request) {
        return refusal;
    }
    match state.silences.expire(&id, state.clock.unix_millis()) {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(error) => failed(&error),
    }
}

fn not_allowed(state: &State, request: &HttpRequest) -> Option<HttpResponse> {
    let refusal = authority::may_change(state, request).err()?;
    Some(refused(StatusCode::FORBIDDEN, refusal))
}

fn shown(state: &State, silence: &Silence) -> Value {
    let mut shown = serde_json::to_value(silence).unwrap_or_default();
    shown["status"] = json!({ "state": silence.phase(state.clock.unix_millis()).as_str() });
    shown
}

fn failed(error: &SilenceError) -> HttpResponse {
    let status = match error {
        SilenceError::Invalid(_) | SilenceError::TooMany => StatusCode::BAD_REQUEST,
        SilenceError::Unknown(_) => StatusCode::NOT_FOUND,
        SilenceError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refused(status, &error.to_string())
}

/// Alertmanager's errors are JSON strings.
pub(super) fn refused(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(message)
}
