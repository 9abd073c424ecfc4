//! The data port: one handler, because every path is an asset.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_http::{
    Payload, Request as Message, Response as Reply, StatusCode as ActixStatus, Version,
    header::{CONTENT_LENGTH, HeaderMap as ActixMap, HeaderValue as ActixValue},
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::Instrument;

use super::{
    access::{self, Access},
    body::{Record, Sending},
    connection::{Before, Behind, Client, Link},
    door::Door,
    fronts::Front,
    guard,
    pace::{self, Least},
    pages::Pages,
    purge,
    translate::{self, Lines},
    uploads::{self, Ask},
};
use crate::{
    admission::{Admission, Signature, load::Place},
    delivery::{
        Answer, Asked, BadTarget, CdnLoop, Delivery, FieldLines, Instruments, Interims, Outcome, Reason,
        Request, RequestBody, Response, Route, Served, Target, broken_request_body, slow_request_body,
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
    pub door: Door,
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
    let link = message.conn_data::<Link>()?;
    if data.pages.are_at(&target)
        || uploads::concerns(data, &method, &target)
        || data.door.redirects(&link.client, lines)
    {
        return None;
    }
    let mut answer =
        data.delivery.answer_at_once(&Asked { method: &method, target: &target, fields: lines })?;
    if let Some(front) = data.door.fronts.of(&data.delivery, &target, lines) {
        if let Err(refusal) = front.refuses_at_once(|| data.door.client(&link.client, lines), lines)? {
            answer.response = refusal;
        }
        front.open(&mut answer.response, lines.first("origin"));
    }
    Some(Known::of(link, data, &raw, lines, method, started).finish(data.clone(), answer, None))
}

/// `looked`: what is in memory has been looked for.
async fn in_time(mut message: Message, data: Arc<Data>, started: Instant, looked: bool) -> Reply<Sending> {
    let mut headers = translate::request_headers(&message.head().headers);
    translate::heed_authority(message.uri(), &mut headers);
    let method = translate::method(message.method());
    let (signature, raw) = Signature::take(target_of(&message));
    let raw = raw.into_owned();
    let link = message.conn_data::<Link>().cloned().unwrap_or_else(Link::unknown);
    let whole = signature.is_some().then(|| target_of(&message).to_owned());
    let known = Known::of(&link, &data, &raw, &headers, method.clone().unwrap_or(Method::GET), started);
    let (answer, place) = match method {
        Some(method) => {
            let before = (message.version() == Version::HTTP_11).then_some(&link.before);
            let asking = Asking { method, raw, whole, signature, headers, looked, client: link.client };
            let least = data.door.least;
            answer(&data, asking, || body_of(&mut message, least), before, &known.id).await
        }
        None => (refuse(StatusCode::NOT_IMPLEMENTED, "unknown method"), None),
    };
    known.finish(data, answer, place)
}

/// A request that came by HTTP/2, on the long way, which finds what is in memory as well.
pub(super) async fn handle_h2(
    parts: http::request::Parts,
    body: impl FnOnce() -> Option<RequestBody>,
    data: &Arc<Data>,
    link: &Link,
) -> (http::Response<()>, Sending) {
    let started = Instant::now();
    let http::request::Parts { method, uri, headers, .. } = parts;
    let headers = translate::headers_h2(&uri, headers);
    let (signature, raw) = Signature::take(uri.path_and_query().map_or("", |target| target.as_str()));
    let raw = raw.into_owned();
    let known = Known::of(link, data, &raw, &headers, method.clone(), started);
    let (answer, place) = match headers.contains_key(header::HOST) {
        true => {
            let (whole, client) = (None, link.client);
            let asking = Asking { method, raw, whole, signature, headers, looked: false, client };
            answer(data, asking, body, None, &known.id).await
        }
        false => (refuse(StatusCode::BAD_REQUEST, "the request names no host"), None),
    };
    let mut response = http::Response::new(());
    *response.status_mut() = answer.response.status;
    let mut fields = ActixMap::new();
    let sending = known.conclude(data.clone(), answer, place, &mut fields);
    translate::fields_h2(&fields, response.headers_mut());
    (response, sending)
}

/// A request on the long way.
struct Asking {
    method: Method,
    /// Path and query, without the signature.
    raw: String,
    /// With it, if it is another.
    whole: Option<String>,
    signature: Option<Signature>,
    headers: HeaderMap,
    /// What is in memory has been looked for.
    looked: bool,
    client: Client,
}

/// The place that the request has taken is to be kept until its answer is over.
type Placed = (Answer, Option<Place>);

async fn answer(
    data: &Arc<Data>,
    asking: Asking,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let Asking { method, raw, headers, client, .. } = &asking;
    if let Some((status, detail)) = translate::fault(headers) {
        return (refuse(status, detail), None);
    }
    if data.cdn_loop.closes(headers) {
        return (refuse(StatusCode::LOOP_DETECTED, "this request has been here before"), None);
    }
    let target = match Target::parse(raw) {
        Ok(target) => target,
        Err(bad @ BadTarget::TooLong) => return (refuse(StatusCode::URI_TOO_LONG, &bad.to_string()), None),
        Err(bad) => return (refuse(StatusCode::BAD_REQUEST, &bad.to_string()), None),
    };
    let whole = asking.whole.as_ref().unwrap_or(raw);
    if let Some(redirect) = data.door.redirect(client, headers, &target, whole) {
        return (whatever(redirect), None);
    }
    // Uploads have rules of their own for pages of other sites.
    let uploads = uploads::concerns(data, method, &target);
    let front = data.door.fronts.of(&data.delivery, &target, headers);
    let rules = front.filter(|_| !uploads);
    let origin = rules.and_then(|_| headers.get(header::ORIGIN).cloned());
    let (mut answer, place) = match rules.and_then(|rules| rules.preflight(method, headers)) {
        Some(preflight) => (whatever(preflight), None),
        None => admitted(data, asking, target, front, body, before, id).await,
    };
    if let Some(rules) = rules {
        rules.open(&mut answer.response, origin.as_ref().map(HeaderValue::as_bytes));
    }
    (answer, place)
}

/// Past the limits of its client, if it is.
async fn admitted(
    data: &Arc<Data>,
    asking: Asking,
    target: Target,
    front: Option<&Front>,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let client = data.door.client(&asking.client, &asking.headers);
    if let Some(refused) = front.and_then(|front| front.refuses(&data.admission, client, &asking.headers)) {
        return (whatever(refused), None);
    }
    let guess = data.door.guess(client, asking.signature.is_some(), &asking.headers);
    if let Some(refused) = guess.as_ref().and_then(|guess| guess.refused()) {
        return (whatever(refused), None);
    }
    let answered = placed(data, asking, target, body, before, id).await;
    if let Some(guess) = guess {
        guess.heed(&answered.0.response);
    }
    answered
}

async fn placed(
    data: &Arc<Data>,
    asking: Asking,
    target: Target,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let Asking { method, signature, mut headers, looked, .. } = asking;
    if method.as_str() == "PURGE" {
        return (purge::on_data(data, &headers, &target).await, None);
    }
    let place = data.door.load.enter();
    if uploads::concerns(data, &method, &target) {
        if place.is_none() {
            return (overloaded(), None);
        }
        let body = uploads::body(body());
        return (uploads::answer(data.clone(), Ask { method, target, headers, body }).await, place);
    }
    if let Some(response) = data.pages.get(&method, &target) {
        return (whatever(response), place);
    }
    let guarded = match guard::admit(data, &method, signature.as_ref(), &target, &mut headers) {
        Ok(guarded) => guarded,
        Err(response) => return (whatever(*response), place),
    };
    let full = place.is_none();
    if full {
        if !matches!(method, Method::GET | Method::HEAD) {
            return (overloaded(), None);
        }
        // What is stored is served nevertheless.
        headers.insert(header::CACHE_CONTROL, fixed("only-if-cached"));
    }
    let asked = Request { method, target, headers: Arc::new(headers), interims: None };
    let mut answer = match (!looked).then(|| data.delivery.answer_at_once(&asked.asked())).flatten() {
        Some(answer) => answer,
        None => {
            let span = access::span(&asked.method, asked.target.path(), id);
            let answer = wait(data, asked, body(), before).instrument(span.clone()).await;
            access::conclude(&span, &answer.response.served);
            answer
        }
    };
    if full && answer.response.served.reason == Reason::OnlyIfCached {
        answer = overloaded();
    }
    if guarded {
        guard::keep_private(&mut answer.response);
    }
    (answer, place)
}

fn target_of(message: &Message) -> &str {
    message.uri().path_and_query().map_or("", |target| target.as_str())
}

/// `before`: where this client can be told what comes before the answer: HTTP/1.0 knows nothing of that kind (RFC 9110 §15.2).
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
    whatever(Response::problem(status, detail, served))
}

/// All places are taken, and nothing is stored that would do.
fn overloaded() -> Answer {
    let served = Served::new(Outcome::Error, Reason::Overloaded);
    let detail = "this server has as many requests as it takes at a time";
    whatever(
        Response::problem(StatusCode::SERVICE_UNAVAILABLE, detail, served)
            .with(header::RETRY_AFTER, fixed("1")),
    )
}

/// An answer that no asset has to do with.
fn whatever(response: Response) -> Answer {
    Answer { route: Route::Asset, response }
}

/// Of a request, for its answer.
struct Known {
    method: Method,
    id: ActixValue,
    traceparent: Option<HeaderValue>,
    log: Option<Box<Access>>,
    started: Instant,
    behind: Option<Behind>,
    secure: bool,
}

impl Known {
    fn of(
        link: &Link,
        data: &Data,
        raw: &str,
        fields: &impl FieldLines,
        method: Method,
        started: Instant,
    ) -> Self {
        let id = translate::request_id(fields);
        let client = || data.door.client(&link.client, fields);
        let log = Access::of(raw.split('?').next().unwrap_or_default(), &id, client);
        let traceparent = translate::traceparent(fields);
        let behind = link.behind.clone();
        Self { method, id, traceparent, log, started, behind, secure: link.client.secure }
    }

    fn finish(self, data: Arc<Data>, answer: Answer, place: Option<Place>) -> Reply<Sending> {
        let status = ActixStatus::from_u16(answer.response.status.as_u16());
        let mut reply = Reply::with_body(status.unwrap_or(ActixStatus::BAD_GATEWAY), ());
        let sending = self.conclude(data, answer, place, reply.headers_mut());
        if let Some(length) = sending.length_behind() {
            // actix takes such a body for one of which it does not know the length.
            reply.head_mut().no_chunking(true);
            reply.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        reply.set_body(sending)
    }

    /// Writes the fields, and makes the body ready.
    fn conclude(self, data: Arc<Data>, answer: Answer, place: Option<Place>, into: &mut ActixMap) -> Sending {
        let Self { method, id, traceparent, log, started, behind, secure } = self;
        let Answer { route, mut response } = answer;
        if let Some(parent) = traceparent {
            response.added.push((http::HeaderName::from_static("traceparent"), parent));
        }
        if let Some(policy) = data.door.transport_security(secure) {
            response.added.push((header::STRICT_TRANSPORT_SECURITY, policy.clone()));
        }
        translate::response_headers(&response, id, started, into);
        let Response { status, body, head_length, served, .. } = response;
        let record = Record { data, method, route, status, served, started, access: log, _place: place };
        Sending::new(body, head_length, record, behind)
    }
}

fn body_of(message: &mut Message, least: Least) -> Option<RequestBody> {
    translate::has_body(&message.head().headers).then(|| upload(message.take_payload(), least))
}

/// actix's payload stays on its worker's thread; an origin may be asked from any. A bounded channel carries the body
/// over, and with it the back-pressure.
fn upload(payload: Payload, least: Least) -> RequestBody {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    actix_web::rt::spawn(async move {
        let broken = |broken| broken_request_body(format!("the client's body broke: {broken}"));
        let chunks = payload.map(move |chunk| chunk.map_err(broken));
        let mut chunks = pin!(pace::at_least(least, chunks, slow_request_body));
        while let Some(chunk) = chunks.next().await {
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
