//! Why an alert ended: because its condition is false, or because nobody knows any more.

use millrace_kit::clock::UnixMillis;

use super::Rule;
use crate::{
    model::{INSTANCE, JOB, Labels, METRIC_NAME, is_stale},
    promql::Options,
    series::{Matcher, Store},
};

/// The annotation that says it.
pub(super) const REASON: &str = "resolve_reason";

pub(super) const RULE_REMOVED: &str = "rule_removed";
const CONDITION_FALSE: &str = "condition_false";
const SERIES_GONE: &str = "series_gone";
const TARGET_DOWN: &str = "target_down";

/// Series looked at; with more, the condition is taken to be false.
const LOOK_AT_MOST: usize = 100_000;

/// Of the alert with these labels: are there still series that its expression selects, and is its target up?
pub(super) fn of_end(rule: &Rule, alert: &Labels, store: &Store, at: UnixMillis) -> &'static str {
    let selectors = rule.query.selectors();
    let is_there = |matchers: &Vec<Matcher>| {
        newest(store, matchers, at).is_none_or(|found| found.iter().any(|(labels, _)| agree(labels, alert)))
    };
    if selectors.is_empty() || selectors.iter().any(is_there) {
        return CONDITION_FALSE;
    }
    let mut up = vec![Matcher::equal(METRIC_NAME, "up")];
    for name in [JOB, INSTANCE].into_iter().filter(|name| !alert.get(name).is_empty()) {
        up.push(Matcher::equal(name, alert.get(name)));
    }
    let down = newest(store, &up, at).unwrap_or_default().iter().any(|(_, value)| *value == 0.0);
    if up.len() > 1 && down { TARGET_DOWN } else { SERIES_GONE }
}

/// Series that have a value now. None: too many.
fn newest(store: &Store, matchers: &[Matcher], at: UnixMillis) -> Option<Vec<(Labels, f64)>> {
    let from = at.saturating_sub(Options::default().lookback_ms).saturating_add(1);
    let selected = store.select(matchers, from, at, LOOK_AT_MOST).ok()?;
    let newest = selected.into_iter().filter_map(|series| {
        let last = series.samples.last().filter(|sample| !is_stale(sample.value))?;
        Some((series.labels, last.value))
    });
    Some(newest.collect())
}

/// Whether a series may be one of those that the alert came from: labels of one name have one value.
fn agree(series: &Labels, alert: &Labels) -> bool {
    let differs = |label: &crate::model::Label| {
        let other = alert.get(&label.name);
        !other.is_empty() && other != &*label.value
    };
    !series.iter().any(differs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{STALE_NAN, Sample},
        rules::load,
        scrape::Sink,
        series::Bounds,
    };

    #[test]
    fn reasons() {
        let bounds = Bounds { retention: Duration::from_secs(86_400), max_series: 100, max_bytes: 1 << 20 };
        let text = "groups: [{name: g, rules: [{alert: A, expr: 'queue > 5'}]}]";
        let groups = load("r.yml", text, Duration::from_secs(15)).unwrap();
        for (queue, up, reason) in
            [(3.0, 1.0, CONDITION_FALSE), (STALE_NAN, 1.0, SERIES_GONE), (STALE_NAN, 0.0, TARGET_DOWN)]
        {
            let store = Store::new(bounds);
            for (name, instance, value) in
                [("queue", "a", queue), ("queue", "b", 9.0), ("up", "a", up), ("up", "b", 0.0)]
            {
                let labels = Labels::from_pairs([(METRIC_NAME, name), (JOB, "j"), (INSTANCE, instance)]);
                store.append(&[(store.intern(&labels).unwrap(), Sample { at: 1000, value })]);
            }
            let alert = Labels::from_pairs([("alertname", "A"), (JOB, "j"), (INSTANCE, "a")]);
            assert_eq!(of_end(&groups[0].rules[0], &alert, &store, 2000), reason, "{queue} {up}");
        }
    }
}
