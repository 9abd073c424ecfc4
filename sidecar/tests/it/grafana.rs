//! The Grafana dashboards: what Grafana would only complain about when somebody opens them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use millrace_kit::metrics::catalogue::{self, Kind};
use millrace_sidecar::{promql::Query, series::Matcher};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");

/// Of every process, and of those who scrape.
const FOREIGN: [&str; 4] = ["up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"];

/// Attached by those who scrape, or made by histograms and rules.
const LABELS: [&str; 6] = ["__name__", "job", "instance", "le", "alertstate", "alertname"];

/// Everything that a dashboard and its panels may have; Grafana drops what it does not know without a word.
const KEYS: [(&str, &[&str]); 4] = [
    (
        "",
        &[
            "annotations",
            "description",
            "editable",
            "fiscalYearStartMonth",
            "graphTooltip",
            "links",
            "liveNow",
            "panels",
            "refresh",
            "schemaVersion",
            "tags",
            "templating",
            "time",
            "timepicker",
            "timezone",
            "title",
            "uid",
            "version",
            "weekStart",
        ],
    ),
    ("row", &["collapsed", "gridPos", "id", "panels", "title", "type"]),
    (
        "panel",
        &["datasource", "description", "fieldConfig", "gridPos", "id", "options", "targets", "title", "type"],
    ),
    ("target", &["datasource", "editorMode", "expr", "legendFormat", "range", "refId"]),
];

fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let read = |path: &Path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut found: Vec<_> =
        files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(&path))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn keys_are_known(what: &str, value: &Value, place: &str) {
    let known = KEYS.iter().find(|(name, _)| *name == what).unwrap().1;
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{place}: Grafana knows no {key:?} here");
    }
}

fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().unwrap().iter()
}

fn queries(board: &Value) -> Vec<(String, String)> {
    let plots = panels(board).filter(|panel| panel["type"] != "row");
    let mut found: Vec<_> = plots
        .flat_map(|panel| panel["targets"].as_array().unwrap().iter().map(move |target| (panel, target)))
        .map(|(panel, target)| {
            (panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned())
        })
        .collect();
    for annotation in board["annotations"]["list"].as_array().unwrap() {
        found.push(("annotations".to_owned(), annotation["expr"].as_str().unwrap().to_owned()));
    }
    found
}

#[test]
fn they_are_whole_and_say_what_they_show() {
    let boards = dashboards();
    let names: Vec<&str> = boards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cache", "media", "origins", "overview", "scaling"]);
    for (name, board) in &boards {
        keys_are_known("", board, name);
        assert_eq!(
            (&board["schemaVersion"], &board["uid"]),
            (&39.into(), &format!("millrace-{name}").into())
        );
        let variables = board["templating"]["list"].as_array().unwrap();
        let sources = variables.iter().filter(|variable| variable["type"] == "datasource");
        assert_eq!(sources.map(|variable| &variable["name"]).collect::<Vec<_>>(), ["datasource"], "{name}");
        let mut ids = BTreeSet::new();
        for panel in panels(board) {
            let title = panel["title"].as_str().unwrap();
            let place = format!("{name}, {title}");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: its id is taken");
            if panel["type"] == "row" {
                keys_are_known("row", panel, &place);
                continue;
            }
            keys_are_known("panel", panel, &place);
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{place}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{place} has no unit");
            let targets = panel["targets"].as_array().unwrap();
            for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
                assert_eq!(source, &serde_json::json!({ "type": "prometheus", "uid": "${datasource}" }));
            }
            for target in targets {
                keys_are_known("target", target, &place);
            }
        }
    }
}

#[test]
fn panels_lie_side_by_side() {
    for (name, board) in dashboards() {
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap().to_owned();
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}, {title} is wider than the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, title.clone()) {
                    panic!("{name}: {title} lies on {other}");
                }
            }
        }
    }
}

#[test]
fn queries_ask_for_what_is_measured() {
    let defined = |name: &str| {
        catalogue::ALL.iter().find(|def| match def.kind {
            Kind::Histogram(_) => {
                ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(def.name))
            }
            Kind::Counter | Kind::Gauge => def.name == name,
        })
    };
    let mut asked = 0;
    for (name, board) in dashboards() {
        for (title, text) in queries(&board) {
            let place = format!("{name}, {title}: {text}");
            for (at, _) in text.match_indices("rate(") {
                let range = text[at..].split_once('[').map(|(_, rest)| rest.starts_with("$__rate_interval]"));
                assert_eq!(range, Some(true), "{place}: rates want $__rate_interval");
            }
            let plain =
                text.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$pool", ".*");
            assert!(!plain.contains('$'), "{place} has a variable that nobody sets");
            let query = Query::parse(&plain).unwrap_or_else(|error| panic!("{place}: {error}"));
            for selector in query.selectors() {
                let metric =
                    selector.iter().find(|matcher| matcher.name == "__name__").and_then(Matcher::exact);
                let metric = metric.unwrap_or_else(|| panic!("{place} selects no single metric"));
                if FOREIGN.contains(&metric) {
                    continue;
                }
                let def = defined(metric).unwrap_or_else(|| panic!("{place}: nothing exports {metric}"));
                for matcher in &selector {
                    let label = matcher.name.as_str();
                    assert!(
                        LABELS.contains(&label) || def.labels.contains(&label),
                        "{place}: {metric} has no {label}"
                    );
                }
            }
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked} queries");
}
