//! `[retry]`, `[breaker]` and what origins say of their health: as a user writes it, and as the chain wants it.

use std::time::Duration;

use bytesize::ByteSize;
use millrace_kit::config::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw;
use crate::origin::{LeastRate, RetryPolicy, Share, breaker, budget, health, member};

/// Asking origins again. Only requests that do no harm when sent twice are (GET, HEAD, OPTIONS without a body).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// Attempts at one origin for one request. The other origins are asked before the same one again; time-outs are
    /// not repeated.
    pub attempts: u32,
    /// Ask an origin again that answered 408, 421, 425, 429, 500, 502, 503 or 504. Failed connections and broken answers are retried
    /// in any case, and the next origin is asked in any case.
    pub statuses: bool,
    /// The pause before the second attempt is random up to this; twice as long before each further one.
    pub backoff_ms: u32,
    /// Longest pause, and longest `Retry-After` that a request waits for.
    pub backoff_max_ms: u32,
    /// Ask a second time, if the budget allows, when an answer takes longer than 95 % of the recent ones did.
    pub hedge: bool,
    /// So long after the first attempt for a request no other one begins, at whichever origin; 0: no bound.
    pub give_up_ms: u32,
    /// Of the requests to an origin, so many percent may come again as retries, hedges, or resumes that brought nothing.
    pub budget_percent: u32,
    /// And so many a second in any case; ten seconds' worth can be saved up.
    pub budget_floor_per_sec: u32,
}

/// Leaving origins alone that are in trouble. While all are, stale objects are served, and 503 for the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Breaker {
    /// An origin is left alone when so many percent of its answers of the last ten seconds were failures: broken
    /// connections, bodies or messages, time-outs, 5xx. 404 and 429 are none, and an object that fails again counts once.
    pub failure_percent: u32,
    /// With fewer answers than this in ten seconds nothing is concluded.
    pub least_answers: u32,
    /// An origin is left alone when it could not be reached so many times in a row. Where there is another one to go
    /// to, after the first time.
    pub unreachable: u32,
    /// After this time a single request, made by the server itself, finds out whether it answers again; twice as long after each
    /// failure, up to `open_max_ms`.
    pub open_ms: u32,
    pub open_max_ms: u32,
    /// An answer whose head takes longer than this counts as a failure; 0: none does.
    pub slow_ms: u32,
    /// While an origin recovers, it gets a few requests and then more and more. A request that has no other origin to go to, and nothing
    /// stored to stand in, waits for the next such step for so long, and first for the next probe, once, before it is answered 503.
    pub wait_ms: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            statuses: false,
            backoff_ms: 50,
            backoff_max_ms: 1_000,
            hedge: false,
            give_up_ms: 60_000,
            budget_percent: 10,
            budget_floor_per_sec: 2,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failure_percent: 50,
            least_answers: 20,
            unreachable: 5,
            open_ms: 1_000,
            open_max_ms: 2_000,
            slow_ms: 0,
            wait_ms: 5_000,
        }
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

pub(super) fn policy(raw: &Retry, faults: &mut Faults) -> RetryPolicy {
    if raw.budget_percent > 100 {
        faults.push("retry.budget_percent", "must be at most 100");
    }
    checked(raw, |key, what| faults.push(format!("retry.{key}"), what))
}

/// None: as everywhere.
pub(super) fn of_route(
    raw: &raw::RouteRetry,
    general: &Retry,
    push: impl FnMut(&str, &str),
) -> Option<RetryPolicy> {
    let raw::RouteRetry { attempts, statuses, backoff_ms, backoff_max_ms, hedge, give_up_ms } = raw;
    let numbers = [attempts, backoff_ms, backoff_max_ms, give_up_ms];
    if numbers.iter().all(|number| number.is_none()) && statuses.is_none() && hedge.is_none() {
        return None;
    }
    let own = Retry {
        attempts: attempts.unwrap_or(general.attempts),
        statuses: statuses.unwrap_or(general.statuses),
        backoff_ms: backoff_ms.unwrap_or(general.backoff_ms),
        backoff_max_ms: backoff_max_ms.unwrap_or(general.backoff_max_ms),
        hedge: hedge.unwrap_or(general.hedge),
        give_up_ms: give_up_ms.unwrap_or(general.give_up_ms),
        ..general.clone()
    };
    Some(checked(&own, push))
}

fn checked(raw: &Retry, mut push: impl FnMut(&str, &str)) -> RetryPolicy {
    for (key, value) in [("attempts", raw.attempts), ("backoff_max_ms", raw.backoff_max_ms)] {
        if value == 0 {
            push(key, "must be at least 1");
        }
    }
    RetryPolicy {
        attempts_per_origin: raw.attempts,
        statuses: raw.statuses,
        backoff_base: millis(raw.backoff_ms),
        backoff_max: millis(raw.backoff_max_ms),
        hedge: raw.hedge,
        give_up: (raw.give_up_ms > 0).then(|| millis(raw.give_up_ms)),
    }
}

fn breaker(raw: &Breaker, faults: &mut Faults) -> breaker::Config {
    if !(1..=100).contains(&raw.failure_percent) {
        faults.push("breaker.failure_percent", "must be from 1 to 100");
    }
    for (key, value) in [
        ("breaker.least_answers", raw.least_answers),
        ("breaker.unreachable", raw.unreachable),
        ("breaker.open_ms", raw.open_ms),
        ("breaker.open_max_ms", raw.open_max_ms),
    ] {
        if value == 0 {
            faults.push(key, "must be at least 1");
        }
    }
    breaker::Config {
        failure_ratio: f64::from(raw.failure_percent) / 100.0,
        least_answers: raw.least_answers,
        unreachable: raw.unreachable,
        open: millis(raw.open_ms),
        open_max: millis(raw.open_max_ms),
    }
}

/// For each origin, in their order.
pub(super) fn members(raw: &raw::Raw, faults: &mut Faults) -> Vec<member::Config> {
    let breaker = breaker(&raw.breaker, faults);
    let budget = budget::Config {
        ratio: f64::from(raw.retry.budget_percent) / 100.0,
        floor_per_sec: raw.retry.budget_floor_per_sec.into(),
    };
    let member = |(index, origin): (usize, &raw::Origin)| member::Config {
        breaker: breaker.clone(),
        budget: budget.clone(),
        least_rate: least_rate(index, origin, faults),
        slow: (raw.breaker.slow_ms > 0).then(|| millis(raw.breaker.slow_ms)),
        health: health(index, origin, faults),
        patience: millis(raw.breaker.wait_ms),
        share: share(index, origin, faults),
    };
    raw.origins.iter().enumerate().map(member).collect()
}

fn share(index: usize, origin: &raw::Origin, faults: &mut Faults) -> Share {
    if !(1..=1000).contains(&origin.weight) {
        faults.push(format!("origins[{index}].weight"), "must be from 1 to 1000");
    }
    match origin.backup {
        true => Share::Backup,
        false => Share::Weight(origin.weight),
    }
}

fn least_rate(index: usize, origin: &raw::Origin, faults: &mut Faults) -> Option<LeastRate> {
    let window = Duration::from_secs(origin.least_rate_secs.into());
    if window.is_zero() {
        faults.push(format!("origins[{index}].least_rate_secs"), "must be at least 1");
    }
    match origin.least_rate.parse::<ByteSize>() {
        Ok(rate) => (rate.as_u64() > 0).then_some(LeastRate { bytes_per_sec: rate.as_u64(), window }),
        Err(_) => {
            faults.push(
                format!("origins[{index}].least_rate"),
                format!("{:?} is not a size such as 1KiB", origin.least_rate),
            );
            None
        }
    }
}

fn health(index: usize, origin: &raw::Origin, faults: &mut Faults) -> Option<health::Config> {
    let path = &origin.health_path;
    if path.is_empty() {
        return None;
    }
    let mut push = |field: &str, what: &str| faults.push(format!("origins[{index}].{field}"), what);
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        push("health_path", "must begin with a slash and be printable ASCII without spaces");
    }
    for (field, value) in [
        ("health_interval_ms", origin.health_interval_ms),
        ("health_timeout_ms", origin.health_timeout_ms),
        ("health_fall", origin.health_fall),
        ("health_rise", origin.health_rise),
    ] {
        if value == 0 {
            push(field, "must be at least 1");
        }
    }
    Some(health::Config {
        path: path.clone(),
        interval: millis(origin.health_interval_ms),
        timeout: millis(origin.health_timeout_ms),
        fall: origin.health_fall,
        rise: origin.health_rise,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Raw, resolve};
    use super::*;

    #[test]
    fn every_fault_is_found() {
        let mut raw = Raw::default();
        raw.retry.attempts = 0;
        raw.retry.budget_percent = 101;
        raw.breaker.failure_percent = 0;
        raw.breaker.open_ms = 0;
        raw.origins = vec![raw::Origin {
            url: "http://a".to_owned(),
            least_rate: "much".to_owned(),
            health_path: "healthz".to_owned(),
            health_fall: 0,
            weight: 0,
            ..raw::Origin::default()
        }];
        let keys: Vec<_> = resolve(&raw).unwrap_err().0.into_iter().map(|fault| fault.key).collect();
        assert_eq!(
            keys,
            [
                "retry.budget_percent",
                "retry.attempts",
                "breaker.failure_percent",
                "breaker.open_ms",
                "origins[0].least_rate",
                "origins[0].health_path",
                "origins[0].health_fall",
                "origins[0].weight",
            ]
        );
    }

    #[test]
    fn a_route_overrides_what_it_names() {
        let general = Retry { backoff_ms: 7, ..Retry::default() };
        let of = |route: &raw::RouteRetry| {
            let mut faults = Vec::new();
            let policy = of_route(route, &general, |key, _| faults.push(key.to_owned()));
            (policy, faults)
        };
        assert!(of(&raw::RouteRetry::default()).0.is_none());
        let (policy, faults) =
            of(&raw::RouteRetry { attempts: Some(5), hedge: Some(true), ..Default::default() });
        let policy = policy.unwrap();
        assert!(policy.attempts_per_origin == 5 && policy.hedge && faults.is_empty());
        assert_eq!(policy.backoff_base, Duration::from_millis(7));
        assert_eq!(of(&raw::RouteRetry { attempts: Some(0), ..Default::default() }).1, ["attempts"]);
    }

    #[test]
    fn nothing_is_watched_that_was_not_asked_for() {
        let mut raw = Raw::default();
        raw.origins = vec![raw::Origin { url: "http://a".to_owned(), ..raw::Origin::default() }];
        let settings = resolve(&raw).unwrap();
        let member = &settings.members[0];
        assert!(member.health.is_none() && member.slow.is_none() && !settings.delivery.routing.retry.hedge);
        assert_eq!(member.least_rate.map(|least| least.bytes_per_sec), Some(1024));
    }
}
