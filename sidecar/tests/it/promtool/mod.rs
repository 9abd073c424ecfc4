//! `check` and `test` give the verdicts of `promtool check rules` and `promtool test rules`. The cases lie beside this
//! file; what promtool 3.5 said of them is recorded in `verdicts.txt`, and
//! `MILLRACE_PROMTOOL=/usr/bin/promtool cargo test … -- --ignored record_verdicts` records it anew.

use std::{fmt::Write, path::Path, process::Command, time::Duration};

use millrace_sidecar::{rules, unit_test};

const VERDICTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/promtool/verdicts.txt");

struct Case {
    name: String,
    rules: String,
    tests: String,
}

/// Blocks `=== name`, rules, `---`, tests (or nothing: the test of a rule that never fires).
fn written() -> Vec<Case> {
    let text = concat!(include_str!("rules.txt"), include_str!("tests.txt"));
    let case = |block: &str| {
        let (name, body) = block.split_once('\n').unwrap();
        let (rules, tests) = body.split_once("---\n").unwrap_or((body, "tests: []\n"));
        let tests = format!("rule_files: [rules.yml]\n{tests}");
        Case { name: name.trim().to_owned(), rules: rules.to_owned(), tests }
    };
    text.split("=== ").skip(1).map(case).collect()
}

/// Lines `template ⇒ text`, expanded with value 1234.5 and labels instance and job.
fn templates() -> Vec<Case> {
    let case = |line: &str| {
        let (template, expected) = line.split_once(" ⇒ ").unwrap();
        let quoted = |text: &str| serde_json::to_string(&text.replace("\\n", "\n")).unwrap();
        Case {
            name: format!("template {template}"),
            rules: format!(
                "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: x > 0\n    annotations:\n      text: {}\n",
                serde_json::to_string(template).unwrap()
            ),
            tests: format!(
                r#"rule_files: [rules.yml]
tests:
- interval: 1m
  external_labels: {{dc: eu}}
  external_url: http://ops.example/base
  input_series:
  - {{series: 'x{{instance="host.example:80",job="edge"}}', values: "1234.5"}}
  - {{series: 'y{{k="b"}}', values: "2"}}
  - {{series: 'y{{k="a"}}', values: "1.5"}}
  - {{series: 'y{{k="c"}}', values: "10000000"}}
  alert_rule_test:
  - eval_time: 0m
    alertname: A
    exp_alerts:
    - exp_labels: {{instance: "host.example:80", job: edge}}
      exp_annotations: {{text: {}}}
"#,
                quoted(expected)
            ),
        }
    };
    include_str!("templates.txt").lines().filter(|line| !line.is_empty()).map(case).collect()
}

fn all() -> Vec<Case> {
    written().into_iter().chain(templates()).collect()
}

fn line(name: &str, checks: bool, passes: bool) -> String {
    let verdict = |good| if good { "good" } else { "bad" };
    format!("{} {} {name}", verdict(checks), verdict(passes))
}

#[test]
fn verdicts_are_those_of_promtool() {
    let recorded = std::fs::read_to_string(VERDICTS).unwrap();
    let cases = all();
    assert_eq!(recorded.lines().count(), cases.len(), "the cases have changed: record anew");
    let mut wrong = Vec::new();
    for (case, recorded) in cases.iter().zip(recorded.lines()) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yml"), &case.rules).unwrap();
        let loaded = rules::load("rules.yml", &case.rules, Duration::from_secs(60));
        let outcome = unit_test::run(&case.tests, folder.path());
        if line(&case.name, loaded.is_ok(), outcome.passed()) != recorded {
            wrong.push(format!("{recorded}\n  {:?}\n  {outcome:?}", loaded.err()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 180, "{}", cases.len());
}

#[test]
#[ignore = "records the verdicts of the promtool 3 named by MILLRACE_PROMTOOL"]
fn record_verdicts() {
    let promtool = std::env::var("MILLRACE_PROMTOOL").expect("MILLRACE_PROMTOOL names the program");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(folder.path()).output().unwrap();
        output.status.success()
    };
    let mut verdicts = String::new();
    for case in all() {
        std::fs::write(folder.path().join("rules.yml"), &case.rules).unwrap();
        std::fs::write(folder.path().join("tests.yml"), &case.tests).unwrap();
        let checks = run(&["check", "rules", "--lint=none", "rules.yml"]);
        let passes = run(&["test", "rules", "tests.yml"]);
        writeln!(verdicts, "{}", line(&case.name, checks, passes)).unwrap();
    }
    std::fs::write(Path::new(VERDICTS), verdicts).unwrap();
}
