//! What both Millrace binaries really share: the metric catalogue, telemetry, config loading, secrets, supervised tasks,
//! the clock, and what shells and service managers expect of a program.

pub mod clock;
pub mod config;
pub mod metrics;
pub mod secret;
pub mod service;
pub mod shell;
pub mod signals;
pub mod tasks;
pub mod telemetry;
