//! Relabelling as Prometheus does it: rules that rewrite a set of labels, or drop it. Of targets before they are scraped,
//! and of series before they are kept.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Labels, METRIC_NAME, is_label_name, pattern};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Labels whose values are joined and looked at.
    pub source_labels: Vec<String>,
    pub separator: String,
    pub target_label: String,
    /// Anchored at both ends.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// `$1` is what the first group matched.
    pub replacement: String,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Regex(#[from] regex::Error),
    #[error("action {0} needs {1}")]
    Lacks(&'static str, &'static str),
    #[error("{0:?} is not a label name")]
    Label(String),
}

#[derive(Debug, Clone)]
pub struct Rule {
    config: Config,
    regex: Regex,
}

impl Rule {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let target = &config.target_label;
        let needs_target = match config.action {
            Action::Replace => Some("replace"),
            Action::HashMod => Some("hashmod"),
            Action::Lowercase => Some("lowercase"),
            Action::Uppercase => Some("uppercase"),
            Action::KeepEqual => Some("keepequal"),
            Action::DropEqual => Some("dropequal"),
            _ => None,
        };
        if let Some(action) = needs_target.filter(|_| target.is_empty()) {
            return Err(Error::Lacks(action, "target_label"));
        }
        if config.action == Action::HashMod && config.modulus == 0 {
            return Err(Error::Lacks("hashmod", "modulus"));
        }
        // That of `replace` may hold groups.
        if needs_target.is_some() && config.action != Action::Replace && !is_label_name(target) {
            return Err(Error::Label(target.clone()));
        }
        Ok(Self { config: config.clone(), regex: pattern::anchored(&config.regex)? })
    }

    /// None: dropped.
    fn apply(&self, labels: Labels) -> Option<Labels> {
        let config = &self.config;
        let values: Vec<&str> = config.source_labels.iter().map(|name| labels.get(name)).collect();
        let value = values.join(&config.separator);
        let target = config.target_label.as_str();
        match config.action {
            Action::Keep => self.regex.is_match(&value).then_some(labels),
            Action::Drop => (!self.regex.is_match(&value)).then_some(labels),
            Action::KeepEqual => (labels.get(target) == value).then_some(labels),
            Action::DropEqual => (labels.get(target) != value).then_some(labels),
            Action::Lowercase => Some(labels.with(target, &value.to_lowercase())),
            Action::Uppercase => Some(labels.with(target, &value.to_uppercase())),
            Action::HashMod => {
                let bucket = hash(&value) % config.modulus.max(1);
                Some(labels.with(target, &bucket.to_string()))
            }
            Action::LabelDrop => Some(labels.filter(|name| !self.regex.is_match(name))),
            Action::LabelKeep => Some(labels.filter(|name| self.regex.is_match(name))),
            Action::LabelMap => {
                let mut mapped = labels.to_builder();
                for label in labels.iter() {
                    if let Some(captures) = self.regex.captures(&label.name) {
                        let mut name = String::new();
                        captures.expand(&config.replacement, &mut name);
                        mapped.set(&name, &label.value);
                    }
                }
                Some(mapped.build())
            }
            Action::Replace => {
                let Some(captures) = self.regex.captures(&value) else { return Some(labels) };
                let (mut name, mut replacement) = (String::new(), String::new());
                captures.expand(target, &mut name);
                captures.expand(&config.replacement, &mut replacement);
                if name != METRIC_NAME && !is_label_name(&name) {
                    return Some(labels);
                }
                Some(labels.with(&name, &replacement))
            }
        }
    }
}

/// All rules in order. None: one of them drops it.
pub fn apply(rules: &[Rule], labels: Labels) -> Option<Labels> {
    rules.iter().try_fold(labels, |labels, rule| rule.apply(labels))
}

/// Shards as Prometheus shards: the last eight bytes of the MD5 sum.
fn hash(value: &str) -> u64 {
    use md5::{Digest, Md5};
    let sum = Md5::digest(value.as_bytes());
    sum[8..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relabelled(toml: &str) -> Option<String> {
        let labels = Labels::from_pairs([("a", "foo"), ("b", "bar"), ("c", "baz"), ("__meta_x", "M")]);
        let rule = Rule::new(&toml::from_str(toml).unwrap()).unwrap();
        apply(&[rule], labels).map(|labels| labels.to_string())
    }

    /// Cases of Prometheus' own documentation and behaviour; the hash is what Prometheus 3.5 yields.
    #[test]
    fn actions() {
        let all = r#"{__meta_x="M", a="foo", b="bar", c="baz"}"#;
        for (rule, expected) in [
            (
                "source_labels=['a']\nregex='f(.*)'\ntarget_label='d'\nreplacement='ch${1}-ch${1}'",
                Some(r#"{__meta_x="M", a="foo", b="bar", c="baz", d="choo-choo"}"#),
            ),
            (
                "source_labels=['a','b']\nregex='f(.*);(.*)r'\ntarget_label='a'\nreplacement='b${1}${2}m'",
                Some(r#"{__meta_x="M", a="boobam", b="bar", c="baz"}"#),
            ),
            ("source_labels=['a']\nregex='no'\ntarget_label='d'", Some(all)),
            (
                "source_labels=['a']\nregex='f.*'\ntarget_label='a'\nreplacement=''",
                Some(r#"{__meta_x="M", b="bar", c="baz"}"#),
            ),
            (
                "source_labels=['a']\ntarget_label='${1}_x'\nreplacement='v'",
                Some(r#"{__meta_x="M", a="foo", b="bar", c="baz", foo_x="v"}"#),
            ),
            ("source_labels=['a']\ntarget_label='0${1}'", Some(all)),
            (
                "target_label='d'\nreplacement='static'",
                Some(r#"{__meta_x="M", a="foo", b="bar", c="baz", d="static"}"#),
            ),
            ("source_labels=['a']\nregex='.*o.*'\naction='drop'", None),
            ("source_labels=['a']\nregex='o'\naction='drop'", Some(all)),
            ("source_labels=['a']\nregex='no'\naction='keep'", None),
            ("source_labels=['a']\nregex='f.*'\naction='keep'", Some(all)),
            ("source_labels=['a']\ntarget_label='b'\naction='keepequal'", None),
            ("source_labels=['a']\ntarget_label='b'\naction='dropequal'", Some(all)),
            ("regex='(b|c)'\naction='labeldrop'", Some(r#"{__meta_x="M", a="foo"}"#)),
            ("regex='(b|c)'\naction='labelkeep'", Some(r#"{b="bar", c="baz"}"#)),
            (
                "regex='__meta_(.*)'\nreplacement='m_${1}'\naction='labelmap'",
                Some(r#"{__meta_x="M", a="foo", b="bar", c="baz", m_x="M"}"#),
            ),
            (
                "source_labels=['a']\ntarget_label='a'\naction='uppercase'",
                Some(r#"{__meta_x="M", a="FOO", b="bar", c="baz"}"#),
            ),
            (
                "source_labels=['__meta_x']\ntarget_label='a'\naction='lowercase'",
                Some(r#"{__meta_x="M", a="m", b="bar", c="baz"}"#),
            ),
            (
                "source_labels=['c']\ntarget_label='d'\nmodulus=1000\naction='hashmod'",
                Some(r#"{__meta_x="M", a="foo", b="bar", c="baz", d="976"}"#),
            ),
        ] {
            assert_eq!(relabelled(rule).as_deref(), expected, "{rule}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "regex='('",
            "source_labels=['a']",
            "action='hashmod'\ntarget_label='a'",
            "action='hashmod'\nmodulus=5",
            "action='lowercase'\ntarget_label='a b'",
        ] {
            assert!(Rule::new(&toml::from_str(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
