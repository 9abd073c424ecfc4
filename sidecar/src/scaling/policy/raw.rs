//! The policy file as a user writes it, with its defaults: a group of cache servers as `millrace` exports metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Select;
use crate::scaling::fleet;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct File {
    /// Base URL of a Prometheus (or whatever has its API) to ask for signals; empty: the sidecar's own series.
    pub(super) prometheus: String,
    pub(super) groups: Vec<GroupConfig>,
}

/// Whether decisions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Instances are started and stopped.
    Act,
    /// Decisions are only written down: what would be done.
    Advise,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GroupConfig {
    /// Lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// `act`, or `advise`: decisions are only written down.
    pub mode: Act,
    /// PromQL with one sample per instance that is there: for `advise`, and for `replay` of other times.
    pub instances: String,
    /// Cores of an instance, `$cores` in expressions.
    pub instance_cores: f64,
    /// Memory of an instance, `$memory` in expressions.
    pub instance_memory: String,
    /// Instances at least. 0 only with `allow_zero`.
    pub min: u32,
    /// Instances at most.
    pub max: u32,
    /// Without load there may be no instance at all.
    pub allow_zero: bool,
    /// Seconds between decisions.
    pub interval_secs: u64,
    /// Seconds that the newest sample of a signal may be old; 0: three scrape intervals.
    pub max_age_secs: u64,
    /// Share of ready instances that must report for a signal to be known.
    pub min_coverage: f64,
    /// Seconds without decisions after a start.
    pub startup_hold_secs: u64,
    /// Seconds between steps up.
    pub up_cooldown_secs: u64,
    /// Seconds from any step to a step down.
    pub down_cooldown_secs: u64,
    /// Instances are taken away down to the most that was wanted within so many seconds.
    pub stabilization_secs: u64,
    /// How fast the group may grow.
    pub up_rates: Vec<RateConfig>,
    /// Of several rates the one that allows `most` or `least`.
    pub up_rate_select: Select,
    /// How fast the group may shrink.
    pub down_rates: Vec<RateConfig>,
    /// Of several rates the one that allows `most` or `least`.
    pub down_rate_select: Select,
    /// A signal so many times above an up-rule's threshold or a target waits for neither `for_secs` nor cooldown; 0: never.
    pub panic_ratio: f64,
    /// Seconds after that in which nothing is taken away.
    pub panic_secs: u64,
    /// Instances that may be cold (starting or warming) at once, for the origin's sake; 0: any number.
    pub max_cold: u32,
    /// Seconds from a step up to a ready instance, as `replay` assumes.
    pub join_secs: u64,
    pub signals: Vec<SignalConfig>,
    /// One more is needed when any of these holds.
    pub up: Vec<UpConfig>,
    /// One fewer is enough when all of these hold.
    pub down: Vec<DownConfig>,
    /// Values to be held, as Kubernetes' autoscaler does.
    pub targets: Vec<TargetConfig>,
    pub origin: OriginConfig,
    /// What counts as a violated objective in `replay`.
    pub slo: Vec<SloConfig>,
    /// Who runs the instances, and who gives them requests.
    pub fleet: fleet::Config,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SignalConfig {
    /// By which rules name it.
    pub name: String,
    /// PromQL that gives one number. `$ready` stands for a pattern of the ready instances, for `instance=~"$ready"`.
    pub expr: String,
    /// PromQL with a sample per reporting instance; empty: the selectors of `expr`.
    pub reports: String,
    /// `ratio`, `seconds`, `requests/s`, …: for those who read it.
    pub unit: String,
    /// The load that an instance bears: with twice the instances it is half.
    pub per_instance: bool,
    /// Told by something else than the instances, such as a balancer: its age counts, not who reports.
    pub elsewhere: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpConfig {
    pub signal: String,
    /// Either `above` or `below`.
    pub above: Option<f64>,
    /// For what more instances should raise, such as a hit ratio: taken one step at a time, and left off when it did not help.
    pub below: Option<f64>,
    /// Seconds that it must hold.
    pub for_secs: u64,
    /// Instances to add.
    pub step: u32,
    /// Does not count while the origin is slow or failing.
    pub explained_by_origin: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DownConfig {
    pub signal: String,
    /// Either `above` or `below`.
    pub above: Option<f64>,
    pub below: Option<f64>,
    /// Seconds that it must hold.
    pub for_secs: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TargetConfig {
    pub signal: String,
    /// Per instance.
    pub target: f64,
    /// Deviations up to this share change nothing.
    pub tolerance: f64,
    /// The signal is the sum over all instances, not their mean.
    pub total: bool,
    /// What an instance that does not report is taken to be at when instances could go; 0: the target.
    pub full: f64,
    /// Does not count while the origin is slow or failing.
    pub explained_by_origin: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateConfig {
    /// Either so many instances, …
    pub instances: u32,
    /// … or so many percent of those there were.
    pub percent: u32,
    /// Within so many seconds.
    pub period_secs: u64,
}

/// What is known of the origins behind the group; signals that are not named are not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OriginConfig {
    /// Signal in seconds.
    pub latency_signal: String,
    /// An origin that takes longer explains latency by itself.
    pub latency_above: f64,
    /// Signal, a ratio.
    pub errors_signal: String,
    /// An origin that fails more often explains latency by itself.
    pub errors_above: f64,
    /// Signal, requests a second that reach the origin.
    pub load_signal: String,
    /// Signal, requests a second that caches answer.
    pub hits_signal: String,
    /// Requests a second that the origin bears: no instance is taken away when its hits would go beyond; 0: no bound.
    pub budget: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SloConfig {
    pub signal: String,
    pub above: f64,
}

impl Default for UpConfig {
    fn default() -> Self {
        Self {
            signal: String::new(),
            above: None,
            below: None,
            for_secs: 30,
            step: 1,
            explained_by_origin: false,
        }
    }
}

impl Default for DownConfig {
    fn default() -> Self {
        Self { signal: String::new(), above: None, below: None, for_secs: 120 }
    }
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            signal: String::new(),
            target: 0.0,
            tolerance: 0.1,
            total: false,
            full: 0.0,
            explained_by_origin: false,
        }
    }
}

impl Default for RateConfig {
    fn default() -> Self {
        Self { instances: 0, percent: 0, period_secs: 60 }
    }
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            latency_signal: "origin_p95".to_owned(),
            latency_above: 1.0,
            errors_signal: "origin_errors".to_owned(),
            errors_above: 0.1,
            load_signal: "origin_requests".to_owned(),
            hits_signal: "hits".to_owned(),
            budget: 0.0,
        }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        let rate = |instances, percent| RateConfig { instances, percent, ..RateConfig::default() };
        Self {
            name: "edge".to_owned(),
            mode: Act::Act,
            instances: r#"up{job="millrace"}"#.to_owned(),
            instance_cores: 1.0,
            instance_memory: "1GiB".to_owned(),
            min: 3,
            max: 10,
            allow_zero: false,
            interval_secs: 15,
            max_age_secs: 0,
            min_coverage: 0.8,
            startup_hold_secs: 60,
            up_cooldown_secs: 60,
            down_cooldown_secs: 300,
            stabilization_secs: 300,
            up_rates: vec![rate(4, 0), rate(0, 100)],
            up_rate_select: Select::Most,
            down_rates: vec![rate(1, 0)],
            down_rate_select: Select::Least,
            panic_ratio: 2.0,
            panic_secs: 60,
            max_cold: 2,
            join_secs: 60,
            signals: signals(),
            up: up(),
            down: down(),
            targets: Vec::new(),
            origin: OriginConfig::default(),
            slo: vec![SloConfig { signal: "p95".to_owned(), above: 2.0 }],
            fleet: fleet::Config::default(),
        }
    }
}

/// In these texts `i` stands for the ready instances, `{u}` for how many of them are up.
fn signals() -> Vec<SignalConfig> {
    const REPORTS: &str = "up{i} == 1";
    let ready = |text: &str| {
        text.replace("{u}", "count(up{i} == 1)")
            .replace(", i}", r#", instance=~"$ready"}"#)
            .replace("{i}", r#"{instance=~"$ready"}"#)
    };
    let signal = |name: &str, unit: &str, per_instance, expr: &str, reports: &str| SignalConfig {
        name: name.to_owned(),
        expr: ready(expr),
        reports: ready(reports),
        unit: unit.to_owned(),
        per_instance,
        elsewhere: false,
    };
    vec![
        signal("cpu", "ratio", true, "avg(rate(process_cpu_seconds_total{i}[1m])) / $cores", ""),
        signal("memory", "ratio", false, "avg(process_resident_memory_bytes{i}) / $memory", ""),
        signal(
            "requests",
            "requests/s",
            true,
            "(sum(rate(http_server_request_duration_seconds_count{i}[1m])) or vector(0)) / {u}",
            REPORTS,
        ),
        signal("queue", "jobs", true, "(sum(millrace_queue_depth{i}) or vector(0)) / {u}", REPORTS),
        signal(
            "p95",
            "seconds",
            false,
            "(histogram_quantile(0.95, sum by (le) (rate(millrace_response_head_seconds_bucket{i}[2m]))) >= 0) or vector(0)",
            // Not `up`: a server that does not measure this yet is up as well, and its zero would be believed.
            "millrace_response_head_seconds_count{i}",
        ),
        signal(
            "hits",
            "requests/s",
            false,
            r#"sum(rate(millrace_cache_requests_total{outcome=~"hit|stale|revalidated", i}[2m])) or vector(0)"#,
            REPORTS,
        ),
        signal(
            "origin_requests",
            "requests/s",
            false,
            "sum(rate(millrace_origin_requests_total{i}[2m])) or vector(0)",
            REPORTS,
        ),
        signal(
            "origin_p95",
            "seconds",
            false,
            "(histogram_quantile(0.95, sum by (le) (rate(http_client_request_duration_seconds_bucket{i}[2m]))) >= 0) or vector(0)",
            REPORTS,
        ),
        signal(
            "origin_errors",
            "ratio",
            false,
            r#"(sum(rate(millrace_origin_requests_total{result!~"answered|missing", i}[2m])) / sum(rate(millrace_origin_requests_total{i}[2m])) >= 0) or vector(0)"#,
            REPORTS,
        ),
    ]
}

fn up() -> Vec<UpConfig> {
    let above = |signal: &str, above, explained_by_origin| UpConfig {
        signal: signal.to_owned(),
        above: Some(above),
        explained_by_origin,
        ..UpConfig::default()
    };
    vec![
        above("cpu", 0.75, false),
        above("memory", 0.85, false),
        above("requests", 100.0, false),
        above("queue", 50.0, false),
        above("p95", 2.0, true),
    ]
}

fn down() -> Vec<DownConfig> {
    let below = |signal: &str, below| DownConfig {
        signal: signal.to_owned(),
        below: Some(below),
        ..Default::default()
    };
    // Not memory: a cache keeps what it has.
    vec![below("cpu", 0.35), below("requests", 30.0), below("queue", 10.0), below("p95", 0.5)]
}
