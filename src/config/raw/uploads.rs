//! `[uploads]`: what is taken, and where it is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Assets that are put here rather than fetched: `PUT /assets/{key}`, and resumable uploads at `/files/`. They are taken as soon
/// as somebody can have a token (`[access]`, `admin.token`), and served at `/assets/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Uploads {
    /// `auto`: if there are keys for tokens in `[access]`; `on`: also with `admin.token` alone; `off`: requests for `/assets/` and
    /// `/files/` are for the origins.
    pub mode: Mode,
    /// Where assets and their catalogue are kept; empty: `assets` in `cache.data_dir`, or if that is empty too,
    /// `millrace/assets` where the user's data is. Not a cache: back it up. One server per directory.
    pub dir: String,
    /// Longest asset, such as `10GiB`.
    pub max_size: String,
    /// Uploads whose bytes are being received at a time; more are answered 503.
    pub max_concurrent: u32,
    /// An upload of which nothing more comes for so long is broken off.
    pub idle_timeout_secs: u32,
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
    pub warm: Vec<super::Warm>,
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
            dir: String::new(),
            max_size: "10GiB".to_owned(),
            max_concurrent: 64,
            idle_timeout_secs: 30,
            quota: "0".to_owned(),
            expiry_secs: 24 * 3600,
            cache_control: "public, max-age=60".to_owned(),
            risky_types: false,
            allow_origins: Vec::new(),
            warm: Vec::new(),
        }
    }
}
