//! What survives: samples, alert states, and who was told what.

use std::path::Path;

use millrace_kit::clock::Clock;
use millrace_sidecar::app::Error;

use crate::{
    alerts::toml,
    harness::{START, start},
    http_double::Double,
};

const LONG: &str = "queue_depth{queue=\"media\"} 12\n";

/// What kill -9 leaves: the files as they are at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_a_firing_alert_fires_at_once_and_nobody_is_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start(LONG).await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &receiver);
    let (data, remains) = (folder.path().join("data"), folder.path().join("remains"));
    let rig = start(&data, &config, &clock).unwrap();
    for _ in 0..4 {
        rig.step(15).await;
    }
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    assert_eq!(receiver.posted().len(), 1);
    copy(&data, &remains);
    rig.stop().await;

    // The samples are lost (no snapshot was written), the target is slow to come back.
    let rig = start(&remains, &config, &clock).unwrap();
    target.fail(503);
    rig.step(20).await;
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    target.expose(LONG);
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    assert!(receiver.posted().is_empty());

    target.expose("queue_depth{queue=\"media\"} 1\n");
    rig.step(15).await;
    assert_eq!(receiver.posted()[0]["status"], "resolved");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_alert_does_not_wait_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start(LONG).await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &receiver);
    let data = folder.path().join("data");
    let rig = start(&data, &config, &clock).unwrap();
    rig.step(0).await;
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong pending"]);
    rig.stop().await;
    let rig = start(&data, &config, &clock).unwrap();
    rig.step(15).await;
    assert_eq!(rig.alerts().await, ["QueueLong firing"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_there_after_an_orderly_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("jobs_total 5\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &receiver);
    let data = folder.path().join("data");
    let rig = start(&data, &config, &clock).unwrap();
    for jobs in 1..=20 {
        target.expose(format!("jobs_total {jobs}\n"));
        rig.step(15).await;
    }
    rig.stop().await;
    let rig = start(&data, &config, &clock).unwrap();
    assert_eq!(rig.query("increase(jobs_total[4m])").await, ["16"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("jobs_total 5\n").await, Double::start("").await);
    let clock = Clock::manual(START);
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("series.snapshot"), "MLRSER01 what is this").unwrap();
    let rig = start(&data, &toml(folder.path(), &target, &receiver), &clock).unwrap();
    assert!(data.join("series.damaged").exists());
    rig.step(0).await;
    assert_eq!(rig.query("jobs_total").await.len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let config = toml(folder.path(), &target, &receiver);
    let data = folder.path().join("data");
    let rig = start(&data, &config, &clock).unwrap();
    assert!(matches!(start(&data, &config, &clock), Err(Error::DataDirInUse(_))));
    rig.stop().await;
    start(&data, &config, &clock).unwrap().stop().await;
}
