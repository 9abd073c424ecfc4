//! Asks name servers: those of the settings, or the system's, whose files are read again when they have changed.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    lookup_ip::LookupIp,
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Dns;

/// Addresses are good for at least that long, and at most.
pub(super) const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(3600);
/// An answer that there is nothing is believed for that long.
pub(super) const NOTHING: Duration = Duration::from_secs(5);
/// How often the system's files are looked at.
const LOOK: Duration = Duration::from_secs(2);

pub(super) struct Resolver {
    files: Option<Files>,
    current: Mutex<Current>,
}

/// What the system says of names.
struct Files {
    resolv_conf: PathBuf,
    /// Read by the library, at its usual place.
    hosts: PathBuf,
}

struct Current {
    resolver: TokioResolver,
    servers: Vec<IpAddr>,
    /// When the files were changed last, as far as is known.
    changed: [Option<SystemTime>; 2],
    look_at: Instant,
}

impl Resolver {
    pub(super) fn new(dns: &Dns) -> Result<Self, NetError> {
        if dns.servers.is_empty() {
            return Self::of(Files { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() });
        }
        let servers = dns.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|connection| with_port(connection, server.port()));
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let current = Current {
            resolver: build(config, ResolverOpts::default())?,
            servers: Vec::new(),
            changed: [None; 2],
            look_at: Instant::now(),
        };
        Ok(Self { files: None, current: Mutex::new(current) })
    }

    fn of(files: Files) -> Result<Self, NetError> {
        let changed = files.changed();
        // A machine without a resolver still knows `localhost` and what its hosts file says.
        let (resolver, servers) = read(&files.resolv_conf).or_else(|error| {
            tracing::warn!("the system's name servers are not known: {error}");
            let none = ResolverConfig::from_name_servers(Vec::new());
            build(none, ResolverOpts::default()).map(|resolver| (resolver, Vec::new()))
        })?;
        let current = Current { resolver, servers, changed, look_at: Instant::now() + LOOK };
        Ok(Self { files: Some(files), current: Mutex::new(current) })
    }

    pub(super) async fn lookup(&self, host: &str) -> Result<LookupIp, NetError> {
        let resolver = self.current();
        resolver.lookup_ip(host).await
    }

    fn current(&self) -> TokioResolver {
        let mut current = self.current.lock();
        let Some(files) = &self.files else { return current.resolver.clone() };
        if Instant::now() >= current.look_at {
            current.look_at = Instant::now() + LOOK;
            let changed = files.changed();
            if changed != current.changed {
                current.changed = changed;
                match read(&files.resolv_conf) {
                    Ok((resolver, servers)) => {
                        tracing::info!(?servers, "the system's name servers or hosts have changed");
                        (current.resolver, current.servers) = (resolver, servers);
                    }
                    Err(error) => tracing::warn!("the system's name servers are left as they were: {error}"),
                }
            }
        }
        current.resolver.clone()
    }
}

impl Files {
    fn changed(&self) -> [Option<SystemTime>; 2] {
        let of = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        [of(&self.resolv_conf), of(&self.hosts)]
    }
}

fn read(resolv_conf: &Path) -> Result<(TokioResolver, Vec<IpAddr>), NetError> {
    let text = fs::read(resolv_conf)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", resolv_conf.display())))?;
    let (config, options) = parse_resolv_conf(text)?;
    let servers = config.name_servers().iter().map(|server| server.ip).collect();
    Ok((build(config, options)?, servers))
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let own: &mut ResolverOpts = builder.options_mut();
    *own = options;
    own.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    own.use_hosts_file = ResolveHosts::Always;
    own.positive_min_ttl = Some(LEAST);
    own.positive_max_ttl = Some(MOST);
    own.negative_max_ttl = Some(NOTHING);
    builder.build()
}

fn with_port(mut connection: ConnectionConfig, port: u16) -> ConnectionConfig {
    connection.port = port;
    connection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_resolv_conf_is_noticed_and_a_broken_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let write = |text: &str, age: u64| {
            fs::write(&path, text).unwrap();
            let when = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(when).unwrap();
        };
        write("nameserver 192.0.2.1\n", 100);
        let resolver = Resolver::of(Files { resolv_conf: path.clone(), hosts: dir.path().join("hosts") });
        let resolver = resolver.unwrap();
        let servers = || {
            resolver.current();
            resolver.current.lock().servers.iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(servers(), ["192.0.2.1"]);
        write("nameserver 192.0.2.2\n", 90);
        assert_eq!(servers(), ["192.0.2.1"], "not at each request");
        tokio::time::advance(LOOK).await;
        assert_eq!(servers(), ["192.0.2.2"]);
        write("nonsense\n", 80);
        tokio::time::advance(LOOK).await;
        assert_eq!(servers(), ["192.0.2.2"]);
    }
}
