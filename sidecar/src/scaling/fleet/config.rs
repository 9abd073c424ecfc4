//! What a user writes about the instances of a group: who runs them, what spreads requests over them, how they join and leave.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::{
    actuator::{DockerConfig, KubernetesConfig, ProcessConfig, WebhookConfig},
    balancer::{HaproxyConfig, NginxConfig},
};

/// Who starts and stops instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActuatorKind {
    /// Programs on this machine.
    #[default]
    Process,
    Docker,
    Kubernetes,
    Webhook,
}

/// What spreads requests over the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BalancerKind {
    /// None, or one that finds the instances itself, by their readiness.
    #[default]
    None,
    Haproxy,
    Nginx,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    pub actuator: ActuatorKind,
    pub process: ProcessConfig,
    pub docker: DockerConfig,
    pub kubernetes: KubernetesConfig,
    pub webhook: WebhookConfig,
    pub balancer: BalancerKind,
    pub haproxy: HaproxyConfig,
    pub nginx: NginxConfig,
    /// Label `job` of the instances, which are scraped.
    pub job: String,
    /// Further labels of everything scraped from them.
    pub labels: BTreeMap<String, String>,
    /// Holds the token that the instances' admin ports want; read anew each time; empty: they want none.
    pub token_file: String,
    pub warm: WarmConfig,
    /// A new instance that is not ready by then is started again.
    pub start_deadline_secs: u64,
    /// A leaving instance is stopped by then, whatever it is still doing.
    pub drain_deadline_secs: u64,
    /// Between being told to stop and being killed.
    pub stop_deadline_secs: u64,
    /// Crashes in a row after which an instance counts as failed.
    pub crash_limit: u32,
    /// When a failed instance is tried once more.
    pub retry_failed_secs: u64,
}

/// What a new instance gets from its peers before it serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WarmConfig {
    /// As much of what is asked for most; `0`: nothing.
    pub bytes: String,
    /// Of all new instances together: what peers and origins can spare.
    pub bytes_per_sec: String,
    /// It then serves as it is.
    pub deadline_secs: u64,
    /// Those that stay take from one that leaves what only it has, within the same bounds, while it drains.
    pub hand_over: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            actuator: ActuatorKind::default(),
            process: ProcessConfig::default(),
            docker: DockerConfig::default(),
            kubernetes: KubernetesConfig::default(),
            webhook: WebhookConfig::default(),
            balancer: BalancerKind::default(),
            haproxy: HaproxyConfig::default(),
            nginx: NginxConfig::default(),
            job: "millrace".to_owned(),
            labels: BTreeMap::new(),
            token_file: String::new(),
            warm: WarmConfig::default(),
            start_deadline_secs: 60,
            drain_deadline_secs: 300,
            stop_deadline_secs: 40,
            crash_limit: 5,
            retry_failed_secs: 300,
        }
    }
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self {
            bytes: "256MiB".to_owned(),
            bytes_per_sec: "50MiB".to_owned(),
            deadline_secs: 60,
            hand_over: true,
        }
    }
}
