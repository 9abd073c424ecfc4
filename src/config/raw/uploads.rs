//! `[uploads]`: what is taken, and where it is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{S3, Secret};

/// Assets that are put here rather than fetched: `PUT /assets/{key}`, and resumable uploads at `/files/`. They are taken as soon
/// as somebody can have a token (`[access]`, `admin.token`), and served at `/assets/{key}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Uploads {
    /// `auto`: if there are keys for tokens in `[access]`; `on`: also with `admin.token` alone; `off`: requests for `/assets/` and
    /// `/files/` are for the origins.
    pub mode: Mode,
    /// Where assets are kept: empty for `dir`, or `s3://bucket/prefix`. A bucket can be shared by servers that share a `database`.
    pub store: String,
    /// With `store = "s3://…"`.
    pub s3: S3,
    /// Where the catalogue is: empty for a file in `dir`, or `postgres://user@host/name?sslmode=require`. With both `store` and
    /// `database` any number of servers have the same assets, and an upload begun at one can go on at another.
    #[schemars(with = "String")]
    pub database: Secret,
    /// Connections to the database, and one more that listens.
    pub database_connections: u32,
    /// File of certificates (PEM) to trust beside the system's when connecting to the database.
    pub database_ca_file: String,
    /// Where assets and their catalogue are kept; empty: `assets` in `cache.data_dir`, or if that is empty too,
    /// `millrace/assets` where the user's data is. Not a cache: back it up. One server per directory.
    pub dir: String,
    /// Longest asset, such as `10GiB`.
    pub max_size: String,
    /// Uploads whose bytes are being received at a time; more are answered 503.
    pub max_concurrent: u32,
    /// An upload of which nothing more comes for so long is broken off. `[limits]` hold as well (`min_progress` in `slow_secs`).
    pub idle_timeout_secs: u32,
    /// An upload that comes with fewer bytes per second than this, over ten seconds of waiting for it, is broken off; `0`: no
    /// such bound. `[limits]` hold as well (`min_progress` in `slow_secs`): of the two, the stricter one counts.
    pub least_rate: String,
    /// Resumable uploads that are begun and not finished, of all owners together; more are refused.
    pub max_unfinished: u32,
    /// The same of one owner.
    pub max_unfinished_per_owner: u32,
    /// What one owner (`sub` of the token) may have stored, unfinished uploads included; `0`: no bound.
    pub quota: String,
    /// An unfinished upload that nobody goes on with is removed after this time.
    pub expiry_secs: u32,
    /// `Cache-Control` of assets. Caches behind this one do not hear of changes.
    pub cache_control: String,
    /// Take HTML, scripts and programs too. They are served to be saved, not shown.
    pub risky_types: bool,
    /// Web origins, such as `https://studio.example`, whose pages may upload from browsers; `*`: all.
    pub allow_origins: Vec<String>,
    /// What is made of a video as soon as it has been put here, by a job: `poster`, `ladder` (playlists and all smaller
    /// renditions). Wants `[jobs]`.
    pub warm: Vec<super::Ready>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Auto,
    On,
    Off,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            store: String::new(),
            s3: S3::default(),
            database: Secret::default(),
            database_connections: 8,
            database_ca_file: String::new(),
            dir: String::new(),
            max_size: "10GiB".to_owned(),
            max_concurrent: 64,
            idle_timeout_secs: 30,
            least_rate: "1KiB".to_owned(),
            max_unfinished: 10_000,
            max_unfinished_per_owner: 1_000,
            quota: "0".to_owned(),
            expiry_secs: 24 * 3600,
            cache_control: "public, max-age=60".to_owned(),
            risky_types: false,
            allow_origins: Vec::new(),
            warm: Vec::new(),
        }
    }
}
