//! Settings: what a user writes ([`Raw`]) and what the parts are built from ([`Settings`]). All faults are reported at
//! once, before a port is bound.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use millrace_kit::{
    config::{Faults, Layer},
    secret::Secret,
    telemetry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    collect::{self, Collector},
    discovery::{self, Source, Target},
    http, notify,
    rules::{self, Fault, Group},
    scaling, scrape, series,
};

mod receivers;
mod resolve;
mod rule_files;

pub use resolve::resolve;
pub use rule_files::{RuleSource, check_files, rule_paths};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Raw {
    /// Where samples, alert states and delivery records survive a restart; empty: `millrace-sidecar` in the user's
    /// state directory.
    pub data_dir: String,
    pub http: http::Config,
    pub scrape: Scrape,
    /// What is scraped.
    pub targets: Vec<discovery::Config>,
    /// What else is scraped, looked up while the sidecar runs.
    pub discover: Vec<discovery::SourceConfig>,
    /// What has no exporter of its own and is asked in its own way.
    pub collect: Vec<collect::Config>,
    pub series: Series,
    pub rules: rules::Config,
    pub scaling: scaling::Config,
    /// Who is told about alerts.
    pub webhooks: Vec<notify::WebhookConfig>,
    pub emails: Vec<notify::EmailConfig>,
    /// Real Alertmanagers, which get every alert.
    pub alertmanagers: Vec<notify::AlertmanagerConfig>,
    /// Alerts that hold back others, for webhooks and e-mails.
    pub inhibitions: Vec<notify::InhibitionConfig>,
    /// Added to the labels of alerts that receivers are told of; `$externalLabels` in templates.
    pub external_labels: BTreeMap<String, String>,
    pub log: telemetry::Config,
}

/// How targets are scraped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Scrape {
    #[serde(flatten)]
    pub targets: scrape::Config,
    /// Scrape the sidecar's own metrics, as job `millrace-sidecar`.
    pub itself: bool,
}

/// What is kept in memory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Series {
    #[serde(flatten)]
    pub bounds: series::Config,
    /// Seconds between snapshots to disk, so that a crash loses no more; 0: only at the end.
    pub snapshot_interval_secs: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            data_dir: String::new(),
            http: http::Config::default(),
            scrape: Scrape { targets: scrape::Config::default(), itself: true },
            targets: vec![discovery::Config::default()],
            discover: Vec::new(),
            collect: Vec::new(),
            series: Series { bounds: series::Config::default(), snapshot_interval_secs: 300 },
            rules: rules::Config::default(),
            scaling: scaling::Config::default(),
            webhooks: Vec::new(),
            emails: Vec::new(),
            alertmanagers: Vec::new(),
            inhibitions: Vec::new(),
            external_labels: BTreeMap::new(),
            log: telemetry::Config::default(),
        }
    }
}

impl Default for Scrape {
    fn default() -> Self {
        Raw::default().scrape
    }
}

impl Default for Series {
    fn default() -> Self {
        Raw::default().series
    }
}

/// [`Raw`], checked and resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub external_url: String,
    /// Names that lead here, in lower case.
    pub hosts: Vec<String>,
    pub token: Secret,
    pub query: http::QueryBounds,
    pub drain_timeout: Duration,
    pub scrape: scrape::Settings,
    pub scrape_itself: bool,
    pub targets: Vec<Target>,
    pub sources: Vec<Source>,
    pub collectors: Vec<(Arc<Collector>, Target)>,
    pub series: series::Bounds,
    pub snapshot_interval: Option<Duration>,
    pub rules: RuleSource,
    /// Those of `rules` when the settings were resolved.
    pub groups: Vec<Group>,
    pub scaling: Scaling,
    pub external_labels: crate::model::Labels,
    pub receivers: Vec<Receiver>,
    pub inhibitions: Vec<notify::Inhibition>,
    pub log: telemetry::Config,
}

/// Groups that are scaled, and how much of their journals is kept.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// Where the policies stand, to be read anew; empty: nowhere.
    pub file: String,
    pub policies: scaling::Policies,
    /// Says how old a sample may be where a policy does not.
    pub scrape_interval: Duration,
    pub journal_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Receiver {
    pub name: String,
    pub transport: notify::Transport,
    pub kind: notify::Kind,
    pub send_resolved: bool,
    pub group_by: Vec<String>,
    pub timing: notify::Timing,
}

/// What `serve` uses when no file is given: quick enough to watch.
pub fn quick_start() -> Layer {
    Layer::file(
        "quick start",
        "[scrape]\ninterval_secs = 5\ntimeout_secs = 4\n[rules]\nevaluation_interval_secs = 5\n",
    )
}

/// Faults of rule files among those of the settings.
fn rule_faults(found: Vec<Fault>, faults: &mut Faults) {
    for fault in found {
        let place = match fault.line {
            Some(line) => format!("{}:{line}", fault.file),
            None => fault.file.clone(),
        };
        faults.0.push(millrace_kit::config::Fault { place, key: String::new(), message: fault.message });
    }
}
