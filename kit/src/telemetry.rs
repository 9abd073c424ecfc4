//! Logging set-up: one subscriber, text for people or JSON for machines, to standard error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// What is logged, as `tracing` filter directives: `info`, `warn,millrace=debug`, … `info,access=debug` adds a line for
    /// each answer of the server.
    pub filter: String,
    /// `text` for people, `json` for log pipelines.
    pub format: Format,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log filter {filter:?} is not valid: {reason}")]
    Filter { filter: String, reason: String },
    #[error("logging is already set up")]
    AlreadyInstalled,
}

impl Default for Config {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: Format::default() }
    }
}

impl Config {
    pub fn parse_filter(&self) -> Result<EnvFilter, Error> {
        EnvFilter::try_new(&self.filter)
            .map_err(|reason| Error::Filter { filter: self.filter.clone(), reason: reason.to_string() })
    }
}

/// Installs the subscriber for the whole process.
pub fn install(config: &Config) -> Result<(), Error> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.parse_filter()?)
        .with_writer(std::io::stderr)
        // It would be told with `eprintln!`, which panics where whoever reads our lines does not keep up.
        .log_internal_errors(false);
    let installed = match config.format {
        Format::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).with_target(false).try_init()
        }
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|_| Error::AlreadyInstalled)
}
