//! The shape of a unit-test file, as YAML gives it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::rules::{Text, duration};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) rule_files: Vec<String>,
    #[serde(default)]
    pub(super) evaluation_interval: Span,
    #[serde(default)]
    pub(super) group_eval_order: Vec<String>,
    #[serde(default)]
    pub(super) tests: Vec<Test>,
    #[serde(default)]
    pub(super) fuzzy_compare: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    #[serde(default)]
    pub(super) interval: Span,
    #[serde(default)]
    pub(super) name: Text,
    #[serde(default)]
    pub(super) input_series: Vec<Input>,
    #[serde(default)]
    pub(super) alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    pub(super) promql_expr_test: Vec<ExprTest>,
    #[serde(default)]
    pub(super) external_labels: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) external_url: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(default)]
    pub(super) series: Text,
    #[serde(default)]
    pub(super) values: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertTest {
    #[serde(default)]
    pub(super) eval_time: Span,
    #[serde(default)]
    pub(super) alertname: Text,
    #[serde(default)]
    pub(super) exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedAlert {
    #[serde(default)]
    pub(super) exp_labels: Option<BTreeMap<String, Text>>,
    #[serde(default)]
    pub(super) exp_annotations: Option<BTreeMap<String, Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExprTest {
    #[serde(default)]
    pub(super) expr: Text,
    #[serde(default)]
    pub(super) eval_time: Span,
    #[serde(default)]
    pub(super) exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedSample {
    #[serde(default)]
    pub(super) labels: Text,
    #[serde(default, deserialize_with = "number")]
    pub(super) value: f64,
    #[serde(default)]
    pub(super) histogram: Option<Text>,
}

/// A duration as Prometheus writes it; zero when it is not given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    pub(super) fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn or(self, default: Self) -> Self {
        if self.0.is_zero() { default } else { self }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let parsed = duration(&text.0);
        parsed
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("not a valid duration string: {:?}", text.0)))
    }
}

/// As YAML writes floats.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    f64::deserialize(deserializer)
}
