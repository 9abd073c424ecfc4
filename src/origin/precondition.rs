//! Conditional requests against the validators of what is there (RFC 9110 §13), in the order of §13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::validators::Validators;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    NotModified,
    /// 412.
    Failed,
}

/// For GET and HEAD of something that exists.
pub(super) fn judge(request: &HeaderMap, current: &Validators) -> Verdict {
    if request.contains_key(header::IF_MATCH) {
        if !lists_tag(request, header::IF_MATCH, |tag| tag == current.tag()) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) =
        (date(request, header::IF_UNMODIFIED_SINCE), current.last_modified)
        && modified > since
    {
        return Verdict::Failed;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        // Weak comparison (§13.1.2): `W/"x"` matches `"x"`.
        let matches = lists_tag(request, header::IF_NONE_MATCH, |tag| {
            tag.strip_prefix(b"W/").unwrap_or(tag) == current.tag()
        });
        if matches {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) =
        (date(request, header::IF_MODIFIED_SINCE), current.last_modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Send
}

/// Whether `If-Range`, if there is one, lets the range count: a strong match only (§13.1.5).
pub(super) fn range_applies(request: &HeaderMap, current: &Validators, now: SystemTime) -> bool {
    let Some(value) = single(request, header::IF_RANGE) else {
        return !request.contains_key(header::IF_RANGE);
    };
    if current.etag.as_ref() == Some(value) {
        return true;
    }
    match (parse_date(value), current.last_modified) {
        // A date is strong once the file can no longer change within the same second (§8.8.2.2).
        (Some(date), Some(modified)) => {
            let settled = UNIX_EPOCH + Duration::from_secs(modified.saturating_add(2));
            date == modified && settled <= now
        }
        _ => false,
    }
}

/// `*` or a member of the list that `matches`.
fn lists_tag(request: &HeaderMap, name: HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    request.get_all(name).iter().any(|value| {
        let list = value.as_bytes().trim_ascii();
        list == b"*" || entity_tags(list).any(&matches)
    })
}

/// The tags of a list, with `W/` and quotes; ends at the first thing that is no tag. Our own tags have no comma, but
/// others in the same list may.
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b','))?;
        let tag = &rest[start..];
        let opening = if tag.starts_with(b"W/") { 2 } else { 0 };
        if tag.get(opening) != Some(&b'"') {
            return None;
        }
        let inner = &tag[opening + 1..];
        let closing = inner.iter().position(|b| *b == b'"')?;
        let end = opening + closing + 2;
        rest = &tag[end..];
        Some(&tag[..end])
    })
}

/// A field that is repeated or is no HTTP-date counts as absent (§13.1.3).
fn date(request: &HeaderMap, name: HeaderName) -> Option<u64> {
    parse_date(single(request, name)?)
}

pub(super) fn parse_date(value: &HeaderValue) -> Option<u64> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

pub(super) fn single(request: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = request.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: i64 = 784_111_777;
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn request(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn current() -> Validators {
        Validators {
            etag: Some(HeaderValue::from_static("\"v1\"")),
            ..Validators::of_file(MODIFIED, 5, 1, 1)
        }
    }

    #[test]
    fn preconditions_follow_the_order_of_precedence() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        for (fields, expected) in [
            (&[][..], Verdict::Send),
            (&[(IF_NONE_MATCH, "\"v1\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "W/\"v1\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "*")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"a,b\", W/\"c\" ,\"v1\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, "\"v1\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"v2\"")], Verdict::Send),
            (&[(IF_NONE_MATCH, "v1")], Verdict::Send),
            (&[(IF_NONE_MATCH, "\"v1")], Verdict::Send),
            (&[(IF_NONE_MATCH, "")], Verdict::Send),
            (&[(IF_NONE_MATCH, "\"v2\""), (IF_MODIFIED_SINCE, AFTER)], Verdict::Send),
            (&[(IF_MODIFIED_SINCE, SAME)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Verdict::Send),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Send),
            (&[(IF_MODIFIED_SINCE, SAME), (IF_MODIFIED_SINCE, SAME)], Verdict::Send),
            (&[(IF_MATCH, "\"v1\"")], Verdict::Send),
            (&[(IF_MATCH, "*")], Verdict::Send),
            (&[(IF_MATCH, "W/\"v1\"")], Verdict::Failed),
            (&[(IF_MATCH, "\"v2\"")], Verdict::Failed),
            (&[(IF_MATCH, "\"v1\""), (IF_UNMODIFIED_SINCE, BEFORE)], Verdict::Send),
            (&[(IF_MATCH, "\"v1\""), (IF_NONE_MATCH, "\"v1\"")], Verdict::NotModified),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Verdict::Failed),
            (&[(IF_UNMODIFIED_SINCE, SAME)], Verdict::Send),
        ] {
            assert_eq!(judge(&request(fields), &current()), expected, "{fields:?}");
        }
    }

    #[test]
    fn if_range_needs_a_strong_match() {
        let now = UNIX_EPOCH + Duration::from_secs(MODIFIED as u64 + 60);
        for (value, applies) in [
            ("\"v1\"", true),
            ("W/\"v1\"", false),
            ("\"v2\"", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
            ("yesterday", false),
        ] {
            assert_eq!(
                range_applies(&request(&[(header::IF_RANGE, value)]), &current(), now),
                applies,
                "{value}"
            );
        }
        assert!(range_applies(&HeaderMap::new(), &current(), now));
        let just_written = UNIX_EPOCH + Duration::from_secs(MODIFIED as u64 + 1);
        assert!(!range_applies(&request(&[(header::IF_RANGE, SAME)]), &current(), just_written));
    }
}
