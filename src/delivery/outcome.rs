//! What the cache made of a request, and why. The same words stand in headers, logs and metric labels.

use http::StatusCode;

use super::{decimal, policy::Denied};
use crate::{cache::storable::Refusal, origin};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Hit,
    /// Served although stale, as the rules allow.
    Stale,
    /// Stale, found unchanged at the origin, and served from store.
    Revalidated,
    Miss,
    /// Nothing was looked up: forwarded without storing, or a purge.
    Bypass,
    /// The origins have failed, and the route has something for that.
    Fallback,
    /// Answered by us with an error.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Fresh,
    /// Never seen.
    UriMiss,
    /// Seen, but not for these request fields.
    VaryMiss,
    /// Seen, but out of date and changed.
    Expired,
    /// Seen, but not all of the bytes asked for.
    Partial,
    RequestNoCache,
    NotModified,
    StaleAccepted,
    StaleWhileRevalidate,
    StaleIfError,
    OnlyIfCached,
    Refused(Refusal),
    Origin(origin::ErrorKind),
    BadRequest,
    Denied(Denied),
    NotFound,
    NotAllowed,
    /// It was a purge.
    Purge,
    /// It was an upload.
    Upload,
    Overloaded,
    /// Its client asks too much.
    RateLimited,
    /// A browser asked what its page may send.
    Preflight,
    /// It should have come by TLS.
    Insecure,
    ClientLeft,
    Internal,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    pub outcome: Outcome,
    pub reason: Reason,
    /// Status of the origin's answer, when it was asked.
    pub forward_status: Option<StatusCode>,
    pub stored: bool,
    /// Joined a fill that another request had started.
    pub collapsed: bool,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
}

impl Outcome {
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Bypass, Self::Fallback, Self::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Fallback => "fallback",
            Self::Error => "error",
        }
    }

    /// The word of `X-Cache`.
    pub fn x_cache(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
            Self::Fallback => "FALLBACK",
            Self::Error => "ERROR",
        }
    }
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Expired => "stale",
            Self::Partial => "partial",
            Self::RequestNoCache => "request-no-cache",
            Self::NotModified => "not-modified",
            Self::StaleAccepted => "stale-accepted",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::OnlyIfCached => "only-if-cached",
            Self::Refused(refusal) => match refusal {
                Refusal::Method => "method",
                Refusal::RequestNoStore => "request-no-store",
                Refusal::NoStore => "no-store",
                Refusal::Private => "private",
                Refusal::Authorization => "authorization",
                Refusal::VaryStar => "vary-star",
                Refusal::SetCookie => "set-cookie",
                Refusal::Cookie => "cookie",
                Refusal::Status => "status",
                Refusal::NothingToReuse => "no-lifetime-no-validator",
                Refusal::StandIn => "stale-if-error",
                Refusal::TooLarge => "too-large",
            },
            Self::Origin(kind) => kind.as_str(),
            Self::BadRequest => "bad-request",
            Self::Denied(denied) => denied.as_str(),
            Self::NotFound => "not-found",
            Self::NotAllowed => "not-allowed",
            Self::Purge => "purge",
            Self::Upload => "upload",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate-limited",
            Self::Preflight => "preflight",
            Self::Insecure => "insecure",
            Self::ClientLeft => "client-left",
            Self::Internal => "internal",
        }
    }

    /// The `fwd` parameter of RFC 9211 §2.2, when the request went forward for this reason.
    fn forward(self) -> Option<&'static str> {
        match self {
            Self::UriMiss => Some("uri-miss"),
            Self::VaryMiss => Some("vary-miss"),
            Self::Expired | Self::NotModified | Self::StaleIfError => Some("stale"),
            Self::Partial => Some("partial"),
            Self::RequestNoCache => Some("request"),
            Self::Refused(Refusal::Method) => Some("method"),
            // RFC 9211 §2.2 calls `bypass` what was never looked up.
            Self::Refused(_) | Self::Origin(_) => Some("miss"),
            _ => None,
        }
    }
}

impl Served {
    pub fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, forward_status: None, stored: false, collapsed: false, ttl: None }
    }

    fn forward(&self) -> Option<&'static str> {
        // What an origin does not find has been asked of it; what we do not find has not.
        let not_found = self.reason == Reason::NotFound && self.forward_status.is_some();
        if not_found { Some("miss") } else { self.reason.forward() }
    }

    /// The member that we add to `Cache-Status` (RFC 9211), with the key if it is to be shown.
    pub fn cache_status(&self, key: Option<&str>) -> String {
        let mut text = String::with_capacity(64);
        self.write_cache_status(key, &mut text);
        text
    }

    /// The same, behind what is in `text`.
    pub fn write_cache_status(&self, key: Option<&str>, text: &mut String) {
        text.push_str("millrace");
        let forward = self.forward();
        match (self.outcome, forward) {
            (Outcome::Hit | Outcome::Stale, None) => text.push_str("; hit"),
            (_, Some(forward)) => {
                text.push_str("; fwd=");
                text.push_str(forward);
            }
            _ => {}
        }
        if let Some(status) = self.forward_status {
            text.push_str("; fwd-status=");
            text.push_str(status.as_str());
        }
        if let Some(ttl) = self.ttl {
            text.push_str("; ttl=");
            decimal::push(text, ttl);
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(key) = key {
            text.push_str("; key=");
            text.push_str(key);
        }
        if forward != Some(self.reason.as_str()) && self.reason != Reason::Fresh {
            text.push_str("; detail=");
            text.push_str(self.reason.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_status_reads_as_rfc_9211_says() {
        let hit = Served { ttl: Some(59), ..Served::new(Outcome::Hit, Reason::Fresh) };
        let miss = Served {
            forward_status: Some(StatusCode::OK),
            stored: true,
            collapsed: true,
            ..Served::new(Outcome::Miss, Reason::UriMiss)
        };
        let cases = [
            (hit, "millrace; hit; ttl=59"),
            (miss, "millrace; fwd=uri-miss; fwd-status=200; stored; collapsed"),
            (
                Served { ttl: Some(-3), ..Served::new(Outcome::Stale, Reason::StaleWhileRevalidate) },
                "millrace; hit; ttl=-3; detail=stale-while-revalidate",
            ),
            (
                Served {
                    forward_status: Some(StatusCode::NOT_MODIFIED),
                    ..Served::new(Outcome::Revalidated, Reason::NotModified)
                },
                "millrace; fwd=stale; fwd-status=304; detail=not-modified",
            ),
            (
                Served::new(Outcome::Bypass, Reason::Refused(Refusal::Private)),
                "millrace; fwd=miss; detail=private",
            ),
            (
                Served {
                    forward_status: Some(StatusCode::NOT_FOUND),
                    ..Served::new(Outcome::Miss, Reason::NotFound)
                },
                "millrace; fwd=miss; fwd-status=404; detail=not-found",
            ),
            (Served::new(Outcome::Error, Reason::BadRequest), "millrace; detail=bad-request"),
        ];
        for (served, expected) in cases {
            assert_eq!(served.cache_status(None), expected);
        }
        let shown = hit.cache_status(Some("\"/a\""));
        assert_eq!(shown, "millrace; hit; ttl=59; key=\"/a\"");
    }
}
