//! A day of samples in memory, found by labels. Knows nothing of queries beyond matchers and time ranges.
//!
//! Bounds and what happens at them: a new series beyond `max_series` is refused; above `max_bytes` the oldest chunks of
//! all series go first, down to [`KEEP_AT_LEAST`] of history, then new samples are refused. Both are counted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod bits;
mod chunk;
mod index;
mod matcher;
mod snapshot;
mod store;
mod table;
mod visit;

pub use matcher::{Matcher, anchored};
pub use store::{Bounds, KEEP_AT_LEAST, Selected, Stats, Store};
pub use visit::Visitor;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Hours of samples kept.
    pub retention_hours: u32,
    /// Series held at once; more are refused and counted.
    pub max_series: u32,
    /// Bytes of compressed samples and labels; beyond it the oldest go first.
    pub max_bytes: String,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Regex { pattern: String, reason: String },
    #[error("more than {limit} samples")]
    TooManySamples { limit: usize },
    #[error("snapshot {path}: {source}")]
    SnapshotIo { path: String, source: std::io::Error },
    #[error("snapshot {path}: {problem}")]
    SnapshotContent { path: String, problem: &'static str },
}

impl Default for Config {
    fn default() -> Self {
        Self { retention_hours: 24, max_series: 200_000, max_bytes: "512MiB".to_owned() }
    }
}

impl Bounds {
    /// Of sizes as `bytesize` reads them.
    pub fn new(config: &Config, max_bytes: usize) -> Self {
        Self {
            retention: Duration::from_secs(u64::from(config.retention_hours) * 3600),
            max_series: config.max_series as usize,
            max_bytes,
        }
    }
}
