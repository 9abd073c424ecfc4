//! What both Millrace binaries really share: the metric catalogue, telemetry, config loading, supervised tasks
//! and the clock.

pub mod clock;
pub mod config;
pub mod metrics;
pub mod signals;
pub mod tasks;
pub mod telemetry;
