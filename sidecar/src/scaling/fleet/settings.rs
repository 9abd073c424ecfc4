//! [`Config`], checked: every fault, not only the first.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use millrace_kit::{clock::UnixMillis, config::Faults};

use super::{
    actuator, balancer,
    config::{ActuatorKind, BalancerKind, Config},
};
use crate::discovery;

/// It becomes part of file names, of names of containers and of servers in a balancer.
const MAX_GROUP_NAME: usize = 40;

#[derive(Debug, Clone)]
pub struct Settings {
    pub group: String,
    /// Where the state of the group is kept, and what its processes have.
    pub data_dir: PathBuf,
    pub actuator: actuator::Settings,
    pub balancer: balancer::Settings,
    pub source: discovery::SourceConfig,
    pub token_file: Option<PathBuf>,
    pub max_cold: u32,
    pub warm: Warm,
    pub start_deadline: Duration,
    pub drain_deadline: Duration,
    pub stop_deadline: Duration,
    pub crash_limit: u32,
    pub retry_failed: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct Warm {
    /// 0: instances are not warmed.
    pub bytes: u64,
    /// For one instance.
    pub bytes_per_sec: u64,
    pub deadline: Duration,
    /// Whether those that stay take what only a leaving instance has.
    pub hand_over: bool,
}

impl Settings {
    /// What is built once, where it differs.
    pub(super) fn fixed(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("actuator", self.actuator != other.actuator),
            ("balancer", self.balancer != other.balancer),
            ("job or labels", self.source != other.source),
            ("token_file", self.token_file != other.token_file),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
    }

    /// For taking what a leaving instance has.
    pub(super) fn handover_deadline(&self) -> Duration {
        self.warm.deadline.min(self.drain_deadline)
    }
}

impl Config {
    /// `key` is where the configuration stands, `data_dir` the sidecar's. While others serve, `max_cold` instances may be getting
    /// ready at a time.
    pub fn resolve(
        &self,
        (group, max_cold): (&str, u32),
        data_dir: &Path,
        key: &str,
        faults: &mut Faults,
    ) -> Settings {
        if !is_group_name(group) {
            let message = format!(
                "{group:?} must consist of 1 to {MAX_GROUP_NAME} of a-z, 0-9 and -, and begin with one of a-z"
            );
            faults.push(format!("{key}.name"), message);
        }
        let folder = data_dir.join("scaling");
        let at = |name: &str| format!("{key}.{name}");
        let actuator = match self.actuator {
            ActuatorKind::Process => {
                actuator::Settings::Process(self.process.resolve(&folder, &at("process"), faults))
            }
            ActuatorKind::Docker => actuator::Settings::Docker(self.docker.resolve(&at("docker"), faults)),
            ActuatorKind::Kubernetes => {
                actuator::Settings::Kubernetes(self.kubernetes.resolve(&at("kubernetes"), faults))
            }
            ActuatorKind::Webhook => {
                actuator::Settings::Webhook(self.webhook.resolve(&at("webhook"), faults))
            }
        };
        let balancer = match self.balancer {
            BalancerKind::None => balancer::Settings::None,
            BalancerKind::Haproxy => {
                balancer::Settings::Haproxy(self.haproxy.resolve(&at("haproxy"), faults))
            }
            BalancerKind::Nginx => balancer::Settings::Nginx(self.nginx.resolve(&at("nginx"), faults)),
        };
        if self.crash_limit == 0 {
            faults.push(at("crash_limit"), "must be at least 1");
        }
        let source = self.source(group);
        if let Err(error) = discovery::Source::new(&source) {
            faults.push(at("labels"), error.to_string());
        }
        let mut seconds = |value: u64, name: &str| {
            if value == 0 {
                faults.push(at(name), "must be at least 1");
            }
            Duration::from_secs(value.clamp(1, 86_400))
        };
        let (start_deadline, drain_deadline, stop_deadline, retry_failed) = (
            seconds(self.start_deadline_secs, "start_deadline_secs"),
            seconds(self.drain_deadline_secs, "drain_deadline_secs"),
            seconds(self.stop_deadline_secs, "stop_deadline_secs"),
            seconds(self.retry_failed_secs, "retry_failed_secs"),
        );
        let deadline = seconds(self.warm.deadline_secs, "warm.deadline_secs");
        let rate = size(&self.warm.bytes_per_sec, &at("warm.bytes_per_sec"), faults);
        if rate == 0 && faults.is_empty() {
            faults.push(at("warm.bytes_per_sec"), "must be at least 1");
        }
        Settings {
            group: group.to_owned(),
            data_dir: folder,
            actuator,
            balancer,
            source,
            token_file: path(&self.token_file),
            max_cold: max_cold.max(1),
            warm: Warm {
                bytes: size(&self.warm.bytes, &at("warm.bytes"), faults),
                bytes_per_sec: (rate / u64::from(max_cold.max(1))).max(1),
                deadline,
                hand_over: self.warm.hand_over,
            },
            start_deadline,
            drain_deadline,
            stop_deadline,
            crash_limit: self.crash_limit.max(1),
            retry_failed,
        }
    }

    fn source(&self, group: &str) -> discovery::SourceConfig {
        let mut labels = self.labels.clone();
        labels.entry("group".to_owned()).or_insert_with(|| group.to_owned());
        discovery::SourceConfig { job: self.job.clone(), labels, refresh_secs: 1, ..Default::default() }
    }
}

fn is_group_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= MAX_GROUP_NAME
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
}

fn size(text: &str, key: &str, faults: &mut Faults) -> u64 {
    text.parse::<ByteSize>().map_or_else(
        |_| {
            faults.push(key, format!("{text:?} is not a size, such as 256MiB"));
            0
        },
        |size| size.as_u64(),
    )
}

/// None: nothing was given.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

pub(super) fn url(text: &str, key: &str, faults: &mut Faults) -> String {
    let url = url::Url::parse(text).ok();
    if url.is_none_or(|url| !matches!(url.scheme(), "http" | "https") || !url.has_host()) {
        faults.push(key, format!("{text:?} must be an http:// or https:// URL"));
    }
    text.trim_end_matches('/').to_owned()
}

pub(super) fn needed(text: &str, key: &str, faults: &mut Faults) -> String {
    if text.is_empty() {
        faults.push(key, "must be given");
    }
    text.to_owned()
}

pub(super) fn millis(duration: Duration) -> UnixMillis {
    UnixMillis::try_from(duration.as_millis()).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(group: &str, text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        let mut faults = Faults::default();
        config.resolve((group, 1), Path::new("/var/lib/s"), "groups[0]", &mut faults);
        faults.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_want_only_an_origin() {
        assert_eq!(faults("edge", ""), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named() {
        let text = "
actuator = 'kubernetes'
balancer = 'haproxy'
drain_deadline_secs = 0
kubernetes = { api = 'ftp://x', kind = 'jobs' }
haproxy = { address = 'nowhere', backend = 'a b' }
warm = { bytes = 'much' }
";
        assert_eq!(
            faults("Edge/1", text),
            [
                "groups[0].name: \"Edge/1\" must consist of 1 to 40 of a-z, 0-9 and -, and begin with one of a-z",
                "groups[0].kubernetes.api: \"ftp://x\" must be an http:// or https:// URL",
                "groups[0].kubernetes.name: must be given",
                "groups[0].kubernetes.kind: must be deployments or replicasets",
                "groups[0].haproxy.address: \"nowhere\" must begin with unix:// or tcp://",
                "groups[0].haproxy.backend: \"a b\" is not a name of a backend",
                "groups[0].drain_deadline_secs: must be at least 1",
                "groups[0].warm.bytes: \"much\" is not a size, such as 256MiB",
            ]
        );
    }

    #[test]
    fn the_rate_is_shared_by_those_that_may_be_cold() {
        let config: Config = toml::from_str("warm = { bytes_per_sec = '10MiB' }").unwrap();
        let settings = config.resolve(("edge", 2), Path::new("d"), "g", &mut Faults::default());
        assert_eq!(settings.warm.bytes_per_sec, 5 << 20);
    }
}
