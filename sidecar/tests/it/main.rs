//! The sidecar as a whole, in process: scripted targets, a manual clock, real HTTP. Time moves only when a test says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod alerts;
mod api;
mod api_more;
mod authority;
mod binary;
mod collectors;
mod deployment;
mod differential;
mod discovery;
mod email;
mod events;
mod exposition;
mod faults;
mod fleet;
mod grafana;
mod harness;
mod http_double;
mod promtool;
mod receivers;
mod restart;
mod scaling;
mod scraping;
mod shipped_rules;
mod ui;
