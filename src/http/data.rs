//! The data port: one handler, because every path is an asset.

use std::{sync::Arc, time::Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode as ActixStatus, header::HeaderValue as ActixValue},
    web,
};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode};
use tracing::Instrument;

use super::{
    access::{self, Access},
    body::{Record, Sending},
    pages::Pages,
    purge,
    token::Token,
    translate,
};
use crate::delivery::{
    Answer, BadTarget, Delivery, Instruments, Outcome, Reason, Request, RequestBody, Response, Route, Served,
    Target, broken_request_body,
};

pub struct Data {
    pub delivery: Arc<Delivery>,
    pub pages: Pages,
    pub token: Token,
}

impl Data {
    pub fn instruments(&self) -> &Instruments {
        self.delivery.instruments()
    }
}

pub async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    data: web::Data<Data>,
) -> HttpResponse<Sending> {
    let started = Instant::now();
    let data = data.into_inner();
    let mut headers = translate::request_headers(request.headers());
    translate::heed_authority(request.uri(), &mut headers);
    let id = translate::request_id(&headers);
    let traceparent = translate::traceparent(&headers);
    let log = Access::of(request.uri().path(), &id);
    let Some(method) = translate::method(request.method()) else {
        return finish(
            data,
            Method::GET,
            refuse(StatusCode::NOT_IMPLEMENTED, "unknown method"),
            id,
            started,
            log,
        );
    };
    if let Some((status, detail)) = translate::fault(&headers) {
        return finish(data, method, refuse(status, detail), id, started, log);
    }
    let has_body = translate::has_body(request.headers());
    let raw = request.uri().path_and_query().map_or("", |target| target.as_str());
    let mut answer = match Target::parse(raw) {
        Ok(target) if method.as_str() == "PURGE" => purge::on_data(&data, &headers, &target).await,
        Ok(target) => match data.pages.get(&method, &target) {
            Some(response) => Answer { route: Route::Asset, response },
            None => {
                let request = Request { method: method.clone(), target, headers: Arc::new(headers) };
                match data.delivery.answer_at_once(&request) {
                    Some(answer) => answer,
                    None => {
                        let body = has_body.then(|| upload(payload));
                        let span = access::span(&method, request.target.path(), &id);
                        // Boxed: a hit should not pay for the size of the future of a miss.
                        let answer =
                            Box::pin(data.delivery.answer(&request, body).instrument(span.clone())).await;
                        access::conclude(&span, &answer.response.served);
                        answer
                    }
                }
            }
        },
        Err(bad) => {
            let status = match bad {
                BadTarget::TooLong => StatusCode::URI_TOO_LONG,
                _ => StatusCode::BAD_REQUEST,
            };
            refuse(status, &bad.to_string())
        }
    };
    if let Some(parent) = traceparent {
        answer.response.added.push((http::HeaderName::from_static("traceparent"), parent));
    }
    finish(data, method, answer, id, started, log)
}

fn refuse(status: StatusCode, detail: &str) -> Answer {
    let served = Served::new(Outcome::Error, Reason::BadRequest);
    Answer { route: Route::Asset, response: Response::problem(status, detail, served) }
}

fn finish(
    data: Arc<Data>,
    method: Method,
    answer: Answer,
    id: ActixValue,
    started: Instant,
    log: Option<Box<Access>>,
) -> HttpResponse<Sending> {
    let Answer { route, response } = answer;
    let status = ActixStatus::from_u16(response.status.as_u16()).unwrap_or(ActixStatus::BAD_GATEWAY);
    let Response { status: ours, fields, added, body, head_length, served, key } = response;
    let record = Record { data, method, route, status: ours, served, started, access: log };
    let mut message = HttpResponse::with_body(status, Sending::new(body, head_length, record));
    let told = translate::Told { served, key: key.as_deref(), request_id: id, started };
    translate::response_headers(&fields, &added, told, message.headers_mut());
    message
}

/// actix's payload stays on its worker's thread; an origin may be asked from any. A bounded channel carries the body
/// over, and with it the back-pressure.
fn upload(mut payload: web::Payload) -> RequestBody {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    actix_web::rt::spawn(async move {
        while let Some(chunk) = payload.next().await {
            let chunk =
                chunk.map_err(|broken| broken_request_body(format!("the client's body broke: {broken}")));
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

/// A value that is known to be valid.
pub(super) fn fixed(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}
