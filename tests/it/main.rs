//! Integration tests, all in one binary: one link instead of many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
mod bad_inputs;
mod edge;
mod origin;
mod origin_double;
mod uploads;
