//! Which targets there are. Static ones from the configuration; other sources become further functions that yield
//! [`Target`]s. Knows nothing of how they are scraped.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::model::{Builder, INSTANCE, JOB, Labels, is_label_name};

/// Where metrics are when a target names only a host.
const DEFAULT_PATH: &str = "/metrics";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Base URL (`/metrics` is appended) or full URL of the metrics.
    pub url: String,
    /// Label `job` of everything scraped here.
    pub job: String,
    /// Further labels of everything scraped here.
    pub labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8081/metrics".to_owned(),
            job: "millrace".to_owned(),
            labels: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Url,
    /// Attached to every series: `job`, `instance` (host and port) and what the configuration adds.
    pub labels: Labels,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{url:?} is not a URL: {reason}")]
    Url { url: String, reason: String },
    #[error("{0:?} must begin with http:// or https:// and name a host")]
    Scheme(String),
    #[error("{0:?} is not a label name, or is reserved")]
    Label(String),
}

impl Target {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut url = parse(&config.url)?;
        if url.path() == "/" && url.query().is_none() {
            url.set_path(DEFAULT_PATH);
        }
        let mut labels = Builder::default();
        labels.set(JOB, &config.job).set(INSTANCE, &host_and_port(&url));
        for (name, value) in &config.labels {
            if !is_label_name(name) || name.starts_with("__") {
                return Err(Error::Label(name.clone()));
            }
            labels.set(name, value);
        }
        Ok(Self { url, labels: labels.build() })
    }

    pub fn job(&self) -> &str {
        self.labels.get(JOB)
    }

    pub fn instance(&self) -> &str {
        self.labels.get(INSTANCE)
    }
}

/// `127.0.0.1:8081` is taken for `http://127.0.0.1:8081`.
fn parse(text: &str) -> Result<Url, Error> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme)
        .map_err(|reason| Error::Url { url: text.to_owned(), reason: reason.to_string() })?;
    match matches!(url.scheme(), "http" | "https") && url.has_host() {
        true => Ok(url),
        false => Err(Error::Scheme(text.to_owned())),
    }
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, Error> {
        Target::new(&Config { url: url.to_owned(), ..Config::default() })
    }

    #[test]
    fn base_and_full_urls() {
        for (given, url, instance) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/metrics", "127.0.0.1:8081"),
            ("http://127.0.0.1:8081/", "http://127.0.0.1:8081/metrics", "127.0.0.1:8081"),
            ("http://127.0.0.1:8081/metrics", "http://127.0.0.1:8081/metrics", "127.0.0.1:8081"),
            ("https://edge.example/m?x=1", "https://edge.example/m?x=1", "edge.example:443"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/metrics", "127.0.0.1:9000"),
            ("[::1]:9000", "http://[::1]:9000/metrics", "[::1]:9000"),
        ] {
            let target = target(given).unwrap();
            assert_eq!((target.url.as_str(), target.instance()), (url, instance), "{given}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for given in ["", "file:///etc/passwd", "ftp://a/", "http://", "http://a b/"] {
            assert!(target(given).is_err(), "{given}");
        }
        let labels = BTreeMap::from([("__name__".to_owned(), "x".to_owned())]);
        let bad = Target::new(&Config { labels, ..Config::default() });
        assert_eq!(bad, Err(Error::Label("__name__".to_owned())));
    }
}
