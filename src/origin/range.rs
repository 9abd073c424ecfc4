//! Which bytes a `Range` field selects (RFC 9110 §14). One range per request: several are answered with the whole.

use std::{fmt, ops::Range};

use http::{HeaderMap, header};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    /// Not empty, and within the file.
    Part(Range<u64>),
    Unsatisfiable,
}

/// One range, of whatever length the object may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Offsets of the first and the last byte.
    FromTo(u64, u64),
    From(u64),
    /// So many bytes at the end.
    Suffix(u64),
}

/// A field that is malformed, of another unit or repeated is ignored, as if it were not there (§14.2).
pub(super) fn asked(request: &HeaderMap) -> Option<Asked> {
    let mut fields = request.get_all(header::RANGE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    parse(field.to_str().ok()?)
}

pub(super) fn select(request: &HeaderMap, len: u64) -> Selection {
    asked(request).map_or(Selection::Whole, |asked| asked.of(len))
}

impl Asked {
    pub(super) fn of(self, len: u64) -> Selection {
        let (first, end) = match self {
            Self::FromTo(first, last) => (first, last.saturating_add(1).min(len)),
            Self::From(first) => (first, len),
            Self::Suffix(count) => (len - count.min(len), len),
        };
        if first < end { Selection::Part(first..end) } else { Selection::Unsatisfiable }
    }
}

/// The value of a `Range` field. Numbers beyond any object are cut to what servers read as a signed number.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: u64 = i64::MAX as u64;
        match *self {
            Self::FromTo(first, last) => write!(f, "bytes={}-{}", first.min(MOST), last.min(MOST)),
            Self::From(first) => write!(f, "bytes={}-", first.min(MOST)),
            Self::Suffix(count) => write!(f, "bytes=-{}", count.min(MOST)),
        }
    }
}

fn parse(text: &str) -> Option<Asked> {
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list may have empty elements (§5.6.1).
    let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else {
        return None;
    };
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        return Some(Asked::Suffix(number(last)?));
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(Asked::From(first));
    }
    let last = number(last)?;
    (first <= last).then_some(Asked::FromTo(first, last))
}

/// Digits only; a number too big for any file stands for the biggest.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn selection(text: &str, len: u64) -> Selection {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
        select(&request, len)
    }

    #[test]
    fn one_range_is_resolved_and_the_rest_ignored() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (text, len, expected) in [
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-5", 10, Part(2..6)),
            ("Bytes= 2-5 ,", 10, Part(2..6)),
            ("bytes=9-100", 10, Part(9..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-100", 10, Part(0..10)),
            ("bytes=5-99999999999999999999999", 10, Part(5..10)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=5-2", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1-2-3", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes 0-1", 10, Whole),
            ("items=0-1", 10, Whole),
        ] {
            assert_eq!(selection(text, len), expected, "{text} of {len}");
        }
    }

    #[test]
    fn a_repeated_field_is_ignored() {
        let mut request = HeaderMap::new();
        request.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        request.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(select(&request, 10), Selection::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", len in any::<u64>()) {
            if let Selection::Part(range) = selection(&text, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
