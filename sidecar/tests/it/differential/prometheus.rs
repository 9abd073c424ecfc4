//! A real Prometheus for the length of a test: gets the data by remote write and is asked over HTTP.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use millrace_sidecar::model::Sample;
use serde_json::Value;

use super::data::Series;

pub struct Prometheus {
    process: Child,
    base: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Subqueries without a step take the evaluation interval.
    pub async fn start(program: &str, folder: &Path, settings: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, settings).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus =
            Self { process, base: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new() };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !prometheus.ready().await {
            assert!(Instant::now() < deadline, "Prometheus does not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prometheus
    }

    async fn ready(&self) -> bool {
        let answer = self.http.get(format!("{}/-/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub async fn write(&self, series: &[Series]) {
        let answer = self
            .http
            .post(format!("{}/api/v1/write", self.base))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(snappy(&write_request(series)));
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The whole answer, errors too.
    pub async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Value {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish());
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `prometheus.WriteRequest { repeated TimeSeries timeseries = 1 }`
fn write_request(series: &[Series]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut one = Vec::new();
        for label in labels.iter() {
            let mut pair = Vec::new();
            field(&mut pair, 1, label.name.as_bytes());
            field(&mut pair, 2, label.value.as_bytes());
            field(&mut one, 1, &pair);
        }
        for Sample { at, value } in samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend(value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *at as u64);
            field(&mut one, 2, &sample);
        }
        field(&mut request, 1, &one);
    }
    request
}

/// Length-delimited.
fn field(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    into.push(number << 3 | 2);
    varint(into, bytes.len() as u64);
    into.extend(bytes);
}

fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Snappy's block format with literals only.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    varint(&mut packed, bytes.len() as u64);
    for chunk in bytes.chunks(0x1_0000) {
        packed.push(61 << 2);
        packed.extend(((chunk.len() - 1) as u16).to_le_bytes());
        packed.extend(chunk);
    }
    packed
}
