//! Uploads on the data port: which requests are, and how those are answered that are not taken.

use std::{io, sync::Arc};

use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::{data::Data, gate};
use crate::{
    admission::{Denied, Grant, Scope},
    delivery::{
        Answer, Body, FaultKind, Fields, Outcome, Reason, RequestBody, RequestBodyError, Response, Route,
        Served, Target,
    },
    upload::{self, AssetKey, BadAssetKey, Error, StoreError},
};

mod assets;
mod condition;
mod cors;
mod form;
mod listing;
mod tus;

pub use listing::on_admin;

/// A request that is for the uploads, and not for the assets as they are served.
pub struct Ask {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: upload::Body,
}

/// Below which assets are.
const ASSETS: &str = "/assets/";

/// Whether a request is for what is here.
pub fn concerns(data: &Data, method: &Method, target: &Target) -> bool {
    let path = target.path();
    let to_assets = || {
        path.starts_with(ASSETS) && matches!(*method, Method::PUT | Method::DELETE | Method::OPTIONS)
            || path == ASSETS && *method == Method::POST
    };
    data.uploads.is_some() && (path.starts_with(tus::FILES) || to_assets())
}

/// The body of a request, as uploads take it.
pub fn body(theirs: Option<RequestBody>) -> upload::Body {
    match theirs {
        Some(body) => {
            let kind = |broken: &RequestBodyError| match broken.kind {
                FaultKind::IdleTimeout => io::ErrorKind::TimedOut,
                _ => io::ErrorKind::Other,
            };
            body.map(move |item| item.map_err(|broken| io::Error::new(kind(&broken), broken.detail))).boxed()
        }
        None => futures_util::stream::empty().boxed(),
    }
}

/// Answers what [`concerns`] us.
pub async fn answer(data: Arc<Data>, ask: Ask) -> Answer {
    let Some(uploads) = &data.uploads else {
        return Answer { route: Route::Asset, response: empty(StatusCode::NOT_FOUND) };
    };
    let origin = cors::allowed(&data.allow_origins, &ask.headers);
    let preflight = ask.method == Method::OPTIONS && cors::is_preflight(&ask.headers);
    let response = match ask.method {
        _ if preflight => Ok(cors::preflight()),
        _ if ask.target.path().starts_with(tus::FILES) => Ok(tus::answer(&data, uploads, ask).await),
        Method::OPTIONS => {
            let allow = match ask.target.path() {
                ASSETS => "OPTIONS, POST",
                _ => "GET, HEAD, OPTIONS, PUT, DELETE",
            };
            Ok(empty(StatusCode::NO_CONTENT).with(header::ALLOW, allow))
        }
        Method::POST => form::post(&data, uploads, ask).await,
        Method::DELETE => assets::delete(&data, uploads, &ask).await,
        _ => assets::put(&data, uploads, ask).await,
    };
    let response = cors::open(response.unwrap_or_else(|refused| *refused), origin.as_deref());
    Answer { route: Route::Asset, response }
}

/// Who asks, if they may upload to this path.
fn admit(data: &Data, headers: &HeaderMap, path: &str) -> Result<Grant, Box<Response>> {
    data.admission.admit(headers, Scope::Upload, path).map_err(|denied: Denied| gate::refusal(denied))
}

/// The key that a path names.
fn key_of(target: &Target) -> Result<AssetKey, Box<Response>> {
    let encoded = target.path().strip_prefix(ASSETS).unwrap_or_default();
    if encoded.contains("%2F") || encoded.contains("%5C") {
        return Err(refusal(&Error::Key(BadAssetKey::Character)));
    }
    let text = percent_decode_str(encoded).decode_utf8();
    let text = text.map_err(|_| refusal(&Error::Bad("a key is UTF-8".to_owned())))?;
    AssetKey::parse(&text).map_err(|wrong| refusal(&Error::Key(wrong)))
}

fn served() -> Served {
    Served::new(Outcome::Bypass, Reason::Upload)
}

fn empty(status: StatusCode) -> Response {
    let mut fields = HeaderMap::new();
    fields.insert(header::CACHE_CONTROL, super::data::fixed("no-store"));
    Response::new(status, Fields::Own(fields), Body::Empty, served())
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = empty(status).with(header::CONTENT_TYPE, "application/json");
    response.body = Body::Full(value.to_string().into());
    response
}

/// As a path has it.
pub(super) fn encoded(key: &str) -> String {
    const ESCAPED: &percent_encoding::AsciiSet =
        &percent_encoding::CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?').add(b'\\');
    percent_encoding::utf8_percent_encode(key, ESCAPED).to_string()
}

/// What is not taken, and why.
fn refusal(error: &Error) -> Box<Response> {
    refusal_with(error, "")
}

/// With something to add.
fn refusal_with(error: &Error, more: &str) -> Box<Response> {
    let status = status_of(error);
    let reason = match status.is_server_error() {
        true => Reason::Internal,
        false => Reason::BadRequest,
    };
    let detail = match error {
        Error::Store(StoreError::Unavailable(_)) => "the store cannot be reached at the moment".to_owned(),
        Error::Store(StoreError::Full | StoreError::Lost) => error.to_string(),
        Error::Store(_) => "the asset could not be stored".to_owned(),
        error => error.to_string(),
    };
    let detail = if more.is_empty() { detail } else { format!("{detail}; {more}") };
    let response = Response::problem(status, &detail, Served::new(Outcome::Error, reason));
    Box::new(match error {
        Error::Busy | Error::Locked => response.with(header::RETRY_AFTER, "1"),
        Error::Stopping | Error::Store(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
            response.with(header::RETRY_AFTER, "5")
        }
        // One of them ends, or its time is over.
        Error::TooMany(_) => response.with(header::RETRY_AFTER, "60"),
        _ => response,
    })
}

/// The one place where errors of uploads become statuses.
fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Key(_) | Error::Bad(_) | Error::Digest | Error::Short => StatusCode::BAD_REQUEST,
        Error::Stalled | Error::Slow(_) => StatusCode::REQUEST_TIMEOUT,
        Error::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Error::Store(StoreError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        Error::TooLarge(_) | Error::Quota(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::Condition => StatusCode::PRECONDITION_FAILED,
        Error::NoUpload => StatusCode::NOT_FOUND,
        Error::Expired | Error::Store(StoreError::Lost) => StatusCode::GONE,
        Error::Offset(_) | Error::Overtaken | Error::Finished => StatusCode::CONFLICT,
        Error::Locked => StatusCode::LOCKED,
        Error::Checksum => StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
        Error::Kind => StatusCode::FORBIDDEN,
        Error::Busy | Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Error::Store(_) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
        Error::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
