//! Metrics of things that have no exporter of their own: the host, Redis, nginx, Postgres, processes. Each is asked when it is
//! due and answered as an exposition, which is then treated like any other; names are those of the exporters that people know.
//!
//! What the pools of Millrace itself hold is told by the servers (`millrace_db_pool_connections`), and HAProxy has an exporter
//! of its own, which is scraped as it is.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

mod exposition;
mod host;
mod nginx;
mod postgres;
mod processes;
mod redis;

use exposition::Exposition;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Host,
    Processes,
    Redis,
    Nginx,
    Postgres,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `host`: CPU, memory, disks, network, as node_exporter names them; `processes`: by name; `redis`: `INFO`; `nginx`:
    /// `stub_status`; `postgres`: connections and databases.
    pub kind: Kind,
    /// Label `job`; empty: the kind.
    pub job: String,
    /// Label `instance`; empty: host and port, or this machine's name.
    pub instance: String,
    /// `redis://host:6379`, `http://host/stub_status`, `postgres://user@host/database`.
    pub url: String,
    /// A file with the password, for Redis and Postgres.
    pub password_file: String,
    /// Names of processes, as in `/proc/*/comm`.
    pub processes: Vec<String>,
    /// Where the host's `/proc` is.
    pub proc: PathBuf,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Host,
            job: String::new(),
            instance: String::new(),
            url: String::new(),
            password_file: String::new(),
            processes: vec!["ffmpeg".to_owned()],
            proc: PathBuf::from("/proc"),
            labels: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Connection(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("unexpected answer: {0}")]
    Answer(String),
    #[error("url: {0}")]
    Url(String),
    #[error("password_file {file}: {source}")]
    Password { file: String, source: std::io::Error },
    #[error("names no processes")]
    NoProcesses,
}

/// Something that can be asked for its metrics.
#[derive(Debug)]
pub struct Collector {
    asked: Asked,
    pub job: String,
    pub instance: String,
    /// Says what is asked; without a password.
    pub url: Url,
}

#[derive(Debug)]
enum Asked {
    Host(host::Host),
    Processes(processes::Processes),
    Redis(redis::Redis),
    Nginx(nginx::Nginx),
    Postgres(postgres::Postgres),
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Processes => "processes",
            Self::Redis => "redis",
            Self::Nginx => "nginx",
            Self::Postgres => "postgres",
        }
    }
}

impl Collector {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let local = host::name(&config.proc);
        let (asked, url) = match config.kind {
            Kind::Host => (Asked::Host(host::Host::new(config.proc.clone())), local_url("host", &local)?),
            Kind::Processes if config.processes.is_empty() => return Err(Error::NoProcesses),
            Kind::Processes => {
                let mut url = local_url("processes", &local)?;
                url.set_path(&config.processes.join(","));
                let processes = processes::Processes::new(config.proc.clone(), &config.processes);
                (Asked::Processes(processes), url)
            }
            Kind::Redis => {
                let url = remote_url(&config.url, &["redis"])?;
                (Asked::Redis(redis::Redis::new(&url, password(config)?)), url)
            }
            Kind::Nginx => {
                let url = remote_url(&config.url, &["http", "https"])?;
                (Asked::Nginx(nginx::Nginx::new(&url)?), url)
            }
            Kind::Postgres => {
                let url = remote_url(&config.url, &["postgres", "postgresql"])?;
                (Asked::Postgres(postgres::Postgres::new(&url, password(config)?)?), url)
            }
        };
        let instance = match (config.instance.as_str(), config.kind) {
            ("", Kind::Host | Kind::Processes) => local,
            ("", _) => host_and_port(&url),
            (given, _) => given.to_owned(),
        };
        let job = if config.job.is_empty() { config.kind.as_str() } else { &config.job };
        Ok(Self { asked, job: job.to_owned(), instance, url })
    }

    /// An exposition in Prometheus' text format. To be bounded in time by the caller.
    pub async fn collect(&self) -> Result<String, Error> {
        let exposition = match &self.asked {
            Asked::Host(host) => host.collect().await?,
            Asked::Processes(processes) => processes.collect()?,
            Asked::Redis(redis) => redis.collect().await?,
            Asked::Nginx(nginx) => nginx.collect().await?,
            Asked::Postgres(postgres) => postgres.collect().await?,
        };
        Ok(exposition.into_text())
    }
}

fn local_url(scheme: &str, host: &str) -> Result<Url, Error> {
    Url::parse(&format!("{scheme}://{host}/")).map_err(|reason| Error::Url(reason.to_string()))
}

fn remote_url(text: &str, schemes: &[&str]) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|reason| Error::Url(format!("{text:?}: {reason}")))?;
    if !schemes.contains(&url.scheme()) || !url.has_host() {
        return Err(Error::Url(format!("must begin with {}:// and name a host", schemes.join(":// or "))));
    }
    if url.password().is_some() {
        return Err(Error::Url("a password belongs into password_file".to_owned()));
    }
    Ok(url)
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let known = match url.scheme() {
        "redis" => Some(redis::PORT),
        "postgres" | "postgresql" => Some(postgres::PORT),
        _ => url.port_or_known_default(),
    };
    match url.port().or(known) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn password(config: &Config) -> Result<Option<String>, Error> {
    if config.password_file.is_empty() {
        return Ok(None);
    }
    let read = std::fs::read_to_string(&config.password_file);
    let text = read.map_err(|source| Error::Password { file: config.password_file.clone(), source })?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(toml: &str) -> Result<Collector, Error> {
        Collector::new(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn what_is_asked_has_a_name() {
        for (toml, job, instance) in [
            ("kind = 'redis'\nurl = 'redis://cache'", "redis", "cache:6379"),
            ("kind = 'postgres'\nurl = 'postgres://m@db:5433/x'\njob = 'db'", "db", "db:5433"),
            ("kind = 'nginx'\nurl = 'http://edge/stub_status'\ninstance = 'e1'", "nginx", "e1"),
        ] {
            let found = collector(toml).unwrap();
            assert_eq!((found.job.as_str(), found.instance.as_str()), (job, instance), "{toml}");
        }
        assert_eq!(collector("kind = 'host'").unwrap().url.scheme(), "host");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for toml in [
            "kind = 'redis'",
            "kind = 'redis'\nurl = 'http://cache'",
            "kind = 'redis'\nurl = 'redis://:hush@cache'",
            "kind = 'redis'\nurl = 'redis://cache'\npassword_file = '/nothing/here'",
            "kind = 'processes'\nprocesses = []",
        ] {
            assert!(collector(toml).is_err(), "{toml}");
        }
    }
}
