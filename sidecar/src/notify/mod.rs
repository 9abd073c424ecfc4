//! Tells people about alerts: decides what each receiver does not know yet, and delivers it with retries. Never delays
//! an evaluation: evaluations only leave the newest state here.
//!
//! [`Outbox`] is the part without network and clock; [`Webhook`] carries its payloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod journal;
mod outbox;
mod payload;
mod webhook;

pub use journal::Journal;
pub use outbox::{Delivery, MAX_ALERTS, Outbox, Settings};
pub use payload::Payload;
pub use webhook::{Error, Webhook};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Shown as `receiver` in the payload; distinct.
    pub name: String,
    /// Gets POSTs in the format of Alertmanager's webhook (version 4).
    pub url: String,
    /// Whether resolved alerts are sent too.
    pub send_resolved: bool,
    /// Seconds after which a still firing alert is sent again.
    pub repeat_interval_secs: u64,
    /// Seconds one POST may take.
    pub timeout_secs: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "webhook".to_owned(),
            url: String::new(),
            send_resolved: true,
            repeat_interval_secs: 4 * 3600,
            timeout_secs: 10,
        }
    }
}
