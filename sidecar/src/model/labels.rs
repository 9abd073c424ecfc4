//! The identity of a series: a set of labels sorted by name, cheap to clone, compare and hash.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

pub const METRIC_NAME: &str = "__name__";
pub const ALERT_NAME: &str = "alertname";
pub const JOB: &str = "job";
pub const INSTANCE: &str = "instance";
/// Series that rules write about pending and firing alerts.
pub const ALERTS: &str = "ALERTS";
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub name: Arc<str>,
    pub value: Arc<str>,
}

/// Sorted by name, names unique, no empty values (an empty value is an absent label).
#[derive(Clone)]
pub struct Labels {
    all: Arc<[Label]>,
    /// Those before it do not count: the metric name, which mostly comes first, is left out without a copy.
    from: usize,
}

/// Collects labels in any order; the last value given for a name wins.
#[derive(Debug, Clone, Default)]
pub struct Builder(Vec<Label>);

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A label name that may also contain colons.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

fn is_name(name: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(allowed)
}

impl Labels {
    fn of(all: Arc<[Label]>) -> Self {
        Self { all, from: 0 }
    }

    fn as_slice(&self) -> &[Label] {
        &self.all[self.from..]
    }

    pub fn empty() -> Self {
        Self::of(Arc::from([]))
    }

    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = Builder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// The empty string for a label that is not there, as matchers and grouping see it.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |label| &label.value)
    }

    pub fn find(&self, name: &str) -> Option<&Label> {
        let labels = self.as_slice();
        labels.binary_search_by(|label| (*label.name).cmp(name)).ok().map(|index| &labels[index])
    }

    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.as_slice().iter()
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub fn to_builder(&self) -> Builder {
        Builder(self.as_slice().to_vec())
    }

    /// Keeps the labels that satisfy `keep`. Does not allocate when all do.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.iter().all(|label| keep(&label.name)) {
            return self.clone();
        }
        Self::of(self.iter().filter(|label| keep(&label.name)).cloned().collect())
    }

    pub fn without_metric_name(&self) -> Self {
        match self.as_slice().first() {
            Some(first) if *first.name == *METRIC_NAME => Self { all: self.all.clone(), from: self.from + 1 },
            _ => self.filter(|name| name != METRIC_NAME),
        }
    }

    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.to_builder();
        builder.set(name, value);
        builder.build()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl Builder {
    /// An empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.set_shared(Arc::from(name), Arc::from(value))
    }

    pub fn set_shared(&mut self, name: Arc<str>, value: Arc<str>) -> &mut Self {
        self.0.retain(|label| label.name != name);
        if !value.is_empty() {
            self.0.push(Label { name, value });
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.0.retain(|label| &*label.name != name);
        self
    }

    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|label| &*label.name == name).map_or("", |label| &label.value)
    }

    pub fn build(mut self) -> Labels {
        self.0.sort_unstable();
        Labels::of(self.0.into())
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut builder = Builder::default();
        for label in labels {
            builder.set_shared(label.name, label.value);
        }
        builder.build()
    }
}

/// As PromQL writes it: `name{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        f.write_str(name)?;
        let mut rest = self.iter().filter(|label| &*label.name != METRIC_NAME).peekable();
        if rest.peek().is_none() && !name.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, label) in rest.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}={:?}", label.name, label.value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_building_does_not_matter_and_the_last_value_wins() {
        let one = Labels::from_pairs([("b", "2"), ("a", "0"), ("a", "1"), ("gone", "")]);
        let two = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(one, two);
        assert_eq!(one.get("a"), "1");
        assert_eq!(one.get("gone"), "");
    }

    #[test]
    fn a_name_that_is_left_out_is_not_there() {
        let named = [(METRIC_NAME, "up"), ("a", "1"), ("b", "2")];
        for before in [&[][..], &[("Upper", "0")]] {
            let pairs = || before.iter().chain(&named).copied();
            let (labels, bare) =
                (Labels::from_pairs(pairs()), pairs().filter(|(name, _)| *name != METRIC_NAME));
            let (without, bare) = (labels.without_metric_name(), Labels::from_pairs(bare));
            assert_eq!((&without, without.len(), without.get(METRIC_NAME)), (&bare, bare.len(), ""));
            assert!(without != labels && without.cmp(&bare).is_eq() && without.without_metric_name() == bare);
            assert_eq!(without.to_builder().build(), bare);
            assert_eq!(without.filter(|name| name == "b"), Labels::from_pairs([("b", "2")]));
            assert!(std::collections::HashSet::from([without]).contains(&bare));
        }
    }

    #[test]
    fn shown_as_promql_writes_it() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a\"b")]);
        assert_eq!(labels.to_string(), r#"up{job="a\"b"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn names() {
        for (name, label, metric) in [
            ("a_1", true, true),
            ("a:b", false, true),
            ("1a", false, false),
            ("", false, false),
            ("é", false, false),
        ] {
            assert_eq!((is_label_name(name), is_metric_name(name)), (label, metric), "{name}");
        }
    }
}
