//! How often and after what pause an origin is asked again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};

#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts at one origin before the next one is tried; 0 counts as 1.
    pub attempts_per_origin: u32,
    /// Whether an origin that answered 408, 429, 500, 502, 503 or 504 is asked again, too. An answer is an answer: to ask
    /// again at once mostly adds to the trouble. The next origin is asked in any case.
    pub statuses: bool,
    /// The pause before attempt n+1 is random between zero and `base · 2^(n-1)` ("full jitter"), so that callers who
    /// failed together do not come back together.
    pub backoff_base: Duration,
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_per_origin: 2,
            statuses: false,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
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

/// Whether the status says "not now" rather than "no".
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether the origin asked to be left alone for longer than we would pause (RFC 9110 §10.2.3). The date form counts
/// as longer: its resolution is a second, and so is the longest pause by default.
pub(super) fn asks_for_longer(headers: &HeaderMap, pause: Duration) -> bool {
    match headers.get(header::RETRY_AFTER) {
        None => false,
        Some(value) => match value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()) {
            Some(secs) => Duration::from_secs(secs) > pause,
            None => true,
        },
    }
}

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
    fn retry_after_is_compared_with_the_pause() {
        let pause = Duration::from_secs(1);
        for (value, longer) in [
            ("0", false),
            (" 1 ", false),
            ("2", true),
            ("Fri, 31 Dec 1999 23:59:59 GMT", true),
            ("soon", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            assert_eq!(asks_for_longer(&headers, pause), longer, "{value}");
        }
        assert!(!asks_for_longer(&HeaderMap::new(), pause));
    }
}
