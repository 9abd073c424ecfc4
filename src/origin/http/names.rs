//! From the name of an origin to its addresses: asked again when their time is over, kept beyond it when there is no answer,
//! and only those that a name may lead to.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::{NetError, runtime::TokioRuntimeProvider},
};
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::{
    config::Dns,
    guard::{NotPublic, Reach},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Addresses are good for at least that long, and at most.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(3600);
/// An answer that there is nothing is believed for that long, and so long nobody asks again when there is none.
const NOTHING: Duration = Duration::from_secs(5);
/// For an answer, when there are addresses that were good.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shared by all connections to an origin. Only names that are configured come here, so that they are few.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    resolver: TokioResolver,
    stale_max: Duration,
    allow_private: bool,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    addresses: Vec<IpAddr>,
    /// So long they are good.
    until: Instant,
    /// Not before then they are asked for again.
    ask_at: Instant,
}

impl Names {
    pub(super) fn new(dns: &Dns, allow_private: bool) -> Result<Self, NetError> {
        let own = || {
            let servers = dns.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|connection| with_port(connection, server.port()));
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let mut builder = match dns.servers.is_empty() {
            // A machine without a resolver still knows `localhost` and what its hosts file says.
            true => TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::warn!("the system's name servers are not known: {error}");
                own()
            }),
            false => own(),
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.positive_min_ttl = Some(LEAST);
        options.positive_max_ttl = Some(MOST);
        options.negative_max_ttl = Some(NOTHING);
        let resolver = builder.build()?;
        let stale_max = dns.stale_max;
        Ok(Self(Arc::new(Shared { resolver, stale_max, allow_private, known: Mutex::default() })))
    }

    /// Whether a connection to this address should not be used again: the name leads elsewhere now, or it is time to ask where
    /// it leads, which new connections do.
    pub(super) fn is_outdated(&self, host: &str, address: IpAddr) -> bool {
        let known = self.0.known.lock();
        known
            .get(host)
            .is_some_and(|known| known.ask_at <= Instant::now() || !known.addresses.contains(&address))
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, BoxError> {
        let Shared { resolver, stale_max, known, .. } = &*self.0;
        let last_good = {
            let known = known.lock();
            let known = known.get(host);
            if let Some(known) = known.filter(|known| Instant::now() < known.ask_at) {
                return Ok(known.addresses.clone());
            }
            known.is_some_and(|known| Instant::now() < known.until + *stale_max)
        };
        let lookup = resolver.lookup_ip(host);
        // With something at hand, nobody waits for a name server that is down.
        let found = match last_good {
            true => timeout(PATIENCE, lookup).await.map_err(BoxError::from).and_then(|found| Ok(found?)),
            false => lookup.await.map_err(BoxError::from),
        };
        let mut known = known.lock();
        match (found, known.get_mut(host).filter(|_| last_good)) {
            (Ok(found), _) => {
                let left = found.valid_until().saturating_duration_since(std::time::Instant::now());
                let addresses: Vec<_> = found.iter().collect();
                let until = Instant::now() + left.max(LEAST);
                known.insert(host.to_owned(), Known { addresses: addresses.clone(), until, ask_at: until });
                Ok(addresses)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(host, "using the last good addresses: {error}");
                known.ask_at = Instant::now() + NOTHING;
                Ok(known.addresses.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn resolve(&self, host: &str) -> Result<std::vec::IntoIter<SocketAddr>, BoxError> {
        let addresses = self.addresses(host).await?;
        let reach = Reach::of(host, self.0.allow_private);
        let admitted: Vec<_> = addresses.iter().filter(|address| reach.admits(**address)).collect();
        match (admitted.is_empty(), addresses.first()) {
            (true, Some(address)) => Err(NotPublic { host: host.to_owned(), address: *address }.into()),
            // The connector puts the port in.
            _ => {
                let admitted = admitted.into_iter().map(|address| SocketAddr::new(*address, 0));
                Ok(admitted.collect::<Vec<_>>().into_iter())
            }
        }
    }
}

fn with_port(mut connection: ConnectionConfig, port: u16) -> ConnectionConfig {
    connection.port = port;
    connection
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        async move { names.resolve(name.as_str()).await }.boxed()
    }
}
