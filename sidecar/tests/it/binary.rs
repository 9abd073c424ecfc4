//! The program itself: exit codes, signals, what it says.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const BINARY: &str = env!("CARGO_BIN_EXE_millrace-sidecar");

#[test]
fn check_says_where_and_exits_64() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("bad.yml");
    std::fs::write(&rules, "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(\n").unwrap();
    let checked = Command::new(BINARY).arg("check").arg(&rules).output().unwrap();
    assert_eq!(checked.status.code(), Some(64));
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.starts_with(&format!("{}:5: A: expr: ", rules.display())), "{said}");

    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts/millrace.yml");
    let checked = Command::new(BINARY).args(["check", shipped]).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn serve_refuses_bad_settings_with_64() {
    let served = Command::new(BINARY).args(["serve", "--set", "scrape.interval_sec=1"]).output().unwrap();
    assert_eq!(served.status.code(), Some(64));
    let said = String::from_utf8(served.stderr).unwrap();
    assert!(said.contains("did you mean `interval_secs`?"), "{said}");
}

#[test]
fn serve_stops_in_order_on_term() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--target", "http://127.0.0.1:1", "--data-dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(serving.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("dashboard on http://127.0.0.1:"), "{first}");
    // Wait for the log to say that it is ready, so that there is something to stop.
    let mut log = BufReader::new(serving.stderr.take().unwrap()).lines();
    assert!(log.by_ref().any(|line| line.unwrap().contains("ready")));
    let killed = Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = log.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("stopped")), "{rest:?}");
    assert_eq!(serving.wait().unwrap().code(), Some(0));
    assert!(folder.path().join("series.snapshot").exists());
}

#[test]
fn test_runs_promtools_files() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("unit.yml");
    let rules = "groups: [{name: g, rules: [{alert: Down, expr: up == 0}]}]";
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    for (value, code, says) in
        [("0", 0, ": passed\n"), ("1", 1, ": FAILED\n  test 1, alertname: Down, time: 0s,")]
    {
        let text = format!(
            "rule_files: [rules.yml]\ntests: [{{input_series: [{{series: up, values: '{value}'}}], alert_rule_test: [{{alertname: Down, exp_alerts: [{{}}]}}]}}]"
        );
        std::fs::write(&unit, text).unwrap();
        let tested = Command::new(BINARY).arg("test").arg(&unit).output().unwrap();
        assert_eq!(tested.status.code(), Some(code));
        let said = String::from_utf8(tested.stdout).unwrap();
        assert!(said.starts_with(&format!("{}{says}", unit.display())), "{said}");
    }
    std::fs::write(&unit, "tsets: []").unwrap();
    assert_eq!(Command::new(BINARY).arg("test").arg(&unit).status().unwrap().code(), Some(64));
}
