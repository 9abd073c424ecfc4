//! Sources of targets that change while the sidecar runs: lists in Prometheus' format, names in DNS, Docker, Kubernetes. Each
//! yields sets of labels, under the names that Prometheus gives them; [`super::Source::target`] makes targets of them.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use super::{Error, SourceConfig};
use crate::model::Labels;

mod dns;
mod docker;
mod kubernetes;
mod lists;

pub use docker::Config as DockerConfig;
pub use kubernetes::Config as KubernetesConfig;

/// Of a file or an answer.
const MAX_BYTES: usize = 8 << 20;
/// Of one source.
const MAX_TARGETS: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks what a source names now.
#[derive(Debug, Clone)]
pub struct Finder {
    config: Arc<SourceConfig>,
    http: reqwest::Client,
    dns: Option<Arc<dns::Dns>>,
    docker: Option<Arc<docker::Docker>>,
    kubernetes: Option<Arc<kubernetes::Kubernetes>>,
    named: Named,
}

/// Targets that another part of this program knows of.
#[derive(Debug, Clone, Default)]
pub struct Named(Arc<RwLock<Vec<Labels>>>);

impl Named {
    pub fn set(&self, targets: Vec<Labels>) {
        *self.0.write() = targets;
    }
}

impl Finder {
    pub(super) fn new(config: &SourceConfig) -> Result<Self, Error> {
        let dns = match config.dns_srv.is_empty() {
            true => None,
            false => Some(Arc::new(dns::Dns::new(&config.dns_servers)?)),
        };
        let docker = match config.docker.engine.is_empty() {
            true => None,
            false => Some(Arc::new(docker::Docker::new(&config.docker, config.port)?)),
        };
        let kubernetes = match config.kubernetes.api.is_empty() {
            true => None,
            false => Some(Arc::new(kubernetes::Kubernetes::new(&config.kubernetes)?)),
        };
        Ok(Self {
            config: Arc::new(config.clone()),
            http: client(builder())?,
            dns,
            docker,
            kubernetes,
            named: Named::default(),
        })
    }

    pub(super) fn with(self, named: Named) -> Self {
        Self { named, ..self }
    }

    /// What the source names now, or why that cannot be said: then the targets of before stay.
    pub async fn look(&self) -> Result<Vec<Labels>, String> {
        let config = &self.config;
        let mut found = Vec::new();
        for file in &config.files {
            found.extend(lists::from_file(file).await.map_err(|error| format!("{file}: {error}"))?);
        }
        if !config.http.is_empty() {
            let listed = lists::from_http(&config.http, &self.http).await;
            found.extend(listed.map_err(|error| format!("{}: {error}", config.http))?);
        }
        for name in &config.dns {
            let addresses = dns::addresses(name, config.port).await;
            found.extend(addresses.map_err(|error| format!("{name}: {error}"))?);
        }
        if let Some(dns) = &self.dns {
            for name in &config.dns_srv {
                found.extend(dns.services(name).await.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        if let Some(docker) = &self.docker {
            found.extend(docker.containers().await.map_err(|error| format!("Docker: {error}"))?);
        }
        if let Some(kubernetes) = &self.kubernetes {
            found.extend(kubernetes.endpoints().await.map_err(|error| format!("Kubernetes: {error}"))?);
        }
        found.extend(self.named.0.read().iter().cloned());
        match found.len() > MAX_TARGETS {
            true => Err(format!("names more than {MAX_TARGETS} targets")),
            false => Ok(found),
        }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy()
}

fn client(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|reason| Error::Client(reason.to_string()))
}

/// The JSON of an answer, bounded in time and size.
async fn json<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, String> {
    let said = |error: reqwest::Error| {
        let error = error.without_url();
        std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    };
    let ask = async {
        let mut answer = request.header("accept", "application/json").send().await.map_err(said)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(said)? {
            if body.len() + piece.len() > MAX_BYTES {
                return Err(format!("answered with more than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    };
    tokio::time::timeout(TIMEOUT, ask).await.map_err(|_| format!("no answer within {TIMEOUT:?}"))?
}

/// What may stand in the name of a label.
fn label_name(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}
