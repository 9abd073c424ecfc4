//! Gets metrics from targets and hands them on as samples. Knows nothing of how they are stored: [`Sink`] is
//! implemented above.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod fetch;
mod known;
mod metadata;
pub mod parse;
mod roster;
mod schedule;
mod session;
mod sink;

pub use fetch::{Client, Fetched, innermost};
pub use metadata::{Described, Metadata};
pub use roster::{Roster, TargetStatus};
pub use schedule::Schedule;
pub use session::{Report, Session};
pub use sink::{Appended, SeriesId, Sink};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Seconds between two scrapes of a target.
    pub interval_secs: u64,
    /// Seconds a scrape may take; at most the interval.
    pub timeout_secs: u64,
    /// Bytes a target may answer with.
    pub max_body_bytes: String,
    /// Samples a target may expose; beyond it the whole scrape fails.
    pub max_samples: usize,
}

/// [`Config`], checked.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub interval: Duration,
    pub timeout: Duration,
    pub max_body_bytes: usize,
    pub max_samples: usize,
    pub limits: parse::Limits,
}

/// Why a scrape failed. Shown to operators as the target's last error.
#[derive(Debug, Error)]
pub enum Error {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Connection(String),
    #[error("answered {0}")]
    Status(u16),
    #[error("answered with content type {0:?}, which is no format of metrics")]
    ContentType(String),
    #[error("answered with content encoding {0:?}, which was not asked for")]
    Encoding(String),
    #[error("answered with more than {0} bytes")]
    BodyTooLarge(usize),
    #[error("exposes more than {0} samples")]
    TooManySamples(usize),
    #[error("{0}")]
    Collector(String),
    #[error("exposition, {0}")]
    Malformed(#[from] parse::Error),
}

impl Default for Config {
    fn default() -> Self {
        Self { interval_secs: 15, timeout_secs: 10, max_body_bytes: "32MiB".to_owned(), max_samples: 200_000 }
    }
}
