//! How long operators let answers be used. What an answer says comes first; these bounds come after it, and nothing makes
//! usable what may not be stored or has to be validated.

use http::StatusCode;
use millrace_kit::clock::UnixMillis;

use super::{
    Freshness, Head,
    control::{RequestControl, ResponseControl},
    freshness::{Basis, Verdict, is_heuristically_cacheable},
};

/// In milliseconds, from when the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of successes and redirections that give themselves less.
    pub least: i64,
    pub most: i64,
    /// Of what says nothing, where RFC 9110 §15.1 lets a cache assume something.
    pub unsaid: i64,
    /// Of a 404 or 410 that says nothing.
    pub missing: i64,
    /// Of a 500, 502, 503 or 504 that says nothing. RFC 9111 §3 would not have it stored.
    pub failing: i64,
    /// How long an answer that does not say may be served stale while it is validated.
    pub while_revalidate: i64,
    /// How long an answer that does not say may stand in when no origin can answer.
    pub if_error: i64,
}

const DAY: i64 = 24 * 3600 * 1000;

impl Default for Lifetimes {
    fn default() -> Self {
        let (least, unsaid, missing, failing, while_revalidate) = (0, 0, 0, 0, 0);
        Self { least, most: i64::MAX, unsaid, missing, failing, while_revalidate, if_error: DAY }
    }
}

impl Lifetimes {
    /// The freshness of an answer within these bounds.
    pub fn bound(&self, status: StatusCode, freshness: Freshness) -> Freshness {
        // A lifetime counts from when the answer was made.
        let from_now = |lifetime: i64| lifetime.saturating_add(freshness.initial_age);
        let (basis, lifetime) = match freshness.basis {
            Basis::None => match self.assumed(status) {
                0 => return freshness,
                assumed => (Basis::Operator, from_now(assumed)),
            },
            basis => (basis, freshness.lifetime),
        };
        let least = self.least_of(status);
        let lifetime = if least > 0 { lifetime.max(from_now(least)) } else { lifetime };
        Freshness { basis, lifetime: lifetime.min(from_now(self.most)), ..freshness }
    }

    fn assumed(&self, status: StatusCode) -> i64 {
        match status.as_u16() {
            404 | 410 => self.missing,
            500 | 502 | 503 | 504 => self.failing,
            // What says nothing is no worse off than what says too little.
            _ if is_heuristically_cacheable(status) => self.unsaid.max(self.least_of(status)),
            _ => 0,
        }
    }

    fn least_of(&self, status: StatusCode) -> i64 {
        if status.is_success() || status.is_redirection() { self.least } else { 0 }
    }

    /// The freshness of a stored answer within these bounds.
    pub fn of(&self, head: &Head) -> Freshness {
        self.bound(head.status, head.freshness)
    }

    /// May a stored answer be used as it is?
    pub fn judge(
        &self,
        freshness: &Freshness,
        control: &ResponseControl,
        request: &RequestControl,
        now: UnixMillis,
    ) -> Verdict {
        match freshness.judge(control, request, now) {
            Verdict::Stale if self.may_wait(freshness, control, request, now) => {
                Verdict::StaleWhileRevalidate
            }
            verdict => verdict,
        }
    }

    fn may_wait(
        &self,
        freshness: &Freshness,
        control: &ResponseControl,
        request: &RequestControl,
        now: UnixMillis,
    ) -> bool {
        // Whatever the request wants, it does not want this.
        let wants_fresh = request.no_cache || request.max_age.is_some() || request.min_fresh.is_some();
        let unsaid = control.stale_while_revalidate.is_none() && !control.forbids_stale();
        unsaid && !wants_fresh && -freshness.ttl(now) <= self.while_revalidate && self.while_revalidate > 0
    }

    /// Whether a stale answer may stand in for an origin that fails (RFC 5861 §4, RFC 9111 §4.2.4). An error that was only
    /// kept because operators say so stands in for nothing.
    pub fn may_stand_in(&self, head: &Head, request: &RequestControl, now: UnixMillis) -> bool {
        let (freshness, control) = (self.of(head), &head.control);
        let limit = request
            .stale_if_error
            .or(control.stale_if_error)
            .map_or(self.if_error, |seconds| i64::from(seconds) * 1000);
        let error = head.status.is_client_error() || head.status.is_server_error();
        let kept_here = error && freshness.basis == Basis::Operator;
        !kept_here && !control.forbids_stale() && !request.no_cache && -freshness.ttl(now) <= limit
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, header};

    use super::*;
    use crate::cache::Content;

    fn answer(status: u16, control: &str, age: &str) -> (StatusCode, Freshness, ResponseControl) {
        let mut fields = HeaderMap::new();
        for (name, value) in [(header::CACHE_CONTROL, control), (header::AGE, age)] {
            if !value.is_empty() {
                fields.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let (status, control) = (StatusCode::from_u16(status).unwrap(), ResponseControl::parse(&fields));
        (status, Freshness::of(status, &fields, &control, 0, 0), control)
    }

    #[test]
    fn lifetimes_are_kept_within_bounds() {
        let bounds = Lifetimes {
            least: 10_000,
            most: 60_000,
            unsaid: 30_000,
            missing: 5_000,
            failing: 1_000,
            ..Lifetimes::default()
        };
        for (status, control, age, ttl) in [
            (200, "max-age=20", "", 20_000),
            (200, "max-age=5", "", 10_000),
            (200, "max-age=0", "", 10_000),
            (200, "max-age=5", "100", 10_000),
            (200, "max-age=3600", "", 60_000),
            (200, "max-age=3600", "100", 60_000),
            (200, "", "", 30_000),
            (200, "", "100", 30_000),
            (302, "max-age=5", "", 10_000),
            // Not one that may be assumed anything of.
            (302, "", "", 0),
            (404, "", "", 5_000),
            (410, "", "", 5_000),
            (404, "max-age=1", "", 1_000),
            (404, "max-age=3600", "", 60_000),
            (503, "", "", 1_000),
            (503, "max-age=0", "", 0),
            (501, "", "", 30_000),
            (429, "", "", 0),
        ] {
            let (code, freshness, _) = answer(status, control, age);
            assert_eq!(bounds.bound(code, freshness).ttl(0), ttl, "{status} {control:?} {age:?}");
        }
        for (status, control) in [(200, ""), (200, "max-age=5"), (404, ""), (503, "max-age=9")] {
            let (code, freshness, _) = answer(status, control, "3");
            assert_eq!(Lifetimes::default().bound(code, freshness), freshness, "nothing by default");
        }
    }

    #[test]
    fn grace_is_for_those_who_do_not_say() {
        let bounds = Lifetimes { while_revalidate: 30_000, if_error: 40_000, ..Lifetimes::default() };
        let request = |text: &'static str| {
            RequestControl::parse(&HeaderMap::from_iter([(
                header::CACHE_CONTROL,
                HeaderValue::from_static(text),
            )]))
        };
        for (control, asked, now, verdict, stands_in) in [
            ("max-age=60", "", 90_000, Verdict::StaleWhileRevalidate, true),
            ("max-age=60", "", 90_001, Verdict::Stale, true),
            ("max-age=60", "", 100_001, Verdict::Stale, false),
            ("max-age=60, stale-while-revalidate=1", "", 70_000, Verdict::Stale, true),
            ("max-age=60, stale-if-error=1", "", 62_000, Verdict::StaleWhileRevalidate, false),
            ("max-age=60, must-revalidate", "", 61_000, Verdict::Stale, false),
            ("max-age=60", "no-cache", 61_000, Verdict::Stale, false),
            ("max-age=60", "max-age=10", 61_000, Verdict::Stale, true),
            ("max-age=60", "", 59_000, Verdict::Fresh, true),
        ] {
            let (_, freshness, control_of) = answer(200, control, "");
            let asked_of = request(asked);
            assert_eq!(bounds.judge(&freshness, &control_of, &asked_of, now), verdict, "{control} | {asked}");
            let fields = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(control))]);
            let head = Head::new("/", StatusCode::OK, &fields, (0, 0), 0, Content::Inline(Bytes::new()));
            assert_eq!(bounds.may_stand_in(&head, &asked_of, now), stands_in, "{control} | {asked}");
        }
    }
}
