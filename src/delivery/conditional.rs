//! Preconditions of a request against a selected representation, in the order of RFC 9110 §13.2.2.

use http::Method;
use millrace_kit::clock::UnixMillis;

use crate::cache::{FieldLines, date, validator};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed {
        /// False when `If-Range` names another version: the whole is sent.
        range_applies: bool,
    },
    NotModified,
    Failed,
}

const CONDITIONS: [&str; 5] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"];

/// `dated`: when the response was made, if it is a stored one. That stands in for a missing `Last-Modified`, but for
/// `If-Modified-Since` only (RFC 9111 §4.3.2).
pub fn evaluate(
    method: &Method,
    request: &impl FieldLines,
    stored: &impl FieldLines,
    dated: impl FnOnce() -> Option<UnixMillis>,
) -> Verdict {
    // Nearly all requests: the stored dates and tags need not be read.
    if !CONDITIONS.iter().any(|name| request.has(name)) {
        return Verdict::Proceed { range_applies: true };
    }
    let tag = stored.first("etag").and_then(validator::EntityTag::parse);
    let modified = validator::last_modified(stored);

    if request.has("if-match") {
        let wanted = validator::list(request.lines("if-match"));
        let met = wanted.iter().any(|wanted| match (wanted, &tag) {
            (None, _) => true,
            (Some(wanted), Some(tag)) => wanted.matches_strongly(tag),
            (Some(_), None) => false,
        });
        if !met {
            return Verdict::Failed;
        }
    } else if let (Some(limit), Some(modified)) = (date_of(request, "if-unmodified-since"), modified)
        && modified > limit
    {
        return Verdict::Failed;
    }

    if request.has("if-none-match") {
        let known = validator::list(request.lines("if-none-match"));
        let matched = known.iter().any(|known| match (known, &tag) {
            (None, _) => true,
            (Some(known), Some(tag)) => known.matches_weakly(tag),
            (Some(_), None) => false,
        });
        if matched {
            return if is_safe(method) { Verdict::NotModified } else { Verdict::Failed };
        }
    } else if is_safe(method)
        && let (Some(since), Some(modified)) =
            (date_of(request, "if-modified-since"), modified.or_else(dated))
        && modified <= since
    {
        return Verdict::NotModified;
    }

    Verdict::Proceed { range_applies: if_range_holds(request, stored) }
}

/// Whether the `Range` of this request may be applied to the stored version (RFC 9110 §13.1.5).
fn if_range_holds(request: &impl FieldLines, stored: &impl FieldLines) -> bool {
    let Some(condition) = request.first("if-range") else { return true };
    match validator::EntityTag::parse(condition) {
        Some(wanted) => stored
            .first("etag")
            .and_then(validator::EntityTag::parse)
            .is_some_and(|tag| wanted.matches_strongly(&tag)),
        // A date must be exactly the stored one, and strong.
        None => validator::strong_date(stored) == Some(condition),
    }
}

fn date_of(request: &impl FieldLines, name: &str) -> Option<i64> {
    date::parse(request.first(name)?)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn verdicts() {
        let go = Verdict::Proceed { range_applies: true };
        let whole = Verdict::Proceed { range_applies: false };
        let strong: &[(&'static str, &str)] = &[("etag", "\"a\""), ("last-modified", OLD)];
        let weak: &[(&'static str, &str)] = &[("etag", "W/\"a\"")];
        let dated: &[(&'static str, &str)] = &[("last-modified", OLD), ("date", NEW)];
        let none: &[(&'static str, &str)] = &[];
        type Lines<'a> = &'a [(&'static str, &'a str)];
        let cases: &[(Lines<'_>, Lines<'_>, Verdict)] = &[
            (&[], strong, go),
            (&[("if-none-match", "\"a\"")], strong, Verdict::NotModified),
            (&[("if-none-match", "W/\"a\"")], strong, Verdict::NotModified),
            (&[("if-none-match", "\"b\", \"a\"")], weak, Verdict::NotModified),
            (&[("if-none-match", "*")], none, Verdict::NotModified),
            (&[("if-none-match", "\"b\""), ("if-modified-since", NEW)], strong, go),
            (&[("if-modified-since", OLD)], strong, Verdict::NotModified),
            (&[("if-modified-since", "yesterday")], strong, go),
            (&[("if-modified-since", NEW)], none, go),
            (&[("if-match", "\"a\"")], strong, go),
            (&[("if-match", "\"a\"")], weak, Verdict::Failed),
            (&[("if-match", "\"b\"")], strong, Verdict::Failed),
            (&[("if-match", "*")], strong, go),
            (&[("if-unmodified-since", OLD)], strong, go),
            (&[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], strong, Verdict::Failed),
            (&[("if-range", "\"a\"")], strong, go),
            (&[("if-range", "\"b\"")], strong, whole),
            (&[("if-range", "W/\"a\"")], weak, whole),
            (&[("if-range", OLD)], dated, go),
            (&[("if-range", NEW)], dated, whole),
            (&[("if-range", "junk")], strong, whole),
        ];
        for (request, stored, expected) in cases {
            assert_eq!(
                evaluate(&Method::GET, &map(request), &map(stored), || None),
                *expected,
                "{request:?} {stored:?}"
            );
        }
    }

    #[test]
    fn the_date_stands_in_for_the_modification_date() {
        let dated = date::parse(NEW.as_bytes());
        let (tagged, modified) = (("etag", "\"a\""), ("last-modified", NEW));
        let go = Verdict::Proceed { range_applies: true };
        for (asked, stored, expected) in [
            (("if-modified-since", NEW), tagged, Verdict::NotModified),
            (("if-modified-since", OLD), tagged, go),
            (("if-unmodified-since", OLD), tagged, go),
            (("if-modified-since", OLD), modified, go),
        ] {
            let found = evaluate(&Method::GET, &map(&[asked]), &map(&[stored]), || dated);
            assert_eq!(found, expected, "{asked:?} {stored:?}");
        }
    }
}
