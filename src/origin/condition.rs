//! What is known of an origin, whoever asks: how fast it is, what may be repeated, how it failed last.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Error, ErrorKind, Response,
    budget::{self, Budget},
    health,
    latency::Latency,
    report::LastError,
    retry::retry_after,
};

/// However long an origin asks to be left alone: its word is taken for so long.
const MAX_QUIET: Duration = Duration::from_secs(30);

pub(super) struct Condition {
    pub(super) budget: Budget,
    pub(super) latency: Latency,
    last_error: Mutex<Option<(Instant, ErrorKind, String)>>,
    /// It has asked for no repetitions until then.
    quiet_until: Mutex<Option<Instant>>,
    /// See [`health::Status`].
    pub(super) healthy: AtomicU8,
    /// Answers beyond their declared end that have been told of.
    too_long: AtomicU64,
}

impl Condition {
    pub(super) fn new(budget: budget::Config) -> Self {
        Self {
            budget: Budget::new(budget),
            latency: Latency::default(),
            last_error: Mutex::default(),
            quiet_until: Mutex::default(),
            healthy: AtomicU8::new(health::Status::Unknown as u8),
            too_long: AtomicU64::new(0),
        }
    }

    pub(super) fn may_repeat(&self) -> bool {
        let is_quiet = self.quiet_until.lock().is_some_and(|until| Instant::now() < until);
        !is_quiet && self.budget.withdraw()
    }

    /// `Retry-After` of an answer that means "not now".
    pub(super) fn heed(&self, result: &Result<Response, Error>) {
        let pause = match result {
            Ok(answer) => {
                let not_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
                not_now.contains(&answer.status).then(|| retry_after(&answer.headers)).flatten()
            }
            Err(error) if error.kind == ErrorKind::Unavailable => error.retry_after,
            Err(_) => None,
        };
        if let Some(pause) = pause {
            *self.quiet_until.lock() = Some(Instant::now() + pause.min(MAX_QUIET));
        }
    }

    pub(super) fn remember(&self, error: &Error) {
        *self.last_error.lock() = Some((Instant::now(), error.kind, error.detail.clone()));
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().as_ref().map(|(when, kind, detail)| LastError {
            kind: kind.as_str(),
            detail: detail.clone(),
            seconds_ago: when.elapsed().as_secs(),
        })
    }

    pub(super) fn health(&self) -> health::Status {
        health::Status::from_u8(self.healthy.load(Ordering::Relaxed))
    }

    /// Those of `total` that have not been told of yet.
    pub(super) fn newly_too_long(&self, total: u64) -> u64 {
        total.saturating_sub(self.too_long.fetch_max(total, Ordering::Relaxed))
    }
}
