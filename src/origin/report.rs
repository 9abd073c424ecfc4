//! What operators are shown of an origin's condition, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    pub name: String,
    /// Its breaker is for this route alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `healthy` or `unhealthy` by the health checks; `unknown` before the first of them, or when there are none.
    pub health: &'static str,
    /// `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    /// Of the last ten seconds, since the breaker changed last; repeated failures of one target count once.
    pub recent_answers: u32,
    pub recent_failures: u32,
    pub failure_ratio: f64,
    /// Of the last 128 answers' heads.
    pub head_p50_ms: Option<f64>,
    pub head_p95_ms: Option<f64>,
    /// Bodies included; of a directory there is no such number.
    pub requests_running: Option<usize>,
    /// Waiting for one of these to end.
    pub requests_waiting: Option<usize>,
    /// Retries and hedges that the budget would allow now.
    pub repetitions_left: u64,
    pub last_error: Option<LastError>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LastError {
    pub kind: &'static str,
    pub detail: String,
    pub seconds_ago: u64,
}
