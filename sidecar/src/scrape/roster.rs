//! The targets and how their last scrapes went, for people and dashboards to see.

use std::{collections::BTreeMap, sync::Arc};

use millrace_kit::clock::UnixMillis;
use parking_lot::RwLock;

use super::Report;
use crate::discovery::Target;

#[derive(Debug, Clone)]
pub struct TargetStatus {
    pub target: Arc<Target>,
    /// None before the first scrape.
    pub last: Option<Report>,
    pub last_success: Option<UnixMillis>,
}

#[derive(Debug, Default)]
pub struct Roster {
    targets: RwLock<BTreeMap<String, TargetStatus>>,
}

impl Roster {
    pub fn add(&self, target: Arc<Target>) {
        let status = TargetStatus { target: target.clone(), last: None, last_success: None };
        self.targets.write().entry(target.url.to_string()).or_insert(status);
    }

    pub fn remove(&self, target: &Target) {
        self.targets.write().remove(target.url.as_str());
    }

    pub fn record(&self, target: &Target, report: Report) {
        if let Some(status) = self.targets.write().get_mut(target.url.as_str()) {
            if report.error.is_none() {
                status.last_success = Some(report.at);
            }
            status.last = Some(report);
        }
    }

    /// Of the last scrape.
    pub fn error_of(&self, target: &Target) -> Option<String> {
        self.targets.read().get(target.url.as_str())?.last.as_ref()?.error.clone()
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
