//! `Range` requests (RFC 9110 §14): parsed, resolved against a length, and kept within bounds.

use std::ops::Range;

/// More parts than this are not worth answering in parts: the whole is sent.
pub const MAX_PARTS: usize = 16;

/// One member of a `bytes` range set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// First and last position, the last inclusive.
    FromTo(u64, u64),
    From(u64),
    /// The last so many bytes.
    Suffix(u64),
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The field is not to be heeded: 200 with everything.
    Whole,
    /// Ascending, not touching each other; never empty.
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

/// None when the field is not a valid `bytes` set, and therefore ignored.
pub fn parse(value: &[u8]) -> Option<Vec<Spec>> {
    let text = std::str::from_utf8(value).ok()?;
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for member in set.split(',') {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        if specs.len() > MAX_PARTS {
            break;
        }
        let (first, last) = member.split_once('-')?;
        specs.push(match (first.is_empty(), last.is_empty()) {
            (true, false) => Spec::Suffix(position(last)?),
            (false, true) => Spec::From(position(first)?),
            (false, false) => {
                let (first, last) = (position(first)?, position(last)?);
                if first > last {
                    return None;
                }
                Spec::FromTo(first, last)
            }
            (true, true) => return None,
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// The parts that exist in a representation of `length` bytes; overlapping and adjacent ones are joined, so that
/// no answer is larger than the representation.
pub fn resolve(specs: &[Spec], length: u64) -> Resolution {
    if specs.len() > MAX_PARTS {
        return Resolution::Whole;
    }
    let mut parts: Vec<Range<u64>> = specs.iter().filter_map(|spec| spec.resolve(length)).collect();
    if parts.is_empty() {
        return Resolution::Unsatisfiable;
    }
    parts.sort_unstable_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    Resolution::Parts(joined)
}

impl Spec {
    fn resolve(self, length: u64) -> Option<Range<u64>> {
        let part = match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Suffix(count) => length.saturating_sub(count)..length,
        };
        (part.start < part.end).then_some(part)
    }
}

/// Digits only; numbers too large to exist are clamped, not refused.
fn position(digits: &str) -> Option<u64> {
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(u64::MAX))
}

/// `Content-Range: bytes 0-4/10` as (range, complete length).
pub fn parse_content_range(value: &[u8]) -> Option<(Range<u64>, u64)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length): (u64, u64, u64) = (position(first)?, position(last)?, position(length)?);
    (first <= last && last < length).then(|| (first..last + 1, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(value: &str, length: u64) -> Resolution {
        parse(value.as_bytes()).map_or(Resolution::Whole, |specs| resolve(&specs, length))
    }

    #[test]
    fn answers() {
        let parts = |ranges: &[(u64, u64)]| Resolution::Parts(ranges.iter().map(|(a, b)| *a..*b).collect());
        let cases = [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-", parts(&[(0, 100)])),
            ("bytes=-10", parts(&[(90, 100)])),
            ("bytes=-1000", parts(&[(0, 100)])),
            ("bytes=90-1000", parts(&[(90, 100)])),
            ("Bytes=1-2", parts(&[(1, 3)])),
            ("bytes=0-1, 5-6", parts(&[(0, 2), (5, 7)])),
            ("bytes=5-6,0-1", parts(&[(0, 2), (5, 7)])),
            ("bytes=0-10,5-20,21-30", parts(&[(0, 31)])),
            ("bytes=0-0,,-1", parts(&[(0, 1), (99, 100)])),
            ("bytes=200-,0-1", parts(&[(0, 2)])),
            ("bytes=100-", Resolution::Unsatisfiable),
            ("bytes=-0", Resolution::Unsatisfiable),
            ("bytes=9999999999999999999999-", Resolution::Unsatisfiable),
            ("bytes=5-2", Resolution::Whole),
            ("bytes=", Resolution::Whole),
            ("bytes=-", Resolution::Whole),
            ("bytes=a-b", Resolution::Whole),
            ("bytes=+1-2", Resolution::Whole),
            ("items=0-1", Resolution::Whole),
            ("0-1", Resolution::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(answer(value, 100), expected, "{value}");
        }
        let many = format!(
            "bytes={}",
            (0..1_000).map(|i| format!("{}-{}", i * 2, i * 2)).collect::<Vec<_>>().join(",")
        );
        assert_eq!(answer(&many, 10_000), Resolution::Whole);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range(b"bytes 0-4/10"), Some((0..5, 10)));
        for bad in
            ["bytes 0-10/10", "bytes 5-4/10", "bytes 0-4/*", "bytes */10", "items 0-4/10", "bytes 0-4", ""]
        {
            assert_eq!(parse_content_range(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_ordered_apart_and_within_the_length(
            specs in prop::collection::vec((any::<u64>(), any::<u64>(), 0..3), 1..10), length in 0..1_000_000u64,
        ) {
            let specs: Vec<Spec> = specs
                .into_iter()
                .map(|(a, b, kind)| match kind {
                    0 => Spec::FromTo(a.min(b) % 2_000_000, (a.min(b) % 2_000_000).saturating_add(b % 5_000)),
                    1 => Spec::From(a % 2_000_000),
                    _ => Spec::Suffix(b % 2_000_000),
                })
                .collect();
            match resolve(&specs, length) {
                Resolution::Parts(parts) => {
                    prop_assert!(!parts.is_empty());
                    prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
                    prop_assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
                    // Exactly the bytes that some spec asks for.
                    for spec in &specs {
                        if let Some(asked) = spec.resolve(length) {
                            prop_assert!(parts.iter().any(|part| part.start <= asked.start && asked.end <= part.end));
                        }
                    }
                }
                Resolution::Unsatisfiable => {
                    prop_assert!(specs.iter().all(|spec| spec.resolve(length).is_none()));
                }
                Resolution::Whole => prop_assert!(false, "few parts are answered in parts"),
            }
        }

        #[test]
        fn parsing_never_panics(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&value);
            let _ = parse_content_range(&value);
        }

        #[test]
        fn what_is_written_is_read_back(first in any::<u32>(), count in 1..u32::MAX) {
            let (first, last) = (u64::from(first), u64::from(first) + u64::from(count) - 1);
            let text = format!("bytes={first}-{last}");
            prop_assert_eq!(parse(text.as_bytes()), Some(vec![Spec::FromTo(first, last)]));
        }
    }
}
