//! A stopwatch: what took how long, for metrics and `Server-Timing`.

use std::time::{Duration, Instant};

/// Steps with names, in the order in which they first ended.
pub(super) struct Steps {
    steps: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Steps {
    pub(super) fn start() -> Self {
        Self { steps: Vec::with_capacity(4), since: Instant::now() }
    }

    /// The time since the last call goes to this step, on top of what it has had.
    pub(super) fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        let took = now - self.since;
        match self.steps.iter_mut().find(|(name, _)| *name == step) {
            Some((_, sum)) => *sum += took,
            None => self.steps.push((step, took)),
        }
        self.since = now;
    }

    pub(super) fn into_list(self) -> Vec<(&'static str, Duration)> {
        self.steps
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::start()
    }
}
