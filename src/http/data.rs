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
    ConnectionType, Request as Message, Response as Reply, StatusCode as ActixStatus, Version,
    body::{BodySize, MessageBody as _},
    header::{CONTENT_LENGTH, HeaderValue as ActixValue},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::oneshot;

use super::{
    access::Access,
    body::{Record, Sending, Turn},
    connection::Behind,
    door::Door,
    intake::{self, Expecting, Intake, Rest},
    lifecycle::Lifecycle,
    link::{Client, Link},
    pages::Pages,
    translate::{self, Lines, LinesH2, Sink},
    uploads,
    way::{Asking, answer, refuse},
};
use crate::{
    acme::Challenges,
    admission::{Admission, Signature, load::Place},
    delivery::{
        Answer, Asked, Body, CdnLoop, Delivery, FieldLines, Instruments, RequestBody, Response, Target,
    },
    upload::Uploads,
};

/// What a request that waits takes beside its future: its head, and what it waits for.
const WAITING: usize = 12 << 10;

pub struct Data {
    pub delivery: Arc<Delivery>,
    pub pages: Pages,
    pub admission: Arc<Admission>,
    pub uploads: Option<Uploads>,
    /// Web origins whose pages may upload.
    pub allow_origins: Vec<String>,
    pub cdn_loop: CdnLoop,
    pub lifecycle: Arc<Lifecycle>,
    pub door: Arc<Door>,
    pub challenges: Challenges,
}

impl Data {
    pub fn instruments(&self) -> &Instruments {
        self.delivery.instruments()
    }

    /// The answer to a usual request for what is in memory, at most so long.
    pub fn hit(
        &self,
        method: &Method,
        raw: &str,
        fields: &impl FieldLines,
        client: &Client,
        longest: u64,
    ) -> Option<Answer> {
        if translate::fault(fields).is_some() || fields.has("cdn-loop") || !self.delivery.is_public() {
            return None;
        }
        let (None, raw) = Signature::take(raw) else { return None };
        let target = Target::parse(&raw).ok()?;
        if self.pages.are_at(&target)
            || uploads::concerns(self, method, &target)
            || self.door.redirects(client, fields)
        {
            return None;
        }
        let front = self.door.front(&self.delivery, &target, fields);
        if front.as_ref().is_some_and(|front| !front.can_judge_at_once(fields)) {
            return None;
        }
        let mut answer = self.delivery.answer_at_once(&Asked { method, target: &target, fields }, longest)?;
        if let Some(front) = front {
            if let Some(refusal) = front.refuses_at_once(|| self.door.client(client, fields), fields) {
                answer.response = refusal;
            }
            front.open(&mut answer.response, fields.first("origin"));
        }
        Some(answer)
    }
}

/// The answer to a request: there at once, or waited for. Boxed then: a hit should not pay for the size of the future of a
/// miss.
#[allow(clippy::large_enum_variant, reason = "a hit should not pay for a box either")]
pub enum Answering<R> {
    AtOnce(Option<R>),
    Waiting(Pin<Box<dyn Future<Output = R>>>),
}

impl<R: Unpin> Future for Answering<R> {
    type Output = Result<R, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // Taken once; nobody asks again.
            Self::AtOnce(reply) => reply.take().map_or(Poll::Pending, |reply| Poll::Ready(Ok(reply))),
            Self::Waiting(reply) => reply.as_mut().poll(context).map(Ok),
        }
    }
}

impl<R: 'static> Answering<R> {
    /// On the long way, for as long as it takes.
    pub fn wait(data: &Data, answering: impl Future<Output = R> + 'static) -> Self {
        Self::Waiting(lent(data, answering))
    }
}

/// With what it takes on loan until it is there.
fn lent<R: 'static>(
    data: &Data,
    answering: impl Future<Output = R> + 'static,
) -> Pin<Box<dyn Future<Output = R>>> {
    let loan = data.delivery.lend(size_of_val(&answering) + WAITING);
    Box::pin(answering.inspect(|_| drop(loan)))
}

pub fn handle(message: Message, data: &Arc<Data>) -> Answering<Reply<Sending>> {
    if let Some(answering) = intake::gone_on(&message) {
        return Answering::Waiting(answering);
    }
    let started = Instant::now();
    let lines = Lines::of(message.head());
    let turn = if begin(&message) { Turn::InLine } else { Turn::Alone };
    if let Some(reply) = lines.as_ref().and_then(|lines| at_once(&message, lines, data, started, turn)) {
        return Answering::AtOnce(Some(reply));
    }
    let looked = lines.is_some() && data.delivery.is_public();
    drop(lines);
    Answering::wait(data, in_time(message, data.clone(), started, looked, None))
}

/// A request whose client does not send its body before it is told to.
pub fn expecting(message: Message, data: &Arc<Data>) -> Expecting {
    begin(&message);
    let (expectant, wanted) = oneshot::channel();
    let answering = in_time(message, data.clone(), Instant::now(), false, Some(expectant));
    Expecting::new(lent(data, answering), wanted)
}

/// It is this request's turn. True: it may have waited for it.
fn begin(message: &Message) -> bool {
    let behind = message.conn_data::<Link>().and_then(|link| link.behind.as_ref());
    behind.is_some_and(|behind| behind.order().begin())
}

/// The shortest way, for what is in memory. None: the long way has all there is to say.
fn at_once(
    message: &Message,
    lines: &Lines<'_>,
    data: &Arc<Data>,
    started: Instant,
    turn: Turn,
) -> Option<Reply<Sending>> {
    let method = translate::method(message.method())?;
    if lines.has("content-length") || lines.has("transfer-encoding") {
        return None;
    }
    let link = message.conn_data::<Link>()?;
    let raw = target_of(message);
    let answer = data.hit(&method, raw, lines, &link.client, u64::MAX)?;
    let known = Known { turn, ..Known::of(link, data, raw, lines, method, started) };
    Some(known.finish(data.clone(), answer, None))
}

/// `looked`: what is in memory has been looked for. `expectant`: is told when the client is to send its body.
async fn in_time(
    mut message: Message,
    data: Arc<Data>,
    started: Instant,
    looked: bool,
    expectant: Option<oneshot::Sender<()>>,
) -> Reply<Sending> {
    let mut headers = translate::request_headers(&message.head().headers);
    translate::heed_authority(message.uri(), &mut headers);
    let method = translate::method(message.method());
    let (signature, raw) = Signature::take(target_of(&message));
    let raw = raw.into_owned();
    let link = message.conn_data::<Link>().cloned().unwrap_or_else(Link::unknown);
    let whole = signature.is_some().then(|| target_of(&message).to_owned());
    let mut known = Known::of(&link, &data, &raw, &headers, method.clone().unwrap_or(Method::GET), started);
    let has_body = translate::has_body(&message.head().headers);
    let intake = has_body.then(|| Intake::new(message.take_payload(), expectant));
    let (answer, place) = match method {
        Some(method) => {
            let before = (message.version() == Version::HTTP_11).then_some(&link.before);
            let asking = Asking { method, raw, whole, signature, headers, looked, client: link.client };
            let least = data.door.least;
            let mut took_body = false;
            let body = || intake.as_ref().map(|intake| intake.body(least)).inspect(|_| took_body = true);
            let answered = answer(&data, asking, body, before, &known.id).await;
            known.took_body = took_body;
            answered
        }
        None => (refuse(StatusCode::NOT_IMPLEMENTED, "unknown method"), None),
    };
    if let Some(intake) = intake {
        known.unread = intake.rest().await == Rest::Unread;
        known.intake = Some(intake);
    }
    known.finish(data, answer, place)
}

/// The head of an answer by HTTP/2, and its body.
pub type ReplyH2 = (http::Response<()>, Sending);

/// A request without a body that came by HTTP/2, for what is in memory. None: the long way has all there is to say.
pub(super) fn at_once_h2(head: &http::request::Parts, data: &Arc<Data>, link: &Link) -> Option<ReplyH2> {
    let started = Instant::now();
    let http::request::Parts { method, uri, headers, .. } = head;
    let lines = LinesH2::of(uri, headers)?;
    let raw = target_h2(uri);
    let answer = data.hit(method, raw, &lines, &link.client, u64::MAX)?;
    let known = Known::of(link, data, raw, &lines, method.clone(), started);
    Some(known.finish_h2(data.clone(), answer, None))
}

/// The same on the long way, which finds what is in memory as well.
pub(super) async fn handle_h2(
    head: http::request::Parts,
    body: impl FnOnce() -> Option<RequestBody>,
    data: &Arc<Data>,
    link: &Link,
) -> ReplyH2 {
    let started = Instant::now();
    let http::request::Parts { method, uri, headers, .. } = head;
    let headers = translate::headers_h2(&uri, headers);
    let (signature, raw) = Signature::take(target_h2(&uri));
    let raw = raw.into_owned();
    let mut known = Known::of(link, data, &raw, &headers, method.clone(), started);
    let (answer, place) = match headers.get_all(header::HOST).iter().count() == 1 {
        true => {
            let (whole, client) = (None, link.client);
            let asking = Asking { method, raw, whole, signature, headers, looked: false, client };
            let mut took_body = false;
            let body = || body().inspect(|_| took_body = true);
            let answered = answer(data, asking, body, None, &known.id).await;
            known.took_body = took_body;
            answered
        }
        false => (refuse(StatusCode::BAD_REQUEST, "the request does not name one host"), None),
    };
    known.finish_h2(data.clone(), answer, place)
}

fn target_h2(uri: &http::Uri) -> &str {
    uri.path_and_query().map_or("", |target| target.as_str())
}

fn target_of(message: &Message) -> &str {
    message.uri().path_and_query().map_or("", |target| target.as_str())
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
    /// What takes time may have others read ahead behind it.
    turn: Turn,
    /// Its body has been taken.
    took_body: bool,
    /// Its body, over HTTP/1.1.
    intake: Option<Intake>,
    /// Of which some may still come that nobody wants.
    unread: bool,
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
        let (secure, turn) = (link.client.secure, Turn::InLine);
        let (took_body, intake, unread) = (false, None, false);
        Self { method, id, traceparent, log, started, behind, secure, turn, took_body, intake, unread }
    }

    fn finish(self, data: Arc<Data>, answer: Answer, place: Option<Place>) -> Reply<Sending> {
        let status = ActixStatus::from_u16(answer.response.status.as_u16());
        let mut reply = Reply::with_body(status.unwrap_or(ActixStatus::BAD_GATEWAY), ());
        let unread = self.unread;
        let sending = self.conclude(data.clone(), answer, place, reply.headers_mut());
        if unread || data.lifecycle.sends_away() {
            reply.head_mut().set_connection_type(ConnectionType::Close);
        }
        if let Some(length) = sending.own_length() {
            // actix takes such a body for one of which it does not know the length.
            reply.head_mut().no_chunking(true);
            reply.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        reply.set_body(sending)
    }

    fn finish_h2(self, data: Arc<Data>, mut answer: Answer, place: Option<Place>) -> ReplyH2 {
        if self.method == Method::HEAD
            && let Body::Full(bytes) = &answer.response.body
        {
            // What actix leaves out by itself: what refusals and pages say, too.
            answer.response.head_length.get_or_insert(bytes.len() as u64);
            answer.response.body = Body::Empty;
        }
        let mut reply = http::Response::new(());
        *reply.status_mut() = answer.response.status;
        let sending = self.conclude(data, answer, place, reply.headers_mut());
        if let BodySize::Sized(length) = sending.size() {
            reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        (reply, sending)
    }

    /// Writes the fields, and makes the body ready.
    fn conclude(
        self,
        data: Arc<Data>,
        answer: Answer,
        place: Option<Place>,
        into: &mut impl Sink,
    ) -> Sending {
        let Self { method, id, traceparent, log, started, behind, secure, turn, took_body, intake, unread } =
            self;
        let Answer { route, mut response } = answer;
        if let Some(parent) = traceparent {
            response.added.push((http::HeaderName::from_static("traceparent"), parent));
        }
        if let Some(policy) = data.door.transport_security(secure) {
            response.added.push((header::STRICT_TRANSPORT_SECURITY, policy.clone()));
        }
        translate::response_headers(&response, id.as_bytes(), started, into);
        let Response { status, body, head_length, served, .. } = response;
        let record = Record {
            data,
            method,
            route,
            status,
            served,
            started,
            took_body,
            access: log,
            _intake: intake,
            unread,
            _place: place,
        };
        Sending::new(body, head_length, record, behind, turn)
    }
}

/// A value that is known to be valid.
pub(super) fn fixed(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}
