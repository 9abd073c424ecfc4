//! The data port: one handler, because every path is an asset.

use std::{sync::Arc, time::Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode as ActixStatus, Version, header::HeaderValue as ActixValue},
    web,
};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode};
use tracing::Instrument;

use super::{
    access::{self, Access},
    body::{Record, Sending},
    connection::Before,
    pages::Pages,
    purge,
    token::Token,
    translate,
};
use crate::delivery::{
    Answer, BadTarget, CdnLoop, Delivery, Instruments, Interims, Outcome, Reason, Request, RequestBody,
    Response, Route, Served, Target, broken_request_body,
};

pub struct Data {
    pub delivery: Arc<Delivery>,
    pub pages: Pages,
    pub token: Token,
    pub cdn_loop: CdnLoop,
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
    if data.cdn_loop.closes(&headers) {
        let detail = "this request has been here before";
        return finish(data, method, refuse(StatusCode::LOOP_DETECTED, detail), id, started, log);
    }
    let has_body = translate::has_body(request.headers());
    let raw = request.uri().path_and_query().map_or("", |target| target.as_str());
    let mut answer = match Target::parse(raw) {
        Ok(target) if method.as_str() == "PURGE" => purge::on_data(&data, &headers, &target).await,
        Ok(target) => match data.pages.get(&method, &target) {
            Some(response) => Answer { route: Route::Asset, response },
            None => {
                let headers = Arc::new(headers);
                let asked = Request { method: method.clone(), target, headers, interims: None };
                match data.delivery.answer_at_once(&asked) {
                    Some(answer) => answer,
                    None => {
                        let body = has_body.then(|| upload(payload));
                        let span = access::span(&method, asked.target.path(), &id);
                        // Boxed: a hit should not pay for the size of the future of a miss.
                        let answering = wait(&data, asked, body, before(&request));
                        let answer = Box::pin(answering.instrument(span.clone())).await;
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

/// Where this client can be told what comes before the answer: HTTP/1.0 knows nothing of that kind (RFC 9110 §15.2).
fn before(request: &HttpRequest) -> Option<&Before> {
    request.conn_data::<Before>().filter(|_| request.version() == Version::HTTP_11)
}

async fn wait(data: &Data, mut asked: Request, body: Option<RequestBody>, before: Option<&Before>) -> Answer {
    let Some(before) = before else { return data.delivery.answer(&asked, body).await };
    let (interims, coming) = Interims::channel();
    asked.interims = Some(interims);
    let answer = before.wait(coming, data.delivery.answer(&asked, body));
    if !data.delivery.is_made(&asked) {
        return answer.await;
    }
    // What is made costs more than what is fetched, and nobody else may want it.
    tokio::select! {
        answer = answer => answer,
        () = before.left() => abandoned(),
    }
}

/// For logs and metrics: there is nobody to read it.
fn abandoned() -> Answer {
    // As nginx has it.
    let status = StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT);
    let served = Served::new(Outcome::Error, Reason::ClientLeft);
    Answer { route: Route::Image, response: Response::problem(status, "the client has left", served) }
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
