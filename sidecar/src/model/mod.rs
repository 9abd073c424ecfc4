//! The data model of Prometheus, known to every module: label sets, samples, times. Holds no state.

mod labels;
pub mod number;
pub mod pattern;
mod sample;
pub mod time;

pub use labels::{
    ALERT_NAME, ALERTS, ALERTS_FOR_STATE, Builder, INSTANCE, JOB, Label, Labels, METRIC_NAME, is_label_name,
    is_metric_name,
};
pub use sample::{NORMAL_NAN, STALE_NAN, Sample, is_stale};
