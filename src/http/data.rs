//! The data port: one handler, because every path is an asset.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_http::{
    ConnectionType, Payload, Request as Message, Response as Reply, StatusCode as ActixStatus, Version,
    header::{CONTENT_LENGTH, HeaderValue as ActixValue},
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tracing::Instrument;

use super::{
    access::{self, Access},
    body::{Record, Sending},
    connection::{Before, Behind},
    guard,
    lifecycle::Lifecycle,
    pages::Pages,
    purge,
    translate::{self, Lines},
    uploads::{self, Ask},
};
use crate::{
    admission::{Admission, Signature},
    delivery::{
        Answer, Asked, BadTarget, CdnLoop, Delivery, FieldLines, Instruments, Interims, Outcome, Reason,
        Request, RequestBody, Response, Route, Served, Target, broken_request_body,
    },
    upload::Uploads,
};

pub struct Data {
    pub delivery: Arc<Delivery>,
    pub pages: Pages,
    pub admission: Arc<Admission>,
    pub uploads: Option<Uploads>,
    /// Web origins whose pages may upload.
    pub allow_origins: Vec<String>,
    pub cdn_loop: CdnLoop,
    pub lifecycle: Arc<Lifecycle>,
}

impl Data {
    pub fn instruments(&self) -> &Instruments {
        self.delivery.instruments()
    }
}

/// The answer to a request: there at once, or waited for. Boxed then: a hit should not pay for the size of the future of a
/// miss.
pub enum Answering {
    AtOnce(Option<Reply<Sending>>),
    Waiting(Pin<Box<dyn Future<Output = Reply<Sending>>>>),
}

impl Future for Answering {
    type Output = Result<Reply<Sending>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // Taken once; actix does not ask again.
            Self::AtOnce(reply) => reply.take().map_or(Poll::Pending, |reply| Poll::Ready(Ok(reply))),
            Self::Waiting(reply) => reply.as_mut().poll(context).map(Ok),
        }
    }
}

pub fn handle(message: Message, data: &Arc<Data>) -> Answering {
    let started = Instant::now();
    let lines = Lines::of(message.head());
    if let Some(reply) = lines.as_ref().and_then(|lines| at_once(&message, lines, data, started)) {
        return Answering::AtOnce(Some(reply));
    }
    let looked = lines.is_some() && data.delivery.is_public();
    drop(lines);
    Answering::Waiting(Box::pin(in_time(message, data.clone(), started, looked)))
}

/// The shortest way, for what is in memory. None: the long way has all there is to say.
fn at_once(
    message: &Message,
    lines: &Lines<'_>,
    data: &Arc<Data>,
    started: Instant,
) -> Option<Reply<Sending>> {
    let method = translate::method(message.method())?;
    if translate::fault(lines).is_some() || lines.has("cdn-loop") || !data.delivery.is_public() {
        return None;
    }
    let (None, raw) = Signature::take(target_of(message)) else { return None };
    let target = Target::parse(&raw).ok()?;
    if data.pages.are_at(&target) || uploads::concerns(data, &method, &target) {
        return None;
    }
    let answer = data.delivery.answer_at_once(&Asked { method: &method, target: &target, fields: lines })?;
    Some(Known::of(message, &raw, lines, method, started).finish(data.clone(), answer))
}

/// `looked`: what is in memory has been looked for.
async fn in_time(mut message: Message, data: Arc<Data>, started: Instant, looked: bool) -> Reply<Sending> {
    let mut headers = translate::request_headers(&message.head().headers);
    translate::heed_authority(message.uri(), &mut headers);
    let method = translate::method(message.method());
    let (signature, raw) = Signature::take(target_of(&message));
    let raw = raw.into_owned();
    let known = Known::of(&message, &raw, &headers, method.clone().unwrap_or(Method::GET), started);
    let answer = match method {
        Some(method) => {
            let asking = Asking { method, raw, signature, headers, looked };
            answer(&mut message, &data, asking, &known.id).await
        }
        None => refuse(StatusCode::NOT_IMPLEMENTED, "unknown method"),
    };
    known.finish(data, answer)
}

/// A request on the long way.
struct Asking {
    method: Method,
    /// Path and query, without the signature.
    raw: String,
    signature: Option<Signature>,
    headers: HeaderMap,
    /// What is in memory has been looked for.
    looked: bool,
}

async fn answer(message: &mut Message, data: &Arc<Data>, asking: Asking, id: &ActixValue) -> Answer {
    let Asking { method, raw, signature, mut headers, looked } = asking;
    if let Some((status, detail)) = translate::fault(&headers) {
        return refuse(status, detail);
    }
    if data.cdn_loop.closes(&headers) {
        return refuse(StatusCode::LOOP_DETECTED, "this request has been here before");
    }
    let target = match Target::parse(&raw) {
        Ok(target) => target,
        Err(bad @ BadTarget::TooLong) => return refuse(StatusCode::URI_TOO_LONG, &bad.to_string()),
        Err(bad) => return refuse(StatusCode::BAD_REQUEST, &bad.to_string()),
    };
    if method.as_str() == "PURGE" {
        return purge::on_data(data, &headers, &target).await;
    }
    if uploads::concerns(data, &method, &target) {
        let body = uploads::body(body_of(message));
        return uploads::answer(data.clone(), Ask { method, target, headers, body }).await;
    }
    if let Some(response) = data.pages.get(&method, &target) {
        return Answer { route: Route::Asset, response };
    }
    if let Err(response) = guard::admit(data, &method, signature.as_ref(), &target, &mut headers) {
        return Answer { route: Route::Asset, response: *response };
    }
    let asked = Request { method, target, headers: Arc::new(headers), interims: None };
    if let Some(answer) = (!looked).then(|| data.delivery.answer_at_once(&asked.asked())).flatten() {
        return answer;
    }
    let body = body_of(message);
    let span = access::span(&asked.method, asked.target.path(), id);
    let answer = wait(data, asked, body, before(message)).instrument(span.clone()).await;
    access::conclude(&span, &answer.response.served);
    answer
}

fn target_of(message: &Message) -> &str {
    message.uri().path_and_query().map_or("", |target| target.as_str())
}

/// Where this client can be told what comes before the answer: HTTP/1.0 knows nothing of that kind (RFC 9110 §15.2).
fn before(message: &Message) -> Option<&Before> {
    message.conn_data::<Before>().filter(|_| message.version() == Version::HTTP_11)
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

/// Of a request, for its answer.
struct Known {
    method: Method,
    id: ActixValue,
    traceparent: Option<HeaderValue>,
    log: Option<Box<Access>>,
    started: Instant,
    behind: Option<Behind>,
}

impl Known {
    fn of(message: &Message, raw: &str, fields: &impl FieldLines, method: Method, started: Instant) -> Self {
        let id = translate::request_id(fields);
        let log = Access::of(raw.split('?').next().unwrap_or_default(), &id);
        let traceparent = translate::traceparent(fields);
        let behind = message.conn_data::<Behind>().cloned();
        Self { method, id, traceparent, log, started, behind }
    }

    fn finish(self, data: Arc<Data>, answer: Answer) -> Reply<Sending> {
        let Self { method, id, traceparent, log, started, behind } = self;
        let Answer { route, mut response } = answer;
        if let Some(parent) = traceparent {
            response.added.push((http::HeaderName::from_static("traceparent"), parent));
        }
        let status = ActixStatus::from_u16(response.status.as_u16()).unwrap_or(ActixStatus::BAD_GATEWAY);
        let mut reply = Reply::with_body(status, ());
        translate::response_headers(&response, id, started, reply.headers_mut());
        if data.lifecycle.sends_away() {
            reply.head_mut().set_connection_type(ConnectionType::Close);
        }
        let Response { status, body, head_length, served, .. } = response;
        let record = Record { data, method, route, status, served, started, access: log };
        let sending = Sending::new(body, head_length, record, behind);
        if let Some(length) = sending.length_behind() {
            // actix takes such a body for one of which it does not know the length.
            reply.head_mut().no_chunking(true);
            reply.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        reply.set_body(sending)
    }
}

fn body_of(message: &mut Message) -> Option<RequestBody> {
    translate::has_body(&message.head().headers).then(|| upload(message.take_payload()))
}

/// actix's payload stays on its worker's thread; an origin may be asked from any. A bounded channel carries the body
/// over, and with it the back-pressure.
fn upload(mut payload: Payload) -> RequestBody {
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
