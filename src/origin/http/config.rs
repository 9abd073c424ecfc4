//! What is known of an HTTP origin before it is asked, and whether that makes sense.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, uri::Authority};
use url::Url;

use super::super::{CdnLoop, SetupError, spec::has_userinfo};

#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    /// `http` or `https`. A path is put before every target: base `/media` and target `/a?b` give `/media/a?b`.
    pub base: Url,
    /// Path that targets begin with, taken off before the base's is put before; a target without it is not to be had
    /// here. Empty for none.
    pub strip_prefix: String,
    /// Bounds name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start of the request (waiting and connecting included), or from its last body chunk, to the answer's head.
    pub first_byte_timeout: Duration,
    /// Between two chunks of the answer's body while the caller waits for one.
    pub idle_timeout: Duration,
    /// From the start of the request to the end of the answer.
    pub total_timeout: Option<Duration>,
    /// Connections kept open while no request uses them.
    pub max_idle_connections: usize,
    /// Requests under way, bodies included.
    pub max_requests: usize,
    /// Requests that may wait for one of these to end.
    pub max_waiting: usize,
    /// Sent as `Host` instead of the base URL's authority.
    pub host_header: Option<String>,
    /// Send the request's own `Host` when it has one, over HTTP/1.1: over HTTP/2 it would be part of where to connect to.
    pub client_host: bool,
    /// Whether it is told the client's address, in `X-Forwarded-For`.
    pub forwarded_for: bool,
    /// Whether HTTP/2 is used when the server offers it over TLS.
    pub http2: bool,
    /// Whether HTTP/2 is spoken from the first byte on, without TLS (prior knowledge, RFC 9113 §3.3).
    pub h2c: bool,
    pub tls: Tls,
    /// Sent with every request, in place of what the client says.
    pub fields: HeaderMap,
    /// Of the client's fields only these are passed on, when given.
    pub only_fields: Option<Vec<HeaderName>>,
    /// Whether a name may lead to private and link-local addresses.
    pub allow_private: bool,
    /// `host` or `host:port` to which redirects are followed.
    pub follow_redirects_to: Vec<String>,
    pub dns: Dns,
    pub cdn_loop: CdnLoop,
}

#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Asked for and verified in place of the base URL's host.
    pub server_name: Option<String>,
    /// PEM; trusted beside the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// PEM: our certificate with its chain, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Takes every certificate for good.
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone)]
pub struct Dns {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// How long after its time the last good address is used when there is no new one.
    pub stale_max: Duration,
}

impl Config {
    /// Time-outs that suit an origin in another data centre.
    pub fn new(name: impl Into<Arc<str>>, base: Url) -> Self {
        Self {
            name: name.into(),
            base,
            strip_prefix: String::new(),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(15),
            total_timeout: None,
            max_idle_connections: 64,
            max_requests: 1024,
            max_waiting: 1024,
            host_header: None,
            client_host: false,
            forwarded_for: false,
            http2: true,
            h2c: false,
            tls: Tls::default(),
            fields: HeaderMap::new(),
            only_fields: None,
            allow_private: false,
            follow_redirects_to: Vec::new(),
            dns: Dns { servers: Vec::new(), stale_max: Duration::from_secs(3600) },
            cdn_loop: CdnLoop::default(),
        }
    }

    /// The authority under which the origin is addressed.
    pub(super) fn authority(&self) -> Result<Authority, SetupError> {
        let refuse = |problem| Err(SetupError::BaseUrl { origin: self.name.clone(), problem });
        if !matches!(self.base.scheme(), "http" | "https") {
            return refuse("must begin with http:// or https://");
        }
        if has_userinfo(&self.base) {
            return refuse("must not hold credentials");
        }
        if self.base.query().is_some() || self.base.fragment().is_some() {
            return refuse("takes no query and no fragment");
        }
        match &self.host_header {
            None => self.base.authority().parse().or_else(|_| refuse("has no host")),
            Some(host) => match host.parse::<Authority>() {
                Ok(authority) if !host.contains('@') => Ok(authority),
                _ => Err(SetupError::FieldValue { origin: self.name.clone(), field: "host_header" }),
            },
        }
    }
}
