//! The client under an origin: its pool, and how connections come about.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{
    Uri,
    uri::{Authority, PathAndQuery},
};
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{
    DefaultServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream, ResolveServerName,
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::{
    super::{Error, SetupError},
    config::Config,
    dial::Dialer,
    names::Names,
    tap::Tap,
    tls,
};

pub(super) type Client = legacy::Client<Connector, Outgoing>;

/// What is sent along.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Error>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Below the 5 s after which node and Apache close a connection by default: a request with a body cannot be sent again
/// when it meets the close on its way.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What is read of a connection at once, at most; and the bytes of an answer's head. Up to three of them are held for a body.
const READ_BUFFER: usize = 128 << 10;
/// Fields in an answer's head; more is `BadResponse`.
const MAX_RESPONSE_FIELDS: usize = 256;
/// The same over HTTP/2, in bytes.
const MAX_RESPONSE_HEAD: u32 = 64 << 10;

/// What an origin may send of a body over HTTP/2 before it is taken. A connection has as much for each request that there may
/// be: bodies whose readers are slow must not use up what the others need.
const STREAM_WINDOW: u32 = 512 << 10;
/// RFC 9113 §6.9.1.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// A connection on which nothing comes is asked for a sign of life after this time, and given up after as much again.
/// Otherwise requests would go on to share one that is dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Opens connections to the origin, and to where its redirects lead.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<Dialer>,
    timeout: Duration,
    /// Requests name the origin by the first; it is to be found at the second.
    named: Authority,
    found: Authority,
}

/// Opens no connection.
pub(super) fn build(config: &Config, named: &Authority, names: &Names) -> Result<Client, SetupError> {
    let setup = |detail: &str| SetupError::Client { origin: config.name.clone(), detail: detail.to_owned() };
    let tcp = Dialer::new(names.clone(), config.connect_timeout);
    let found: Authority = config.base.authority().parse().map_err(|_| setup("the base URL has no host"))?;
    let server_name =
        match &config.tls.server_name {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| SetupError::FieldValue {
                origin: config.name.clone(),
                field: "tls.server_name",
            })?),
        };
    let at = found.clone();
    let resolve = move |uri: &Uri| match &server_name {
        Some(name) if uri.authority() == Some(&at) => Ok(name.clone()),
        _ => DefaultServerNameResolver::default().resolve(uri),
    };
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client_config(config)?)
        .https_or_http()
        .with_server_name_resolver(resolve);
    let inner = match config.http2 && !config.client_host {
        // Redirects may lead to TLS, and then it has to be HTTP/2 as well.
        true if config.h2c => https.enable_http2().wrap_connector(tcp),
        true => https.enable_all_versions().wrap_connector(tcp),
        false => https.enable_http1().wrap_connector(tcp),
    };
    let (stream_window, connection_window) = windows(config.max_requests);
    let connector = Connector { inner, timeout: config.connect_timeout, named: named.clone(), found };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(config.max_idle_connections)
        .http1_max_headers(MAX_RESPONSE_FIELDS)
        .http1_max_buf_size(READ_BUFFER)
        .http2_only(config.h2c)
        .http2_max_header_list_size(MAX_RESPONSE_HEAD)
        .http2_initial_stream_window_size(stream_window)
        .http2_initial_connection_window_size(connection_window)
        .http2_keep_alive_interval(SIGN_OF_LIFE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .build(connector))
}

/// Of a body, and of all on a connection.
fn windows(requests: usize) -> (u32, u32) {
    let requests = u32::try_from(requests.max(1)).unwrap_or(u32::MAX);
    // Less than the protocol begins with would be a round trip for each few bytes.
    let of_each = STREAM_WINDOW.min(MAX_WINDOW / requests).max(65_535);
    (of_each, of_each.saturating_mul(requests).min(MAX_WINDOW))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Tap<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let uri = match uri.authority() {
            Some(named) if *named == self.named => at(uri, &self.found),
            _ => uri,
        };
        let (connecting, patience) = (self.inner.call(uri), self.timeout);
        async move {
            let connected = timeout(patience, connecting).await.unwrap_or_else(|_| {
                let detail = format!("no connection within {patience:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, detail).into())
            });
            Ok(TokioIo::new(Tap::new(TokioIo::new(connected?))))
        }
        .boxed()
    }
}

/// The same at another place.
fn at(uri: Uri, authority: &Authority) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority.clone());
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or(uri)
}
