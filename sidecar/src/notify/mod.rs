//! Tells people about alerts: decides what each receiver does not know yet, and delivers it with retries. Never delays
//! an evaluation: evaluations only leave the newest state here.
//!
//! [`Outbox`] is the part without network and clock; [`Webhook`] carries its payloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod alertmanager;
mod journal;
mod mute;
mod outbox;
mod payload;
mod silences;
mod slack;
mod webhook;

pub use alertmanager::{RESEND, valid_for};
pub use journal::Journal;
pub use mute::{Inhibition, InhibitionConfig, Mutes};
pub use outbox::{Delivery, MAX_ALERTS, Outbox, Settings};
pub use payload::Payload;
pub use silences::{Condition, Error as SilenceError, Silence, Silences};
pub use webhook::{Error, Webhook};

use crate::model::ALERT_NAME;

/// Of the messages to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Alertmanager,
    Slack,
}

/// Whom a receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Webhook {
        format: Format,
        group_by: Vec<String>,
    },
    /// A real Alertmanager, which does the rest.
    Alertmanager,
}

/// A real Alertmanager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AlertmanagerConfig {
    /// Distinct among all receivers.
    pub name: String,
    /// Base URL, to which `/api/v2/alerts` is added.
    pub url: String,
    /// Seconds one POST may take.
    pub timeout_secs: u64,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self { name: "alertmanager".to_owned(), url: String::new(), timeout_secs: 10 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Shown as `receiver` in the payload; distinct.
    pub name: String,
    /// Gets POSTs.
    pub url: String,
    /// `alertmanager`: the format of Alertmanager's webhook (version 4); `slack`: a message for Slack and the like.
    pub format: Format,
    /// Alerts that agree in these labels come in one message.
    pub group_by: Vec<String>,
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
            format: Format::Alertmanager,
            group_by: vec![ALERT_NAME.to_owned()],
            send_resolved: true,
            repeat_interval_secs: 4 * 3600,
            timeout_secs: 10,
        }
    }
}
