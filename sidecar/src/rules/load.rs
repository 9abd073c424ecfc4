//! From the text of a rule file to rules that can be evaluated, or to everything that is wrong with it.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use serde::Deserialize;

use super::{
    Alerting, Group, Kind, Rule, Template,
    file::{RawGroup, RawRule, RuleFile, Text, duration},
    lines::Lines,
};
use crate::{model::METRIC_NAME, promql::Query};

/// Larger files are refused unread.
pub(super) const MAX_FILE_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// `default_interval` is for groups that name none.
pub fn load(file: &str, text: &str, default_interval: Duration) -> Result<Vec<Group>, Vec<Fault>> {
    let fault = |line, message: String| Fault { file: file.to_owned(), line, message };
    if text.len() > MAX_FILE_BYTES {
        return Err(vec![fault(None, format!("is larger than {MAX_FILE_BYTES} bytes"))]);
    }
    // As Prometheus does, the first document only.
    let Some(document) = serde_yaml_ng::Deserializer::from_str(text).next() else { return Ok(Vec::new()) };
    let parsed = Option::<RuleFile>::deserialize(document)
        .map_err(|error| vec![fault(error.location().map(|at| at.line()), error.to_string())])?;
    let parsed = parsed.unwrap_or_default();
    let names: Vec<&str> = parsed.groups.iter().flat_map(|group| &group.rules).map(RawRule::name).collect();
    let mut loader = Loader {
        file,
        lines: Lines::new(text, &names),
        faults: Vec::new(),
        rule: 0,
        rule_name: String::new(),
    };
    let mut group_names = HashSet::new();
    let mut groups = Vec::new();
    for raw in &parsed.groups {
        if !group_names.insert(raw.name.0.as_str()) {
            loader.fault("", format!("group {:?} is defined twice", raw.name.0));
        }
        groups.push(loader.group(raw, default_interval));
    }
    if loader.faults.is_empty() { Ok(groups) } else { Err(loader.faults) }
}

struct Loader<'a> {
    file: &'a str,
    lines: Lines<'a>,
    faults: Vec<Fault>,
    /// Number of the rule within the file.
    rule: usize,
    rule_name: String,
}

impl Loader<'_> {
    /// `key` is that of the rule at fault; empty outside of rules.
    fn fault(&mut self, key: &str, message: String) {
        let line = if key.is_empty() { None } else { self.lines.of(self.rule, key) };
        let message = match self.rule_name.as_str() {
            _ if key.is_empty() => message,
            "" => format!("{key}: {message}"),
            name => format!("{name}: {key}: {message}"),
        };
        self.faults.push(Fault { file: self.file.to_owned(), line, message });
    }

    fn group(&mut self, raw: &RawGroup, default_interval: Duration) -> Group {
        let interval = match &raw.interval {
            None => default_interval,
            Some(text) => duration(&text.0).unwrap_or_else(|| {
                self.fault("", format!("group {:?}: interval {:?} is not a duration", raw.name.0, text.0));
                default_interval
            }),
        };
        let interval = if interval.is_zero() { default_interval } else { interval };
        if raw.name.0.is_empty() {
            self.fault("", "a group has no name".to_owned());
        }
        let query_offset = match &raw.query_offset {
            None => Duration::ZERO,
            Some(text) => duration(&text.0).unwrap_or_else(|| {
                self.fault(
                    "",
                    format!("group {:?}: query_offset {:?} is not a duration", raw.name.0, text.0),
                );
                Duration::ZERO
            }),
        };
        let mut rules = Vec::new();
        for rule in &raw.rules {
            self.rule_name = rule.name().to_owned();
            rules.extend(self.rule(rule, &raw.labels));
            self.rule += 1;
        }
        Group {
            name: raw.name.0.clone(),
            file: self.file.to_owned(),
            interval,
            limit: usize::try_from(raw.limit).unwrap_or(0),
            query_offset,
            rules,
        }
    }

    /// None when the expression is unusable; other faults are only noted.
    fn rule(&mut self, raw: &RawRule, group_labels: &BTreeMap<String, Text>) -> Option<Rule> {
        let mut labels = group_labels.clone();
        labels.extend(raw.labels.clone());
        let labels = self.templates(&labels, raw.alert.is_some());
        let kind = match (&raw.alert, &raw.record) {
            (Some(_), None) => Kind::Alerting(Alerting {
                hold: self.optional_duration("for", raw.hold.as_ref()),
                keep_firing: self.optional_duration("keep_firing_for", raw.keep_firing_for.as_ref()),
                keep_pending: self.optional_duration("keep_pending_for", raw.keep_pending_for.as_ref()),
                annotations: self.templates(&raw.annotations, true),
            }),
            (None, Some(name)) => {
                // Any text, since Prometheus 3; braces are taken for a slip.
                if name.0.contains(['{', '}']) {
                    self.fault("record", format!("{:?} is not a metric name", name.0));
                }
                let waits = [&raw.hold, &raw.keep_firing_for, &raw.keep_pending_for];
                if waits.iter().any(|wait| wait.is_some()) || !raw.annotations.is_empty() {
                    let message = "a recording rule has no `for`, `keep_firing_for`, `keep_pending_for` or `annotations`";
                    self.fault("record", message.to_owned());
                }
                Kind::Recording
            }
            _ => {
                self.fault("alert", "a rule has either `alert` or `record`".to_owned());
                return None;
            }
        };
        if raw.name().is_empty() {
            self.fault("alert", "is empty".to_owned());
        }
        match Query::parse(&raw.expr.0) {
            Ok(query) => Some(Rule { name: raw.name().to_owned(), kind, query, labels }),
            Err(error) => {
                self.fault("expr", error.to_string());
                None
            }
        }
    }

    fn optional_duration(&mut self, key: &str, text: Option<&Text>) -> Duration {
        let Some(text) = text else { return Duration::ZERO };
        duration(&text.0).unwrap_or_else(|| {
            self.fault(key, format!("{:?} is not a duration", text.0));
            Duration::ZERO
        })
    }

    /// Labels of recording rules are taken as they are.
    fn templates(&mut self, texts: &BTreeMap<String, Text>, expands: bool) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for (name, text) in texts {
            if name.is_empty() || name == METRIC_NAME {
                self.fault(name, "is not a usable label name".to_owned());
            }
            let template = if expands { Template::parse(&text.0) } else { Ok(Template::literal(&text.0)) };
            match template {
                Ok(template) => templates.push((name.clone(), template)),
                Err(error) => self.fault(name, error.to_string()),
            }
        }
        templates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = load("r.yml", text, Duration::from_secs(15)).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file() {
        let text = "
groups:
- name: g
  interval: 1m
  labels: {team: edge}
  rules:
  - alert: A
    expr: up == 0
    for: 5m
    keep_firing_for: 1m
    labels: {severity: page, level: 3}
    annotations: {summary: '{{ $labels.instance }} is down'}
  - record: a:b
    expr: sum(up)
- name: h
";
        let groups = load("r.yml", text, Duration::from_secs(15)).unwrap();
        assert_eq!(groups[0].interval, Duration::from_secs(60));
        assert_eq!(groups[1].interval, Duration::from_secs(15));
        let rule = &groups[0].rules[0];
        let labels: Vec<_> =
            rule.labels.iter().map(|(name, template)| (name.as_str(), template.text())).collect();
        assert_eq!(labels, [("level", "3"), ("severity", "page"), ("team", "edge")]);
        let Kind::Alerting(Alerting { hold, keep_firing, .. }) = rule.kind else { panic!() };
        assert_eq!((hold, keep_firing), (Duration::from_secs(300), Duration::from_secs(60)));
        assert_eq!(load("r.yml", "", Duration::from_secs(15)).unwrap().len(), 0);
    }

    #[test]
    fn every_fault_with_its_line() {
        let text = "groups:
- name: g
  rules:
  - alert: A
    expr: up ==
    for: 5 minutes
  - alert: B
    expr: up
    annotations:
      summary: '{{ $labels.x | nonsense }}'
  - record: 'b{c}'
    expr: up
    for: 1m
  - alert: C
    expr: info(up)
  - alert: D
    expr: up
    labels: {__name__: y}
- name: g
";
        let found = faults(text);
        let starts = [
            "r.yml:6: A: for: \"5 minutes\" is not a duration",
            "r.yml:5: A: expr: ",
            "r.yml:10: B: summary: function \"nonsense\" not defined",
            "r.yml:11: b{c}: record: \"b{c}\" is not a metric name",
            "r.yml:11: b{c}: record: a recording rule has no",
            "r.yml:15: C: expr: not supported: function info()",
            "r.yml:16: D: __name__: is not a usable label name",
            "r.yml: group \"g\" is defined twice",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}\n{start}");
        }
    }

    #[test]
    fn yaml_and_unknown_keys() {
        assert!(faults("groups:\n- name: g\n  rulez: []\n")[0].starts_with("r.yml:3: "));
        assert!(faults("groups: [\n")[0].starts_with("r.yml:"));
        assert_eq!(faults("groups:\n- name: g\n  rules:\n  - expr: up\n").len(), 1);
    }
}
