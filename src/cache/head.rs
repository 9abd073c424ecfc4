//! The head of a stored object: everything but its blocks.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{
    FieldLines, Fields, Freshness, Incarnation,
    control::ResponseControl,
    date,
    entry::OnDisk,
    purge::{Seen, Tags},
    validator,
    vary::VarySpec,
};

/// Where the bytes of an object are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// All of it, with the head: one lookup serves the object.
    Inline(Bytes),
    /// In blocks of `block_size` bytes under this incarnation; any of them may be absent.
    Blocks { incarnation: Incarnation, block_size: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Text of the key this was stored under; compared at lookup, so a hash collision is a miss.
    pub key: Box<str>,
    pub status: StatusCode,
    /// End-to-end fields without those that are generated: `Content-Length`, `Age`, and the range of a part.
    pub fields: Fields,
    pub control: ResponseControl,
    pub freshness: Freshness,
    /// Length of the whole representation.
    pub length: u64,
    pub content: Content,
    /// When its bytes came its date was no strong validator. That the same is answered later does not make it one.
    pub loose: bool,
    pub request_time: UnixMillis,
    /// The latest purge from before the upstream was asked.
    pub born: u64,
    pub tags: Tags,
    /// Purges that are known not to concern it, beyond `born`.
    pub seen: Seen,
    pub on_disk: OnDisk,
}

/// Fields that are generated for each response, never stored.
const GENERATED: [header::HeaderName; 2] = [header::CONTENT_LENGTH, header::AGE];

impl Head {
    pub fn new(
        key: &str,
        status: StatusCode,
        headers: &HeaderMap,
        (request_time, response_time): (UnixMillis, UnixMillis),
        length: u64,
        content: Content,
    ) -> Self {
        let control = ResponseControl::parse(headers);
        let freshness = Freshness::of(status, headers, &control, request_time, response_time);
        let mut kept = headers.clone();
        for name in GENERATED {
            kept.remove(name);
        }
        // Of a part it was said, not of the whole; where it names no bytes, it is a field like any other.
        if headers.get_all(header::CONTENT_RANGE).iter().any(|range| names_bytes(range.as_bytes())) {
            kept.remove(header::CONTENT_RANGE);
            for name in validator::OF_ALL_BYTES {
                kept.remove(name);
            }
        }
        let fields = Fields::from(&kept);
        let (tags, born, seen) = (Tags::of(headers), 0, Seen::default());
        let (key, on_disk) = (key.into(), OnDisk::default());
        Self {
            key,
            status,
            fields,
            control,
            freshness,
            length,
            content,
            loose: false,
            request_time,
            born,
            tags,
            seen,
            on_disk,
        }
    }

    /// The same head, known to be of a time after this purge. Without being told so, it is of the time before all purges.
    pub fn born_after(self, purge: u64) -> Self {
        Self { born: purge, seen: Seen::up_to(purge), ..self }
    }

    /// The same object after a 304 (RFC 9111 §4.3.4): its fields replace the stored ones of the same name. Validators
    /// stay: they name the bytes that are stored, whatever the origin has by now.
    pub fn freshened(&self, not_modified: &HeaderMap, times: (UnixMillis, UnixMillis)) -> Self {
        let mut headers = self.fields.to_header_map();
        // Of the old answer; ours has come now, when it does not say otherwise.
        headers.remove(header::DATE);
        for name in not_modified.keys() {
            let kept = matches!(
                *name,
                header::CONTENT_LENGTH
                    | header::CONTENT_ENCODING
                    | header::CONTENT_TYPE
                    | header::CONTENT_RANGE
                    | header::ETAG
                    | header::LAST_MODIFIED
            );
            // A cookie is for the one who asked, unless one was stored for everybody already.
            let foreign = *name == header::SET_COOKIE && !headers.contains_key(name);
            // What the stored bytes were chosen by chooses them still: a 304 may name less, as some do that code on the way.
            if *name == header::VARY {
                if !VarySpec::of(&headers).has_all(&VarySpec::of(not_modified)) {
                    headers
                        .extend(not_modified.get_all(name).iter().map(|value| (name.clone(), value.clone())));
                }
                continue;
            }
            if kept || foreign {
                continue;
            }
            headers.remove(name);
            for value in not_modified.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let loose = self.loose || validator::strong_date(&self.fields).is_none();
        let new = Self::new(&self.key, self.status, &headers, times, self.length, self.content.clone());
        Self { loose, ..new }
    }

    /// The same head over other content.
    pub fn with_content(&self, length: u64, content: Content) -> Self {
        Self { length, content, ..self.clone() }
    }

    /// All bytes of what is held inline. They keep the head alive: to share the stored bytes themselves would leave its bookkeeping
    /// with each object, for good.
    pub fn inline(self: &Arc<Self>) -> Option<Bytes> {
        match self.content {
            Content::Inline(_) => Some(Bytes::from_owner(Inline(self.clone()))),
            Content::Blocks { .. } => None,
        }
    }

    /// When it was made, as far as is known.
    pub fn dated(&self) -> UnixMillis {
        self.fields.first("date").and_then(date::parse).unwrap_or(self.freshness.response_time)
    }

    /// The validator under which parts of this object may be combined, as an `If-Range` value.
    pub fn strong_validator(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.strong()?).ok()
    }

    pub fn has_strong_validator(&self) -> bool {
        self.strong().is_some()
    }

    pub fn strong(&self) -> Option<&[u8]> {
        validator::strong(&self.fields).filter(|_| !self.loose || self.fields.has("etag"))
    }

    /// Adds the conditions that ask the origin whether this is still current. False when there is no validator.
    pub fn add_conditions(&self, headers: &mut HeaderMap) -> bool {
        let mut copy = |from: &str, to: header::HeaderName| {
            let value = self.fields.first(from).and_then(|value| HeaderValue::from_bytes(value).ok());
            value.map(|value| headers.insert(to, value)).is_some()
        };
        let tag = copy("etag", header::IF_NONE_MATCH);
        let date = copy("last-modified", header::IF_MODIFIED_SINCE);
        tag || date
    }

    /// Bytes in memory, roughly; what the memory tier weighs.
    pub fn weight(&self) -> usize {
        let inline = match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Blocks { .. } => 0,
        };
        size_of::<Self>() + self.key.len() + self.fields.encoded().len() + self.tags.weight() + inline
    }
}

/// A head that is held for its bytes.
struct Inline(Arc<Head>);

impl AsRef<[u8]> for Inline {
    fn as_ref(&self) -> &[u8] {
        match &self.0.content {
            Content::Inline(bytes) => bytes,
            Content::Blocks { .. } => &[],
        }
    }
}

/// Whether a `Content-Range` is in bytes; units are compared without case (RFC 9110 §14.1).
fn names_bytes(range: &[u8]) -> bool {
    range.split(|byte| *byte == b' ').next().is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn head(lines: &[(&'static str, &'static str)]) -> Head {
        let content = Content::Inline(Bytes::from_static(b"abc"));
        Head::new("/a", StatusCode::OK, &headers(lines), (0, 0), 3, content)
    }

    #[test]
    fn generated_fields_are_not_stored() {
        let head = head(&[("content-length", "3"), ("age", "5"), ("etag", "\"a\"")]);
        assert_eq!(head.fields.iter().count(), 1);
        assert_eq!(head.freshness.initial_age, 5_000);
    }

    #[test]
    fn the_range_of_a_part_is_not_stored() {
        for (value, kept) in [
            ("bytes 0-4/10", false),
            ("Bytes */10", false),
            ("pages 1-2/3", true),
            ("junk", true),
            ("", true),
        ] {
            let head = head(&[("content-range", value)]);
            assert_eq!(head.fields.first("content-range").is_some(), kept, "{value}");
        }
    }

    #[test]
    fn not_modified_replaces_fields_but_not_metadata_of_the_body() {
        let old = head(&[
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("cache-control", "max-age=1"),
            ("x-old", "1"),
            ("content-type", "image/png"),
        ]);
        let answer = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/html"),
            ("etag", "\"other\""),
            ("set-cookie", "session=1"),
            ("x-new", "2"),
        ]);
        let new = old.freshened(&answer, (90_000, 90_000));
        assert_eq!((new.fields.first("etag"), new.fields.first("set-cookie")), (None, None));
        assert_eq!(new.fields.first("content-type"), Some(&b"image/png"[..]));
        assert_eq!(new.fields.first("x-old"), Some(&b"1"[..]));
        assert_eq!(new.fields.first("x-new"), Some(&b"2"[..]));
        assert_eq!(new.freshness.lifetime, 60_000);
        assert_eq!((new.freshness.response_time, new.freshness.initial_age), (90_000, 0));
        assert_eq!(new.content, old.content);
        let shared = head(&[("cache-control", "public"), ("set-cookie", "a=1")]).freshened(&answer, (0, 0));
        assert_eq!(shared.fields.first("set-cookie"), Some(&b"session=1"[..]));
    }
}
