//! The instances of a group: who runs them ([`actuator`]), who gets requests ([`balancer`]), and the [`Conductor`] that brings
//! both to the number that is aimed at, gently. Why there should be so many is decided elsewhere.

use millrace_kit::clock::UnixMillis;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub mod actuator;
pub mod balancer;
mod conductor;
pub mod config;
mod edge;
mod handover;
mod ledger;
mod life;
mod reconcile;
mod settings;
mod value;
mod wire;

pub use conductor::Conductor;
pub use config::Config;
pub use settings::{Settings, Warm};

/// Instances of one group.
pub const MAX_INSTANCES: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Not ready yet, or not any more.
    Starting,
    /// Ready, and fetches from its peers what is asked for most.
    Warming,
    /// Serves.
    Ready,
    /// Gets no new requests and finishes those it has.
    Draining,
    /// Told to stop.
    Stopping,
    /// Does not start; tried again after a while.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceView {
    pub name: String,
    pub data_url: String,
    pub admin_url: String,
    pub state: InstanceState,
    pub since: UnixMillis,
    pub warm_ratio: Option<f64>,
    pub streams: Option<u64>,
    /// What there is to say, in words.
    pub note: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FleetView {
    pub instances: Vec<InstanceView>,
    pub aim: u32,
    /// Whoever runs the instances answers.
    pub reachable: bool,
    /// Something is under way.
    pub converging: bool,
    pub error: Option<String>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("group {0} is run by another process already")]
    Taken(String),
    #[error("state of group {group}: {source}")]
    State { group: String, source: std::io::Error },
    #[error("HTTP client: {0}")]
    Client(String),
    #[error(transparent)]
    Discovery(#[from] crate::discovery::Error),
}

/// There is no instance of this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no instance {0}")]
pub struct Unknown(pub String);

impl InstanceState {
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Warming, Self::Ready, Self::Draining, Self::Stopping, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }

    /// It will not serve any more.
    pub fn leaves(self) -> bool {
        matches!(self, Self::Draining | Self::Stopping)
    }
}

impl InstanceView {
    /// The label `instance` of its series: host and port of the admin URL, else its name.
    pub fn scraped_as(&self) -> String {
        let address = self.admin_url.split_once("://").map_or("", |(_, rest)| rest);
        match address.split('/').next() {
            Some(address) if !address.is_empty() => address.to_owned(),
            _ => self.name.clone(),
        }
    }
}
