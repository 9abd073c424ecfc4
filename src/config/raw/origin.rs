//! `[[origins]]`: where the server gets what it does not have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// One origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Origin {
    /// Name in logs and metrics; empty: its host, bucket or directory.
    pub name: String,
    /// `http(s)://host[:port][/prefix]`, `s3://bucket[/prefix]` or a directory.
    pub url: String,
    /// Its share of the requests where a route's `balance` shares them out, beside the weights of the others; 1 to 1000.
    pub weight: u32,
    /// Asked after those that share the requests, in order, when these fail.
    pub backup: bool,
    /// Time to connect, TLS included.
    pub connect_timeout_ms: u32,
    /// Time to the head of the answer.
    pub first_byte_timeout_ms: u32,
    /// Longest silence within a body.
    pub idle_timeout_ms: u32,
    /// Connections kept open while idle.
    pub max_idle_connections: u32,
    /// Longest time from the request to the end of the answer; 0: no limit.
    pub total_timeout_ms: u32,
    /// Requests to it at a time, bodies included.
    pub max_requests: u32,
    /// Requests that may wait for one of these to end; more are refused, and the next origin is asked.
    pub max_waiting: u32,
    /// `Host` to send instead of the URL's.
    pub host_header: String,
    /// Send the client's `Host` on, over HTTP/1.1, for routes that have `Host` in their `key_headers`.
    pub client_host: bool,
    /// Tell it the client's address in `X-Forwarded-For`. Answers are shared all the same: they must not depend on it.
    pub forwarded_for: bool,
    /// Path that requests must begin with to be for this origin; it is taken off before the URL's path is put before.
    pub strip_prefix: String,
    /// Fields sent with each request in place of the client's, such as `{ "X-Key" = "secret" }`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub request_headers: BTreeMap<String, Secret>,
    /// Of the client's fields only these are passed on; empty: all that are not for us alone.
    pub forward_headers: Vec<String>,
    /// Use HTTP/2 when it is offered over TLS.
    pub http2: bool,
    /// Speak HTTP/2 from the first byte on, to an `http://` URL (h2c with prior knowledge): who asks it there must know that
    /// it is understood.
    pub h2c: bool,
    /// Allow its name to lead to private and link-local addresses. Without this, `localhost`, names without a dot, `.internal`
    /// and the like may lead to private ones, and an address in the URL is asked as it is.
    pub allow_private: bool,
    /// Hosts, or `host:port`, to which its redirects are followed, at most five in a row. Others go to the client.
    pub follow_redirects_to: Vec<String>,
    /// `address:port` of the name servers to ask; empty: the system's.
    pub dns_servers: Vec<String>,
    /// Without an answer from them, the last good addresses are used for so long after their time.
    pub dns_stale_secs: u32,
    pub tls: OriginTls,
    /// `Cache-Control` of the files of a directory, and of S3 objects that have none of their own.
    pub cache_control: String,
    /// Directories: follow symbolic links, also out of the directory.
    pub follow_symlinks: bool,
    pub s3: S3,
    /// A body that comes more slowly than this for `least_rate_secs`, readers permitting, is broken off, and gone on with
    /// elsewhere if possible. `0`: however slowly.
    pub least_rate: String,
    pub least_rate_secs: u32,
    /// Path to ask for again and again; good is 2xx or 3xx. The origin is left alone while this fails. Empty: no checks.
    pub health_path: String,
    pub health_interval_ms: u32,
    pub health_timeout_ms: u32,
    /// Checks in a row that must fail before the origin is left alone, and succeed before it is asked again.
    pub health_fall: u32,
    pub health_rise: u32,
}

/// How to get at an S3 bucket. What is left empty comes from the usual environment (`AWS_REGION`, `AWS_ENDPOINT_URL`,
/// `AWS_ACCESS_KEY_ID`, …), from profile files, or from the machine's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct S3 {
    /// `http(s)://host[:port]` of a server that speaks S3; empty: Amazon's.
    pub endpoint: String,
    /// Region of the bucket; empty and nowhere else said: `us-east-1`.
    pub region: String,
    /// Where the bucket's name goes. `auto`: into the host at Amazon's, into the path elsewhere.
    pub addressing: Addressing,
    /// Profile of the files in `~/.aws`.
    pub profile: String,
    /// Send unsigned requests, to a public bucket.
    pub anonymous: bool,
    /// Instead of the usual places for credentials; with `secret_access_key`.
    pub access_key_id: String,
    /// The secret that belongs to `access_key_id`.
    #[schemars(with = "String")]
    pub secret_access_key: Secret,
    /// With a temporary access key.
    #[schemars(with = "String")]
    pub session_token: Secret,
    /// Let clients see the metadata of uploaders (`x-amz-meta-*`). S3's other fields are never passed on.
    pub metadata: bool,
    /// Take a denied object (403) for a missing one: 404, and the next origin is asked. That is what S3 says of missing objects,
    /// too, to whoever may not list the bucket.
    pub denied_is_missing: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    #[default]
    Auto,
    /// `host/bucket/key`
    Path,
    /// `bucket.host/key`
    Virtual,
}

/// TLS towards an origin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OriginTls {
    /// Name to ask for and to verify instead of the URL's host.
    pub server_name: String,
    /// File of certificates (PEM) to trust beside the system's.
    pub ca_file: String,
    /// File of our own certificate with its chain (PEM), shown to the origin.
    pub cert_file: String,
    /// File of its private key (PEM).
    pub key_file: String,
    /// Take any certificate. Whoever sits between can then read and change everything.
    pub insecure_skip_verify: bool,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            weight: 1,
            backup: false,
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 30_000,
            idle_timeout_ms: 15_000,
            max_idle_connections: 64,
            total_timeout_ms: 0,
            max_requests: 1024,
            max_waiting: 1024,
            host_header: String::new(),
            client_host: false,
            forwarded_for: false,
            strip_prefix: String::new(),
            request_headers: BTreeMap::new(),
            forward_headers: Vec::new(),
            http2: true,
            h2c: false,
            allow_private: false,
            follow_redirects_to: Vec::new(),
            dns_servers: Vec::new(),
            dns_stale_secs: 3600,
            tls: OriginTls::default(),
            cache_control: "public, max-age=60".to_owned(),
            follow_symlinks: false,
            s3: S3::default(),
            least_rate: "1KiB".to_owned(),
            least_rate_secs: 30,
            health_path: String::new(),
            health_interval_ms: 5_000,
            health_timeout_ms: 2_000,
            health_fall: 3,
            health_rise: 2,
        }
    }
}
