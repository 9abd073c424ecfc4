//! What Grafana and promtool ask beyond queries: metadata, status, limits, reloading.

use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{
    alerts::{RULES, toml},
    harness::{Rig, START, start},
    http_double::Double,
};

const EXPOSED: &str = "# HELP jobs_total Jobs \\\\ done.\n# TYPE jobs_total counter\njobs_total{kind=\"a\"} 4\njobs_total{kind=\"b\"} 5\n# TYPE depth gauge\ndepth 1\n";

async fn rig(folder: &tempfile::TempDir, more: &str) -> (Rig, Double, Double) {
    let (target, receiver) = (Double::start(EXPOSED).await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &receiver) + more;
    let rig = start(&folder.path().join("data"), &config, &clock).unwrap();
    rig.step(0).await;
    rig.step(15).await;
    (rig, target, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_what_targets_say() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, target, _receiver) = rig(&folder, "").await;
    let all = rig.json("/api/v1/metadata").await;
    assert_eq!(
        all["data"],
        json!({
            "depth": [{"type": "gauge", "help": "", "unit": ""}],
            "jobs_total": [{"type": "counter", "help": "Jobs \\ done.", "unit": ""}],
        })
    );
    let one = rig.json("/api/v1/metadata?metric=depth").await;
    assert_eq!(one["data"].as_object().unwrap().len(), 1);
    assert_eq!(rig.json("/api/v1/metadata?limit=1").await["data"].as_object().unwrap().len(), 1);
    let instance = target.address.to_string();
    let of_targets =
        rig.json("/api/v1/targets/metadata?metric=depth&match_target=%7Bjob%3D%22millrace%22%7D").await;
    assert_eq!(
        of_targets["data"],
        json!([{"target": {"instance": instance, "job": "millrace"}, "type": "gauge", "help": "", "unit": ""}])
    );
    assert_eq!(
        rig.json("/api/v1/targets/metadata?match_target=%7Bjob%3D%22x%22%7D").await["data"],
        json!([])
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_cut_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder, "").await;
    let warning = json!(["results truncated due to limit"]);
    for (path, rows) in [
        ("/api/v1/labels?limit=1", 1),
        ("/api/v1/label/kind/values?limit=1", 1),
        ("/api/v1/series?match[]=jobs_total&limit=1", 1),
    ] {
        let cut = rig.json(path).await;
        assert_eq!((cut["data"].as_array().unwrap().len(), &cut["warnings"]), (rows, &warning), "{path}");
    }
    let cut = rig.json("/api/v1/query?query=jobs_total&limit=1").await;
    assert_eq!((cut["data"]["result"].as_array().unwrap().len(), &cut["warnings"]), (1, &warning));
    let whole = rig.json("/api/v1/query?query=jobs_total&limit=2").await;
    assert_eq!(whole["warnings"], Value::Null);
    let range =
        format!("/api/v1/query_range?query=jobs_total&limit=1&start={0}&end={0}&step=1", START / 1000);
    assert_eq!(rig.json(&range).await["warnings"], warning);
    assert_eq!(rig.json("/api/v1/labels?limit=-1").await["errorType"], "bad_data");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_have_bounds_and_tell_their_cost() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = "[http]\nmax_query_samples = 50\nmax_query_series = 2\n";
    let (rig, _target, _receiver) = rig(&folder, bounds).await;
    let stats = rig.json("/api/v1/query?query=jobs_total&stats=all").await;
    assert!(stats["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64().unwrap() >= 2, "{stats}");
    assert!(stats["data"]["stats"]["timings"]["execTotalTime"].as_f64().unwrap() > 0.0);
    for (query, part) in [
        ("{__name__=~\".%2B\"}", "more than the 2 series allowed"),
        (
            "jobs_total[1h:100ms]",
            "query processing would load too many samples into memory in query execution",
        ),
    ] {
        let refused = rig.get(&format!("/api/v1/query?query={query}")).await;
        assert_eq!(refused.status().as_u16(), 422, "{query}");
        let body: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
        assert_eq!(body["errorType"], "execution");
        assert!(body["error"].as_str().unwrap().contains(part), "{query}: {body}");
    }
    let late = rig.get("/api/v1/query?query=jobs_total&timeout=0").await;
    assert_eq!(late.status().as_u16(), 503);
    let body: Value = serde_json::from_slice(&late.bytes().await.unwrap()).unwrap();
    assert_eq!(body["errorType"], "timeout");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grafana_asks_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder, "").await;
    let formatted = rig.post_form("/api/v1/format_query", &[("query", "sum(rate(a[5m]))by(b)")]).await;
    assert_eq!(formatted["data"], "sum by (b) (rate(a[5m]))");
    assert_eq!(rig.json("/api/v1/format_query?query=sum(").await["errorType"], "bad_data");
    assert_eq!(rig.json("/api/v1/query_exemplars?query=a&start=1&end=2").await["data"], json!([]));
    let config = rig.json("/api/v1/status/config").await;
    assert!(config["data"]["yaml"].as_str().unwrap().contains("scrape_interval: 15s"), "{config}");
    assert_eq!(rig.json("/api/v1/status/flags").await["data"]["query.lookback-delta"], "5m");
    let tsdb = rig.json("/api/v1/status/tsdb").await;
    assert_eq!(tsdb["data"]["seriesCountByMetricName"][0], json!({"name": "jobs_total", "value": 2}));
    assert_eq!(rig.json("/api/v1/status/runtimeinfo").await["data"]["storageRetention"], "24h");
    assert_eq!(rig.json("/api/v1/scrape_pools").await["data"]["scrapePools"], json!(["millrace"]));
    assert_eq!(rig.json("/api/v1/alertmanagers").await["data"]["activeAlertmanagers"], json!([]));
    assert_eq!(rig.get("/-/healthy").await.status().as_u16(), 200);
    assert_eq!(rig.get("/-/ready").await.status().as_u16(), 200);
    let named = rig.json("/api/v1/rules?rule_name[]=none").await;
    assert_eq!(named["data"]["groups"][0]["rules"], json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_over_http_keeps_bad_rules_out() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _target, _receiver) = rig(&folder, "").await;
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, RULES.replace("queue_depth > 10", "queue_depth > 11")).unwrap();
    assert_eq!(rig.post("/-/reload", "text/plain", "").await.status().as_u16(), 200);
    let query = |groups: Value| groups["data"]["groups"][0]["rules"][0]["query"].clone();
    assert_eq!(query(rig.json("/api/v1/rules").await), "queue_depth > 11");
    std::fs::write(&rules, "groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]").unwrap();
    assert_eq!(rig.post("/-/reload", "text/plain", "").await.status().as_u16(), 500);
    assert_eq!(query(rig.json("/api/v1/rules").await), "queue_depth > 11");
    assert_eq!(rig.get("/-/reload").await.status().as_u16(), 404);
    rig.stop().await;
}
