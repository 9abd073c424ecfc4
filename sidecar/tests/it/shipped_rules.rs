//! The shipped alerts through our own evaluator: the files that `promtool test rules` runs must pass here too.

use std::{collections::BTreeSet, path::Path, time::Duration};

use millrace_kit::metrics::catalogue::{self, Kind};
use millrace_sidecar::{config::RuleSource, rules, series::Matcher, unit_test};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts/tests");

#[test]
fn our_evaluator_agrees_with_promtool() {
    let files = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yml")).collect();
    assert!(!files.is_empty());
    for file in files {
        let outcome = unit_test::run_file(&file);
        assert!(outcome.passed() && outcome.warnings.is_empty(), "{}: {outcome:#?}", file.display());
    }
}

#[test]
fn a_wrong_expectation_fails() {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("millrace.yml")).unwrap();
    let text = text.replacen("severity: critical", "severity: nonsense", 1);
    let outcome = unit_test::run(&text, Path::new(FOLDER));
    assert_eq!((outcome.faults.len(), outcome.failures.len()), (0, 1), "{outcome:#?}");
}

fn shipped() -> Vec<rules::Group> {
    RuleSource { patterns: vec![], interval: Duration::from_secs(15) }.load().unwrap()
}

/// Of other programs, under the names that their exporters give them.
const FOREIGN: [&str; 5] = [
    "up",
    "probe_ssl_earliest_cert_expiry",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_filesystem_readonly",
];

#[test]
fn alerts_look_at_metrics_that_exist() {
    let known: BTreeSet<String> = catalogue::ALL
        .iter()
        .flat_map(|def| match def.kind {
            Kind::Histogram(_) => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", def.name)).to_vec()
            }
            Kind::Counter | Kind::Gauge => vec![def.name.to_owned()],
        })
        .chain(FOREIGN.iter().map(ToString::to_string))
        .collect();
    for rule in shipped().iter().flat_map(|group| &group.rules) {
        for selector in rule.query.selectors() {
            let name = selector.iter().find(|matcher| matcher.name == "__name__").and_then(Matcher::exact);
            assert!(name.is_some_and(|name| known.contains(name)), "{}: {name:?}", rule.name);
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for rule in shipped().iter().flat_map(|group| &group.rules) {
        let rules::Kind::Alerting(alerting) = &rule.kind else { continue };
        let find = |texts: &[(String, rules::Template)], name: &str| {
            texts.iter().find(|(found, _)| found == name).map(|(_, text)| text.text().to_owned())
        };
        let severity = find(&rule.labels, "severity").unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity.as_str()), "{}: {severity}", rule.name);
        let book = find(&alerting.annotations, "runbook_url").unwrap_or_default();
        let text = std::fs::read_to_string(root.join(&book)).unwrap_or_default();
        for part in ["## What it means", "## What to look at", "## What to do"] {
            assert!(text.contains(part), "{}: {book} lacks {part:?}", rule.name);
        }
    }
}
