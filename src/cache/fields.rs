//! Header fields in one compact buffer: what a stored response keeps of them, and how rules read fields from
//! anywhere.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Field lines by name, whoever holds them. Names are given in lower case.
pub trait FieldLines {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.lines(name).next()
    }

    fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

impl FieldLines for HeaderMap {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }
}

/// Ordered field lines, each as name and value: a well-known name as its number in [`NAMES`], any other as 0, its length and
/// itself; a value as its length and itself. Lengths are written seven bits to a byte, the lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    encoded: Box<[u8]>,
}

/// In order. Their numbers, from 1, are on disks too: who changes the list changes [`super::entry::FORM`].
const NAMES: [&str; 48] = [
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "alt-svc",
    "cache-control",
    "cache-tag",
    "cdn-cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-security-policy",
    "content-type",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "nel",
    "p3p",
    "permissions-policy",
    "pragma",
    "referrer-policy",
    "report-to",
    "server",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "surrogate-control",
    "surrogate-key",
    "timing-allow-origin",
    "vary",
    "via",
    "x-cache",
    "x-content-type-options",
    "x-frame-options",
    "x-powered-by",
    "x-robots-tag",
    "x-xss-protection",
];

/// Where the parts of a line stand.
struct Line {
    name: Name,
    value: Range<usize>,
}

enum Name {
    Known(&'static str),
    Spelled(Range<usize>),
}

impl Fields {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.encoded[..];
        std::iter::from_fn(move || {
            let line = split(rest)?;
            let name = match line.name {
                Name::Known(known) => known.as_bytes(),
                Name::Spelled(spelled) => &rest[spelled],
            };
            let value = &rest[line.value.clone()];
            rest = &rest[line.value.end..];
            Some((name, value))
        })
    }

    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Checks all of it, so that reading never meets a broken line, nor writing what a client would take for two.
    pub fn decode(encoded: Vec<u8>) -> Option<Self> {
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            let line = split(rest)?;
            if let Name::Spelled(name) = line.name {
                HeaderName::from_bytes(&rest[name]).ok()?;
            }
            HeaderValue::from_bytes(&rest[line.value.clone()]).ok()?;
            rest = &rest[line.value.end..];
        }
        Some(Self { encoded: encoded.into() })
    }

    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut encoded = Vec::new();
        for (name, value) in map {
            let name = name.as_str();
            match NAMES.binary_search(&name) {
                Ok(known) => encoded.push(known as u8 + 1),
                Err(_) => {
                    encoded.push(0);
                    put_length(&mut encoded, name.len());
                    encoded.extend_from_slice(name.as_bytes());
                }
            }
            put_length(&mut encoded, value.len());
            encoded.extend_from_slice(value.as_bytes());
        }
        // Kept for long: no byte more than is needed.
        Self { encoded: encoded.into() }
    }
}

impl FieldLines for Fields {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = &self.encoded[..];
        std::iter::from_fn(move || {
            while let Some(line) = split(rest) {
                let found = match line.name {
                    Name::Known(known) => known == name,
                    Name::Spelled(spelled) => &rest[spelled] == name.as_bytes(),
                };
                let value = &rest[line.value.clone()];
                rest = &rest[line.value.end..];
                if found {
                    return Some(value);
                }
            }
            None
        })
    }
}

/// The first line.
fn split(encoded: &[u8]) -> Option<Line> {
    let (name, at) = match *encoded.first()? {
        0 => {
            let (length, at) = take_length(encoded, 1)?;
            let end = at.checked_add(length).filter(|end| *end <= encoded.len())?;
            (Name::Spelled(at..end), end)
        }
        known => (Name::Known(NAMES.get(usize::from(known) - 1)?), 1),
    };
    let (length, at) = take_length(encoded, at)?;
    let end = at.checked_add(length).filter(|end| *end <= encoded.len())?;
    Some(Line { name, value: at..end })
}

fn put_length(encoded: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        encoded.push(length as u8 | 0x80);
        length >>= 7;
    }
    encoded.push(length as u8);
}

/// The length that stands at `at`, and where it ends.
fn take_length(encoded: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut length = 0;
    // As many as there are in 32 bits.
    for (n, byte) in encoded.get(at..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((length, at + n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> HeaderMap {
        let mut map = HeaderMap::new();
        map.append("etag", HeaderValue::from_static("\"a\""));
        map.append("via", HeaderValue::from_static("1.1 a"));
        map.append("via", HeaderValue::from_static("1.1 b"));
        map.append("x-raw", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        map
    }

    #[test]
    fn keeps_order_repeats_and_raw_bytes() {
        let fields = Fields::from(&sample());
        assert_eq!(fields.lines("via").collect::<Vec<_>>(), [b"1.1 a", b"1.1 b"]);
        assert_eq!(fields.first("x-raw"), Some(&b"caf\xe9"[..]));
        assert_eq!(fields.first("age"), None);
        assert_eq!(fields.to_header_map(), sample());
        assert_eq!(fields.iter().count(), 4);
    }

    #[test]
    fn names_are_in_order() {
        assert!(NAMES.is_sorted() && NAMES.len() < 255);
    }

    #[test]
    fn long_values_survive() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_000_000] {
            let mut map = HeaderMap::new();
            map.append("x-long", HeaderValue::from_bytes(&vec![b'a'; length]).unwrap());
            map.append("vary", HeaderValue::from_static("accept"));
            let back = Fields::decode(Fields::from(&map).encoded().to_vec()).unwrap();
            assert_eq!(back.to_header_map(), map, "{length}");
        }
    }

    #[test]
    fn decoding_refuses_broken_framing() {
        let whole = Fields::from(&sample()).encoded().to_vec();
        assert!(Fields::decode(whole.clone()).is_some());
        for cut in [1, 3, 6, 9, whole.len() - 1] {
            assert!(Fields::decode(whole[..cut].to_vec()).is_none(), "cut at {cut}");
        }
        let lines: [&[u8]; 3] = [b"\x01\x03a\r\n", b"\x01\x01\0", b"\0\x03a:\nz"];
        let lengths: [&[u8]; 4] = [&[200, 0], &[0, 1, 0xff, 0], &[1, 0x80, 0x80, 0x80, 0x80, 0], &[1]];
        for broken in lengths.into_iter().chain(lines) {
            assert!(Fields::decode(broken.to_vec()).is_none(), "{broken:?}");
        }
    }
}
