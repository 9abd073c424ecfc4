//! Containers of a Docker engine, each once per network and exposed TCP port, with Prometheus' labels (`docker_sd_configs`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, builder, client, json, label_name};
use crate::model::{Builder, Labels};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `unix:///var/run/docker.sock` or `http://host:2375`.
    pub engine: String,
    /// Only containers with all of these, such as `millrace.scrape=true`.
    pub labels: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Docker {
    http: reqwest::Client,
    base: String,
    labels: Vec<String>,
    /// For containers that expose none.
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Container {
    id: String,
    names: Vec<String>,
    labels: BTreeMap<String, String>,
    ports: Vec<Port>,
    host_config: HostConfig,
    network_settings: Networks,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Networks {
    networks: BTreeMap<String, Network>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    #[serde(rename = "IPAddress")]
    ip_address: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    private_port: u16,
    public_port: u16,
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "Type")]
    kind: String,
}

impl Docker {
    pub(super) fn new(config: &Config, port: u16) -> Result<Self, Error> {
        let (http, base) = match config.engine.strip_prefix("unix://") {
            Some(path) => (builder().unix_socket(path.to_owned()), "http://docker".to_owned()),
            None if config.engine.starts_with("http://") || config.engine.starts_with("https://") => {
                (builder(), config.engine.trim_end_matches('/').to_owned())
            }
            None => return Err(Error::Engine(config.engine.clone())),
        };
        Ok(Self { http: client(http)?, base, labels: config.labels.clone(), port })
    }

    pub(super) async fn containers(&self) -> Result<Vec<Labels>, String> {
        let mut filters = BTreeMap::from([("status", vec!["running".to_owned()])]);
        if !self.labels.is_empty() {
            filters.insert("label", self.labels.clone());
        }
        let filters = serde_json::to_string(&filters).map_err(|error| error.to_string())?;
        let filters: String = url::form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let url = format!("{}/containers/json?filters={filters}", self.base);
        let containers: Vec<Container> = json(self.http.get(url)).await?;
        Ok(containers.iter().flat_map(|container| self.targets(container)).collect())
    }

    fn targets(&self, container: &Container) -> Vec<Labels> {
        let mut all = Vec::new();
        for (network, settings) in &container.network_settings.networks {
            let on_host = container.host_config.network_mode == "host";
            let host = if on_host { "localhost" } else { settings.ip_address.as_str() };
            if host.is_empty() {
                continue;
            }
            let mut common = described(container);
            common.set("__meta_docker_network_name", network).set("__meta_docker_network_ip", host);
            let mut ports: Vec<&Port> = container.ports.iter().filter(|port| port.kind == "tcp").collect();
            ports.sort_by_key(|port| (port.private_port, port.ip.contains(':')));
            // The same port on an IPv4 and an IPv6 address of the host is one target.
            ports.dedup_by_key(|port| port.private_port);
            for port in &ports {
                let mut labels = common.clone();
                let private = port.private_port.to_string();
                labels
                    .set("__address__", &joined(host, &private))
                    .set("__meta_docker_port_private", &private);
                if port.public_port != 0 {
                    labels.set("__meta_docker_port_public", &port.public_port.to_string());
                    labels.set("__meta_docker_port_public_ip", &port.ip);
                }
                all.push(labels.build());
            }
            if ports.is_empty() {
                common.set("__address__", &joined(host, &self.port.to_string()));
                all.push(common.build());
            }
        }
        all
    }
}

fn described(container: &Container) -> Builder {
    let mut labels = Builder::default();
    labels.set("__meta_docker_container_id", &container.id);
    labels.set("__meta_docker_container_name", container.names.first().map_or("", String::as_str));
    labels.set("__meta_docker_container_network_mode", &container.host_config.network_mode);
    for (name, value) in &container.labels {
        labels.set(&format!("__meta_docker_container_label_{}", label_name(name)), value);
    }
    labels
}

fn joined(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_a_target_per_network_and_port() {
        let config = Config { engine: "unix:///x".to_owned(), labels: vec![] };
        let docker = Docker::new(&config, 8081).unwrap();
        let container: Container = serde_json::from_value(serde_json::json!({
            "Id": "abc", "Names": ["/edge-1"], "Labels": {"com.example/team": "media"},
            "Ports": [
                {"PrivatePort": 8081, "Type": "tcp"},
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"PrivatePort": 443, "Type": "udp"},
            ],
            "HostConfig": {"NetworkMode": "fleet"},
            "NetworkSettings": {"Networks": {"fleet": {"IPAddress": "172.18.0.2"}, "off": {"IPAddress": ""}}},
        }))
        .unwrap();
        let found: Vec<String> = docker.targets(&container).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("__address__=\"172.18.0.2:80\"") && found[0].contains("port_public=\"8080\"")
        );
        assert!(found[1].contains("__meta_docker_container_label_com_example_team=\"media\""), "{found:?}");
        let bare = Container { ports: vec![], ..container };
        assert_eq!(docker.targets(&bare)[0].get("__address__"), "172.18.0.2:8081");
    }

    #[test]
    fn an_engine_has_an_address() {
        assert!(
            Docker::new(&Config { engine: "/var/run/docker.sock".to_owned(), labels: vec![] }, 1).is_err()
        );
    }
}
