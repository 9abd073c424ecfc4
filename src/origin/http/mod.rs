//! An HTTP(S) origin: sends one request over a pooled connection and hands back the answer, hop-by-hop fields removed
//! both ways and everything else untouched. Decodes nothing, knows no cookie and no proxy, and follows a redirect only to
//! where it may. Retry is the chain's; what the body went through is watched in `body`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use http::{HeaderMap, Method, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::client::legacy::connect::{HttpInfo, capture_connection};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{
    Error, ErrorKind, Interims, Origin, Place, Places, Request, Response, SetupError, remove_hop_by_hop,
};

mod body;
mod client;
mod config;
mod dial;
mod failure;
mod fields;
mod guard;
mod names;
mod redirect;
mod resolver;
mod tap;
mod target;
mod tls;

pub use config::{Config, Dns, Tls};

use client::{Client, Outgoing};
use fields::Fields;
use names::Names;
use redirect::Redirects;
use tap::Heard;

pub struct Http {
    name: Arc<str>,
    client: Client,
    names: Names,
    base: target::Base,
    host: String,
    fields: Fields,
    redirects: Redirects,
    places: Arc<Places>,
    /// Answers that went on beyond their declared end.
    too_long: Arc<AtomicU64>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    total_timeout: Option<Duration>,
}

/// A request on its way.
struct Exchange {
    method: Method,
    headers: HeaderMap,
    interims: Option<Interims>,
    has_body: bool,
    /// When the last of the request was sent.
    sent: Arc<Mutex<Instant>>,
    deadline: Option<Instant>,
}

impl Http {
    /// Opens no connection. With an `https` base it reads the system's CA certificates and fails if there are none.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let places = Places::new(config.max_requests, config.max_waiting);
        Self::sharing(config, Arc::new(places))
    }

    /// The bounds on requests hold for all that share `places`.
    pub(super) fn sharing(config: Config, places: Arc<Places>) -> Result<Self, SetupError> {
        let authority = config.authority()?;
        if config.tls.insecure_skip_verify {
            tracing::warn!(origin = %config.name, "whoever answers for this origin is believed");
        }
        let names = Names::new(&config.dns, config.allow_private).map_err(|error| SetupError::Client {
            origin: config.name.clone(),
            detail: failure::with_causes(&error),
        })?;
        Ok(Self {
            client: client::build(&config, &authority, &names)?,
            names,
            base: target::Base::new(&config.base, authority, &config.strip_prefix),
            host: config.base.host_str().unwrap_or_default().to_owned(),
            fields: Fields::new(&config),
            redirects: Redirects::new(&config.follow_redirects_to),
            places,
            too_long: Arc::default(),
            name: config.name,
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
            total_timeout: config.total_timeout,
        })
    }

    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, body, interims, client, .. } = request;
        let mut uri = self.base.join(&target).map_err(|problem| self.error(ErrorKind::Forbidden, problem))?;
        let started = Instant::now();
        let place = self.place(started).await?;
        let mut exchange = Exchange {
            method,
            headers: self.fields.of(headers, body.is_some(), client),
            interims,
            has_body: body.is_some(),
            sent: Arc::new(Mutex::new(started)),
            deadline: self.total_timeout.map(|total| started + total),
        };
        let repeatable = body.is_none() && matches!(exchange.method, Method::GET | Method::HEAD);
        let mut outgoing = match body {
            None => empty(),
            Some(body) => {
                let sent = Arc::clone(&exchange.sent);
                let watched = body.inspect(move |_| *sent.lock() = Instant::now());
                StreamBody::new(watched.map_ok(Frame::data)).boxed_unsync()
            }
        };
        let mut followed = 0;
        loop {
            let answer = self.ask(&exchange, &uri, outgoing).await?;
            let next = self.redirects.next(&uri, &answer).filter(|_| repeatable);
            let Some(next) = next else { return Ok(self.respond(&exchange, answer, place)) };
            followed += 1;
            if followed > redirect::MOST {
                return Err(self.error(ErrorKind::BadResponse, "too many redirects"));
            }
            if next.authority() != uri.authority() {
                self.fields.keep_for_us(&mut exchange.headers);
            }
            (uri, outgoing) = (next, empty());
        }
    }

    /// Waiting counts as waiting for the first byte.
    async fn place(&self, started: Instant) -> Result<Place, Error> {
        match timeout_at(started + self.first_byte_timeout, self.places.take()).await {
            Ok(Some(place)) => Ok(place),
            Ok(None) => Err(self.error(ErrorKind::Saturated, "too many requests wait for a place")),
            Err(_) => {
                let detail = format!("no place within {:?}", self.first_byte_timeout);
                Err(self.error(ErrorKind::Saturated, detail))
            }
        }
    }

    async fn ask(
        &self,
        exchange: &Exchange,
        uri: &Uri,
        body: Outgoing,
    ) -> Result<http::Response<Incoming>, Error> {
        let mut request = http::Request::new(body);
        *request.method_mut() = exchange.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = exchange.headers.clone();
        if let Some(interims) = exchange.interims.clone() {
            hyper::ext::on_informational(&mut request, move |interim| {
                interims.offer(interim.status(), interim.headers());
            });
        }
        let connection = capture_connection(&mut request);
        let mut answer = std::pin::pin!(self.client.request(request));
        let answer = loop {
            let silence = *exchange.sent.lock() + self.first_byte_timeout;
            let until = exchange.deadline.map_or(silence, |deadline| deadline.min(silence));
            match timeout_at(until, &mut answer).await {
                Ok(result) => break result.map_err(|error| failure::of_head(&self.name, &error))?,
                Err(_) if until < silence => {
                    return Err(self.error(ErrorKind::TotalTimeout, "no answer in time"));
                }
                // The request's body moved on while we waited: the clock starts anew.
                Err(_) if *exchange.sent.lock() + self.first_byte_timeout > silence => {}
                Err(_) => {
                    // Over HTTP/2 others would follow on the same connection, which may be dead.
                    if let Some(connected) = connection.connection_metadata().as_ref() {
                        connected.poison();
                    }
                    let detail = format!("no answer within {:?}", self.first_byte_timeout);
                    return Err(self.error(ErrorKind::FirstByteTimeout, detail));
                }
            }
        };
        let fault = fault_of(&answer);
        let peer = answer.extensions().get::<HttpInfo>().map(|info| info.remote_addr().ip());
        // What comes on a connection behind an answer that makes no sense would make none either.
        if (fault.is_some() || peer.is_some_and(|peer| self.names.is_outdated(&self.host, peer)))
            && let Some(connected) = connection.connection_metadata().as_ref()
        {
            connected.poison();
        }
        fault.map_or(Ok(answer), |fault| Err(self.error(ErrorKind::BadResponse, fault)))
    }

    fn respond(&self, exchange: &Exchange, answer: http::Response<Incoming>, place: Place) -> Response {
        let (head, incoming) = answer.into_parts();
        let (status, mut headers) = (head.status, head.headers);
        remove_hop_by_hop(&mut headers);
        let heard = head.extensions.get::<Heard>().filter(|_| head.version < Version::HTTP_2);
        let content_length = match has_no_body(&exchange.method, status) {
            true => Some(0),
            false => incoming.size_hint().exact(),
        };
        if let (Some(heard), Some(length), false) = (heard, content_length, exchange.has_body) {
            heard.expect(length, &self.too_long);
        }
        let limits = body::Limits { idle: self.idle_timeout, deadline: exchange.deadline };
        let body = body::watch(incoming, Arc::clone(&self.name), content_length, limits, place);
        Response { status, headers, content_length, body, origin: Arc::clone(&self.name) }
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error::new(&self.name, kind, detail)
    }
}

impl Origin for Http {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.exchange(request).boxed()
    }

    fn places(&self) -> Option<&Arc<Places>> {
        Some(&self.places)
    }

    fn too_long_answers(&self) -> u64 {
        self.too_long.load(Ordering::Relaxed)
    }
}

fn empty() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Why an answer cannot be used. hyper follows interim answers to the final one; 101 would be an answer to an `Upgrade` that we
/// never send.
fn fault_of(answer: &http::Response<Incoming>) -> Option<String> {
    // 407 asks us to log in to a proxy that we know nothing of; a client could not even tell who asks.
    match answer.status().is_informational() || answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        true => Some(format!("unexpected status {}", answer.status())),
        false => check_framing(answer.headers()).err().map(str::to_owned),
    }
}

/// Framing that lets two readers disagree on where the message ends (RFC 9112 §6.3), or a coding that we neither asked
/// for nor can undo (RFC 9112 §6.1). A coding nobody knows is left alone: hyper reads that body to the connection's end.
fn check_framing(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .peekable();
    if codings.peek().is_some() && headers.contains_key(header::CONTENT_LENGTH) {
        return Err("both Transfer-Encoding and Content-Length");
    }
    const COMPRESSED: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    if codings.any(|coding| COMPRESSED.iter().any(|name| coding.eq_ignore_ascii_case(name))) {
        return Err("compressed transfer coding that was not asked for");
    }
    Ok(())
}

/// RFC 9112 §6.3, rule 1.
fn has_no_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
