//! Which targets there are: static ones from the configuration, and those that a [`Source`] names. Knows nothing of how
//! they are scraped.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::{
    model::{Builder, INSTANCE, JOB, Labels, is_label_name},
    relabel,
};

mod finder;

pub use finder::{DockerConfig, Finder, KubernetesConfig, Named};

/// Where metrics are when a target names only a host.
const DEFAULT_PATH: &str = "/metrics";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Base URL (`/metrics` is appended) or full URL of the metrics.
    pub url: String,
    /// Label `job` of everything scraped here.
    pub job: String,
    /// Further labels of everything scraped here.
    pub labels: BTreeMap<String, String>,
    /// Applied to every series before it is kept.
    pub metric_relabel: Vec<relabel::Config>,
}

/// Targets that are looked up again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SourceConfig {
    /// Label `job` of everything scraped here, unless the source or a rule says otherwise.
    pub job: String,
    /// Lists of targets in Prometheus' format, JSON or YAML.
    pub files: Vec<String>,
    /// A list of targets over HTTP, JSON in Prometheus' format.
    pub http: String,
    /// Names whose addresses are targets, at `port`.
    pub dns: Vec<String>,
    /// Names of services (SRV records), which bring their ports.
    pub dns_srv: Vec<String>,
    /// Name servers to ask for services, such as `10.0.0.2:53`; none: those of the system.
    pub dns_servers: Vec<String>,
    /// Containers of an engine.
    pub docker: DockerConfig,
    /// Endpoints of a cluster.
    pub kubernetes: KubernetesConfig,
    /// Of addresses that come without one.
    pub port: u16,
    pub scheme: String,
    pub path: String,
    pub refresh_secs: u64,
    pub labels: BTreeMap<String, String>,
    /// Applied to the labels of every target; `__address__`, `__scheme__`, `__metrics_path__`, `__param_…` and `__meta_…`
    /// are there as in Prometheus.
    pub relabel: Vec<relabel::Config>,
    /// Applied to every series before it is kept.
    pub metric_relabel: Vec<relabel::Config>,
}

/// [`SourceConfig`], checked.
#[derive(Debug, Clone)]
pub struct Source {
    pub config: SourceConfig,
    pub finder: Finder,
    pub relabel: Vec<relabel::Rule>,
    pub metric_relabel: Arc<[relabel::Rule]>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            job: "millrace".to_owned(),
            files: Vec::new(),
            http: String::new(),
            dns: Vec::new(),
            dns_srv: Vec::new(),
            dns_servers: Vec::new(),
            docker: DockerConfig::default(),
            kubernetes: KubernetesConfig::default(),
            port: 8081,
            scheme: "http".to_owned(),
            path: DEFAULT_PATH.to_owned(),
            refresh_secs: 30,
            labels: BTreeMap::new(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
        }
    }
}

impl Source {
    pub fn new(config: &SourceConfig) -> Result<Self, Error> {
        let relabel = config.relabel.iter().map(relabel::Rule::new).collect::<Result<_, _>>()?;
        let metric_relabel = config.metric_relabel.iter().map(relabel::Rule::new);
        let metric_relabel = metric_relabel.collect::<Result<Vec<_>, _>>()?;
        let finder = Finder::new(config)?;
        Ok(Self { config: config.clone(), finder, relabel, metric_relabel: metric_relabel.into() })
    }

    /// Of what is named by another part of this program, besides what the configuration names.
    pub fn named(config: &SourceConfig, named: Named) -> Result<Self, Error> {
        let source = Self::new(config)?;
        Ok(Self { finder: source.finder.with(named), ..source })
    }

    /// None when a rule drops it.
    pub fn target(&self, found: &Labels) -> Result<Option<Target>, Error> {
        let config = &self.config;
        let mut labels = Builder::default();
        labels.set(JOB, &config.job).set("__scheme__", &config.scheme).set("__metrics_path__", &config.path);
        for (name, value) in &config.labels {
            labels.set(name, value);
        }
        for label in found.iter() {
            labels.set(&label.name, &label.value);
        }
        let Some(labels) = relabel::apply(&self.relabel, labels.build()) else { return Ok(None) };
        let address = labels.get("__address__");
        let mut url = parse(&format!("{}://{address}", labels.get("__scheme__")))?;
        if address.is_empty() || address.contains('/') {
            return Err(Error::Scheme(address.to_owned()));
        }
        let path = labels.get("__metrics_path__");
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        for label in labels.iter() {
            if let Some(name) = label.name.strip_prefix("__param_") {
                url.query_pairs_mut().append_pair(name, &label.value);
            }
        }
        let mut kept = labels.filter(|name| !name.starts_with("__"));
        if kept.get(INSTANCE).is_empty() {
            kept = kept.with(INSTANCE, address);
        }
        Ok(Some(Target { url, labels: kept, metric_relabel: self.metric_relabel.clone() }))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8081/metrics".to_owned(),
            job: "millrace".to_owned(),
            labels: BTreeMap::new(),
            metric_relabel: Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Target {
    pub url: Url,
    /// Attached to every series: `job`, `instance` (host and port) and what the configuration adds.
    pub labels: Labels,
    /// For its series.
    pub metric_relabel: Arc<[relabel::Rule]>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{url:?} is not a URL: {reason}")]
    Url { url: String, reason: String },
    #[error("{0:?} must begin with http:// or https:// and name a host")]
    Scheme(String),
    #[error("{0:?} is not a label name, or is reserved")]
    Label(String),
    #[error("docker.engine {0:?} must begin with unix://, http:// or https://")]
    Engine(String),
    #[error("{0}")]
    Client(String),
    #[error("relabelling: {0}")]
    Relabel(#[from] relabel::Error),
}

impl Target {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut url = parse(&config.url)?;
        if url.path() == "/" && url.query().is_none() {
            url.set_path(DEFAULT_PATH);
        }
        let labels = named(&config.job, &host_and_port(&url), &config.labels)?;
        let rules = config.metric_relabel.iter().map(relabel::Rule::new);
        let metric_relabel: Vec<_> = rules.collect::<Result<_, _>>()?;
        Ok(Self { url, labels, metric_relabel: metric_relabel.into() })
    }

    /// Of something that is not asked over HTTP for an exposition; `url` says what.
    pub fn collected(
        url: &Url,
        job: &str,
        instance: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let labels = named(job, instance, labels)?;
        Ok(Self { url: url.clone(), labels, metric_relabel: Arc::from([]) })
    }

    pub fn job(&self) -> &str {
        self.labels.get(JOB)
    }

    pub fn instance(&self) -> &str {
        self.labels.get(INSTANCE)
    }
}

fn named(job: &str, instance: &str, further: &BTreeMap<String, String>) -> Result<Labels, Error> {
    let mut labels = Builder::default();
    labels.set(JOB, job).set(INSTANCE, instance);
    for (name, value) in further {
        if !is_label_name(name) || name.starts_with("__") {
            return Err(Error::Label(name.clone()));
        }
        labels.set(name, value);
    }
    Ok(labels.build())
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
        assert!(matches!(bad, Err(Error::Label(name)) if name == "__name__"));
    }

    #[test]
    fn found_labels_become_a_target() {
        let config: SourceConfig = toml::from_str(
            "job = 'edge'\nrelabel = [{source_labels = ['__meta_zone'], target_label = 'zone'}, \
             {source_labels = ['drop'], regex = 'yes', action = 'drop'}]",
        )
        .unwrap();
        let source = Source::new(&config).unwrap();
        let found = [("__address__", "h:9"), ("__meta_zone", "a"), ("__param_x", "1 2"), ("team", "t")];
        let target = source.target(&Labels::from_pairs(found)).unwrap().unwrap();
        assert_eq!(target.url.as_str(), "http://h:9/metrics?x=1+2");
        assert_eq!(target.labels.to_string(), r#"{instance="h:9", job="edge", team="t", zone="a"}"#);
        assert!(
            source.target(&Labels::from_pairs([("__address__", "h:9"), ("drop", "yes")])).unwrap().is_none()
        );
        assert!(source.target(&Labels::from_pairs([("__address__", "h/../x")])).is_err());
        assert!(source.target(&Labels::empty()).is_err());
    }
}
