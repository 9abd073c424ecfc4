//! Cache control that web frameworks and servers send unasked: whoever wonders where it comes from is told.

use std::collections::BTreeSet;

use http::HeaderMap;

use crate::cache::{FieldLines, control::split_list};

struct Default {
    /// Directives, in any order.
    control: &'static [&'static str],
    /// What else gives it away; empty: nothing has to.
    expires: &'static str,
    who: &'static str,
    remedy: &'static str,
}

/// The first that fits is named.
const DEFAULTS: [Default; 9] = [
    Default {
        control: &["no-store", "no-cache", "must-revalidate"],
        expires: "Thu, 19 Nov 1981 08:52:00 GMT",
        who: "PHP (session_start)",
        remedy: "start sessions only where they are needed, or call session_cache_limiter('') before",
    },
    Default {
        control: &["no-cache", "must-revalidate", "max-age=0", "no-store", "private"],
        expires: "Wed, 11 Jan 1984 05:00:00 GMT",
        who: "WordPress (nocache_headers)",
        remedy: "see which plugin calls nocache_headers() on this page",
    },
    Default {
        control: &["no-cache", "no-store", "max-age=0", "must-revalidate"],
        expires: "0",
        who: "Spring Security",
        remedy: "set the header for this path yourself, or headers().cacheControl().disable()",
    },
    Default {
        control: &["max-age=0", "no-cache", "no-store", "must-revalidate", "private"],
        expires: "",
        who: "Django (never_cache)",
        remedy: "use @cache_control(public=True, max_age=...) on this view",
    },
    Default {
        control: &["private", "no-cache", "no-store", "max-age=0", "must-revalidate"],
        expires: "",
        who: "Next.js pages that are rendered at each request",
        remedy: "set revalidate for the page, or Cache-Control in its headers()",
    },
    Default {
        control: &["max-age=0", "private", "must-revalidate"],
        expires: "",
        who: "Rails and Rack",
        remedy: "use expires_in 1.minute, public: true",
    },
    Default {
        control: &["no-cache", "private"],
        expires: "",
        who: "Symfony and Laravel",
        remedy: "use $response->setPublic()->setMaxAge(60), or the middleware cache.headers",
    },
    Default {
        control: &["private"],
        expires: "",
        who: "ASP.NET",
        remedy: "use [ResponseCache(Duration = 60, Location = Any)] or <clientCache>",
    },
    Default {
        control: &["no-cache", "no-store", "must-revalidate"],
        expires: "",
        who: "many frameworks",
        remedy: "set the header for this path yourself",
    },
];

/// Who sends such a thing by default, and what to do about it there.
pub fn guess(answer: &HeaderMap) -> Option<(&'static str, &'static str)> {
    let lines: Vec<_> = answer.lines("cache-control").map(String::from_utf8_lossy).collect();
    let said: BTreeSet<String> =
        lines.iter().flat_map(|line| split_list(line)).map(str::to_ascii_lowercase).collect();
    let expires = answer.first("expires").unwrap_or_default();
    let fits = |default: &&Default| {
        let control: BTreeSet<String> = default.control.iter().map(|name| (*name).to_owned()).collect();
        said == control && (default.expires.is_empty() || default.expires.as_bytes() == expires)
    };
    DEFAULTS.iter().find(fits).map(|default| (default.who, default.remedy))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn defaults_are_known_by_what_they_say() {
        for (control, expires, who) in [
            ("no-store, no-cache, must-revalidate", "Thu, 19 Nov 1981 08:52:00 GMT", Some("PHP")),
            ("no-store, no-cache, must-revalidate", "", Some("many frameworks")),
            ("No-Cache, no-store, max-age=0, must-revalidate", "0", Some("Spring")),
            ("no-cache, private", "", Some("Symfony")),
            ("no-store", "", None),
            ("", "", None),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert("cache-control", HeaderValue::from_str(control).unwrap());
            answer.insert("expires", HeaderValue::from_str(expires).unwrap());
            let found = guess(&answer).map(|(who, _)| who);
            assert_eq!(found.is_some(), who.is_some(), "{control}");
            assert!(found.unwrap_or("").starts_with(who.unwrap_or("")), "{control}: {found:?}");
        }
    }
}
