//! The Prometheus API as Grafana sees it, health, and the sidecar's own metrics.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{
    alerts::toml,
    harness::{Rig, START, start},
    http_double::Double,
};

async fn rig(folder: &tempfile::TempDir) -> (Rig, Double, Double) {
    let (target, receiver) = (Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    for second in [0, 15, 15] {
        let jobs = rig.clock.unix_millis() / 1000 % 100;
        target.expose(format!("jobs_total{{kind=\"a\"}} {jobs}\njobs_total{{kind=\"b\"}} NaN\n"));
        rig.step(second).await;
    }
    (rig, target, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_answer_like_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, target, _receiver) = rig(&folder).await;
    let instance = target.address.to_string();
    let at = START / 1000 + 30;

    let vector = rig.json("/api/v1/query?query=jobs_total%7Bkind%3D%22b%22%7D").await;
    assert_eq!(
        vector,
        json!({"status": "success", "data": {"resultType": "vector", "result": [{
            "metric": {"__name__": "jobs_total", "instance": instance, "job": "millrace", "kind": "b"},
            "value": [at, "NaN"],
        }]}})
    );
    let scalar = rig.post_form("/api/v1/query", &[("query", "1.5"), ("time", "12.25")]).await;
    assert_eq!(scalar["data"], json!({"resultType": "scalar", "result": [12.25, "1.5"]}));
    let text = rig.post_form("/api/v1/query", &[("query", "\"x\""), ("time", "2026-01-01T00:00:00Z")]).await;
    assert_eq!(text["data"], json!({"resultType": "string", "result": [START / 1000, "x"]}));

    let start = (START / 1000).to_string();
    let end = at.to_string();
    let form = [("query", "sum(up)"), ("start", start.as_str()), ("end", end.as_str()), ("step", "15s")];
    let matrix = rig.post_form("/api/v1/query_range", &form).await;
    assert_eq!(
        matrix["data"],
        json!({"resultType": "matrix", "result": [{
            "metric": {}, "values": [[at - 30, "1"], [at - 15, "1"], [at, "1"]],
        }]})
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_answer_like_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder).await;
    for (path, status, kind, part) in [
        ("/api/v1/query", 400, "bad_data", "\"query\": is missing"),
        ("/api/v1/query?query=up%7B", 400, "bad_data", "\"query\""),
        ("/api/v1/query?query=info(up)", 400, "bad_data", "not supported: function info()"),
        ("/api/v1/query?query=up&time=noon", 400, "bad_data", "\"time\""),
        ("/api/v1/query?query=up%2Bon()jobs_total", 422, "execution", "many-to-many matching not allowed"),
        ("/api/v1/query_range?query=up&start=1&end=0&step=1", 400, "bad_data", "must not be before start"),
        ("/api/v1/query_range?query=up&start=0&end=1&step=0", 400, "bad_data", "zero or negative"),
        ("/api/v1/query_range?query=up&start=0&end=99999&step=1", 400, "bad_data", "11,000 points"),
        ("/api/v1/query_range?query=up&start=0&step=1", 400, "bad_data", "\"end\": is missing"),
        ("/api/v1/series", 400, "bad_data", "no match[]"),
        ("/api/v1/series?match[]=1%2B1", 400, "bad_data", "not a series selector"),
        ("/api/v1/query?query=up&timeout=soon", 400, "bad_data", "\"timeout\""),
    ] {
        let response = rig.get(path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (body["status"].as_str(), body["errorType"].as_str()),
            (Some("error"), Some(kind)),
            "{path}"
        );
        assert!(body["error"].as_str().unwrap().contains(part), "{path}: {body}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_series_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder).await;
    let names = rig.json("/api/v1/labels?match[]=jobs_total").await;
    assert_eq!(names["data"], json!(["__name__", "instance", "job", "kind"]));
    let values = rig.json("/api/v1/label/kind/values").await;
    assert_eq!(values["data"], json!(["a", "b"]));
    let metrics = rig.json("/api/v1/label/__name__/values").await;
    assert!(metrics["data"].as_array().unwrap().contains(&json!("up")));
    let series = rig.json("/api/v1/series?match[]=jobs_total&match[]=up").await;
    assert_eq!(series["data"].as_array().unwrap().len(), 3);
    let later = rig.json(&format!("/api/v1/series?match[]=up&start={}", START / 1000 + 999)).await;
    assert_eq!(later["data"], json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_build_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder).await;
    let groups = rig.json("/api/v1/rules").await;
    let mut rule = groups["data"]["groups"][0]["rules"][0].clone();
    assert!(rule["evaluationTime"].take().as_f64().unwrap() > 0.0);
    assert_eq!(
        rule,
        json!({
            "type": "alerting", "state": "inactive", "name": "QueueLong", "query": "queue_depth > 10",
            "duration": 30.0, "keepFiringFor": 0.0, "labels": {"severity": "page"},
            "annotations": {"summary": "{{ $value }} wait in {{ $labels.queue }}"},
            "alerts": [], "health": "ok", "lastEvaluation": "2026-01-01T00:00:30Z", "evaluationTime": null,
        })
    );
    let recording = rig.json("/api/v1/rules?type=record").await;
    assert_eq!(recording["data"]["groups"][0]["rules"], json!([]));
    assert_eq!(rig.json("/api/v1/status/buildinfo").await["status"], "success");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_status() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder).await;
    for path in ["/health", "/health/live", "/health/ready", "/healthz", "/livez", "/readyz"] {
        assert_eq!(rig.get(path).await.status().as_u16(), 200, "{path}");
    }
    let status = rig.json("/status").await;
    assert_eq!(status["targets"], json!({"up": 1, "down": 0, "waiting": 0}));
    assert_eq!(status["rules"], json!({"groups": 1, "rules": 1, "failing": 0}));
    assert_eq!(rig.get("/nothing").await.status().as_u16(), 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_metrics_satisfy_promtool() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder).await;
    rig.get("/status").await;
    let text = rig.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("millrace_sidecar_http_request_duration_seconds_count"), "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there after `make deps`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
    rig.stop().await;
}
