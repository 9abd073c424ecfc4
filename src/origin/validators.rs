//! What tells one version of an object from another: a strong entity tag and the time of its last change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};

use super::precondition::{parse_date, single};

/// 31 December 9999, 23:59:59: beyond it an HTTP-date has no form.
const LAST_HTTP_DATE_SECS: u64 = 253_402_300_799;

#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// Strong, or none.
    pub(super) etag: Option<HeaderValue>,
    /// Whole seconds since the Unix epoch; `None` where no HTTP-date can say it.
    pub(super) last_modified: Option<u64>,
}

impl Validators {
    /// The tag is made of modification time in nanoseconds, size and inode.
    pub(super) fn of_file(mtime_secs: i64, mtime_nanos: u32, size: u64, inode: u64) -> Self {
        let nanos = i128::from(mtime_secs) * 1_000_000_000 + i128::from(mtime_nanos);
        let etag = format!("\"{nanos:x}-{size:x}-{inode:x}\"");
        Self {
            etag: HeaderValue::try_from(etag).ok(),
            last_modified: u64::try_from(mtime_secs).ok().filter(|secs| *secs <= LAST_HTTP_DATE_SECS),
        }
    }

    /// As an answer's fields say it.
    pub(super) fn of_fields(fields: &HeaderMap) -> Self {
        let is_strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"") && tag.len() > 1;
        Self {
            etag: single(fields, header::ETAG).filter(is_strong).cloned(),
            last_modified: single(fields, header::LAST_MODIFIED).and_then(parse_date),
        }
    }

    /// As it stands in the field; empty when there is none.
    pub(super) fn tag(&self) -> &[u8] {
        self.etag.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    pub(super) fn last_modified_text(&self) -> Option<HeaderValue> {
        http_date(UNIX_EPOCH + Duration::from_secs(self.last_modified?))
    }
}

/// 0 before 1970.
pub(super) fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `None` before 1970 and after 9999, where the formatter would panic.
pub(super) fn http_date(time: SystemTime) -> Option<HeaderValue> {
    let secs = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    if secs > LAST_HTTP_DATE_SECS {
        return None;
    }
    HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_http_cannot_say_are_left_out() {
        let text = |secs| Validators::of_file(secs, 0, 1, 1).last_modified_text();
        assert_eq!(text(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(LAST_HTTP_DATE_SECS as i64).unwrap(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(text(-1), None);
        assert_eq!(text(LAST_HTTP_DATE_SECS as i64 + 1), None);
        assert_eq!(text(i64::MAX), None);
        assert_eq!(text(i64::MIN), None);
    }

    #[test]
    fn each_part_changes_the_tag() {
        let tags = [(1, 0, 1, 1), (2, 0, 1, 1), (1, 1, 1, 1), (1, 0, 2, 1), (1, 0, 1, 2), (-1, 0, 1, 1)]
            .map(|(secs, nanos, size, inode)| Validators::of_file(secs, nanos, size, inode).etag);
        for (at, tag) in tags.iter().enumerate() {
            assert!(tags[at + 1..].iter().all(|other| other != tag), "{tag:?}");
        }
    }
}
