//! The policy: what a user writes into the policy file, and what [`super::decide`] goes by.

use std::{collections::BTreeMap, path::Path, time::Duration};

use millrace_kit::config::{self, Fault, Faults, Layer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet;

mod raw;
mod resolve;

pub use raw::{Act, GroupConfig};
use raw::{DownConfig, File, OriginConfig, RateConfig, SignalConfig, TargetConfig, UpConfig};

/// Files larger than that are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// `[scaling]` of the sidecar's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Policy file, such as `config/scaling.toml`; empty: nothing is scaled.
    pub file: String,
    /// Bytes of decisions kept on disk per group, in four files; the oldest goes first.
    pub journal_bytes: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { file: String::new(), journal_bytes: "64MiB".to_owned() }
    }
}

/// All groups, checked.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Base URL of a Prometheus to ask; None: the sidecar's own series.
    pub prometheus: Option<String>,
    pub groups: Vec<Policy>,
    /// Of the groups that are acted on, by name.
    pub fleets: BTreeMap<String, fleet::Settings>,
}

/// One group. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    pub act: Act,
    pub instances: String,
    pub min: u32,
    pub max: u32,
    pub interval_ms: i64,
    pub max_age_ms: i64,
    /// The file does not say it; it follows from the scrape interval.
    pub max_age_follows: bool,
    pub min_coverage: f64,
    pub startup_hold_ms: i64,
    pub up_cooldown_ms: i64,
    pub down_cooldown_ms: i64,
    pub stabilization_ms: i64,
    pub up_rates: Vec<Rate>,
    pub up_select: Select,
    pub down_rates: Vec<Rate>,
    pub down_select: Select,
    /// Zero: never.
    pub panic_ratio: f64,
    pub panic_ms: i64,
    /// Zero: any number.
    pub max_cold: u32,
    pub signals: Vec<Signal>,
    pub up: Vec<Rule>,
    pub down: Vec<Rule>,
    pub targets: Vec<Target>,
    pub origin: Origin,
    pub slo: Vec<Slo>,
    pub join_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    pub name: String,
    /// With `$cores` and `$memory` filled in, and `$ready` left for each evaluation.
    pub expr: String,
    /// Empty: the selectors of `expr`.
    pub reports: String,
    pub unit: String,
    pub per_instance: bool,
    pub elsewhere: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    pub signal: String,
    pub side: Side,
    pub threshold: f64,
    pub for_ms: i64,
    pub step: u32,
    pub explained_by_origin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Above,
    Below,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub signal: String,
    pub target: f64,
    pub tolerance: f64,
    /// The value is that of all instances together.
    pub total: bool,
    /// What an instance that does not report is taken to be at, before instances are taken away.
    pub full: f64,
    pub explained_by_origin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub kind: RateKind,
    pub amount: u32,
    pub period_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateKind {
    Instances,
    Percent,
}

/// Which of several rates counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    Most,
    Least,
}

/// Signals by which origins are judged; empty names: not judged by that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub latency_signal: String,
    pub latency_above: f64,
    pub errors_signal: String,
    pub errors_above: f64,
    pub load_signal: String,
    pub hits_signal: String,
    /// Requests a second that the origin may get; zero: no bound.
    pub budget: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    pub signal: String,
    pub above: f64,
}

impl Policy {
    pub fn signal(&self, name: &str) -> Option<&Signal> {
        self.signals.iter().find(|signal| signal.name == name)
    }

    pub fn interval(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.interval_ms).unwrap_or(1).max(1))
    }
}

/// Reads a policy file. `scrape_interval` says how old a sample may be where the file does not, `data_dir` where fleets have
/// their state.
pub fn load(file: &str, data_dir: &Path, scrape_interval: Duration) -> Result<Policies, Faults> {
    let unreadable =
        |message: String| Faults(vec![Fault { place: file.to_owned(), key: String::new(), message }]);
    let size = std::fs::metadata(Path::new(file)).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    parse(file, &text, data_dir, scrape_interval)
}

pub(in crate::scaling) fn parse(
    name: &str,
    text: &str,
    data_dir: &Path,
    scrape_interval: Duration,
) -> Result<Policies, Faults> {
    let raw: File = config::load(&[Layer::file(name, text)])?;
    resolve::resolve(&raw, data_dir, scrape_interval).map_err(|mut faults| {
        for fault in faults.0.iter_mut().filter(|fault| fault.place.is_empty()) {
            fault.place = name.to_owned();
        }
        faults
    })
}

/// For `check`: groups and signals of one file.
pub fn check_file(file: &str) -> Result<(usize, usize), Faults> {
    let policies = load(file, Path::new("."), Duration::from_secs(15))?;
    let signals = policies.groups.iter().map(|group| group.signals.len()).sum();
    Ok((policies.groups.len(), signals))
}

#[cfg(test)]
mod tests;
