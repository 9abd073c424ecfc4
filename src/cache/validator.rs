//! Validators: entity tags and modification dates, and when they are strong (RFC 9110 §8.8).

use millrace_kit::clock::UnixMillis;

use super::{FieldLines, date};

/// An entity tag as it stands in the field, quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub weak: bool,
    /// With its quotes, without `W/`.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (weak, opaque) = match value.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, value),
        };
        let inner = opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        (!inner.contains(&b'"')).then_some(Self { weak, opaque })
    }

    /// RFC 9110 §8.8.3.2.
    pub fn matches_strongly(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    pub fn matches_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The members of an `If-Match` or `If-None-Match` list, `None` standing for `*`. At most 64 are looked at.
pub fn list<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Option<EntityTag<'a>>> {
    lines
        .flat_map(members)
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .take(64)
        .filter_map(|member| match member {
            b"*" => Some(None),
            tag => EntityTag::parse(tag).map(Some),
        })
        .collect()
}

/// Split at commas outside of quotes. A tag may hold any byte, and a backslash in it escapes nothing.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
}

/// The value for `If-Range` under which parts of this response may be combined: a strong entity tag, or a
/// modification date that is strong because the message was dated at least a minute later (RFC 9110 §8.8.2.2).
pub fn strong(fields: &impl FieldLines) -> Option<&[u8]> {
    match fields.first("etag") {
        Some(tag) => EntityTag::parse(tag).filter(|tag| !tag.weak).map(|tag| tag.opaque),
        None => strong_date(fields),
    }
}

/// The modification date, if it is a strong validator, whether or not there is an entity tag beside it.
pub fn strong_date(fields: &impl FieldLines) -> Option<&[u8]> {
    let modified = fields.first("last-modified")?;
    let age = date::parse(fields.first("date")?)?.checked_sub(date::parse(modified)?)?;
    (age >= 60_000).then_some(modified)
}

/// Whether these two say that they are of different versions: by their entity tags where both have one, else by their dates.
pub fn contradict(one: &impl FieldLines, other: &impl FieldLines) -> bool {
    match (one.first("etag"), other.first("etag")) {
        (Some(one), Some(other)) => match (EntityTag::parse(one), EntityTag::parse(other)) {
            (Some(one), Some(other)) => !one.matches_weakly(&other),
            _ => one != other,
        },
        (None, None) => dates_differ(one, other),
        _ => false,
    }
}

/// Whether both have a modification date, and not the same.
pub fn dates_differ(one: &impl FieldLines, other: &impl FieldLines) -> bool {
    matches!((last_modified(one), last_modified(other)), (Some(one), Some(other)) if one != other)
}

/// Fields that speak of exactly the bytes they come with, be these a part or the whole (RFC 9530 §2).
pub const OF_ALL_BYTES: [&str; 2] = ["content-digest", "content-md5"];

/// The modification date, when there is a valid one.
pub fn last_modified(fields: &impl FieldLines) -> Option<UnixMillis> {
    date::parse(fields.first("last-modified")?)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn entity_tags() {
        for good in ["\"a\"", "W/\"a\"", "\"\"", "\"a,b\"", "\"caf\u{e9}\""] {
            assert!(EntityTag::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["a", "\"a", "w/\"a\"", "\"a\"b\"", "", "\""] {
            assert!(EntityTag::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let strong = EntityTag::parse(b"\"a\"").unwrap();
        let weak = EntityTag::parse(b"W/\"a\"").unwrap();
        assert!(strong.matches_strongly(&strong) && strong.matches_weakly(&weak));
        assert!(!strong.matches_strongly(&weak) && !weak.matches_strongly(&weak));
    }

    #[test]
    fn lists_hold_tags_with_commas_and_are_bounded() {
        let lines = [&b"\"a,b\", W/\"c\" , junk"[..], b"*"];
        let found = list(lines.into_iter());
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].unwrap().opaque, b"\"a,b\"");
        assert!(found[2].is_none());
        // Latin-1, and a backslash before the closing quote.
        let odd = list([&b"\"caf\xe9\", \"a\\\", W/\"b\""[..]].into_iter());
        let odd: Vec<_> = odd.into_iter().map(|tag| tag.unwrap().opaque).collect();
        assert_eq!(odd, [&b"\"caf\xe9\""[..], b"\"a\\\"", b"\"b\""]);
        let long = vec!["\"x\""; 1_000].join(",");
        assert_eq!(list([long.as_bytes()].into_iter()).len(), 64);
    }

    #[test]
    fn strong_validators() {
        type Lines = &'static [(&'static str, &'static str)];
        let cases: &[(Lines, Option<&str>)] = &[
            (&[("etag", "\"a\"")], Some("\"a\"")),
            (&[("etag", "W/\"a\"")], None),
            (
                &[
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:50:37 GMT"),
                ],
                Some("Sun, 06 Nov 1994 08:49:37 GMT"),
            ),
            (
                &[
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
                ],
                None,
            ),
            (&[], None),
        ];
        for (lines, expected) in cases {
            let map: HeaderMap = lines
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(strong(&map), expected.map(str::as_bytes), "{lines:?}");
        }
    }
}
