//! A sidecar under a manual clock, driven step by step and asked over HTTP.

use std::{path::Path, sync::Arc, time::Duration};

use millrace_kit::{
    clock::Clock,
    config::{self, Layer},
    tasks::Tasks,
};
use millrace_sidecar::{
    app::{Error, Sidecar},
    config::{Raw, Settings, resolve},
};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

/// 2026-01-01T00:00:00Z
pub const START: i64 = 1_767_225_600_000;

pub struct Rig {
    pub clock: Clock,
    base: String,
    scraping: Arc<millrace_sidecar::app::Scraping>,
    pub evaluation: Arc<millrace_sidecar::app::Evaluation>,
    notification: Arc<millrace_sidecar::app::Notification>,
    scaling: Arc<millrace_sidecar::app::Scaling>,
    http: reqwest::Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

pub fn settings(data_dir: &Path, toml: &str) -> Settings {
    let text = format!("data_dir = {:?}\n{toml}\n", data_dir.display().to_string());
    let flag = |name: &str| name.to_owned();
    let any_port = Layer::flags(vec![(flag("--listen"), flag("http.listen"), flag("127.0.0.1:0"))]);
    let raw: Raw = config::load(&[Layer::file("test.toml", text), any_port]).unwrap();
    resolve(&raw).unwrap()
}

pub fn start(data_dir: &Path, toml: &str, clock: &Clock) -> Result<Rig, Error> {
    let sidecar = Sidecar::start(settings(data_dir, toml), clock.clone())?;
    let base = format!("http://{}", sidecar.address());
    let (scraping, evaluation, notification) =
        (sidecar.scraping.clone(), sidecar.evaluation.clone(), sidecar.notification.clone());
    let scaling = sidecar.scaling.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = Tasks::new().spawn("sidecar", async move {
        let stopped = async {
            let _ = stopped.await;
        };
        sidecar.serve_until(stopped).await.unwrap();
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Ok(Rig { clock: clock.clone(), base, scraping, evaluation, notification, scaling, http, stop, served })
}

impl Rig {
    /// Moves the clock, then scrapes, evaluates and notifies once.
    pub async fn step(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.scraping.discover_all().await;
        self.scraping.scrape_all().await;
        self.evaluation.evaluate_all().await;
        self.notification.deliver_all().await;
    }

    /// As [`Rig::step`], and one decision for each group that is scaled.
    pub async fn decide(&self, seconds: u64) {
        self.step(seconds).await;
        self.scaling.tick_all().await;
    }

    pub fn url(&self) -> &str {
        &self.base
    }

    pub async fn delete(&self, path: &str) -> reqwest::Response {
        self.http.delete(format!("{}{path}", self.base)).send().await.unwrap()
    }

    /// Only asks where targets are.
    pub async fn discover(&self) {
        self.scraping.discover_all().await;
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.base));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).await.bytes().await.unwrap()).unwrap()
    }

    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    pub async fn post(&self, path: &str, kind: &str, body: &str) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", kind);
        request.body(body.to_owned()).send().await.unwrap()
    }

    pub async fn post_with(&self, path: &str, fields: &[(&str, &str)], body: &str) -> reqwest::Response {
        let request =
            self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(body.to_owned()).send().await.unwrap()
    }

    /// Values of an instant query, with the labels other than job and instance.
    pub async fn query(&self, query: &str) -> Vec<String> {
        let found = self.post_form("/api/v1/query", &[("query", query)]).await;
        assert_eq!(found["status"], "success", "{query}: {found}");
        let rows = found["data"]["result"].as_array().unwrap().iter().map(|row| {
            let metric = row["metric"].as_object().unwrap();
            let labels = metric.iter().filter(|(name, _)| !matches!(name.as_str(), "job" | "instance"));
            let labels: Vec<_> =
                labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
            format!("{} {}", labels.join(","), row["value"][1].as_str().unwrap()).trim().to_owned()
        });
        rows.collect()
    }

    /// `name state` of every active alert.
    pub async fn alerts(&self) -> Vec<String> {
        let found = self.json("/api/v1/alerts").await;
        let alerts = found["data"]["alerts"].as_array().unwrap().iter();
        let shown = |alert: &Value| {
            format!("{} {}", alert["labels"]["alertname"].as_str().unwrap(), alert["state"].as_str().unwrap())
        };
        alerts.map(shown).collect()
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }
}
