//! Jobs as metrics see them.

use millrace_kit::metrics::{self, IntCounterVec, IntGauge, Registry, catalogue};
use prometheus::HistogramVec;

pub struct Instruments {
    pub waiting: IntGauge,
    pub running: IntGauge,
    pub wait: HistogramVec,
    pub run: HistogramVec,
    pub ended: IntCounterVec,
    pub refused: IntCounterVec,
}

impl Instruments {
    pub fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        Ok(Self {
            waiting: registry.gauge(&catalogue::QUEUE_DEPTH)?.with_label_values(&["jobs"]),
            running: registry.gauge(&catalogue::JOBS_RUNNING)?.with_label_values(&[] as &[&str]),
            wait: registry.histogram(&catalogue::JOB_WAIT)?,
            run: registry.histogram(&catalogue::JOB_RUN)?,
            ended: registry.counter(&catalogue::JOBS)?,
            refused: registry.counter(&catalogue::JOBS_REFUSED)?,
        })
    }
}
