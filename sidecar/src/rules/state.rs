//! Alerts over restarts: one file, replaced whole and fsynced, so that a firing alert is firing again at the first
//! evaluation and a pending one need not wait anew.

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Alert, AlertState};
use crate::{durable, model::Labels};

const VERSION: u32 = 1;

/// A pending alert whose wait was interrupted for longer starts over: nobody knows what happened meanwhile.
const OUTAGE_TOLERANCE: Duration = Duration::from_secs(3600);

#[derive(Debug, Error)]
#[error("alert state {path}: {reason}")]
pub(super) struct Error {
    path: String,
    reason: String,
}

#[derive(Debug)]
pub struct StateFile {
    /// None keeps nothing (tests, read-only set-ups).
    path: Option<PathBuf>,
    /// One writer at a time.
    writing: Mutex<()>,
}

/// Identifies a rule over reloads and restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RuleKey {
    pub(super) file: String,
    pub(super) group: String,
    pub(super) rule: String,
    /// Which of the group's rules of that name.
    pub(super) nth: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    saved_at: UnixMillis,
    alerts: Vec<SavedAlert>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedAlert {
    #[serde(flatten)]
    key: RuleKey,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    state: SavedState,
    /// As text, since JSON has no NaN.
    value: String,
    active_at: UnixMillis,
    fired_at: Option<UnixMillis>,
    resolved_at: Option<UnixMillis>,
    #[serde(alias = "keep_firing_since")]
    absent_since: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedState {
    Pending,
    Firing,
    Resolved,
}

impl StateFile {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, writing: Mutex::new(()) }
    }

    /// Alerts of the last run, as of `now`. Empty when there was none.
    pub(super) fn load(&self, now: UnixMillis) -> Result<Vec<(RuleKey, Alert)>, Error> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let failed = |reason: String| Error { path: path.display().to_string(), reason };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(other) => return Err(failed(other.to_string())),
        };
        let saved: Saved = serde_json::from_slice(&text).map_err(|reason| failed(reason.to_string()))?;
        if saved.version != VERSION {
            return Err(failed(format!("has version {}, not {VERSION}", saved.version)));
        }
        let outage = now.saturating_sub(saved.saved_at).max(0);
        Ok(saved.alerts.into_iter().filter_map(|alert| alert.restored(outage)).collect())
    }

    pub(super) fn save<'a>(
        &self,
        now: UnixMillis,
        alerts: impl Iterator<Item = (&'a RuleKey, &'a Alert)>,
    ) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let saved = Saved {
            version: VERSION,
            saved_at: now,
            alerts: alerts.map(|(key, alert)| SavedAlert::new(key, alert)).collect(),
        };
        let written = serde_json::to_vec(&saved).map_err(io::Error::other).and_then(|text| {
            let _one = self.writing.lock();
            durable::replace(path, &text)
        });
        written.map_err(|reason| Error { path: path.display().to_string(), reason: reason.to_string() })
    }
}

impl SavedAlert {
    fn new(key: &RuleKey, alert: &Alert) -> Self {
        let map = |labels: &Labels| {
            labels.iter().map(|label| (label.name.to_string(), label.value.to_string())).collect()
        };
        Self {
            key: key.clone(),
            labels: map(&alert.labels),
            annotations: map(&alert.annotations),
            state: match alert.state {
                AlertState::Pending => SavedState::Pending,
                AlertState::Firing => SavedState::Firing,
                AlertState::Resolved => SavedState::Resolved,
            },
            value: alert.value.to_string(),
            active_at: alert.active_at,
            fired_at: alert.fired_at,
            resolved_at: alert.resolved_at,
            absent_since: alert.absent_since,
        }
    }

    /// Time that passed while nobody looked does not count as pending.
    fn restored(self, outage: i64) -> Option<(RuleKey, Alert)> {
        let labels = |map: &BTreeMap<String, String>| {
            Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        let (state, active_at) = match self.state {
            SavedState::Pending if outage > OUTAGE_TOLERANCE.as_millis() as i64 => return None,
            SavedState::Pending => (AlertState::Pending, self.active_at.saturating_add(outage)),
            SavedState::Firing => (AlertState::Firing, self.active_at),
            SavedState::Resolved => (AlertState::Resolved, self.active_at),
        };
        let alert = Alert {
            labels: labels(&self.labels),
            annotations: labels(&self.annotations),
            state,
            value: self.value.parse().unwrap_or(f64::NAN),
            active_at,
            fired_at: self.fired_at,
            resolved_at: self.resolved_at,
            absent_since: self.absent_since,
            restored: true,
        };
        Some((self.key, alert))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(state: AlertState) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "A"), ("i", "1")]),
            annotations: Labels::from_pairs([("summary", "s")]),
            state,
            value: f64::NAN,
            active_at: 1_000,
            fired_at: Some(2_000),
            resolved_at: None,
            absent_since: None,
            restored: false,
        }
    }

    fn round_trip(state: AlertState, down_for: i64) -> Vec<Alert> {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(Some(folder.path().join("alerts.json")));
        let key = RuleKey { file: "f".into(), group: "g".into(), rule: "A".into(), nth: 0 };
        let alert = alert(state);
        file.save(5_000, [(&key, &alert)].into_iter()).unwrap();
        file.load(5_000 + down_for).unwrap().into_iter().map(|(_, alert)| alert).collect()
    }

    #[test]
    fn firing_alerts_come_back_as_they_were() {
        let back = &round_trip(AlertState::Firing, 10_000_000)[0];
        assert_eq!((back.state, back.active_at, back.fired_at), (AlertState::Firing, 1_000, Some(2_000)));
        assert!(back.restored && back.value.is_nan());
    }

    #[test]
    fn pending_alerts_go_on_where_they_stopped_or_start_over() {
        assert_eq!(round_trip(AlertState::Pending, 30_000)[0].active_at, 31_000);
        assert!(round_trip(AlertState::Pending, 3_600_001).is_empty());
    }

    #[test]
    fn a_missing_file_is_no_fault_and_a_broken_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.json");
        let file = StateFile::new(Some(path.clone()));
        assert!(file.load(0).unwrap().is_empty());
        std::fs::write(&path, "{\"version\":1").unwrap();
        assert!(file.load(0).is_err());
    }
}
