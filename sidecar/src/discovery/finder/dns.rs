//! Names in DNS: addresses (A, AAAA) at a fixed port, and services (SRV), which bring their ports.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RData,
};

use super::{Error, TIMEOUT};
use crate::model::Labels;

pub(super) struct Dns(TokioResolver);

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    /// Without servers those of the system.
    pub(super) fn new(servers: &[String]) -> Result<Self, Error> {
        let failed = |reason: &dyn std::fmt::Display| Error::Client(format!("DNS: {reason}"));
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|reason| failed(&reason))?
        } else {
            let mut known = Vec::new();
            for server in servers {
                let address: SocketAddr =
                    server.parse().map_err(|_| failed(&format!("{server:?} is not an address and port")))?;
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                known.push(NameServerConfig::new(address.ip(), true, connections.into()));
            }
            let config = ResolverConfig::from_name_servers(known);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.build().map(Self).map_err(|reason| failed(&reason))
    }

    pub(super) async fn services(&self, name: &str) -> Result<Vec<Labels>, String> {
        let looked_up = tokio::time::timeout(TIMEOUT, self.0.srv_lookup(name)).await;
        let found = looked_up.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
        let found = found.map_err(|error| error.to_string())?;
        let services = found.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service),
            _ => None,
        });
        let labels = services.map(|service| {
            let target = service.target.to_utf8();
            let port = service.port.to_string();
            let address = format!("{}:{port}", target.trim_end_matches('.'));
            Labels::from_pairs([
                ("__address__", address.as_str()),
                ("__meta_dns_name", name),
                ("__meta_dns_srv_record_target", &target),
                ("__meta_dns_srv_record_port", &port),
            ])
        });
        Ok(labels.collect())
    }
}

/// A and AAAA records.
pub(super) async fn addresses(name: &str, port: u16) -> Result<Vec<Labels>, String> {
    let looked_up = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    let found = looked_up.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
    let mut addresses: Vec<IpAddr> =
        found.map_err(|error| error.to_string())?.map(|found| found.ip()).collect();
    addresses.sort();
    addresses.dedup();
    let labels = addresses.into_iter().map(|address| {
        let address = SocketAddr::new(address, port).to_string();
        Labels::from_pairs([("__address__", address.as_str()), ("__meta_dns_name", name)])
    });
    Ok(labels.collect())
}
