//! How often and after what pause origins are asked again. How much of it there may be in all is the budget's business.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};

#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts at one origin for one request; 0 counts as 1. The other origins are asked before the same one again.
    pub attempts_per_origin: u32,
    /// Whether an origin that answered 408, 421, 425, 429, 500, 502, 503 or 504 is asked again, too. An answer is an answer: to ask
    /// again at once mostly adds to the trouble. The next origin is asked in any case.
    pub statuses: bool,
    /// The pause before attempt n+1 is random between zero and `base · 2^(n-1)` ("full jitter"), so that callers who
    /// failed together do not come back together.
    pub backoff_base: Duration,
    /// Also the longest `Retry-After` that a request waits for.
    pub backoff_max: Duration,
    /// Ask a second time when the head of the answer takes longer than 95 % of the recent ones did.
    pub hedge: bool,
    /// So long after the first attempt no other one begins, at whichever origin.
    pub give_up: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_per_origin: 2,
            statuses: false,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            hedge: false,
            give_up: None,
        }
    }
}

impl RetryPolicy {
    /// The pause after `failed` failed attempts, counted from 1.
    pub(super) fn backoff(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(30);
        let ceiling = self.backoff_base.saturating_mul(1 << doublings).min(self.backoff_max);
        ceiling.mul_f64(random_fraction())
    }
}

/// Whether the status says "not now" or "not here" rather than "no".
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 421 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// For how long the origin asks to be left alone (RFC 9110 §10.2.3). What cannot be read is taken for long.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().unwrap_or_default().trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = httpdate::parse_http_date(text).ok();
    Some(until.map_or(UNREADABLE, |until| until.duration_since(SystemTime::now()).unwrap_or_default()))
}

const UNREADABLE: Duration = Duration::from_secs(60);

/// Uniform in `0.0..1.0`. Jitter needs no better source than the hasher's keys, which std seeds from the system.
fn random_fraction() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn backoff_is_jittered_and_bounded() {
        let policy = RetryPolicy::default();
        for (failed, ceiling_ms) in [(1, 50), (2, 100), (3, 200), (6, 1000), (u32::MAX, 1000)] {
            let pauses: Vec<_> = (0..200).map(|_| policy.backoff(failed)).collect();
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(pauses.iter().all(|pause| *pause <= ceiling), "after {failed} failures");
            assert!(pauses.iter().any(|pause| *pause > ceiling / 2), "after {failed} failures");
            assert!(pauses.iter().any(|pause| *pause < ceiling / 2), "after {failed} failures");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            retry_after(&headers).unwrap()
        };
        assert_eq!(of("0"), Duration::ZERO);
        assert_eq!(of(" 2 "), Duration::from_secs(2));
        assert_eq!(of("soon"), UNREADABLE);
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), Duration::ZERO);
        let soon = of(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30)));
        assert!((28..=30).contains(&soon.as_secs()), "{soon:?}");
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
