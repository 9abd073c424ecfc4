//! Endpoints of a Kubernetes cluster, from its endpoint slices, with Prometheus' labels (role `endpointslice`). The API is
//! asked anew at each refresh, page by page; the token is read each time, since clusters renew it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, MAX_TARGETS, builder, client, json, label_name};
use crate::model::{Builder, Labels};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Slices in one answer.
const PAGE: usize = 500;
const MAX_PAGES: usize = 100;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `https://kubernetes.default.svc` from within the cluster.
    pub api: String,
    /// Empty: all that the account may see.
    pub namespace: String,
    /// Of endpoint slices, such as `kubernetes.io/service-name=millrace`.
    pub selector: String,
    /// Only ports of this name; empty: all.
    pub port_name: String,
    /// Empty: without a token.
    pub token_file: String,
    /// Who has signed the API's certificate; empty: whom the system trusts.
    pub ca_file: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: String::new(),
            namespace: String::new(),
            selector: String::new(),
            port_name: String::new(),
            token_file: format!("{ACCOUNT}/token"),
            ca_file: format!("{ACCOUNT}/ca.crt"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Kubernetes {
    config: Config,
    http: reqwest::Client,
    url: url::Url,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct List {
    metadata: ListMeta,
    items: Vec<Slice>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Slice {
    metadata: Meta,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    hostname: Option<String>,
    node_name: Option<String>,
    target_ref: Option<Reference>,
    zone: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl Kubernetes {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let bad = |reason: &dyn std::fmt::Display| Error::Client(format!("kubernetes: {reason}"));
        let mut url = url::Url::parse(&config.api).map_err(|reason| bad(&format!("api: {reason}")))?;
        let path = match config.namespace.as_str() {
            "" => "apis/discovery.k8s.io/v1/endpointslices".to_owned(),
            name => format!("apis/discovery.k8s.io/v1/namespaces/{name}/endpointslices"),
        };
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        let mut http = builder();
        if !config.ca_file.is_empty() && url.scheme() == "https" {
            let read = std::fs::read(&config.ca_file);
            let pem = read.map_err(|reason| bad(&format!("ca_file {}: {reason}", config.ca_file)))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|reason| bad(&reason))?;
            http = http.tls_certs_only(roots);
        }
        Ok(Self { config: config.clone(), http: client(http)?, url })
    }

    pub(super) async fn endpoints(&self) -> Result<Vec<Labels>, String> {
        let token = match self.config.token_file.as_str() {
            "" => None,
            file => {
                let read = tokio::fs::read_to_string(file).await;
                Some(read.map_err(|reason| format!("token_file {file}: {reason}"))?.trim().to_owned())
            }
        };
        let mut found = Vec::new();
        let mut more: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.url.clone();
            url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
            if !self.config.selector.is_empty() {
                url.query_pairs_mut().append_pair("labelSelector", &self.config.selector);
            }
            if let Some(more) = &more {
                url.query_pairs_mut().append_pair("continue", more);
            }
            let mut request = self.http.get(url);
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            let list: List = json(request).await?;
            found.extend(list.items.iter().flat_map(|slice| self.targets(slice)));
            more = list.metadata.more.filter(|more| !more.is_empty());
            if more.is_none() || found.len() > MAX_TARGETS {
                return Ok(found);
            }
        }
        Err(format!("has more than {MAX_PAGES} pages"))
    }

    fn targets(&self, slice: &Slice) -> Vec<Labels> {
        let mut all = Vec::new();
        let wanted = self.config.port_name.as_str();
        let ports = slice.ports.iter().flatten();
        let ports: Vec<&Port> =
            ports.filter(|port| wanted.is_empty() || port.name.as_deref() == Some(wanted)).collect();
        for endpoint in slice.endpoints.iter().flatten() {
            for address in &endpoint.addresses {
                for port in &ports {
                    let Some(number) = port.port else { continue };
                    let mut labels = described(slice, endpoint);
                    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
                    labels.set("__address__", &format!("{host}:{number}"));
                    let of_port = |what: &str| format!("__meta_kubernetes_endpointslice_port{what}");
                    labels.set(&of_port(""), &number.to_string());
                    labels.set(&of_port("_name"), port.name.as_deref().unwrap_or_default());
                    labels.set(&of_port("_protocol"), port.protocol.as_deref().unwrap_or("TCP"));
                    all.push(labels.build());
                }
            }
        }
        all
    }
}

fn described(slice: &Slice, endpoint: &Endpoint) -> Builder {
    let mut labels = Builder::default();
    labels.set("__meta_kubernetes_namespace", &slice.metadata.namespace);
    let mut set = |name: &str, value: &str| {
        labels.set(&format!("__meta_kubernetes_endpointslice_{name}"), value);
    };
    set("name", &slice.metadata.name);
    set("address_type", &slice.address_type);
    for (name, value) in &slice.metadata.labels {
        set(&format!("label_{}", label_name(name)), value);
    }
    for (name, value) in [
        ("ready", endpoint.conditions.ready),
        ("serving", endpoint.conditions.serving),
        ("terminating", endpoint.conditions.terminating),
    ] {
        if let Some(value) = value {
            set(&format!("endpoint_conditions_{name}"), if value { "true" } else { "false" });
        }
    }
    set("endpoint_hostname", endpoint.hostname.as_deref().unwrap_or_default());
    set("endpoint_node_name", endpoint.node_name.as_deref().unwrap_or_default());
    set("endpoint_zone", endpoint.zone.as_deref().unwrap_or_default());
    if let Some(target) = &endpoint.target_ref {
        set("address_target_kind", &target.kind);
        set("address_target_name", &target.name);
        if target.kind == "Pod" {
            labels.set("__meta_kubernetes_pod_name", &target.name);
        }
    }
    if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
        labels.set("__meta_kubernetes_service_name", service);
    }
    labels
}
