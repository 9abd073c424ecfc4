//! Source bytes from elsewhere, reliably: what an origin is, what is known of its condition, and the chain that falls
//! back over several.
//! Knows nothing of caching or of the client's request.

use std::{net::IpAddr, sync::Arc};

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

pub mod breaker;
pub mod budget;
mod cdn_loop;
mod chain;
mod condition;
mod content_type;
pub mod directory;
mod error;
pub mod health;
mod hop_by_hop;
pub mod http;
mod interim;
mod latency;
mod line;
pub mod member;
mod observer;
mod path;
mod places;
mod precondition;
mod range;
mod report;
mod retry;
pub mod s3;
pub mod shelf;
mod spec;
mod validators;
mod watched;

pub use cdn_loop::CdnLoop;
pub use chain::{Balance, Chain, Resume, Share};
pub use error::{Error, ErrorKind, Fault, SetupError};
pub use hop_by_hop::remove_hop_by_hop;
pub use interim::{Interim, Interims};
pub use member::Member;
pub use observer::{Attempt, Observer, Repetition};
pub use places::{Load, Place, Places};
pub use report::Report;
pub use retry::RetryPolicy;
pub use spec::{Spec, SpecError, parse_spec};
pub use watched::LeastRate;

/// Body bytes in order. An `Err` item is the last one: the transfer broke there.
pub type Body = BoxStream<'static, Result<Bytes, Error>>;

/// What is asked of an origin.
pub struct Request {
    pub method: Method,
    /// Path and query as sent on the wire: begins with `/`, percent-encoded.
    pub target: String,
    /// End-to-end fields, already filtered by the caller; `Range`, `If-Range` and `If-None-Match` included.
    pub headers: HeaderMap,
    /// A request with a body is sent once, to one origin, without retry.
    pub body: Option<Body>,
    /// Takes what comes before the answer.
    pub interims: Option<Interims>,
    /// On whose behalf, if it is a client's.
    pub client: Option<IpAddr>,
    /// Waits for its turn while the only origin recovers; else it is turned away, as something stored may stand in.
    pub patient: bool,
}

/// What an origin answered; the body is still on its way.
pub struct Response {
    pub status: StatusCode,
    /// End-to-end fields; hop-by-hop ones are already removed.
    pub headers: HeaderMap,
    /// Length of `body` when the origin declared one. The body yields exactly that or ends in an error.
    /// `Some(0)` where HTTP knows no body (HEAD, 204, 304), whatever the field `Content-Length` says.
    pub content_length: Option<u64>,
    pub body: Body,
    /// Name of the origin that answered, as in configuration and metrics.
    pub origin: Arc<str>,
}

/// A place to get bytes from.
pub trait Origin: Send + Sync {
    fn name(&self) -> &Arc<str>;

    /// Resolves when the answer's head is in. An HTTP error status is an `Ok` answer here; the chain judges it.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;

    /// Whether it is to be asked for this path and query at all.
    fn serves(&self, _target: &str) -> bool {
        true
    }

    /// Where requests to it wait for others to end. None: they do not.
    fn places(&self) -> Option<&Arc<Places>> {
        None
    }

    /// How many answers went on beyond their declared end so far. What came before that end is good.
    fn too_long_answers(&self) -> u64 {
        0
    }
}

impl Request {
    /// A request without fields or body.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: None,
            interims: None,
            client: None,
            patient: true,
        }
    }
}
