//! A bucket of S3, or of what speaks like it, as an origin: what an HTTP server in front of it would answer, conditions and
//! single ranges included. Its keys are never listed. The SDK signs and finds credentials; what it sends goes through
//! [`super::http`], and retry is the chain's.

use std::{sync::Arc, time::SystemTime};

use aws_sdk_s3::Client;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::OnceCell;
use url::Url;

use self::{
    ask::{Found, Question},
    connector::Connector,
    failure::Instead,
    fields::Policy,
};
use super::{
    Error, ErrorKind, Origin, Places, Request, Response, SetupError, http as http_origin, path,
    precondition::{self, Verdict},
    range::{self, Selection},
    validators::Validators,
};

mod ask;
mod client;
mod connector;
mod failure;
mod fields;
mod key;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    pub bucket: String,
    /// Keys begin with it and a slash; empty for none.
    pub prefix: String,
    /// What requests must begin with; taken off before.
    pub strip_prefix: String,
    /// Where S3 is; none: where the environment says, else Amazon's.
    pub endpoint: Option<Url>,
    /// None: what environment, profile or machine say, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the path or before the host. None: in the path where the endpoint is not Amazon's.
    pub path_style: Option<bool>,
    pub identity: Identity,
    /// `Cache-Control` of objects that have none of their own.
    pub cache_control: String,
    /// Whether clients see `x-amz-meta-*`.
    pub metadata: bool,
    /// Whether a denied object counts as missing: without `s3:ListBucket` S3 does not tell one from the other.
    pub denied_is_missing: bool,
    /// How requests go over the wire; its base is replaced by where S3 is.
    pub http: http_origin::Config,
}

/// Who we are to S3.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Environment, profile files, web identity, container and machine, in this order.
    Usual {
        profile: Option<String>,
    },
    Key(AccessKey),
    /// Requests are not signed.
    Anonymous,
}

#[derive(Clone)]
pub struct AccessKey {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

pub struct S3 {
    config: Config,
    policy: Policy,
    connector: Connector,
    /// Made at the first request, as finding the region may take one to the machine's metadata service.
    client: OnceCell<Client>,
}

impl Config {
    pub fn new(name: impl Into<Arc<str>>, bucket: impl Into<String>, http: http_origin::Config) -> Self {
        Self {
            name: name.into(),
            bucket: bucket.into(),
            prefix: String::new(),
            strip_prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: None,
            identity: Identity::Usual { profile: None },
            cache_control: "public, max-age=60".to_owned(),
            metadata: false,
            denied_is_missing: false,
            http,
        }
    }
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// For whoever keeps something in a bucket of his own: signed and sent as the origin's requests are. Reads environment and profile
/// files; may ask the machine's metadata service for the region.
pub async fn connect(config: &Config) -> Client {
    client::connect(config, Connector::new(config.http.clone())).await
}

impl S3 {
    /// Opens no connection and reads no environment.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let Ok(cache_control) = HeaderValue::try_from(&config.cache_control) else {
            return Err(SetupError::FieldValue { origin: config.name, field: "cache_control" });
        };
        let policy = Policy { cache_control, metadata: config.metadata };
        let connector = Connector::new(config.http.clone());
        Ok(Self { config, policy, connector, client: OnceCell::new() })
    }

    async fn answer(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, .. } = request;
        if !matches!(method, Method::GET | Method::HEAD) {
            let mut answer = self.empty(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        let key = path::below(&self.config.strip_prefix, &target)
            .and_then(|target| key::of(&self.config.prefix, &target))
            .map_err(|problem| Error::new(&self.config.name, ErrorKind::Forbidden, problem.to_string()))?;
        let Some(key) = key else {
            return Ok(self.empty(StatusCode::NOT_FOUND));
        };
        let question = Question { head_only: method == Method::HEAD, ..Question::under(&headers) };
        match range::asked(&headers).filter(|_| method == Method::GET) {
            None => self.whole(&key, &headers, &question).await,
            Some(_) if !headers.contains_key(header::IF_RANGE) => self.part(&key, &headers, &question).await,
            Some(_) => self.part_of_a_version(&key, &headers, &question).await,
        }
    }

    async fn whole(&self, key: &str, headers: &HeaderMap, question: &Question) -> Result<Response, Error> {
        Ok(match self.ask(key, question).await? {
            Ok(found) => self.judged(key, headers, found),
            Err(Instead::Unsatisfiable(None)) => {
                self.instead(key, Instead::Unsatisfiable(self.length(key).await?))
            }
            Err(instead) => self.instead(key, instead),
        })
    }

    /// Of an object beyond whose end lies what was asked for; not every server says it then.
    async fn length(&self, key: &str) -> Result<Option<u64>, Error> {
        let question = Question { head_only: true, ..Question::default() };
        Ok(self.ask(key, &question).await?.ok().and_then(|found| content_length(&found.fields)))
    }

    async fn part(&self, key: &str, headers: &HeaderMap, question: &Question) -> Result<Response, Error> {
        let question = Question { range: range::asked(headers), ..question.clone() };
        self.whole(key, headers, &question).await
    }

    /// S3 knows `If-Match`, under which a range of another version is 412. Whether the range really is of the version named
    /// is seen in the answer; if it is not, the whole is due (RFC 9110 §13.1.5).
    async fn part_of_a_version(
        &self,
        key: &str,
        headers: &HeaderMap,
        question: &Question,
    ) -> Result<Response, Error> {
        let named = precondition::single(headers, header::IF_RANGE);
        let only_of = named.and_then(ask::strong_tag);
        let is_date = named.and_then(precondition::parse_date).is_some();
        if only_of.is_some() || is_date {
            let question = Question { range: range::asked(headers), only_of, ..question.clone() };
            match self.ask(key, &question).await? {
                Ok(found) if found.status != StatusCode::PARTIAL_CONTENT || applies(headers, &found) => {
                    return Ok(self.judged(key, headers, found));
                }
                Ok(_) | Err(Instead::Changed | Instead::Unsatisfiable(_)) => {}
                Err(instead) => return Ok(self.instead(key, instead)),
            }
        }
        match self.ask(key, question).await? {
            Ok(found) if applies(headers, &found) && is_beyond(headers, &found) => {
                Ok(self.instead(key, Instead::Unsatisfiable(content_length(&found.fields))))
            }
            Ok(found) => Ok(self.judged(key, headers, found)),
            Err(instead) => Ok(self.instead(key, instead)),
        }
    }

    async fn ask(&self, key: &str, question: &Question) -> Result<Result<Found, Instead>, Error> {
        let connect = || client::connect(&self.config, self.connector.clone());
        let client = self.client.get_or_init(connect).await;
        question.ask(client, &self.config.name, (&self.config.bucket, key)).await
    }

    /// Applies the conditions once more, to the validators that came.
    fn judged(&self, key: &str, headers: &HeaderMap, found: Found) -> Response {
        match precondition::judge(headers, &Validators::of_fields(&found.fields)) {
            Verdict::Send => self.found(key, found),
            Verdict::NotModified => self.instead(key, Instead::NotModified(found.fields)),
            Verdict::Failed => self.instead(key, Instead::Changed),
        }
    }

    fn found(&self, key: &str, found: Found) -> Response {
        let Found { status, fields, body } = found;
        let headers = fields::end_to_end(fields, key, &self.policy);
        let (content_length, body) = match body {
            Some(body) => (content_length(&headers), ask::stream_body(body, Arc::clone(&self.config.name))),
            None => (Some(0), stream::empty().boxed()),
        };
        Response { status, headers, content_length, body, origin: Arc::clone(&self.config.name) }
    }

    /// S3's own documents stay here: they name bucket and key.
    fn instead(&self, key: &str, instead: Instead) -> Response {
        match instead {
            Instead::NotModified(fields) => {
                let mut answer = self.empty(StatusCode::NOT_MODIFIED);
                answer.headers = fields::confirming(fields, key, &self.policy);
                answer
            }
            Instead::Changed => self.empty(StatusCode::PRECONDITION_FAILED),
            Instead::Unsatisfiable(length) => {
                let mut answer = self.empty(StatusCode::RANGE_NOT_SATISFIABLE);
                let value = length.and_then(|length| HeaderValue::try_from(format!("bytes */{length}")).ok());
                if let Some(value) = value {
                    answer.headers.insert(header::CONTENT_RANGE, value);
                }
                answer
            }
            Instead::Missing => self.empty(StatusCode::NOT_FOUND),
            Instead::Denied if self.config.denied_is_missing => self.empty(StatusCode::NOT_FOUND),
            Instead::Denied => self.empty(StatusCode::FORBIDDEN),
        }
    }

    fn empty(&self, status: StatusCode) -> Response {
        let mut headers = HeaderMap::with_capacity(4);
        fields::set_date(&mut headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let origin = Arc::clone(&self.config.name);
        Response { status, headers, content_length: Some(0), body: stream::empty().boxed(), origin }
    }
}

impl Origin for S3 {
    fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.answer(request).boxed()
    }

    fn places(&self) -> Option<&Arc<Places>> {
        Some(self.connector.places())
    }

    fn too_long_answers(&self) -> u64 {
        self.connector.too_long_answers()
    }
}

fn applies(headers: &HeaderMap, found: &Found) -> bool {
    precondition::range_applies(headers, &Validators::of_fields(&found.fields), SystemTime::now())
}

fn is_beyond(headers: &HeaderMap, found: &Found) -> bool {
    content_length(&found.fields)
        .is_some_and(|length| matches!(range::select(headers, length), Selection::Unsatisfiable))
}

fn content_length(fields: &HeaderMap) -> Option<u64> {
    precondition::single(fields, header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
