//! A client's request as delivery sees it: method, normalised target, end-to-end fields.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};

use crate::origin::Interims;

/// Longer paths and queries are refused.
pub const MAX_TARGET: usize = 8 * 1024;

#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub target: Target,
    /// End-to-end fields; hop-by-hop ones are already removed.
    pub headers: Arc<HeaderMap>,
    /// Takes what an origin says before its answer, if the client can be told.
    pub interims: Option<Interims>,
    /// Whose it is; None: the server's own.
    pub client: Option<IpAddr>,
}

/// A request as far as a hit needs to know it, its fields wherever they are.
#[derive(Debug)]
pub struct Asked<'r, F> {
    pub method: &'r Method,
    pub target: &'r Target,
    pub fields: &'r F,
}

impl Request {
    pub fn asked(&self) -> Asked<'_, HeaderMap> {
        Asked { method: &self.method, target: &self.target, fields: &self.headers }
    }
}

/// Path and query in the one form that is keyed and forwarded (RFC 3986 §6.2.2): hex digits in upper case,
/// unreserved characters decoded, nothing that could leave the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    path: Arc<str>,
    query: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("the path or query is longer than {MAX_TARGET} bytes")]
    TooLong,
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("percent-encoding must be % and two hexadecimal digits")]
    BadEncoding,
    #[error("the path holds a control character, a backslash or a NUL")]
    BadCharacter,
    #[error("the path holds a . or .. segment")]
    DotSegment,
}

impl Target {
    /// From the path and query of a request line.
    pub fn parse(raw: &str) -> Result<Self, BadTarget> {
        if raw.len() > MAX_TARGET {
            return Err(BadTarget::TooLong);
        }
        if is_normal_path(raw) {
            return Ok(Self::of_path(raw));
        }
        let (path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        if !path.starts_with('/') {
            return Err(BadTarget::NotAbsolute);
        }
        let path = normalise(path)?;
        // An encoded slash or semicolon stays encoded in the key, but somebody behind us may decode it; and for servers that know
        // parameters of segments, what stands before a semicolon is the segment.
        let escapes = |segment: &str| {
            let name = segment.split(';').flat_map(|part| part.split("%3B")).next();
            matches!(name, Some("." | ".."))
        };
        if path.split('/').flat_map(|segment| segment.split("%2F")).any(escapes) {
            return Err(BadTarget::DotSegment);
        }
        let query = query.map(normalise).transpose()?;
        Ok(Self { path: path.into(), query: query.map(Into::into) })
    }

    /// A path that is already in normal form.
    pub fn of_path(path: &str) -> Self {
        Self { path: path.into(), query: None }
    }

    /// The same path with another query, which is already in normal form; empty means none.
    pub fn with_query(&self, query: &str) -> Self {
        Self { path: self.path.clone(), query: (!query.is_empty()).then(|| query.into()) }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The path, when there is nothing else.
    pub(super) fn bare_path(&self) -> Option<&Arc<str>> {
        self.query.is_none().then_some(&self.path)
    }

    /// The part of the path behind its last dot, when that lies in the last segment.
    pub fn extension(&self) -> Option<&str> {
        let last = self.path.bytes().rposition(|byte| matches!(byte, b'/' | b'.'))?;
        self.path[last..].strip_prefix('.')
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Whether this is a path that [`normalise`] would leave as it is, without a query. Some are that it does not know for such:
/// they only take longer.
fn is_normal_path(raw: &str) -> bool {
    let mut after_slash = false;
    let plain = raw.bytes().all(|byte| {
        // A hidden file, or what could leave the root.
        let doubtful = after_slash && byte == b'.';
        after_slash = byte == b'/';
        !doubtful && byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'\\')
    });
    plain && raw.starts_with('/')
}

fn normalise(raw: &str) -> Result<String, BadTarget> {
    let mut normal = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if byte <= b' ' || byte >= 0x7f || byte == b'\\' || byte == b'#' {
                return Err(BadTarget::BadCharacter);
            }
            normal.push(char::from(byte));
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(BadTarget::BadEncoding) };
        // Two hexadecimal digits make a byte.
        let decoded = (high * 16 + low) as u8;
        match decoded {
            0..0x20 | 0x7f | b'\\' => return Err(BadTarget::BadCharacter),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(decoded))
            }
            other => normal.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paths_have_one_form() {
        for raw in ["/a~b/%c3%a9.jpg", "/a%7Eb/%C3%A9.jpg", "/%61~b/%c3%A9.jpg"] {
            assert_eq!(Target::parse(raw).unwrap().to_string(), "/a~b/%C3%A9.jpg", "{raw}");
        }
        assert_ne!(Target::parse("/A").unwrap(), Target::parse("/a").unwrap());
        assert_ne!(Target::parse("/a%2Fb").unwrap(), Target::parse("/a/b").unwrap());
        assert_eq!(Target::parse("/a%3fb?c=%7e").unwrap().to_string(), "/a%3Fb?c=~");
    }

    #[test]
    fn refuses_what_could_leave_the_root_or_split_a_message() {
        let cases = [
            ("/../etc/passwd", BadTarget::DotSegment),
            ("/%2e%2e/etc", BadTarget::DotSegment),
            ("/a/..%2f..%2fetc", BadTarget::DotSegment),
            ("/./a", BadTarget::DotSegment),
            ("/a/..;/b", BadTarget::DotSegment),
            ("/a/%2e%2e;x=1/b", BadTarget::DotSegment),
            ("/a/.;/b", BadTarget::DotSegment),
            ("/a%2f..;", BadTarget::DotSegment),
            ("/a/..%3B/b", BadTarget::DotSegment),
            ("/a/..%3b/b", BadTarget::DotSegment),
            ("/a/%2e%2e%3bx=1/b", BadTarget::DotSegment),
            ("/a/.%3B/b", BadTarget::DotSegment),
            ("/a%2f..%3b%2fb", BadTarget::DotSegment),
            ("/..%5c", BadTarget::BadCharacter),
            ("/a\\b", BadTarget::BadCharacter),
            ("/%00", BadTarget::BadCharacter),
            ("/%0d%0aX:%20y", BadTarget::BadCharacter),
            ("/a b", BadTarget::BadCharacter),
            ("/\u{e9}", BadTarget::BadCharacter),
            ("/%zz", BadTarget::BadEncoding),
            ("/%2", BadTarget::BadEncoding),
            ("a", BadTarget::NotAbsolute),
            ("*", BadTarget::NotAbsolute),
        ];
        for (raw, expected) in cases {
            assert_eq!(Target::parse(raw), Err(expected), "{raw}");
        }
        assert_eq!(Target::parse(&format!("/{}", "a".repeat(MAX_TARGET))), Err(BadTarget::TooLong));
    }

    #[test]
    fn extensions_come_from_the_last_segment() {
        assert_eq!(Target::parse("/a.b/c.mp4?x=.jpg").unwrap().extension(), Some("mp4"));
        assert_eq!(Target::parse("/a.b/c").unwrap().extension(), None);
    }
}
