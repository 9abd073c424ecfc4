//! Whom to tell, as a user writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ALERT_NAME;

/// Of the messages to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Alertmanager,
    Slack,
}

/// Which alerts come together, and how often; all as in Alertmanager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Grouping {
    /// Alerts that agree in these labels come in one message.
    pub group_by: Vec<String>,
    /// Seconds that the first alert of a group waits for others.
    pub group_wait_secs: u64,
    /// Seconds between two messages about a group.
    pub group_interval_secs: u64,
    /// Seconds after which a still firing alert is sent again.
    pub repeat_interval_secs: u64,
    /// Whether resolved alerts are sent too.
    pub send_resolved: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookConfig {
    /// Shown as `receiver` in the payload; distinct.
    pub name: String,
    /// Gets POSTs.
    pub url: String,
    /// `alertmanager`: the format of Alertmanager's webhook (version 4); `slack`: a message for Slack and the like.
    pub format: Format,
    #[serde(flatten)]
    pub grouping: Grouping,
    /// Seconds one POST may take.
    pub timeout_secs: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmailConfig {
    /// Distinct among all receivers.
    pub name: String,
    /// The mail server: `smtps://host`, `smtp://host?tls=required` (STARTTLS) or, without encryption, `smtp://host`.
    pub server: String,
    /// Empty: without signing on.
    pub username: String,
    /// A file with the password.
    pub password_file: String,
    /// `Millrace <millrace@example.org>`.
    pub from: String,
    pub to: Vec<String>,
    #[serde(flatten)]
    pub grouping: Grouping,
    /// Seconds one message may take.
    pub timeout_secs: u64,
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

impl Default for Grouping {
    fn default() -> Self {
        Self {
            group_by: vec![ALERT_NAME.to_owned()],
            group_wait_secs: 30,
            group_interval_secs: 300,
            repeat_interval_secs: 4 * 3600,
            send_resolved: true,
        }
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            name: "webhook".to_owned(),
            url: String::new(),
            format: Format::Alertmanager,
            grouping: Grouping::default(),
            timeout_secs: 10,
        }
    }
}

impl Default for EmailConfig {
    fn default() -> Self {
        Self {
            name: "email".to_owned(),
            server: String::new(),
            username: String::new(),
            password_file: String::new(),
            from: String::new(),
            to: Vec::new(),
            grouping: Grouping::default(),
            timeout_secs: 30,
        }
    }
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self { name: "alertmanager".to_owned(), url: String::new(), timeout_secs: 10 }
    }
}
