//! A double of the part of the Kubernetes API that scaling uses. It keeps the rules that matter: a scale is written only under
//! the version that was read, pods come and go with it, the cheapest first.

use std::{net::SocketAddr, sync::Arc};

use millrace_kit::tasks::Tasks;
use millrace_sidecar::scaling::fleet::Settings;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::service::{self, Answer, Request};

pub struct Cluster {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: Tasks,
}

#[derive(Default)]
struct State {
    version: u64,
    replicas: u64,
    made: u64,
    pods: Vec<Pod>,
    /// How often another writes after we have read.
    meddle: u32,
    conflicts: u32,
}

struct Pod {
    name: String,
    cost: i64,
}

const SCALE: &str = "/apis/apps/v1/namespaces/cdn/deployments/edge/scale";
const PODS: &str = "/api/v1/namespaces/cdn/pods";

impl Cluster {
    pub async fn start() -> Self {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        service::serve(&tasks, listener, move |request| shared.lock().answer(request));
        Self { address, state, _tasks: tasks }
    }

    pub fn settings(&self) -> Settings {
        let toml = format!(
            "actuator = 'kubernetes'\n[kubernetes]\napi = 'http://{}'\nnamespace = 'cdn'\nname = 'edge'\ntoken_file = ''",
            self.address
        );
        super::settings(std::path::Path::new("unused"), &toml)
    }

    pub fn meddle(&self, times: u32) {
        let mut state = self.state.lock();
        (state.meddle, state.conflicts) = (times, 0);
    }

    pub fn conflicts(&self) -> u32 {
        self.state.lock().conflicts
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match (request.method.as_str(), path) {
            ("GET", SCALE) => {
                let answer = self.scale();
                if self.meddle > 0 {
                    self.meddle -= 1;
                    self.version += 1;
                }
                (200, answer.to_string())
            }
            ("PUT", SCALE) => self.put(&request.body),
            ("GET", PODS) => {
                assert!(query.contains("labelSelector=app%3Dedge"), "{query}");
                let pods: Vec<_> = self.pods.iter().map(Pod::shown).collect();
                (200, json!({ "kind": "PodList", "items": pods }).to_string())
            }
            (method, path) => self.pod(method, path, &request.body),
        }
    }

    fn scale(&self) -> Value {
        json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": { "name": "edge", "namespace": "cdn", "resourceVersion": self.version.to_string() },
            "spec": { "replicas": self.replicas },
            "status": { "replicas": self.pods.len(), "selector": "app=edge" },
        })
    }

    fn put(&mut self, body: &Value) -> Answer {
        let version = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if version.parse() != Ok(self.version) {
            self.conflicts += 1;
            return (409, json!({ "kind": "Status", "reason": "Conflict" }).to_string());
        }
        self.replicas = body["spec"]["replicas"].as_u64().unwrap();
        self.version += 1;
        while (self.pods.len() as u64) < self.replicas {
            self.made += 1;
            self.pods.push(Pod { name: format!("edge-7d9f-{}", self.made), cost: 0 });
        }
        // Of equal cost the newest goes, as replica sets do it.
        self.pods.sort_by_key(|pod| std::cmp::Reverse(pod.cost));
        self.pods.truncate(usize::try_from(self.replicas).unwrap());
        (200, self.scale().to_string())
    }

    fn pod(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let name = path.rsplit('/').next().unwrap();
        let Some(at) = self.pods.iter().position(|pod| pod.name == name) else {
            return (404, json!({ "kind": "Status", "reason": "NotFound" }).to_string());
        };
        match method {
            "PATCH" => {
                let cost = &body["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"];
                self.pods[at].cost = cost.as_str().unwrap().parse().unwrap();
            }
            "DELETE" => drop(self.pods.remove(at)),
            _ => return (405, String::new()),
        }
        (200, "{}".to_owned())
    }
}

impl Pod {
    fn shown(&self) -> Value {
        let number = self.name.rsplit('-').next().unwrap();
        json!({
            "metadata": { "name": self.name },
            "status": { "phase": "Running", "podIP": format!("10.0.0.{number}"), "containerStatuses": [] },
        })
    }
}
