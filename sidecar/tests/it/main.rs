//! The sidecar as a whole, in process: scripted targets, a manual clock, real HTTP. Time moves only when a test says so.

mod alerts;
mod api;
mod binary;
mod harness;
mod http_double;
mod restart;
mod scraping;
mod shipped_rules;
mod ui;
