//! Runs the rules: one loop per group, each in its own rhythm, and reloads.

use std::{sync::Arc, time::Duration};

use millrace_kit::{
    clock::{Clock, UnixMillis},
    tasks::Tasks,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Instruments, Reporter, notification::Notification};
use crate::{
    config::RuleSource,
    promql::Options,
    rules::{Engine, Group, GroupHandle},
    scrape::Schedule,
    series::Store,
};

pub struct Evaluation {
    engine: Arc<Engine>,
    store: Arc<Store>,
    source: RuleSource,
    notification: Arc<Notification>,
    clock: Clock,
    instruments: Arc<Instruments>,
    reporter: Arc<Reporter>,
    /// Ends the loops of the rules before a reload. None before they run.
    generation: Mutex<Option<CancellationToken>>,
}

impl Evaluation {
    pub(super) fn new(
        engine: Arc<Engine>,
        store: Arc<Store>,
        source: RuleSource,
        notification: Arc<Notification>,
        clock: Clock,
        instruments: Arc<Instruments>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let generation = Mutex::new(None);
        Self { engine, store, source, notification, clock, instruments, reporter, generation }
    }

    pub(super) fn install(&self, groups: Vec<Group>, at: UnixMillis) {
        let resolved = self.engine.replace(groups, &self.store, at);
        self.notification.update(&resolved);
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks) {
        let generation = CancellationToken::new();
        if let Some(before) = self.generation.lock().replace(generation.clone()) {
            before.cancel();
        }
        for handle in self.engine.groups() {
            let (evaluation, generation) = (self.clone(), generation.clone());
            tasks.spawn_until_stop("rules", async move {
                generation.run_until_cancelled(evaluation.keep(&handle)).await;
            });
        }
    }

    /// Reads the rule files anew; bad ones change nothing.
    pub fn reload(self: &Arc<Self>, tasks: &Tasks) -> bool {
        let good = self.read_rules();
        if good && self.generation.lock().is_some() {
            self.spawn(tasks);
        }
        good
    }

    /// False when the files are bad and the old rules stay.
    pub fn read_rules(&self) -> bool {
        match self.source.load() {
            Ok(groups) => {
                let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                tracing::info!(groups = groups.len(), rules, "rules reloaded");
                self.install(groups, self.clock.unix_millis());
                true
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!(faults = faults.len(), "rule files are bad; the old rules stay");
                false
            }
        }
    }

    /// Every group once, with the time of now.
    pub async fn evaluate_all(&self) {
        let at = self.clock.unix_millis();
        for handle in self.engine.groups() {
            self.evaluate(&handle, at).await;
        }
    }

    async fn keep(&self, handle: &GroupHandle) {
        let group = &handle.group;
        let schedule = Schedule::new(group.interval, &format!("{}/{}", group.file, group.name));
        let mut last = self.clock.unix_millis();
        loop {
            let now = self.clock.unix_millis();
            let missed = schedule.missed(last, now);
            if missed > 0 {
                tracing::warn!(group = group.name, missed, "evaluation takes longer than its interval");
                self.instruments.missed(&group.name, missed);
            }
            let due = schedule.next(now);
            let wait = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.evaluate(handle, due).await;
            last = due;
        }
    }

    async fn evaluate(&self, handle: &GroupHandle, at: UnixMillis) {
        let (engine, store, running) = (self.engine.clone(), self.store.clone(), handle.clone());
        let subquery_step_ms = i64::try_from(self.source.interval.as_millis()).unwrap_or(i64::MAX);
        let evaluated = tokio::task::spawn_blocking(move || {
            let started = std::time::Instant::now();
            // An evaluation that takes longer than the interval is a failure to be seen, not a queue to build up.
            let expired = || started.elapsed() > running.group.interval;
            let options = Options { subquery_step_ms, expired: &expired, ..Options::default() };
            engine.evaluate(&running, &store, at, &options)
        });
        let Ok(evaluation) = evaluated.await else { return };
        for (rule, error) in &evaluation.failures {
            tracing::warn!(group = handle.group.name, rule, "rule failed: {error}");
        }
        if let Some(error) = &evaluation.save_error {
            tracing::error!("{error}");
        }
        self.instruments.evaluated(&handle.group.name, &evaluation);
        self.notification.update(&evaluation.alerts);
        self.notification.compare(|| self.engine.views());
        self.reporter.evaluated(|| self.engine.views());
    }
}
