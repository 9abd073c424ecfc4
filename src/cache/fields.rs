//! Header fields in one compact buffer: what a stored response keeps of them, and how rules read fields from
//! anywhere.

use bytes::{BufMut, Bytes, BytesMut};
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

/// Ordered field lines, each as (name length: u16, value length: u32, name, value), big-endian. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    encoded: Bytes,
}

const PREFIX: usize = 6;

impl Fields {
    pub fn iter(&self) -> Iter {
        Iter { rest: self.encoded.clone() }
    }

    /// The same, only the values as slices of the buffer that count as its holders.
    pub fn shared(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (name, value) = split(&self.encoded[at..])?;
            let start = at + PREFIX + name.len();
            at = start + value.len();
            Some((name, self.encoded.slice(start..at)))
        })
    }

    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Checks the framing, so that reading never meets a broken line.
    pub fn decode(encoded: Bytes) -> Option<Self> {
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            let (name, value) = split(rest)?;
            std::str::from_utf8(name).ok()?;
            rest = &rest[PREFIX + name.len() + value.len()..];
        }
        Some(Self { encoded })
    }

    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(&name), HeaderValue::from_maybe_shared(value))
            {
                map.append(name, value);
            }
        }
        map
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let size = map.iter().map(|(name, value)| PREFIX + name.as_str().len() + value.len()).sum();
        let mut encoded = BytesMut::with_capacity(size);
        for (name, value) in map {
            let name = name.as_str().as_bytes();
            // Both are bounded by the size of a message head, far below these widths.
            let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u32::try_from(value.len()))
            else {
                continue;
            };
            encoded.put_u16(name_len);
            encoded.put_u32(value_len);
            encoded.put_slice(name);
            encoded.put_slice(value.as_bytes());
        }
        Self { encoded: encoded.freeze() }
    }
}

impl FieldLines for Fields {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = &self.encoded[..];
        std::iter::from_fn(move || {
            while let Some((found, value)) = split(rest) {
                rest = &rest[PREFIX + found.len() + value.len()..];
                if found == name.as_bytes() {
                    return Some(value);
                }
            }
            None
        })
    }
}

/// Yields (name, value) as slices of the shared buffer.
pub struct Iter {
    rest: Bytes,
}

impl Iterator for Iter {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = split(&self.rest)?;
        let (name_end, value_end) = (PREFIX + name.len(), PREFIX + name.len() + value.len());
        let line = (self.rest.slice(PREFIX..name_end), self.rest.slice(name_end..value_end));
        self.rest = self.rest.slice(value_end..);
        Some(line)
    }
}

fn split(encoded: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name_len, rest) = encoded.split_first_chunk::<2>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name_len)))?;
    let value = rest.get(..usize::try_from(u32::from_be_bytes(*value_len)).ok()?)?;
    Some((name, value))
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
    fn decoding_refuses_broken_framing() {
        let whole = Fields::from(&sample()).encoded().clone();
        assert!(Fields::decode(whole.clone()).is_some());
        for cut in [1, 5, 7, whole.len() - 1] {
            assert!(Fields::decode(whole.slice(..cut)).is_none(), "cut at {cut}");
        }
    }
}
