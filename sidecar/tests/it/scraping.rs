//! Targets that fail, answer nonsense, or go away.

use millrace_kit::clock::Clock;

use crate::{
    alerts::toml,
    harness::{START, start},
    http_double::Double,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_down_and_its_series_end() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("jobs_total 5\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("up").await, ["__name__=up 1"]);
    assert_eq!(rig.query("scrape_samples_scraped").await, ["__name__=scrape_samples_scraped 1"]);

    target.fail(500);
    rig.step(15).await;
    assert_eq!(rig.query("up").await, ["__name__=up 0"]);
    assert!(rig.query("jobs_total").await.is_empty(), "stale at once, not after five minutes");
    let targets = rig.json("/api/v1/targets").await;
    assert_eq!(targets["data"]["activeTargets"][0]["health"], "down");
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "answered 500");

    target.expose("jobs_total 6\n");
    rig.step(15).await;
    assert_eq!(rig.query("jobs_total").await, ["__name__=jobs_total 6"]);
    let targets = rig.json("/api/v1/targets").await;
    assert_eq!(targets["data"]["activeTargets"][0]["health"], "up");
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_exposition_counts_as_a_failed_scrape() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("good 1\nbad one\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("up").await, ["__name__=up 0"]);
    assert!(rig.query("good").await.is_empty());
    let targets = rig.json("/api/v1/targets").await;
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "exposition, line 2: expected a value");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_scrapes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let target = Double::start("jobs_total 5\n").await;
    let clock = Clock::manual(START);
    let config = format!("[[targets]]\nurl = '{}'\n", target.url());
    let rig = start(&folder.path().join("data"), &config, &clock).unwrap();
    rig.step(0).await;
    rig.step(15).await;
    assert_eq!(rig.query("up{job=\"millrace-sidecar\"}").await, ["__name__=up 1"]);
    assert_eq!(
        rig.query("millrace_sidecar_scrapes_total{target_job=\"millrace\"}").await,
        ["__name__=millrace_sidecar_scrapes_total,result=ok,target_job=millrace 2"]
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_come_and_go_with_files_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Double::start("jobs_total 1\n").await, Double::start("jobs_total 2\n").await);
    let list = Double::start("[]").await;
    let host = |double: &Double| double.url().trim_start_matches("http://").to_owned();
    let file = folder.path().join("targets.json");
    let write = |targets: &[String]| {
        let groups = serde_json::json!([{"targets": targets, "labels": {"zone": "a"}}]);
        std::fs::write(&file, groups.to_string()).unwrap();
    };
    write(&[host(&one)]);
    let config = format!(
        "targets = []\n[scrape]\nitself = false\n[[discover]]\njob = 'edge'\nfiles = ['{}']\nhttp = '{}'\n\
         relabel = [{{source_labels = ['zone'], target_label = 'place', replacement = 'in-$1'}}]\n",
        file.display(),
        list.url(),
    );
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &config, &clock).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("jobs_total").await, ["__name__=jobs_total,place=in-a,zone=a 1"]);

    // The list adds one; the file is broken, so nothing changes.
    list.expose(format!(r#"[{{"targets": ["{}"]}}]"#, host(&two)));
    std::fs::write(&file, "[{").unwrap();
    rig.step(15).await;
    assert_eq!(rig.query("sum(jobs_total)").await, ["1"]);
    write(&[host(&one)]);
    rig.step(15).await;
    assert_eq!(rig.query("sum(jobs_total)").await, ["3"]);

    // Taken away: gone at once, not after the lookback.
    write(&[]);
    rig.step(15).await;
    assert_eq!(rig.query("jobs_total").await, ["__name__=jobs_total,place=in- 2"]);
    assert_eq!(rig.query("count(up)").await, ["1"]);
    assert_eq!(rig.json("/api/v1/targets").await["data"]["activeTargets"].as_array().unwrap().len(), 1);
    rig.stop().await;
}
