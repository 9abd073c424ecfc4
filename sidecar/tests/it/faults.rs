//! Every shipped alert, end to end: what a fault looks like in the metrics makes it fire, is told to a receiver, and ends when
//! the fault does. The rules are those that ship, with their own durations; the clock is ours. The same faults in real
//! processes: `scripts/fault-alerts.mjs`.

use std::{collections::BTreeSet, fmt::Write};

use millrace_kit::clock::Clock;
use millrace_sidecar::{config::RuleSource, rules};

use crate::{
    harness::{Rig, START, start},
    http_double::Double,
};

/// More than any alert takes to fire or to end.
const MOST_STEPS: usize = 160;
const STEP_SECS: u64 = 15;

/// Steps so far, and those with the fault.
#[derive(Clone, Copy)]
struct Now {
    steps: u64,
    faulty: u64,
    fault: bool,
}

impl Now {
    fn good(self) -> u64 {
        self.steps - self.faulty
    }

    fn at(self) -> i64 {
        START / 1000 + (self.steps * STEP_SECS) as i64
    }

    fn pick(self, faulty: i64, good: i64) -> i64 {
        if self.fault { faulty } else { good }
    }
}

fn decisions(binding: &str, now: Now) -> String {
    let faulty = now.faulty;
    format!(
        "millrace_scaling_decisions_total{{pool=\"edge\",action=\"hold\",binding=\"{binding}\"}} {faulty}\n"
    )
}

/// A histogram of which `slow` are above 100 and `quick` below 0.1.
fn histogram(name: &str, labels: &str, quick: u64, slow: u64) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut text = format!("# TYPE {name} histogram\n");
    for (bound, count) in [("0.1", quick), ("100", quick), ("+Inf", quick + slow)] {
        writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}").unwrap();
    }
    write!(text, "{name}_sum{{{labels}}} {slow}\n{name}_count{{{labels}}} {}\n", quick + slow).unwrap();
    text
}

type Exposed = fn(Now) -> String;

const CASES: &[(&str, Exposed)] = &[
    ("HighErrorRate", |now| {
        let count = |code, n| {
            format!(
                "http_server_request_duration_seconds_count{{http_response_status_code=\"{code}\"}} {n}\n"
            )
        };
        count(200, now.steps * 100) + &count(502, now.faulty * 20)
    }),
    ("HighResponseTime", |now| {
        histogram("millrace_response_head_seconds", "", now.good() * 50, now.faulty * 50)
    }),
    ("LowCacheHitRate", |now| {
        let count = |outcome, n| format!("millrace_cache_requests_total{{outcome=\"{outcome}\"}} {n}\n");
        count("hit", now.good() * 100) + &count("miss", now.faulty * 100) + &count("bypass", now.steps * 1000)
    }),
    ("HighQueueDepth", |now| format!("millrace_queue_depth{{queue=\"media\"}} {}\n", now.pick(101, 3))),
    ("SlowMediaProcessing", |now| {
        histogram("millrace_media_duration_seconds", "operation=\"encode\"", now.good() * 5, now.faulty * 5)
    }),
    ("OriginErrors", |now| {
        let count =
            |result, n| format!("millrace_origin_requests_total{{origin=\"o\",result=\"{result}\"}} {n}\n");
        count("answered", now.steps * 10) + &count("timeout", now.faulty * 5)
    }),
    ("OriginBreakerOpen", |now| {
        format!("millrace_origin_breaker_state{{origin=\"o\"}} {}\n", now.pick(2, 0))
    }),
    ("DiskTierDegraded", |now| format!("millrace_cache_disk_state{{state=\"off\"}} {}\n", now.pick(1, 0))),
    ("DiskFull", |now| {
        let of = "{device=\"/dev/sda\",fstype=\"ext4\",mountpoint=\"/\"}";
        format!(
            "node_filesystem_size_bytes{of} 1000\nnode_filesystem_avail_bytes{of} {}\nnode_filesystem_readonly{of} 0\n",
            now.pick(40, 500)
        )
    }),
    ("UploadFailures", |now| {
        let count = |result, n| format!("millrace_uploads_total{{kind=\"tus\",result=\"{result}\"}} {n}\n");
        count("stored", now.steps * 10) + &count("failed", now.faulty * 2)
    }),
    ("CertificateExpiry", |now| {
        let left = now.pick(13 * 86_400, 60 * 86_400);
        format!(
            "millrace_tls_certificate_expiry_timestamp_seconds{{name=\"cdn.example\"}} {}\n",
            now.at() + left
        )
    }),
    ("ScalingStuck", |now| {
        let count = |state, n| format!("millrace_scaling_instances{{pool=\"edge\",state=\"{state}\"}} {n}\n");
        count("desired", 5) + &count("ready", now.pick(3, 5))
    }),
    ("ScalingBlind", |now| decisions("unknown", now)),
    ("ScalingHeldByOrigin", |now| decisions("origin_fault", now)),
    ("RuleEvaluationMissed", |now| {
        format!("millrace_sidecar_rule_group_missed_total{{group=\"g\"}} {}\n", now.faulty)
    }),
    ("RuleEvaluationFails", |now| {
        format!("millrace_sidecar_rule_evaluations_total{{group=\"g\",result=\"failed\"}} {}\n", now.faulty)
    }),
    ("NotificationsFail", |now| {
        format!(
            "millrace_sidecar_notifications_total{{receiver=\"r\",result=\"failed\"}} {}\nmillrace_sidecar_notifications_pending{{receiver=\"r\"}} {}\n",
            now.faulty,
            now.pick(2, 0)
        )
    }),
    ("PurgeLag", |now| histogram("millrace_purge_apply_seconds", "", now.good() * 5, now.faulty * 5)),
];

/// Those whose fault is not in what a target exposes.
const OTHERWISE: [&str; 2] = ["TargetDown", "ScrapeStale"];

struct Scene {
    rig: Rig,
    target: Double,
    receiver: Double,
    list: std::path::PathBuf,
    now: Now,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (target, receiver) = (Double::start("").await, Double::start("").await);
        let list = folder.path().join("targets.json");
        let config = format!(
            "targets = []\n[[discover]]\njob = 'edge'\nfiles = ['{}']\n[scrape]\nitself = false\n[[webhooks]]\nname = 'ops'\nurl = '{}'\ngroup_wait_secs = 0\ngroup_interval_secs = 0\n",
            list.display(),
            receiver.url()
        );
        let scene_list = format!(r#"[{{"targets": ["{}"]}}]"#, target.address);
        std::fs::write(&list, scene_list).unwrap();
        let clock = Clock::manual(START);
        let rig = start(&folder.path().join("data"), &config, &clock).unwrap();
        let now = Now { steps: 0, faulty: 0, fault: false };
        Self { rig, target, receiver, list, now, _folder: folder }
    }

    async fn step(&mut self, fault: bool, exposed: Option<Exposed>) {
        self.now.steps += 1;
        self.now.faulty += u64::from(fault);
        self.now.fault = fault;
        if let Some(exposed) = exposed {
            self.target.expose(exposed(self.now));
        }
        self.rig.step(STEP_SECS).await;
    }

    /// Steps until the receiver is told that the alert is in this state.
    async fn until(&mut self, alert: &str, status: &str, fault: bool, exposed: Option<Exposed>) {
        for _ in 0..MOST_STEPS {
            self.step(fault, exposed).await;
            let told = self.receiver.posted();
            let mut alerts = told.iter().flat_map(|body| body["alerts"].as_array().unwrap());
            if alerts.any(|found| found["labels"]["alertname"] == alert && found["status"] == status) {
                return;
            }
        }
        panic!("{alert} was not told as {status} after {MOST_STEPS} steps: {:?}", self.rig.alerts().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_on_its_fault_and_ends_with_it() {
    for (alert, exposed) in CASES {
        let mut scene = Scene::new().await;
        for _ in 0..8 {
            scene.step(false, Some(*exposed)).await;
        }
        assert!(scene.rig.alerts().await.is_empty(), "{alert}: {:?}", scene.rig.alerts().await);
        scene.until(alert, "firing", true, Some(*exposed)).await;
        scene.until(alert, "resolved", false, Some(*exposed)).await;
        scene.rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_answer_and_one_that_nobody_asks() {
    let mut scene = Scene::new().await;
    scene.step(false, None).await;
    scene.target.fail(503);
    scene.until("TargetDown", "firing", true, None).await;
    scene.target.expose("");
    scene.until("TargetDown", "resolved", false, None).await;

    let list = std::fs::read_to_string(&scene.list).unwrap();
    std::fs::write(&scene.list, "[]").unwrap();
    scene.until("ScrapeStale", "firing", true, None).await;
    std::fs::write(&scene.list, list).unwrap();
    scene.until("ScrapeStale", "resolved", false, None).await;
    scene.rig.stop().await;
}

fn shipped() -> Vec<rules::Group> {
    let source = RuleSource { patterns: vec![], interval: std::time::Duration::from_secs(15) };
    source.load().unwrap()
}

#[test]
fn no_shipped_alert_is_left_out() {
    let shipped = shipped();
    let shipped: BTreeSet<&str> =
        shipped.iter().flat_map(|group| &group.rules).map(|rule| rule.name.as_str()).collect();
    let here: BTreeSet<&str> = CASES.iter().map(|(name, _)| *name).chain(OTHERWISE).collect();
    assert_eq!(shipped, here);
}
