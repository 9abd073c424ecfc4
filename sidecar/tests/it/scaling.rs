//! Scaling as people see it: groups, decisions and overrides over HTTP, metrics, `check` and `replay`.

use std::{path::Path, process::Command};

use millrace_kit::clock::Clock;
use serde_json::{Value, json};

use crate::{
    harness::{Rig, START, start},
    http_double::Double,
};

const BINARY: &str = env!("CARGO_BIN_EXE_millrace-sidecar");

const POLICY: &str = r#"
[[groups]]
name = "edge"
mode = "advise"
min = 1
max = 4
startup_hold_secs = 15
slo = []
signals = [{ name = "load", expr = 'avg(load{instance=~"$ready"})', unit = "jobs", per_instance = true }]
up = [{ signal = "load", above = 50.0, for_secs = 15 }]
down = [{ signal = "load", below = 10.0, for_secs = 15 }]
"#;

fn config(folder: &Path, policy: &str, targets: &[&Double]) -> String {
    let file = folder.join("scaling.toml");
    std::fs::write(&file, policy).unwrap();
    let tables: String =
        targets.iter().map(|target| format!("[[targets]]\nurl = '{}'\n", target.url())).collect();
    format!(
        "{tables}[scaling]\nfile = '{}'\n[scrape]\nitself = false\ninterval_secs = 10\ntimeout_secs = 5\n",
        file.display()
    )
}

async fn rig(folder: &tempfile::TempDir, policy: &str) -> (Rig, [Double; 2]) {
    let targets = [Double::start("load 20\n").await, Double::start("load 20\n").await];
    let config = config(folder.path(), policy, &[&targets[0], &targets[1]]);
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    (rig, targets)
}

async fn group(rig: &Rig) -> Value {
    rig.json("/api/v1/scaling").await["data"]["groups"][0].clone()
}

async fn bindings(rig: &Rig, query: &str) -> Vec<String> {
    let found = rig.json(&format!("/api/v1/scaling/decisions{query}")).await;
    let decisions = found["data"]["decisions"].as_array().unwrap().clone();
    let shown = |one: &Value| {
        format!("{} {} {}", one["action"].as_str().unwrap(), one["to"], one["binding"].as_str().unwrap())
    };
    decisions.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_tell_their_signals_and_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, targets) = rig(&folder, POLICY).await;
    rig.decide(15).await;
    rig.decide(15).await;
    let shown = group(&rig).await;
    let expected = json!([{
        "name": "load", "expr": "avg(load{instance=~\"$ready\"})", "unit": "jobs",
        "value": 20.0, "age_seconds": 0.0, "coverage": 1.0, "usable": true, "why": "",
        "up": 50.0, "down": 10.0, "target": null,
    }]);
    assert_eq!(shown["signals"], expected);
    for (key, value) in [
        ("name", json!("edge")),
        ("mode", json!("auto")),
        ("override", Value::Null),
        ("min", json!(1)),
        ("max", json!(4)),
        ("desired", json!(2)),
        ("ready", json!(2)),
        ("reachable", json!(true)),
        ("converging", json!(false)),
        ("error", Value::Null),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    assert_eq!(shown["instances"][0]["state"], "ready");
    assert_eq!(shown["instances"][0]["since"], "2026-01-01T00:00:15Z");

    targets[0].expose("load 90\n");
    targets[1].expose("load 90\n");
    rig.decide(15).await;
    rig.decide(15).await;
    let last = group(&rig).await["last"].clone();
    assert_eq!(last["reason"], "load is 90.0, above 50.0 for 15 s");
    assert_eq!(
        (&last["at"], &last["from"], &last["to"]),
        (&json!("2026-01-01T00:01:00Z"), &json!(2), &json!(3))
    );
    let rule = json!({
        "name": "load > 50", "direction": "up", "expr": "avg(load{instance=~\"$ready\"})", "verdict": "true",
        "value": 90.0, "threshold": 50.0, "for_seconds": 15, "true_since": "2026-01-01T00:00:45Z",
    });
    assert_eq!(last["rules"][0], rule);
    assert_eq!(bindings(&rig, "").await, ["up 3 none", "hold 2 none", "hold 2 none", "hold 2 startup"]);
    assert_eq!(bindings(&rig, "?fold=true").await, ["up 3 none", "hold 2 none", "hold 2 startup"]);
    assert_eq!(bindings(&rig, "?action=up&group=edge&limit=5").await, ["up 3 none"]);
    assert_eq!(bindings(&rig, "?end=2026-01-01T00:00:15Z").await, ["hold 2 startup"]);
    let folded = rig.json("/api/v1/scaling/decisions?fold=true").await;
    assert_eq!(folded["data"]["decisions"][1]["repeated"], 1);
    assert_eq!(folded["data"]["decisions"][1]["until"], "2026-01-01T00:00:45Z");

    let metrics = rig.get("/metrics").await.text().await.unwrap();
    for line in [
        "millrace_scaling_instances{pool=\"edge\",state=\"ready\"} 2",
        "millrace_scaling_desired{pool=\"edge\"} 2",
        "millrace_scaling_decisions_total{action=\"up\",binding=\"none\",pool=\"edge\"} 1",
        "millrace_scaling_last_change_timestamp_seconds{pool=\"edge\"} 1767225660",
        "millrace_scaling_signal{pool=\"edge\",signal=\"load\"} 90",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_scrapes_hold_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, targets) = rig(&folder, POLICY).await;
    rig.decide(15).await;
    rig.decide(15).await;
    targets.iter().for_each(|target| target.fail(503));
    rig.decide(15).await;
    let shown = group(&rig).await;
    assert_eq!((&shown["last"]["action"], &shown["last"]["binding"]), (&json!("hold"), &json!("unknown")));
    assert_eq!(
        (&shown["signals"][0]["usable"], &shown["signals"][0]["value"]),
        (&json!(false), &Value::Null)
    );
    let metrics = rig.get("/metrics").await.text().await.unwrap();
    assert!(!metrics.contains("millrace_scaling_signal{"), "{metrics}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_override_and_pause_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, targets) = rig(&folder, POLICY).await;
    rig.decide(15).await;
    let post = async |body: &str| {
        let answer = rig.post("/api/v1/scaling/override", "application/json", body).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let (status, answer) = post(r#"{"group":"edge","pause":true,"seconds":60,"reason":"release"}"#).await;
    let set = json!({
        "desired": null, "pause": true, "by": "this machine", "reason": "release", "until": "2026-01-01T00:01:15Z",
    });
    assert_eq!((status, &answer["data"]), (200, &set));
    targets.iter().for_each(|target| target.expose("load 90\n"));
    rig.decide(15).await;
    rig.decide(15).await;
    let shown = group(&rig).await;
    assert_eq!(
        (&shown["mode"], &shown["override"], &shown["last"]["binding"]),
        (&json!("paused"), &set, &json!("paused"))
    );
    assert_eq!(shown["last"]["counterfactual"], "without it 3, because load is 90.0, above 50.0 for 15 s");
    rig.decide(30).await;
    assert_eq!(group(&rig).await["mode"], "auto");

    assert_eq!(post(r#"{"group":"edge","desired":4,"seconds":60}"#).await.0, 200);
    rig.decide(1).await;
    assert_eq!(bindings(&rig, "?limit=1").await, ["up 4 override"]);
    assert_eq!(rig.delete("/api/v1/scaling/override?group=edge").await.status(), 200);
    assert_eq!(group(&rig).await["override"], Value::Null);

    for (body, status, said) in [
        (r#"{"group":"edge","desired":9,"seconds":60}"#, 400, "9 is not between 1 and 4"),
        (r#"{"group":"edge","desired":2,"seconds":90000}"#, 400, "`seconds` must be"),
        (r#"{"group":"core","desired":2,"seconds":60}"#, 404, "there is no group \"core\""),
        (
            r#"{"group":"edge","desird":2,"seconds":60}"#,
            400,
            "the body is not as expected: unknown field `desird`",
        ),
        ("", 400, "the body is not as expected"),
    ] {
        let (got, answer) = post(body).await;
        assert_eq!(got, status, "{body}");
        assert_eq!(answer["status"], "error");
        assert!(answer["error"].as_str().unwrap().starts_with(said), "{answer}");
    }
    let form = rig
        .post("/api/v1/scaling/override", "text/plain", r#"{"group":"edge","desired":2,"seconds":60}"#)
        .await;
    assert_eq!(form.status(), 400);
    let drain = rig.post("/api/v1/scaling/instances/nobody/drain?group=edge", "application/json", "").await;
    assert_eq!(drain.status(), 404);

    // The newest first; the pause ended by itself.
    let by_hand = group(&rig).await["by_hand"].clone();
    let shown: Vec<_> = by_hand
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["kind"], one["by"], one["override"]["desired"]).replace('"', ""))
        .collect();
    let ended = "override this machine null";
    assert_eq!(shown, [ended, "override this machine 4", ended]);
    assert_eq!(by_hand[0]["override"], Value::Null);
    assert_eq!(by_hand[2]["override"]["pause"], true);

    // Each change by hand stands in the journal.
    let journal = std::fs::read_to_string(folder.path().join("data/scaling/edge.jsonl")).unwrap();
    let kinds: Vec<String> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["start", "tick", "override", "tick", "tick", "tick", "override", "tick", "override"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_read_anew_without_forgetting_and_a_faulty_one_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, targets) = rig(&folder, POLICY).await;
    targets.iter().for_each(|target| target.expose("load 60\n"));
    rig.decide(15).await;
    rig.decide(15).await;
    assert_eq!(bindings(&rig, "?limit=1").await, ["up 3 none"]);
    let write = |text: &str| std::fs::write(folder.path().join("scaling.toml"), text).unwrap();
    let reload = async || {
        let answer = rig.post("/-/reload", "text/plain", "").await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let other = POLICY.replace("\"edge\"", "\"core\"");
    for (text, wanted) in [
        (
            POLICY.replace("min = 1", "min = 9").replace("15 }]\ndown", "15, abov = 1 }]\ndown"),
            vec!["scaling.toml:10: groups[0].up[0].abov: unknown key; did you mean `above`?"],
        ),
        (
            POLICY.replace("min = 1", "min = 9").replace("below = 10.0", "below = 70.0"),
            vec!["groups[0].min: must not be more than max, 4", "groups[0].down"],
        ),
        (
            format!("prometheus = 'http://127.0.0.1:9'\n{other}"),
            vec![
                "prometheus: is only changed when the sidecar starts",
                "groups: \"edge\" is not there any more; groups only go when the sidecar starts",
                "groups[0].name: \"core\" is new; groups only come when the sidecar starts",
            ],
        ),
    ] {
        write(&text);
        let (status, said) = reload().await;
        assert_eq!(status, 500, "{said}");
        for wanted in wanted {
            assert!(said.contains(wanted), "{wanted}\n{said}");
        }
    }
    assert_eq!(group(&rig).await["signals"][0]["up"], 50.0, "the old one stays");

    write(&POLICY.replace("above = 50.0", "above = 40.0").replace("max = 4", "max = 7"));
    assert_eq!(reload().await, (200, String::new()));
    let shown = group(&rig).await;
    assert_eq!((&shown["max"], &shown["signals"][0]["up"]), (&json!(7), &json!(40.0)));
    // Neither a hold as after a start nor a forgotten cooldown; the rule that has changed has to last anew.
    rig.decide(15).await;
    rig.decide(15).await;
    assert_eq!(bindings(&rig, "?limit=1").await, ["hold 2 cooldown_up"]);
    for _ in 0..4 {
        rig.decide(15).await;
    }
    assert!(bindings(&rig, "?limit=4").await.contains(&"up 3 none".to_owned()));
    rig.stop().await;
    let (policy, data) = (folder.path().join("scaling.toml"), folder.path().join("data"));
    let (policy, data) = (policy.display().to_string(), data.display().to_string());
    // Since then, all follows from the new one and what was remembered.
    let times = ["--from", "2026-01-01T00:00:40Z", "--to", "2026-01-01T00:10:00Z"];
    let (code, said, problem) =
        run(&[["replay", "--data-dir", &data, "--policy", &policy].as_slice(), &times].concat());
    assert_eq!(code, Some(0), "{said}{problem}");
    assert!(said.contains("same policy: all 6 decisions are as they were"), "{said}");
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(BINARY).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_says_what_was_and_what_would_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, targets) = rig(&folder, POLICY).await;
    for tick in 0..40 {
        let load = if (10..20).contains(&tick) { 90 } else { 20 };
        targets.iter().for_each(|target| target.expose(format!("load {load}\n")));
        rig.decide(15).await;
    }
    // While it runs, it is asked as a Prometheus would be.
    let path = |name: &str| folder.path().join(name).display().to_string();
    let other = path("other.toml");
    std::fs::write(&other, POLICY.replace("above = 50.0", "above = 95.0")).unwrap();
    let times = ["--from", "2026-01-01T00:00:00Z", "--to", "1767226200"];
    let running = [["replay", "--policy", &other, "--prometheus", rig.url()].as_slice(), &times].concat();
    let (code, said, problem) = run(&running);
    assert_eq!(code, Some(0), "{problem}");
    assert!(said.contains("from recorded metrics (no journal)") && said.contains("instance-hours"), "{said}");
    rig.stop().await;

    let (policy, data, plot) = (path("scaling.toml"), path("data"), path("plot.svg"));
    let base = ["replay", "--data-dir", &data];
    let (code, said, problem) = run(&[&base, ["--policy", &policy].as_slice(), &times].concat());
    assert_eq!(code, Some(0), "{problem}");
    assert!(said.contains("from the journal, same policy: all 40 decisions are as they were"), "{said}");
    let (code, said, problem) =
        run(&[&base, ["--policy", &other, "--plot", &plot, "--group", "edge"].as_slice(), &times].concat());
    assert_eq!(code, Some(0), "{problem}");
    assert!(said.contains("from recorded metrics (another policy than the journal's)"), "{said}");
    assert!(said.contains("steps up                               3               0"), "{said}");
    assert!(std::fs::read_to_string(&plot).unwrap().starts_with("<svg"));

    for (arguments, status, wanted) in [
        (vec!["--policy", &policy, "--group", "core"], 64, "the policy has no such group; it has: edge"),
        (vec!["--policy", "/nowhere.toml"], 64, "/nowhere.toml: No such file"),
    ] {
        let (code, _, problem) = run(&[base.as_slice(), &arguments, &times].concat());
        assert_eq!(code, Some(status));
        assert!(problem.contains(wanted), "{problem}");
    }
    // Until now, of which nothing is recorded here.
    let (_, _, problem) = run(&[&base, ["--policy", &policy, "--from", "10m"].as_slice()].concat());
    assert!(!problem.contains("is not a time"), "{problem}");
    let (code, _, problem) = run(&[&base, ["--policy", &policy, "--from", "yesterday"].as_slice()].concat());
    assert_eq!(
        (code, problem.contains("--from: \"yesterday\" is not a time")),
        (Some(64), true),
        "{problem}"
    );
}

/// Signals of a Prometheus: here another sidecar, which answers as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_may_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (first, targets) = rig(&folder, POLICY).await;
    first.decide(15).await;
    let policy = format!("prometheus = '{}'\n{POLICY}", first.url());
    let other = tempfile::tempdir().unwrap();
    let config = config(other.path(), &policy, &[]) + "targets = []\n";
    let config = format!("targets = []\n{}", config.trim_end_matches("targets = []\n"));
    let second = start(&other.path().join("data"), &config, &first.clock.clone()).unwrap();
    second.decide(0).await;
    let shown = group(&second).await;
    assert_eq!((&shown["ready"], &shown["signals"][0]["value"]), (&json!(2), &json!(20.0)));
    drop(targets);
    first.stop().await;
    second.decide(15).await;
    let shown = group(&second).await;
    assert_eq!((&shown["reachable"], &shown["last"]["binding"]), (&json!(false), &json!("unreachable")));
    let why = shown["signals"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("cannot be asked for: "), "{why}");
    second.stop().await;
}

#[test]
fn check_takes_policies_too() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/scaling.toml");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts/millrace.yml");
    let (code, said, _) = run(&["check", shipped, rules]);
    assert_eq!(code, Some(0));
    assert!(said.contains("scaling.toml: 1 groups, 9 signals: good"), "{said}");
    let bad = folder.path().join("bad.toml");
    std::fs::write(
        &bad,
        "[[groups]]\nname = 'x'\nmin = 5\nmax = 4\n[[groups.up]]\nsignal = 'cpv'\nabove = 1.0\n",
    )
    .unwrap();
    let (code, _, problem) = run(&["check", &bad.display().to_string(), rules]);
    assert_eq!(code, Some(64));
    for wanted in
        ["groups[0].min: must not be more than max, 4", "groups[0].up[0].signal: \"cpv\" is not a signal"]
    {
        assert!(problem.contains(&format!("{}: {wanted}", bad.display())), "{problem}");
    }
    let served = ["serve", "--set", &format!("scaling.file={}", bad.display())];
    assert_eq!(run(&served).0, Some(64));
}
