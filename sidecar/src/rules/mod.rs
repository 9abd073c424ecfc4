//! Prometheus rule files: loading, evaluating, the alert state machine, its memory over restarts. Who is told about
//! alerts is decided above.
//!
//! [`alert::step`] and [`group::evaluate`] are functions of (now, data, state); [`Engine`] holds the state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod alert;
mod engine;
mod file;
mod group;
mod lines;
mod load;
mod reason;
mod state;
mod template;
mod view;

pub use alert::{Alert, AlertState};
pub use engine::{Engine, Evaluation, GroupHandle};
pub use file::{Text, duration};
pub use group::{Alerting, Context, Group, Kind, Rule};
pub use load::{Fault, load};
pub use state::StateFile;
pub use template::Template;
pub use view::{AlertView, GroupView, Health, RuleView};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Rule files in Prometheus' format; `*` and `?` match within a file name. Empty: the rules shipped with the
    /// binary.
    pub files: Vec<String>,
    /// Seconds between evaluations of groups that name no interval.
    pub evaluation_interval_secs: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { files: Vec::new(), evaluation_interval_secs: 15 }
    }
}
