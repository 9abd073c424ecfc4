//! `millrace-sidecar silence`: asks a running sidecar, or an Alertmanager, over its API.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{model::time::rfc3339, notify::Condition, promql::parse_duration, scrape::innermost};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Silence {
    #[command(subcommand)]
    action: Action,
    /// The sidecar's base URL.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8090")]
    url: String,
    /// A file with the sidecar's `http.token`, when it runs on another machine.
    #[arg(long, global = true, value_name = "F")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Alerts that match all MATCHERS are not told for a while.
    Add {
        /// Such as `alertname=TargetDown` or `instance=~"edge-.*"`.
        #[arg(required = true, value_name = "MATCHERS")]
        matchers: Vec<String>,
        /// How long, as in `2h30m`.
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        duration: String,
        #[arg(long, value_name = "TEXT")]
        comment: String,
        #[arg(long, value_name = "NAME", env = "USER", default_value = "")]
        author: String,
    },
    /// Silences that are in force or will be.
    List {
        /// Ended ones too.
        #[arg(long)]
        all: bool,
    },
    /// End a silence now.
    Expire {
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Silence {
    /// What to say.
    pub(super) fn run(&self) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.ask())
    }

    async fn ask(&self) -> anyhow::Result<String> {
        match &self.action {
            Action::Add { matchers, duration, comment, author } => {
                let conditions = matchers.iter().map(|text| Condition::parse(text));
                let conditions: Vec<Condition> = conditions.collect::<Result<_, _>>()?;
                let length = parse_duration(duration)
                    .ok_or_else(|| anyhow::anyhow!("{duration:?} is not a duration, such as 2h30m"))?;
                let now = Clock::System.unix_millis();
                let end = now.saturating_add(i64::try_from(length.as_millis())?);
                let silence = json!({
                    "matchers": conditions,
                    "startsAt": rfc3339(now),
                    "endsAt": rfc3339(end),
                    "createdBy": author,
                    "comment": comment,
                });
                let set = self.send(reqwest::Method::POST, "/api/v2/silences", Some(&silence)).await?;
                Ok(format!("{}\n", set["silenceID"].as_str().unwrap_or_default()))
            }
            Action::List { all } => {
                let silences = self.send(reqwest::Method::GET, "/api/v2/silences", None).await?;
                let silences = silences.as_array().map(Vec::as_slice).unwrap_or_default().iter();
                let silences = silences.filter(|silence| *all || silence["status"]["state"] != "expired");
                Ok(silences.map(line).collect())
            }
            Action::Expire { id } => {
                let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
                self.send(reqwest::Method::DELETE, &format!("/api/v2/silence/{id}"), None).await?;
                Ok(String::new())
            }
        }
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        let mut request = http.request(method, format!("{}{path}", self.url.trim_end_matches('/')));
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file)
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))?;
            request = request.bearer_auth(token.trim());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await;
        let answer = answer.map_err(|reason| anyhow::anyhow!("{}: {}", self.url, innermost(&reason)))?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            let reason: String = serde_json::from_str(&text).unwrap_or(text);
            anyhow::bail!("answered {}: {reason}", status.as_u16());
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn line(silence: &Value) -> String {
    let text = |name: &str| silence[name].as_str().unwrap_or_default().to_owned();
    let matchers = silence["matchers"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let matchers = matchers.filter_map(|matcher| serde_json::from_value::<Condition>(matcher.clone()).ok());
    let matchers: Vec<String> = matchers.map(|condition| condition.to_string()).collect();
    format!(
        "{}  {}  until {}  {}  {} {}\n",
        text("id"),
        silence["status"]["state"].as_str().unwrap_or_default(),
        text("endsAt"),
        matchers.join(" "),
        text("createdBy"),
        text("comment"),
    )
}
