//! The targets and how their last scrapes went, for people and dashboards to see.

use std::{collections::BTreeMap, sync::Arc};

use millrace_kit::clock::UnixMillis;
use parking_lot::RwLock;

use super::Report;
use crate::{discovery::Target, model::Labels};

/// One address may be several targets, of other jobs or with other labels.
type Key = (String, Labels);

#[derive(Debug, Clone)]
pub struct TargetStatus {
    pub target: Arc<Target>,
    /// None before the first scrape.
    pub last: Option<Report>,
    pub last_success: Option<UnixMillis>,
}

#[derive(Debug, Default)]
pub struct Roster {
    targets: RwLock<BTreeMap<Key, TargetStatus>>,
}

impl Roster {
    pub fn add(&self, target: Arc<Target>) {
        let status = TargetStatus { target: target.clone(), last: None, last_success: None };
        self.targets.write().entry(key(&target)).or_insert(status);
    }

    pub fn remove(&self, target: &Target) {
        self.targets.write().remove(&key(target));
    }

    pub fn record(&self, target: &Target, report: Report) {
        if let Some(status) = self.targets.write().get_mut(&key(target)) {
            if report.error.is_none() {
                status.last_success = Some(report.at);
            }
            status.last = Some(report);
        }
    }

    /// Of the last scrape.
    pub fn error_of(&self, target: &Target) -> Option<String> {
        self.targets.read().get(&key(target))?.last.as_ref()?.error.clone()
    }

    /// By URL.
    pub fn all(&self) -> Vec<TargetStatus> {
        self.targets.read().values().cloned().collect()
    }

    /// Whether every target was tried at least once.
    pub fn all_tried(&self) -> bool {
        self.targets.read().values().all(|status| status.last.is_some())
    }
}

fn key(target: &Target) -> Key {
    (target.url.to_string(), target.labels.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JOB;

    #[test]
    fn one_address_may_be_several_targets() {
        let roster = Roster::default();
        let target = |job: &str| {
            let labels = Labels::from_pairs([(JOB, job)]);
            Arc::new(Target {
                url: "http://127.0.0.1:9100/metrics".parse().unwrap(),
                labels,
                metric_relabel: Arc::default(),
            })
        };
        let (one, two) = (target("one"), target("two"));
        roster.add(one.clone());
        roster.add(two);
        assert_eq!(roster.all().len(), 2);
        roster.remove(&one);
        let left: Vec<_> = roster.all().iter().map(|status| status.target.job().to_owned()).collect();
        assert_eq!(left, ["two"]);
    }
}
