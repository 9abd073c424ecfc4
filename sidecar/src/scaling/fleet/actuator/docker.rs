//! Instances as containers of a Docker engine. A label says which group a container belongs to; the engine keeps no count and
//! restarts nothing, so that there is one who decides.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, errors,
    models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    },
};
use bytesize::ByteSize;
use futures_util::{StreamExt, TryStreamExt};
use millrace_kit::config::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{
    Actuator, Answer, Error, LAST_BYTES, LAST_LINES, Listing, Running, Stop, filled, last_lines, number_of,
};

const GROUP: &str = "millrace.group";
const TIMEOUT: Duration = Duration::from_secs(20);
/// The network in which containers have the addresses of their host.
const HOST: &str = "host";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `unix:///var/run/docker.sock` or `http://host:2375`.
    pub engine: String,
    /// Must be on the engine; it is not fetched.
    pub image: String,
    /// What the image's entry point gets. `{name}`, `{data}` and `{admin}` (addresses with ports) are filled in.
    pub command: Vec<String>,
    /// Added to the command.
    pub args: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Such as `/srv/media:/media:ro`.
    pub binds: Vec<String>,
    /// The engine's default when empty. In `host`, instances have ports of their own as processes do; in others, addresses.
    pub network: String,
    pub data_port: u16,
    pub admin_port: u16,
    /// Of each container; empty: unbounded.
    pub memory: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    config: Config,
    memory: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: "unix:///var/run/docker.sock".to_owned(),
            image: "millrace".to_owned(),
            command: "serve --listen {data} --admin {admin}".split(' ').map(str::to_owned).collect(),
            args: Vec::new(),
            environment: BTreeMap::new(),
            binds: Vec::new(),
            network: String::new(),
            data_port: 8080,
            admin_port: 8081,
            memory: String::new(),
        }
    }
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(&self, key: &str, faults: &mut Faults) -> Settings {
        if !["unix:///", "http://"].iter().any(|scheme| self.engine.starts_with(scheme)) {
            let message = format!("{:?} must begin with unix:/// or http://", self.engine);
            faults.push(format!("{key}.engine"), message);
        }
        if self.image.is_empty() {
            faults.push(format!("{key}.image"), "must be given");
        }
        if self.data_port == 0 || self.admin_port == 0 || self.data_port == self.admin_port {
            faults.push(format!("{key}.admin_port"), "data_port and admin_port must be two ports");
        }
        let memory = match self.memory.as_str() {
            "" => None,
            text => {
                let size = text.parse::<ByteSize>().ok().and_then(|size| i64::try_from(size.as_u64()).ok());
                if size.is_none() {
                    faults.push(format!("{key}.memory"), format!("{text:?} is not a size, such as 2GiB"));
                }
                size
            }
        };
        Settings { config: self.clone(), memory }
    }
}

pub struct Docker {
    group: String,
    settings: Settings,
    /// Made when first needed: the engine may come later than the sidecar.
    engine: OnceCell<bollard::Docker>,
}

impl From<errors::Error> for Error {
    fn from(error: errors::Error) -> Self {
        Self(match error {
            errors::Error::DockerResponseServerError { status_code, message } => {
                format!("Docker answered {status_code}: {message}")
            }
            error => format!("Docker: {error}"),
        })
    }
}

impl Docker {
    pub fn new(group: &str, settings: &Settings) -> Self {
        Self { group: group.to_owned(), settings: settings.clone(), engine: OnceCell::new() }
    }

    async fn engine(&self) -> Result<&bollard::Docker, Error> {
        let connect = || async {
            let address = &self.settings.config.engine;
            let seconds = TIMEOUT.as_secs();
            let engine = match address.starts_with("unix://") {
                true => bollard::Docker::connect_with_unix(address, seconds, API_DEFAULT_VERSION),
                false => bollard::Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION),
            };
            // Older engines refuse newer versions of the interface.
            Ok(engine?.negotiate_version().await?)
        };
        self.engine.get_or_try_init(connect).await
    }

    async fn listing(&self) -> Result<Listing, Error> {
        let engine = self.engine().await?;
        let filters = HashMap::from([("label", vec![format!("{GROUP}={}", self.group)])]);
        let filters: HashMap<String, Vec<String>> =
            filters.into_iter().map(|(name, values)| (name.to_owned(), values)).collect();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let mut listing = Listing::default();
        for container in engine.list_containers(Some(options)).await? {
            let names = container.names.as_deref().unwrap_or_default();
            let name = names.first().map(|name| name.trim_start_matches('/').to_owned());
            let Some((name, number)) =
                name.and_then(|name| number_of(&self.group, &name).map(|number| (name, number)))
            else {
                continue;
            };
            let mut running = self.running(&container, number);
            if !running.alive {
                running.words = self.last_words(engine, &name, &container).await;
            }
            listing.instances.insert(name, running);
        }
        Ok(listing)
    }

    fn running(&self, container: &ContainerSummary, number: u16) -> Running {
        use ContainerSummaryStateEnum as State;
        let config = &self.settings.config;
        // What is created and not started yet is being started by us, or was when the sidecar ended.
        let alive = matches!(container.state, Some(State::RUNNING | State::PAUSED | State::RESTARTING));
        let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let mut addresses =
            networks.into_iter().flatten().filter_map(|(_, network)| network.ip_address.clone());
        let address = match config.network.as_str() {
            HOST => Some("127.0.0.1".to_owned()),
            _ => addresses.find(|address| !address.is_empty()),
        };
        let (data, admin) = self.ports(number);
        let url = |port| address.as_ref().map_or_else(String::new, |host| format!("http://{host}:{port}"));
        Running {
            data_url: url(data),
            admin_url: url(admin),
            alive,
            leaving: matches!(container.state, Some(State::STOPPING | State::REMOVING)),
            words: String::new(),
        }
    }

    fn ports(&self, number: u16) -> (u16, u16) {
        let Config { network, data_port, admin_port, .. } = &self.settings.config;
        let after = if network == HOST { number - 1 } else { 0 };
        (data_port.saturating_add(after), admin_port.saturating_add(after))
    }

    async fn last_words(&self, engine: &bollard::Docker, name: &str, container: &ContainerSummary) -> String {
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&LAST_LINES.to_string()).build();
        let mut said = String::new();
        let mut logs = engine.logs(name, Some(options)).take(LAST_LINES);
        while let Ok(Some(line)) = logs.try_next().await {
            said += &line.to_string();
            if said.len() > LAST_BYTES {
                break;
            }
        }
        let status = container.status.as_deref().unwrap_or_default();
        format!("{status}\n{}", last_lines(&said)).trim().to_owned()
    }

    async fn begin(&self, name: &str) -> Result<(), Error> {
        let unknown = || Error(format!("{name:?} is no name of an instance"));
        let number = number_of(&self.group, name).ok_or_else(unknown)?;
        let engine = self.engine().await?;
        let listed = self.listing().await?;
        match listed.instances.get(name) {
            Some(running) if running.alive => return Ok(()),
            // It has ended, or was never started: what it had is in the volumes that it names, if any.
            Some(_) => self.remove(name).await?,
            None => {}
        }
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        engine.create_container(Some(options), self.body(name, number)).await?;
        Ok(engine.start_container(name, None).await?)
    }

    fn body(&self, name: &str, number: u16) -> ContainerCreateBody {
        let Settings { config, memory } = &self.settings;
        let (data, admin) = self.ports(number);
        let host = if config.network == HOST { "127.0.0.1" } else { "0.0.0.0" };
        let (data, admin) = (format!("{host}:{data}"), format!("{host}:{admin}"));
        let values = [("name", name), ("data", data.as_str()), ("admin", admin.as_str())];
        let all = config.command.iter().chain(&config.args);
        let environment = config.environment.iter();
        let environment = environment.map(|(key, value)| format!("{key}={}", filled(value, &values)));
        ContainerCreateBody {
            image: Some(config.image.clone()),
            cmd: Some(all.map(|word| filled(word, &values)).collect()),
            env: Some(environment.collect()),
            labels: Some(HashMap::from([(GROUP.to_owned(), self.group.clone())])),
            host_config: Some(HostConfig {
                network_mode: (!config.network.is_empty()).then(|| config.network.clone()),
                binds: (!config.binds.is_empty()).then(|| config.binds.clone()),
                memory: *memory,
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn end(&self, name: &str, signal: &str) -> Result<(), Error> {
        // Never another's container of the same name.
        if !self.listing().await?.instances.get(name).is_some_and(|running| running.alive) {
            return Ok(());
        }
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        fine(self.engine().await?.kill_container(name, Some(options)).await)
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default().v(true).build();
        fine(self.engine().await?.remove_container(name, Some(options)).await)
    }
}

/// Not there (404), not running or being removed already (409).
fn fine(answer: Result<(), errors::Error>) -> Result<(), Error> {
    match answer {
        Err(errors::Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        answer => Ok(answer?),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(Error(format!("Docker: no answer within {TIMEOUT:?}"))))
}

impl Actuator for Docker {
    fn list(&self) -> Answer<'_, Listing> {
        Box::pin(in_time(self.listing()))
    }

    fn start(&self, name: &str, _total: u32) -> Answer<'_, ()> {
        let name = name.to_owned();
        Box::pin(in_time(async move { self.begin(&name).await }))
    }

    fn stop(&self, name: &str, how: Stop, _total: u32) -> Answer<'_, ()> {
        let name = name.to_owned();
        let signal = match how {
            Stop::Ask => "SIGTERM",
            Stop::Kill => "SIGKILL",
        };
        Box::pin(in_time(async move { self.end(&name, signal).await }))
    }

    fn clear(&self, name: &str) -> Answer<'_, ()> {
        let name = name.to_owned();
        Box::pin(in_time(async move {
            match self.listing().await?.instances.get(&name) {
                Some(running) if running.alive => Err(Error(format!("{name} still runs"))),
                Some(_) => self.remove(&name).await,
                None => Ok(()),
            }
        }))
    }
}
