//! What each receiver was told, on disk: a restart neither repeats a delivered "firing" nor swallows the "resolved"
//! that must follow it.

use std::{collections::BTreeMap, io, path::PathBuf};

use millrace_kit::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::durable;

/// None keeps nothing.
#[derive(Debug, Clone)]
pub struct Journal(Option<PathBuf>);

/// What was delivered about one alert. Written before the attempt too, then not certain: a sidecar that is killed in between
/// must tell of the end of what it may have told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) firing: bool,
    pub(super) starts_at: UnixMillis,
    pub(super) at: UnixMillis,
    /// False while it is not known whether the receiver took it.
    #[serde(default = "yes")]
    pub(super) certain: bool,
}

fn yes() -> bool {
    true
}

impl Journal {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    /// Unreadable journals count as empty: better told twice than not at all.
    pub(super) fn load(&self) -> Vec<Told> {
        let Some(path) = &self.0 else { return Vec::new() };
        let Ok(text) = std::fs::read(path) else { return Vec::new() };
        serde_json::from_slice(&text).unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), "notification journal is unreadable: {reason}");
            Vec::new()
        })
    }

    pub(super) fn save(&self, told: &[Told]) -> io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        durable::replace(path, &serde_json::to_vec(told)?)
    }
}
