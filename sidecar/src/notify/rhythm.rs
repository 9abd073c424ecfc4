//! When a group of alerts may be told: first after waiting for company, then at most once an interval. As in
//! Alertmanager (`group_wait`, `group_interval`).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use millrace_kit::clock::UnixMillis;

/// What the alerts of a group have in common: names and values of the labels they are grouped by.
pub(super) type Group = Vec<(String, String)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The first alert of a group waits so long for others.
    pub wait: Duration,
    /// Between two messages about a group.
    pub interval: Duration,
    /// After it a still firing alert is sent again.
    pub repeat: Duration,
}

#[derive(Debug)]
pub(super) struct Rhythm {
    timing: Timing,
    /// When each group was told last.
    told: HashMap<Group, UnixMillis>,
}

impl Timing {
    /// Everything at once, and again after `repeat`.
    pub fn at_once(repeat: Duration) -> Self {
        Self { wait: Duration::ZERO, interval: Duration::ZERO, repeat }
    }
}

impl Rhythm {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, told: HashMap::new() }
    }

    /// `begun` is when the first alert of the group began to fire.
    pub(super) fn opens(&self, group: &Group, begun: UnixMillis) -> UnixMillis {
        match self.told.get(group) {
            Some(told) => told.saturating_add(millis(self.timing.interval)),
            None if self.timing.wait.is_zero() => UnixMillis::MIN,
            None => begun.saturating_add(millis(self.timing.wait)),
        }
    }

    pub(super) fn told(&mut self, group: Group, at: UnixMillis) {
        let last = self.told.entry(group).or_insert(at);
        *last = at.max(*last);
    }

    /// A group without alerts that has had its interval is a new one when it comes back.
    pub(super) fn forget(&mut self, alive: &HashSet<Group>, now: UnixMillis) {
        let interval = millis(self.timing.interval);
        self.told.retain(|group, told| alive.contains(group) || now.saturating_sub(*told) < interval);
    }

    pub(super) fn is_repeat(&self, told: UnixMillis, now: UnixMillis) -> bool {
        now.saturating_sub(told) >= millis(self.timing.repeat)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
