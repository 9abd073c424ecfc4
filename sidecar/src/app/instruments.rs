//! The sidecar's own metrics: where reports of the modules become numbers.

use millrace_kit::{
    clock::UnixMillis,
    metrics::{self, IntCounter, IntGauge, Registry, catalogue},
};
use parking_lot::Mutex;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::{
    http::ReceiverStatus,
    rules::{self, AlertState, GroupView},
    scaling::{Controller, Decision, InstanceState},
    scrape::Report,
    series::Stats,
};

pub struct Instruments {
    scrapes: IntCounterVec,
    scrape_seconds: HistogramVec,
    samples: IntCounterVec,
    series: IntGauge,
    held_samples: IntGauge,
    held_bytes: IntGauge,
    refused_series: IntCounter,
    /// What `refused_series` has counted already.
    refused_before: Mutex<u64>,
    evaluations: IntCounterVec,
    group_seconds: HistogramVec,
    group_missed: IntCounterVec,
    alerts: IntGaugeVec,
    notifications: IntCounterVec,
    notifications_pending: IntGaugeVec,
    scaling_instances: IntGaugeVec,
    scaling_desired: IntGaugeVec,
    scaling_decisions: IntCounterVec,
    scaling_last_change: IntGaugeVec,
    scaling_signal: GaugeVec,
    scaling_coverage: GaugeVec,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let single = |def| Ok(registry.gauge(def)?.with_label_values::<&str>(&[]));
        Ok(Self {
            scrapes: registry.counter(&catalogue::SIDECAR_SCRAPES)?,
            scrape_seconds: registry.histogram(&catalogue::SIDECAR_SCRAPE_DURATION)?,
            samples: registry.counter(&catalogue::SIDECAR_SAMPLES)?,
            series: single(&catalogue::SIDECAR_SERIES)?,
            held_samples: single(&catalogue::SIDECAR_HELD_SAMPLES)?,
            held_bytes: single(&catalogue::SIDECAR_HELD_BYTES)?,
            refused_series: registry
                .counter(&catalogue::SIDECAR_REFUSED_SERIES)?
                .with_label_values::<&str>(&[]),
            refused_before: Mutex::new(0),
            evaluations: registry.counter(&catalogue::SIDECAR_RULE_EVALUATIONS)?,
            group_seconds: registry.histogram(&catalogue::SIDECAR_GROUP_DURATION)?,
            group_missed: registry.counter(&catalogue::SIDECAR_GROUP_MISSED)?,
            alerts: registry.gauge(&catalogue::SIDECAR_ALERTS)?,
            notifications: registry.counter(&catalogue::SIDECAR_NOTIFICATIONS)?,
            notifications_pending: registry.gauge(&catalogue::SIDECAR_NOTIFICATIONS_PENDING)?,
            scaling_instances: registry.gauge(&catalogue::SCALING_INSTANCES)?,
            scaling_desired: registry.gauge(&catalogue::SCALING_DESIRED)?,
            scaling_decisions: registry.counter(&catalogue::SCALING_DECISIONS)?,
            scaling_last_change: registry.gauge(&catalogue::SCALING_LAST_CHANGE)?,
            scaling_signal: registry.ratio(&catalogue::SCALING_SIGNAL)?,
            scaling_coverage: registry.ratio(&catalogue::SCALING_SIGNAL_COVERAGE)?,
        })
    }

    pub(super) fn scraped(&self, job: &str, report: &Report) {
        let result = if report.error.is_none() { "ok" } else { "failed" };
        self.scrapes.with_label_values(&[job, result]).inc();
        self.scrape_seconds.with_label_values(&[job]).observe(report.duration.as_secs_f64());
        let appended = report.appended;
        for (result, count) in [
            ("accepted", appended.accepted),
            ("duplicate", appended.duplicate),
            ("out_of_order", appended.out_of_order),
            ("refused", appended.refused + appended.unknown),
        ] {
            self.samples.with_label_values(&[result]).inc_by(count as u64);
        }
    }

    pub(super) fn evaluated(&self, group: &str, evaluation: &rules::Evaluation) {
        let failed = evaluation.failures.len();
        let good = evaluation.rules.saturating_sub(failed);
        self.evaluations.with_label_values(&[group, "ok"]).inc_by(good as u64);
        self.evaluations.with_label_values(&[group, "failed"]).inc_by(failed as u64);
        self.group_seconds.with_label_values(&[group]).observe(evaluation.duration.as_secs_f64());
        // There from the start, so that an increase can be seen.
        self.group_missed.with_label_values(&[group]);
    }

    pub(super) fn missed(&self, group: &str, count: u64) {
        self.group_missed.with_label_values(&[group]).inc_by(count);
    }

    pub(super) fn notified(&self, receiver: &str, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.notifications.with_label_values(&[receiver, result]).inc();
    }

    pub(super) fn observe_held(&self, stats: &Stats) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.series.set(gauge(stats.series));
        self.held_samples.set(gauge(stats.samples));
        self.held_bytes.set(gauge(stats.bytes));
        let mut before = self.refused_before.lock();
        self.refused_series.inc_by(stats.refused_series.saturating_sub(*before));
        *before = stats.refused_series;
    }

    pub(super) fn observe_alerts(&self, groups: &[GroupView]) {
        for state in [AlertState::Pending, AlertState::Firing] {
            let alerts = groups.iter().flat_map(|group| group.alerts());
            let count = alerts.filter(|view| view.alert.state == state).count();
            self.alerts.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn decided(&self, decision: &Decision) {
        let labels = [decision.group.as_str(), decision.action.as_str(), decision.binding.as_str()];
        self.scaling_decisions.with_label_values(&labels).inc();
    }

    pub(super) fn observe_scaling(&self, controller: &Controller, now: UnixMillis) {
        for group in controller.groups() {
            let (pool, view) = (group.name.as_str(), group.view(now));
            let desired = i64::from(view.fleet.aim);
            self.scaling_desired.with_label_values(&[pool]).set(desired);
            self.scaling_instances.with_label_values(&[pool, "desired"]).set(desired);
            for state in InstanceState::ALL {
                let count = view.fleet.instances.iter().filter(|instance| instance.state == state).count();
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.scaling_instances.with_label_values(&[pool, state.as_str()]).set(count);
            }
            let changed = group.last_change().unwrap_or(0) / 1000;
            self.scaling_last_change.with_label_values(&[pool]).set(changed);
            for (reading, why_not) in &view.readings {
                let labels = [pool, reading.name.as_str()];
                self.scaling_coverage.with_label_values(&labels).set(reading.coverage);
                match reading.value.filter(|_| why_not.is_none()) {
                    Some(value) => self.scaling_signal.with_label_values(&labels).set(value),
                    None => {
                        let _ = self.scaling_signal.remove_label_values(&labels);
                    }
                }
            }
        }
    }

    pub(super) fn observe_receivers(&self, receivers: &[ReceiverStatus]) {
        for status in receivers {
            let pending = i64::try_from(status.pending).unwrap_or(i64::MAX);
            self.notifications_pending.with_label_values(&[status.receiver.as_str()]).set(pending);
        }
    }
}
