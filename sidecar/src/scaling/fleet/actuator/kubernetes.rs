//! Instances as pods of a workload whose number the cluster keeps. Only its scale is changed, under the version that was read,
//! so that another's change in between is seen; and the pod that should leave is marked as the cheapest to delete.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use millrace_kit::config::Faults;
use reqwest::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Actuator, Answer, Error, FleetError, Listing, Running, Stop};
use crate::scaling::fleet::{
    MAX_INSTANCES,
    settings::{needed, path, url},
    wire::{Fault, Wire},
};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries to change the scale while others change it too.
const TRIES: u32 = 5;
/// <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost>
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `https://kubernetes.default.svc` from within the cluster.
    pub api: String,
    pub namespace: String,
    /// `deployments` or `replicasets`. Stateful sets choose themselves which pod leaves.
    pub kind: String,
    /// Of the workload.
    pub name: String,
    /// Of its pods.
    pub data_port: u16,
    pub admin_port: u16,
    /// Empty: without a token.
    pub token_file: String,
    /// Who has signed the API's certificate; empty: whom the system trusts.
    pub ca_file: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    scale: String,
    pods: String,
    data_port: u16,
    admin_port: u16,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: "https://kubernetes.default.svc".to_owned(),
            namespace: "default".to_owned(),
            kind: "deployments".to_owned(),
            name: String::new(),
            data_port: 8080,
            admin_port: 8081,
            token_file: format!("{ACCOUNT}/token"),
            ca_file: format!("{ACCOUNT}/ca.crt"),
        }
    }
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(&self, key: &str, faults: &mut Faults) -> Settings {
        let at = |name: &str| format!("{key}.{name}");
        let api = url(&self.api, &at("api"), faults);
        let namespace = needed(&self.namespace, &at("namespace"), faults);
        let name = needed(&self.name, &at("name"), faults);
        if !["deployments", "replicasets"].contains(&self.kind.as_str()) {
            faults.push(at("kind"), "must be deployments or replicasets");
        }
        for (value, key) in [(&namespace, "namespace"), (&name, "name")] {
            if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
                faults.push(at(key), format!("{value:?} is not a name in Kubernetes"));
            }
        }
        Settings {
            scale: format!("{api}/apis/apps/v1/namespaces/{namespace}/{}/{name}/scale", self.kind),
            pods: format!("{api}/api/v1/namespaces/{namespace}/pods"),
            data_port: self.data_port,
            admin_port: self.admin_port,
            token_file: path(&self.token_file),
            ca_file: path(&self.ca_file).filter(|_| api.starts_with("https://")),
        }
    }
}

pub struct Kubernetes {
    settings: Settings,
    wire: Wire,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scale {
    status: ScaleStatus,
    spec: ScaleSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScaleSpec {
    replicas: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScaleStatus {
    selector: String,
}

#[derive(Deserialize)]
struct Pods {
    items: Vec<Pod>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerStatus {
    state: BTreeMap<String, Reason>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reason {
    reason: String,
    message: String,
}

impl Kubernetes {
    pub fn new(settings: &Settings) -> Result<Self, FleetError> {
        let wire = Wire::new(settings.token_file.clone(), settings.ca_file.as_ref(), TIMEOUT)?;
        Ok(Self { settings: settings.clone(), wire })
    }

    async fn listing(&self) -> Result<Listing, Fault> {
        let scale: Scale = self.wire.get(&self.settings.scale).await?;
        if scale.status.selector.is_empty() {
            return Err(Fault::Odd("the workload has no selector".to_owned()));
        }
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", &scale.status.selector)
            .append_pair("limit", &(MAX_INSTANCES * 2).to_string())
            .finish();
        let pods: Pods = self.wire.get(&format!("{}?{query}", self.settings.pods)).await?;
        let lives = |pod: &Pod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        let instances = pods.items.into_iter().filter(lives).map(|pod| self.running(pod)).collect();
        Ok(Listing { instances, desired: Some(scale.spec.replicas) })
    }

    fn running(&self, pod: Pod) -> (String, Running) {
        let ip = &pod.status.pod_ip;
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        let url = |port| if ip.is_empty() { String::new() } else { format!("http://{host}:{port}") };
        let reasons = pod.status.container_statuses.iter().flat_map(|status| status.state.values());
        let words = reasons.map(|state| format!("{} {}", state.reason, state.message).trim().to_owned());
        let running = Running {
            data_url: url(self.settings.data_port),
            admin_url: url(self.settings.admin_port),
            alive: true,
            leaving: pod.metadata.deletion_timestamp.is_some(),
            words: words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; "),
        };
        (pod.metadata.name, running)
    }

    /// Reads, changes and writes until nobody else has written in between.
    async fn scale(&self, total: u32) -> Result<(), Fault> {
        let url = &self.settings.scale;
        for _ in 0..TRIES {
            let mut scale: Value = self.wire.get(url).await?;
            if scale["spec"]["replicas"].as_u64().unwrap_or(0) == u64::from(total) {
                return Ok(());
            }
            scale["spec"] = json!({ "replicas": total });
            match self.wire.send(Method::PUT, url, Some((&scale, "application/json"))).await {
                Err(Fault::Status(StatusCode::CONFLICT, _)) => {}
                answer => return answer.map(|_| ()),
            }
        }
        Err(Fault::Odd(format!("the scale was changed by others {TRIES} times in a row")))
    }

    async fn end(&self, name: &str, how: Stop, total: u32) -> Result<(), Fault> {
        let pod = format!("{}/{name}", self.settings.pods);
        let cheap = json!({ "metadata": { "annotations": { COST: "-1000" } } });
        let patch = Some((&cheap, "application/merge-patch+json"));
        match self.wire.send(Method::PATCH, &pod, patch).await {
            Err(Fault::Status(StatusCode::NOT_FOUND, _)) | Ok(_) => {}
            Err(fault) => return Err(fault),
        }
        self.scale(total).await?;
        if how == Stop::Ask {
            return Ok(());
        }
        let now = format!("{pod}?gracePeriodSeconds=0");
        match self.wire.send(Method::DELETE, &now, None).await {
            Err(Fault::Status(StatusCode::NOT_FOUND, _)) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}

fn said(fault: Fault) -> Error {
    Error(format!("Kubernetes: {fault}"))
}

impl Actuator for Kubernetes {
    fn list(&self) -> Answer<'_, Listing> {
        Box::pin(async { self.listing().await.map_err(said) })
    }

    fn start(&self, _name: &str, total: u32) -> Answer<'_, ()> {
        Box::pin(async move { self.scale(total).await.map_err(said) })
    }

    fn stop(&self, name: &str, how: Stop, total: u32) -> Answer<'_, ()> {
        let name = name.to_owned();
        Box::pin(async move { self.end(&name, how, total).await.map_err(said) })
    }

    fn clear(&self, _name: &str) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
