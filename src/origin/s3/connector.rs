//! What the SDK sends goes over the wire like any request to an HTTP origin: the same pools, time-outs, checks of framing
//! and watched bodies. Serves the bucket and the places where credentials come from alike.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use aws_sdk_s3::{
    config::{
        HttpClient, RuntimeComponents,
        http::{HttpRequest, HttpResponse},
    },
    primitives::{ByteStream, SdkBody},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    result::ConnectorError,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::Fuse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_LENGTH};
use http_body::Frame;
use parking_lot::Mutex;
use url::{Position, Url};

use super::{
    super::{Body, Error, ErrorKind, Origin, Places, Request, Response, http as http_origin},
    ask,
};

/// Hosts that one origin has to do with: the bucket's, and up to two of each provider of credentials in the usual chain.
/// Beyond it connections are not kept.
const MAX_HOSTS: usize = 16;

/// How requests go to whatever host the SDK names.
#[derive(Clone)]
pub(super) struct Connector {
    template: Arc<http_origin::Config>,
    /// Of all hosts together.
    places: Arc<Places>,
    hosts: Arc<Hosts>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// By `scheme://host:port`.
#[derive(Default)]
struct Hosts(Mutex<HashMap<String, Arc<http_origin::Http>>>);

impl Connector {
    /// The template's base is replaced by where the SDK wants to go.
    pub(super) fn new(template: http_origin::Config) -> Self {
        let places = Arc::new(Places::new(template.max_requests, template.max_waiting));
        Self { template: Arc::new(template), places, hosts: Arc::default() }
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    pub(super) fn too_long_answers(&self) -> u64 {
        self.hosts.0.lock().values().map(|host| host.too_long_answers()).sum()
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let (url, request) = translate(request, &self.template.name)
            .map_err(|problem| Error::new(&self.template.name, ErrorKind::Forbidden, problem))?;
        let answer = self.host(&url)?.fetch(request).await?;
        Ok(translate_back(answer))
    }

    fn host(&self, url: &Url) -> Result<Arc<http_origin::Http>, Error> {
        let authority = &url[..Position::BeforePath];
        if let Some(known) = self.hosts.0.lock().get(authority) {
            return Ok(known.clone());
        }
        let refused = |problem: String| Error::new(&self.template.name, ErrorKind::Refused, problem);
        let base = Url::parse(authority).map_err(|error| refused(error.to_string()))?;
        let config = http_origin::Config { base, ..(*self.template).clone() };
        let host = http_origin::Http::sharing(config, self.places.clone())
            .map_err(|error| refused(error.to_string()))?;
        let host = Arc::new(host);
        let mut hosts = self.hosts.0.lock();
        if hosts.len() < MAX_HOSTS {
            hosts.insert(authority.to_owned(), host.clone());
        }
        Ok(host)
    }
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

impl HttpClient for Connector {
    /// The places where credentials come from have time-outs of their own.
    fn http_connector(&self, wanted: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        if wanted.connect_timeout().is_none() && wanted.read_timeout().is_none() {
            return SharedHttpConnector::new(self.clone());
        }
        let mut template = (*self.template).clone();
        template.connect_timeout = wanted.connect_timeout().unwrap_or(template.connect_timeout);
        template.first_byte_timeout = wanted.read_timeout().unwrap_or(template.first_byte_timeout);
        SharedHttpConnector::new(Self::new(template))
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            connector.exchange(request).await.map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn translate(mut request: HttpRequest, origin: &Arc<str>) -> Result<(Url, Request), &'static str> {
    let malformed = "the SDK made a malformed request";
    let url = Url::parse(request.uri()).map_err(|_| malformed)?;
    // From the text, not from the parsed URL: what the parser would repair, the HTTP origin has to see and refuse.
    let at = request.uri().find("://").map_or(0, |at| at + 3);
    let path = request.uri()[at..].find('/').map_or("/", |slash| &request.uri()[at + slash..]);
    let method = Method::from_bytes(request.method().as_bytes()).map_err(|_| malformed)?;
    let mut asked = Request::new(method, path);
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed)?;
        asked.headers.append(name, HeaderValue::from_str(value).map_err(|_| malformed)?);
    }
    let body = request.take_body();
    // One without bytes has a length as well, which is signed.
    if body.bytes().is_none_or(|bytes| !bytes.is_empty()) || asked.headers.contains_key(CONTENT_LENGTH) {
        asked.body = Some(ask::stream_body(ByteStream::new(body), origin.clone()));
    }
    Ok((url, asked))
}

fn translate_back(answer: Response) -> HttpResponse {
    let mut response =
        HttpResponse::new(answer.status.into(), SdkBody::from_body_1_x(Streamed(answer.body.fuse().into())));
    for (name, value) in &answer.headers {
        // The SDK knows text only. A field that is none, of user metadata at most, is left out.
        if let Ok(value) = value.to_str() {
            let _ = response.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    response
}

/// The fields as the SDK holds them.
pub(super) fn fields(response: &HttpResponse) -> HeaderMap {
    let valid = |(name, value): (&str, &str)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    response.headers().iter().filter_map(valid).collect()
}

/// The SDK asks for a body that several threads could look at (the lock is never taken: polling has it for itself), and
/// looks for trailers after the end.
struct Streamed(Mutex<Fuse<Body>>);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.get_mut().poll_next_unpin(context).map_ok(Frame::data)
    }
}
