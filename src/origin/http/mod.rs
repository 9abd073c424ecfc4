//! An HTTP(S) origin: sends one request over a pooled connection and hands back the answer, hop-by-hop fields removed
//! both ways and everything else untouched. Follows no redirect, decodes nothing, knows no cookie and no proxy.
//! Retry is the chain's; what the body went through is watched in `body`.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use reqwest::Client;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Error, ErrorKind, Origin, Request, Response, SetupError, remove_hop_by_hop, spec::has_userinfo};

mod body;
mod failure;
mod target;

/// Below the 5 s after which node and Apache close a connection by default: a request with a body cannot be sent again
/// when it meets the close on its way.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Fields in an answer's head; more is `BadResponse`. The head's bytes are bounded by hyper at about 400 KiB.
const MAX_RESPONSE_FIELDS: usize = 256;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    /// `http` or `https`. A path is put before every target: base `/media` and target `/a?b` give `/media/a?b`.
    pub base: Url,
    /// Bounds name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start of the request (connecting included), or from its last body chunk, to the answer's head.
    pub first_byte_timeout: Duration,
    /// Between two chunks of the answer's body while the caller waits for one.
    pub idle_timeout: Duration,
    /// Connections kept open while no request uses them.
    pub max_idle_connections: usize,
    /// Sent as `Host` instead of the base URL's authority. Confines the origin to HTTP/1.1, where this is well defined.
    pub host_header: Option<String>,
}

pub struct Http {
    name: Arc<str>,
    client: Client,
    base: target::Base,
    host: Option<HeaderValue>,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
}

impl Config {
    /// Time-outs that suit an origin in another data centre.
    pub fn new(name: impl Into<Arc<str>>, base: Url) -> Self {
        Self {
            name: name.into(),
            base,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(15),
            max_idle_connections: 64,
            host_header: None,
        }
    }
}

impl Http {
    /// Opens no connection. With an `https` base it reads the system's CA certificates and fails if there are none.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let Config { name, base, .. } = &config;
        let refuse = |problem| Err(SetupError::BaseUrl { origin: Arc::clone(name), problem });
        if !matches!(base.scheme(), "http" | "https") {
            return refuse("must begin with http:// or https://");
        }
        if has_userinfo(base) {
            return refuse("must not hold credentials");
        }
        if base.query().is_some() || base.fragment().is_some() {
            return refuse("takes no query and no fragment");
        }
        let host = match &config.host_header {
            None => None,
            Some(text) => Some(
                HeaderValue::from_str(text)
                    .map_err(|_| SetupError::FieldValue { origin: Arc::clone(name), field: "host_header" })?,
            ),
        };
        Ok(Self {
            client: build_client(&config)?,
            base: target::Base::new(base),
            host,
            name: config.name,
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
        })
    }

    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let method = request.method.clone();
        let started = Instant::now();
        let sent = Arc::new(Mutex::new(started));
        let request = self.prepare(request, &sent)?;
        let mut answer = std::pin::pin!(self.client.execute(request));
        let answer = loop {
            let deadline = *sent.lock() + self.first_byte_timeout;
            match timeout_at(deadline, &mut answer).await {
                Ok(result) => break result.map_err(|error| failure::of_head(&self.name, error))?,
                // The request's body moved on while we waited: the clock starts anew.
                Err(_) if *sent.lock() + self.first_byte_timeout > deadline => {}
                Err(_) => {
                    let detail = format!("no answer within {:?}", self.first_byte_timeout);
                    return Err(Error::new(&self.name, ErrorKind::FirstByteTimeout, detail));
                }
            }
        };
        self.respond(&method, answer)
    }

    fn prepare(&self, request: Request, sent: &Arc<Mutex<Instant>>) -> Result<reqwest::Request, Error> {
        let Request { method, target, mut headers, body } = request;
        let url = self
            .base
            .join(&target)
            .map_err(|problem| Error::new(&self.name, ErrorKind::Forbidden, problem))?;
        remove_hop_by_hop(&mut headers);
        // `Host` is ours to say; `Expect` would need somebody to wait for the 100 (RFC 9110 §10.1.1).
        headers.remove(header::HOST);
        headers.remove(header::EXPECT);
        if body.is_none() {
            headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(host) = &self.host {
            headers.insert(header::HOST, host.clone());
        }
        let mut prepared = reqwest::Request::new(method, url);
        *prepared.headers_mut() = headers;
        if let Some(body) = body {
            let sent = Arc::clone(sent);
            let watched = body.inspect(move |_| *sent.lock() = Instant::now());
            *prepared.body_mut() = Some(reqwest::Body::wrap_stream(watched));
        }
        Ok(prepared)
    }

    fn respond(&self, method: &Method, mut answer: reqwest::Response) -> Result<Response, Error> {
        let status = answer.status();
        let mut headers = std::mem::take(answer.headers_mut());
        // reqwest follows interim answers to the final one; 101 would be an answer to an `Upgrade` we never send.
        if status.is_informational() {
            return Err(self.bad_response(format!("unexpected status {status}")));
        }
        check_framing(&headers).map_err(|problem| self.bad_response(problem))?;
        remove_hop_by_hop(&mut headers);
        let content_length = if has_no_body(method, status) { Some(0) } else { answer.content_length() };
        let body = body::watch(answer, Arc::clone(&self.name), content_length, self.idle_timeout);
        Ok(Response { status, headers, content_length, body, origin: Arc::clone(&self.name) })
    }

    fn bad_response(&self, detail: impl Into<String>) -> Error {
        Error::new(&self.name, ErrorKind::BadResponse, detail)
    }
}

impl Origin for Http {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.exchange(request).boxed()
    }
}

fn build_client(config: &Config) -> Result<Client, SetupError> {
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        // Off already as long as no crate of the workspace turns these features on.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(config.max_idle_connections)
        .http1_max_headers(MAX_RESPONSE_FIELDS);
    if config.base.scheme() == "http" {
        // An empty set of trusted roots: without it, building fails on a machine that has no CA certificates.
        builder = builder.tls_certs_only([]);
    }
    if config.host_header.is_some() {
        builder = builder.http1_only();
    }
    builder.build().map_err(|error| SetupError::Client {
        origin: Arc::clone(&config.name),
        detail: failure::with_causes(&error),
    })
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
