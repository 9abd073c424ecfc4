//! A job as it is shown.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::queue::{Job, Priority, State};

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Told {
    pub id: String,
    pub owner: String,
    pub priority: Priority,
    pub state: State,
    /// As it was sent, with what was left out.
    pub work: Value,
    pub attempts: u32,
    /// From 0 to 1.
    pub progress: f64,
    /// Seconds until it is done, as far as it goes on as it has so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_secs: Option<u64>,
    /// Milliseconds since 1970.
    pub created: i64,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<i64>,
    /// Why the latest attempt did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// Before this much is done, nobody knows.
const LEAST_DONE: f64 = 0.01;

impl Told {
    /// `progress`: as this server knows it, if it is at it.
    pub(super) fn of(job: Job, progress: Option<f64>, now: i64) -> Self {
        let running = (job.state == State::Running).then(|| progress.unwrap_or(job.progress));
        let progress = match job.state {
            State::Succeeded => 1.0,
            _ => running.unwrap_or(0.0),
        };
        let eta_secs =
            running.zip(job.started).filter(|(done, _)| *done >= LEAST_DONE).map(|(done, started)| {
                let took = (now - started).max(0) as f64 / 1000.0;
                (took * (1.0 - done) / done).ceil() as u64
            });
        let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self {
            work: json(&job.work),
            result: job.result.as_deref().map(json),
            due: (job.state == State::Queued && job.due > now).then_some(job.due),
            id: job.id,
            owner: job.owner,
            priority: job.priority,
            state: job.state,
            attempts: job.attempts,
            progress: (progress * 1000.0).round() / 1000.0,
            eta_secs,
            created: job.created,
            started: job.started,
            finished: job.finished,
            detail: job.detail.filter(|_| job.state != State::Succeeded),
        }
    }
}
