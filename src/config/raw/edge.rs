//! `[limits]`, `[proxies]`, `[tls]`, and what routes say of clients: how much may be asked, by whom, and how it is carried.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds for clients. What is in memory is served however much else is asked, and health has a port of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Requests at a time, those not counted that are answered from memory at once. Beyond it what is stored is served, and all else
    /// is answered 503. 0: no bound.
    pub max_requests: u32,
    /// Connections of one client (of IPv6: of one /64); more are closed. 0: no bound. Trusted proxies are not counted.
    pub max_connections_per_client: u32,
    /// A client that is waited for has to take or send at least so much in each `slow_secs`, such as `64KiB`.
    pub min_progress: String,
    /// Clients that take or send less in this time are given up; 0: none are.
    pub slow_secs: u32,
    /// Bad tokens and signatures of one client in a minute; beyond it all its credentials are answered 429 unread. 0: no bound.
    pub failures_per_minute: u32,
}

/// Networks, such as `10.0.0.0/8`, of balancers and proxies in front of this server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Proxies {
    /// Their `X-Forwarded-For` says who the client is, and their `X-Forwarded-Proto` whether it came by TLS. Nobody else's does.
    pub trusted: Vec<String>,
    /// Their connections begin with a PROXY header, version 1 or 2, or are closed. Nobody else's may.
    pub proxy_protocol: Vec<String>,
}

/// TLS towards clients: HTTP/1.1 and HTTP/2 on a port of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tls {
    /// Address and port; empty: no TLS.
    pub listen: String,
    /// Clients get the first that is for the name they ask for, those that name none the first of all. A name that none is for ends
    /// the handshake. Files are read again when they change, and at HUP; connections are kept.
    pub certificates: Vec<Certificate>,
    pub acme: Acme,
    /// `1.2` or `1.3`.
    pub min_version: String,
    pub http2: bool,
    /// How often the files are looked at.
    pub watch_secs: u32,
    /// Send requests without TLS to the same address with it (308), but for `/.well-known/acme-challenge/`.
    pub redirect: bool,
    /// Port of such addresses; 0: that of `listen`.
    pub redirect_port: u16,
    /// `max-age` of `Strict-Transport-Security`; 0: it is not said.
    pub hsts_secs: u32,
    /// Say it for all names below as well.
    pub hsts_subdomains: bool,
}

/// A certificate with its chain, and its key, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    pub certificate_file: String,
    pub key_file: String,
}

/// Certificates that are ordered from an authority such as Let's Encrypt, and renewed. It asks for a proof at port 80 of each name,
/// which has to lead to `server.listen`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Acme {
    /// Names and addresses that certificates are wanted for, one for each, behind those of `tls.certificates`; none: ACME is off.
    pub names: Vec<String>,
    /// Of the authority; Let's Encrypt has one for tries at `https://acme-staging-v02.api.letsencrypt.org/directory`.
    pub directory: String,
    /// Address of mail to which the authority writes, if any.
    pub contact: String,
    /// Whether the terms of the authority are agreed to; nothing is ordered else.
    pub agree_to_terms: bool,
    /// PEM; trusted beside the system's authorities when the directory is asked.
    pub ca_file: String,
    /// Where account and certificates are kept, for this server's user alone; empty: `acme` below `cache.data_dir`.
    pub dir: String,
}

/// How often one client may ask here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rate {
    /// Requests in `per_secs`, on the average; more are answered 429. 0: no limit.
    pub requests: u32,
    pub per_secs: u32,
    /// Requests at once; 0: as `requests`.
    pub burst: u32,
    /// Whose requests count together: `address`, `token` (its `sub`), or `header:X-Api-Key` and the like. Who has no such thing
    /// counts by the address; of IPv6 addresses a /64 counts as one.
    pub by: String,
}

/// Whose pages may read what is here. Without origins: what the origin says of that is passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cors {
    /// Web origins, such as `https://player.example` or `https://*.example`; `*`: all.
    pub allow_origins: Vec<String>,
    pub allow_methods: Vec<String>,
    /// Request fields that scripts may send; `*`: all.
    pub allow_headers: Vec<String>,
    /// Fields of answers that scripts may read.
    pub expose_headers: Vec<String>,
    /// How long browsers need not ask again.
    pub max_age_secs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_requests: 16_384,
            max_connections_per_client: 0,
            min_progress: "16KiB".to_owned(),
            slow_secs: 60,
            failures_per_minute: 60,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: String::new(),
            certificates: Vec::new(),
            acme: Acme::default(),
            min_version: "1.2".to_owned(),
            http2: true,
            watch_secs: 10,
            redirect: false,
            redirect_port: 0,
            hsts_secs: 0,
            hsts_subdomains: false,
        }
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: String::new(),
            agree_to_terms: false,
            ca_file: String::new(),
            dir: String::new(),
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self { requests: 0, per_secs: 1, burst: 0, by: "address".to_owned() }
    }
}

impl Default for Cors {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            allow_origins: Vec::new(),
            allow_methods: texts(&["GET", "HEAD"]),
            allow_headers: texts(&["*"]),
            expose_headers: texts(&[
                "Accept-Ranges",
                "Age",
                "Cache-Status",
                "Content-Length",
                "Content-Range",
                "ETag",
                "Server-Timing",
                "X-Cache",
            ]),
            max_age_secs: 86_400,
        }
    }
}
