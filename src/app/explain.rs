//! `millrace explain`: asks a running server why a request would hit or miss.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use url::form_urlencoded::Serializer;

use super::{
    cli::{complain, say},
    remote::{self, TOKEN},
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Explain {
    /// The address, with or without scheme and host.
    #[arg(value_name = "URL")]
    url: String,
    /// A field of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The request's method.
    #[arg(short = 'X', long = "method", value_name = "M", default_value = "GET")]
    method: String,
    /// Print JSON, with all that is known.
    #[arg(long)]
    json: bool,
    /// The server's admin address. Unless that is a loopback address, its token is taken from MILLRACE__ADMIN__TOKEN.
    #[arg(long, value_name = "A:P", default_value = "127.0.0.1:8081")]
    admin: String,
}

pub fn run(explain: &Explain) -> ExitCode {
    let Explain { url, headers, method, json, admin } = explain;
    let mut query = Serializer::new(String::new());
    query.append_pair("url", url).append_pair("method", method);
    query.append_pair("format", if *json { "json" } else { "text" });
    query.extend_pairs(headers.iter().map(|line| ("header", line)));
    let path = format!("/api/v1/cache/explain?{}", query.finish());
    let token = std::env::var(TOKEN).unwrap_or_default();
    match remote::get(admin, &path, &token, PATIENCE) {
        Ok(answer) if answer.status == 200 => {
            say(&answer.body);
            if *json {
                say("\n");
            }
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let reason = said["detail"].as_str().unwrap_or("no explanation");
            complain(&format_args!("not explained ({}): {reason}", answer.status));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format_args!("{admin}: {error}"));
            ExitCode::FAILURE
        }
    }
}
