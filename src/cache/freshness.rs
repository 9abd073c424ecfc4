//! How long a response may be used, and how old it is (RFC 9111 §4.2).

use http::StatusCode;
use millrace_kit::clock::UnixMillis;

use super::{
    FieldLines,
    control::{RequestControl, ResponseControl},
    date, validator,
};

/// What decided the freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    SMaxage,
    MaxAge,
    Expires,
    /// RFC 9111 §4.2.2: a tenth of the time since the last modification.
    Heuristic,
    /// Operators say how long what says nothing is good for.
    Operator,
    /// Nothing allows an assumption: stale from the start.
    None,
}

/// The figures of a stored response from which its age and remaining lifetime follow. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    pub basis: Basis,
    pub lifetime: i64,
    /// `corrected_initial_age` (RFC 9111 §4.2.3).
    pub initial_age: i64,
    pub response_time: UnixMillis,
}

/// How a [`Freshness`] came about, step by step (RFC 9111 §4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Computation {
    /// What `Date` says, when it is one.
    pub date: Option<UnixMillis>,
    pub apparent_age: i64,
    pub age_value: i64,
    pub response_delay: i64,
    pub freshness: Freshness,
}

/// May a stored response be used as it is?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fresh,
    /// Fresh by the response's own rules, but the request wants it validated.
    RequestWantsValidation,
    /// Stale; the request accepts that much staleness.
    StaleAccepted,
    /// Stale; may be served while it is validated behind (RFC 5861 §3).
    StaleWhileRevalidate,
    Stale,
}

/// A heuristic lifetime never exceeds a day.
const MAX_HEURISTIC: i64 = 24 * 3600 * 1000;

impl Freshness {
    pub fn of(
        status: StatusCode,
        fields: &impl FieldLines,
        control: &ResponseControl,
        request_time: UnixMillis,
        response_time: UnixMillis,
    ) -> Self {
        Self::compute(status, fields, control, request_time, response_time).freshness
    }

    pub fn compute(
        status: StatusCode,
        fields: &impl FieldLines,
        control: &ResponseControl,
        request_time: UnixMillis,
        response_time: UnixMillis,
    ) -> Computation {
        let date = fields.first("date").and_then(date::parse);
        let (basis, lifetime) = lifetime(status, fields, control, date.unwrap_or(response_time));
        let apparent_age = date.map_or(0, |date| response_time.saturating_sub(date).max(0));
        let response_delay = response_time.saturating_sub(request_time).max(0);
        let age_value = age_value(fields);
        let initial_age = apparent_age.max(age_value.saturating_add(response_delay));
        let freshness = Self { basis, lifetime, initial_age, response_time };
        Computation { date, apparent_age, age_value, response_delay, freshness }
    }

    /// Whether the response itself says how long it is good for.
    pub fn is_explicit(&self) -> bool {
        matches!(self.basis, Basis::SMaxage | Basis::MaxAge | Basis::Expires)
    }

    /// Milliseconds; a clock that jumped back does not make a response younger than when it came.
    pub fn age(&self, now: UnixMillis) -> i64 {
        self.initial_age.saturating_add(now.saturating_sub(self.response_time).max(0))
    }

    /// Milliseconds of lifetime left; negative when stale.
    pub fn ttl(&self, now: UnixMillis) -> i64 {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// What there is to go by after a soft purge: no lifetime is left.
    #[must_use]
    pub fn ended(self, now: UnixMillis) -> Self {
        Self { lifetime: self.lifetime.min(self.age(now)), ..self }
    }

    pub fn judge(&self, control: &ResponseControl, request: &RequestControl, now: UnixMillis) -> Verdict {
        let ttl = self.ttl(now);
        let too_old = request.max_age.is_some_and(|limit| self.age(now) > millis(limit));
        let not_fresh_enough = request.min_fresh.is_some_and(|least| ttl < millis(least));
        if ttl > 0 && !control.no_cache {
            // What is immutable needs no validation because a page is reloaded (RFC 8246 §2), which asks for `max-age=0`.
            let too_old = too_old && !control.immutable;
            return match request.no_cache || too_old || not_fresh_enough {
                true => Verdict::RequestWantsValidation,
                false => Verdict::Fresh,
            };
        }
        if control.forbids_stale() || request.no_cache || too_old || not_fresh_enough {
            return Verdict::Stale;
        }
        if request.max_stale.is_some_and(|limit| -ttl <= millis(limit)) {
            return Verdict::StaleAccepted;
        }
        match control.stale_while_revalidate {
            // Who says `max-age` without `max-stale` wants nothing stale (RFC 9111 §5.2.1.1).
            Some(window) if -ttl <= millis(window) && request.max_age.is_none() => {
                Verdict::StaleWhileRevalidate
            }
            _ => Verdict::Stale,
        }
    }
}

/// RFC 9110 §15.1.
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

fn lifetime(
    status: StatusCode,
    fields: &impl FieldLines,
    control: &ResponseControl,
    date: UnixMillis,
) -> (Basis, i64) {
    if let Some(seconds) = control.s_maxage {
        return (Basis::SMaxage, millis(seconds));
    }
    if let Some(seconds) = control.max_age {
        return (Basis::MaxAge, millis(seconds));
    }
    let mut expires = fields.lines("expires");
    if let Some(first) = expires.next().filter(|_| !control.targeted) {
        // Several lines contradict each other: stale (RFC 9111 §4.2.1).
        let only = expires.next().is_none();
        let end = date::parse(first).filter(|_| only);
        return (Basis::Expires, end.map_or(0, |end| end.saturating_sub(date).max(0)));
    }
    if (is_heuristically_cacheable(status) || control.public)
        && let Some(modified) = validator::last_modified(fields)
    {
        let tenth = date.saturating_sub(modified).max(0) / 10;
        return (Basis::Heuristic, tenth.min(MAX_HEURISTIC));
    }
    (Basis::None, 0)
}

/// The first line counts; one that is not a number is ignored (RFC 9111 §5.1).
fn age_value(fields: &impl FieldLines) -> i64 {
    let first = fields.first("age").and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("");
    let first = first.split(',').next().unwrap_or("").trim();
    match first.bytes().all(|byte| byte.is_ascii_digit()) && !first.is_empty() {
        true => {
            millis(first.parse::<u64>().map_or(u32::MAX, |seconds| seconds.try_into().unwrap_or(u32::MAX)))
        }
        false => 0,
    }
}

fn millis(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = 784_111_777_000;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn freshness(status: u16, lines: &[(&'static str, &str)]) -> Freshness {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Freshness::of(status, &map, &ResponseControl::parse(&map), NOW, NOW)
    }

    #[test]
    fn lifetime_follows_the_order_of_precedence() {
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        type Lines<'a> = &'a [(&'static str, &'a str)];
        let cases: &[(Lines<'_>, Basis, i64)] = &[
            (&[("cache-control", "max-age=60, s-maxage=10"), ("expires", later)], Basis::SMaxage, 10_000),
            (&[("cache-control", "max-age=60"), ("expires", DATE)], Basis::MaxAge, 60_000),
            (&[("date", DATE), ("expires", later)], Basis::Expires, 60_000),
            (&[("expires", later)], Basis::Expires, 60_000),
            (&[("expires", "0")], Basis::Expires, 0),
            (&[("date", later), ("expires", DATE)], Basis::Expires, 0),
            (&[("date", DATE), ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT")], Basis::Heuristic, 6_000),
            (
                &[("date", DATE), ("last-modified", "Wed, 06 Nov 1974 08:48:37 GMT")],
                Basis::Heuristic,
                MAX_HEURISTIC,
            ),
            (&[("date", DATE)], Basis::None, 0),
            // Two lines say two things.
            (&[("expires", later), ("expires", later)], Basis::Expires, 0),
            // What is said to us alone puts aside what is said to everybody.
            (
                &[("cdn-cache-control", "max-age=60"), ("cache-control", "s-maxage=1"), ("expires", DATE)],
                Basis::MaxAge,
                60_000,
            ),
            (&[("cdn-cache-control", "max-age=0"), ("expires", later)], Basis::MaxAge, 0),
            (&[("cdn-cache-control", "none"), ("expires", later)], Basis::None, 0),
            (&[("cdn-cache-control", "&"), ("expires", later)], Basis::Expires, 60_000),
            (&[("surrogate-control", "max-age=60"), ("cache-control", "max-age=1")], Basis::MaxAge, 60_000),
        ];
        for (lines, basis, lifetime) in cases {
            let found = freshness(200, lines);
            assert_eq!((found.basis, found.lifetime), (*basis, *lifetime), "{lines:?}");
        }
    }

    #[test]
    fn heuristics_need_a_cacheable_status() {
        let lines = [("date", DATE), ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT")];
        for status in 100..=999 {
            let cacheable =
                matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
            let basis = if cacheable { Basis::Heuristic } else { Basis::None };
            assert_eq!(freshness(status, &lines).basis, basis, "{status}");
            let public = [lines[0], lines[1], ("cache-control", "public")];
            assert_eq!(freshness(status, &public).basis, Basis::Heuristic, "{status} public");
        }
    }

    #[test]
    fn age_is_the_larger_of_apparent_and_declared() {
        assert_eq!(freshness(200, &[("date", "Sun, 06 Nov 1994 08:49:27 GMT")]).age(NOW), 10_000);
        assert_eq!(freshness(200, &[("age", "30"), ("date", DATE)]).age(NOW + 1_000), 31_000);
        assert_eq!(freshness(200, &[("age", "abc")]).age(NOW), 0);
        assert_eq!(freshness(200, &[("age", "7, 9")]).age(NOW), 7_000);
    }

    #[test]
    fn verdicts() {
        let response = |value: &str| {
            let mut map = HeaderMap::new();
            map.insert("cache-control", HeaderValue::from_str(value).unwrap());
            ResponseControl::parse(&map)
        };
        let request = response_to_request;
        let cases = [
            ("max-age=60", "", 59_000, Verdict::Fresh),
            ("max-age=60", "", 60_000, Verdict::Stale),
            ("max-age=60, no-cache", "", 0, Verdict::Stale),
            ("max-age=60", "no-cache", 0, Verdict::RequestWantsValidation),
            ("max-age=60", "max-age=10", 11_000, Verdict::RequestWantsValidation),
            ("max-age=60", "min-fresh=30", 31_000, Verdict::RequestWantsValidation),
            ("max-age=60, immutable", "max-age=0", 59_000, Verdict::Fresh),
            ("max-age=60, immutable", "max-age=0", 60_000, Verdict::Stale),
            ("max-age=60, immutable", "no-cache", 0, Verdict::RequestWantsValidation),
            ("max-age=60, immutable", "max-age=0, min-fresh=30", 31_000, Verdict::RequestWantsValidation),
            ("max-age=60", "max-stale=10", 70_000, Verdict::StaleAccepted),
            ("max-age=60", "max-stale=10", 71_000, Verdict::Stale),
            ("max-age=60, must-revalidate", "max-stale", 61_000, Verdict::Stale),
            ("max-age=60, stale-while-revalidate=30", "", 90_000, Verdict::StaleWhileRevalidate),
            ("max-age=60, stale-while-revalidate=30", "", 91_000, Verdict::Stale),
        ];
        for (stored, asked, later, expected) in cases {
            let control = response(stored);
            let freshness = freshness(200, &[("cache-control", stored)]);
            assert_eq!(
                freshness.judge(&control, &request(asked), NOW + later),
                expected,
                "{stored} | {asked} | {later}"
            );
        }
    }

    fn response_to_request(value: &str) -> RequestControl {
        let mut map = HeaderMap::new();
        if !value.is_empty() {
            map.insert("cache-control", HeaderValue::from_str(value).unwrap());
        }
        RequestControl::parse(&map)
    }

    proptest! {
        #[test]
        fn age_never_shrinks_and_nothing_overflows(
            lifetime in any::<i64>(), initial in 0..=i64::MAX, response in any::<i64>(),
            now in any::<i64>(), later in 0..=i64::MAX,
        ) {
            let freshness = Freshness { basis: Basis::MaxAge, lifetime, initial_age: initial, response_time: response };
            let then = now.saturating_add(later);
            prop_assert!(freshness.age(then) >= freshness.age(now));
            prop_assert!(freshness.age(now) >= initial);
            prop_assert!(freshness.ttl(then) <= freshness.ttl(now));
        }

        #[test]
        fn a_fresh_verdict_means_lifetime_is_left(seconds in 0u32..1_000, later in 0i64..2_000_000) {
            let text = format!("max-age={seconds}");
            let freshness = freshness(200, &[("cache-control", &text)]);
            let control = ResponseControl { max_age: Some(seconds), ..ResponseControl::default() };
            let verdict = freshness.judge(&control, &RequestControl::default(), NOW + later);
            prop_assert_eq!(verdict == Verdict::Fresh, later < i64::from(seconds) * 1000);
        }
    }
}
