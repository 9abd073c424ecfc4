//! How many instances a group shall have, from what metrics say. `decide` is one pure function; `signals` asks metrics
//! for its inputs, `control` calls it in its rhythm and tells the fleet, `journal` writes down each call, and `replay` calls
//! it again for times that are past.

use futures_util::future::BoxFuture;
use millrace_kit::clock::UnixMillis;
use serde::Serialize;

mod control;
mod decide;
mod decision;
mod journal;
mod observed;
mod policy;
pub mod replay;
mod signals;
mod stamp;

pub use control::{Controller, Error, Event, Group, GroupView, MAX_OVERRIDE, Mode};
pub use decide::decide;
pub use decision::{
    Action, Binding, Counts, Decision, Direction, Inputs, Override, Reading, RuleVerdict, State,
    TargetVerdict, Verdict,
};
pub use journal::{Bounds, Entry, Journal};
pub use observed::Observed;
pub use policy::{Act, Config, GroupConfig, Policies, Policy, Rule, check_file, load};
pub use signals::{Evaluated, Source};

/// One instance as the fleet knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceView {
    pub name: String,
    pub data_url: String,
    pub admin_url: String,
    pub state: InstanceState,
    pub since: UnixMillis,
    pub warm_ratio: Option<f64>,
    pub streams: Option<u64>,
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    Starting,
    Warming,
    Ready,
    Draining,
    Stopping,
    Failed,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FleetView {
    pub instances: Vec<InstanceView>,
    pub aim: u32,
    /// Whether whoever starts and stops instances answers.
    pub reachable: bool,
    pub converging: bool,
    pub error: Option<String>,
}

/// There is no such instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such instance")]
pub struct UnknownInstance;

/// What starts and stops the instances of one group.
pub trait Fleet: Send + Sync {
    /// Cheap, never blocks.
    fn view(&self) -> FleetView;
    /// So many instances shall there be. Remembered before anything is done about it.
    fn aim(&self, desired: u32);
    /// By hand: that instance leaves, and the aim goes down by one.
    fn drain(&self, name: &str) -> Result<(), UnknownInstance>;
    /// One round of bringing about what is aimed at, in bounded time.
    fn step(&self, now: UnixMillis) -> BoxFuture<'_, ()>;
}

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
