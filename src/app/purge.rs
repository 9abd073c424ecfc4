//! `millrace purge`: asks a running server to forget something.

use std::{process::ExitCode, time::Duration};

use clap::{ArgGroup, Args};

use super::{
    cli::{complain, say},
    remote::{self, TOKEN},
};

/// A purge is acknowledged when it is on disk.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)))]
pub struct Purge {
    /// Addresses; without a host, those of all hosts. With a source goes what is made of it.
    #[arg(value_name = "URL", group = "what")]
    urls: Vec<String>,
    /// A tag that origins give in Surrogate-Key or Cache-Tag.
    #[arg(long = "tag", value_name = "T", group = "what")]
    tags: Vec<String>,
    /// A path and all below it, with or without a host.
    #[arg(long = "prefix", value_name = "P", group = "what")]
    prefixes: Vec<String>,
    /// Everything.
    #[arg(long, group = "what")]
    all: bool,
    /// Keep it as stale: validate it before it is used, and let it stand in where stale answers may.
    #[arg(long)]
    soft: bool,
    /// The server's admin address. Unless that is a loopback address, its token is taken from MILLRACE__ADMIN__TOKEN.
    #[arg(long, value_name = "A:P", default_value = "127.0.0.1:8081")]
    admin: String,
}

pub fn run(purge: &Purge) -> ExitCode {
    let Purge { urls, tags, prefixes, all, soft, admin } = purge;
    let json =
        serde_json::json!({ "urls": urls, "tags": tags, "prefixes": prefixes, "all": all, "soft": soft });
    let token = std::env::var(TOKEN).unwrap_or_default();
    let answer = match remote::post_json(admin, "/api/v1/purge", &token, &json.to_string(), PATIENCE) {
        Ok(answer) => answer,
        Err(error) => {
            complain(&format_args!("{admin}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match said["sequence"].as_u64() {
        Some(sequence) if answer.status == 200 => {
            say(&format!("purged: sequence {sequence}\n"));
            ExitCode::SUCCESS
        }
        _ => {
            let reason = said["detail"].as_str().unwrap_or("no receipt");
            complain(&format_args!("not purged ({}): {reason}", answer.status));
            ExitCode::FAILURE
        }
    }
}
