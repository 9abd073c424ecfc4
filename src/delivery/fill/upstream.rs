//! Where a fill gets its bytes: an origin chain, or an operation that derives them.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::super::range::{self, Spec};
use crate::{
    cache::{Head, validator},
    origin,
};

/// What a fill asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    /// The client's end-to-end fields; the upstream chooses which of them to send.
    pub headers: HeaderMap,
    pub range: Option<Spec>,
    /// The range is wanted only of this version.
    pub if_range: Option<HeaderValue>,
    /// A stored version that a 304 would confirm.
    pub validate: Option<Arc<Head>>,
    /// It is the rest of a body that broke.
    pub resume: Option<origin::Resume>,
    pub born: Born,
}

/// The latest purge from before what an answer stands on was asked for.
#[derive(Debug, Clone)]
pub struct Born(Arc<AtomicU64>);

impl Born {
    pub fn after(purge: u64) -> Self {
        Self(Arc::new(purge.into()))
    }

    /// The answer is made of something that may be older: purges of the time between concern the answer too.
    pub fn with(&self, source: &Head) {
        self.0.fetch_min(source.born, Ordering::Relaxed);
    }

    pub fn purge(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that answers like an origin. A derived answer may ignore the range: then it is whole.
pub trait Upstream: Send + Sync {
    fn open(&self, ask: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>>;

    /// Whether it brings the head or a part alone when asked for that, and for less than the whole.
    fn is_selective(&self) -> bool {
        true
    }

    /// Whether asking is given up when nobody waits for the answer any more, since making it is what costs.
    fn is_abandonable(&self) -> bool {
        false
    }
}

impl Ask {
    pub fn get(headers: HeaderMap) -> Self {
        Self {
            method: Method::GET,
            headers,
            range: None,
            if_range: None,
            validate: None,
            resume: None,
            born: Born::after(0),
        }
    }

    /// Whether a 304 can be the answer.
    pub fn is_conditional(&self) -> bool {
        self.validate.as_ref().is_some_and(|stored| stored.add_conditions(&mut HeaderMap::new()))
    }

    /// Adds the conditions and the range to the fields to send.
    pub fn add_to(&self, fields: &mut HeaderMap) {
        if let Some(range) = self.range {
            fields.insert(header::RANGE, range_value(range));
        }
        if let Some(validator) = &self.if_range {
            fields.insert(header::IF_RANGE, validator.clone());
        }
        if let Some(stored) = &self.validate {
            stored.add_conditions(fields);
        }
    }
}

fn range_value(range: Spec) -> HeaderValue {
    let text = match range {
        Spec::FromTo(first, last) => format!("bytes={first}-{last}"),
        Spec::From(first) => format!("bytes={first}-"),
        Spec::Suffix(count) => format!("bytes=-{count}"),
    };
    // Digits, `=` and `-` are always a valid value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bytes=0-"))
}

/// Which bytes of the whole an answer carries, when that is clear from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// From the first byte to the end, wherever that is.
    Whole {
        length: Option<u64>,
    },
    Part {
        range: Range<u64>,
        length: u64,
    },
    /// A 206 that does not say what it is, or several parts at once.
    Unclear,
}

impl Extent {
    /// Of an answer to HEAD: what GET would have carried.
    pub fn of_head(response: &origin::Response) -> Self {
        Self::Whole { length: declared_length(&response.headers) }
    }

    /// Of the whole object.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Whole { length } => *length,
            Self::Part { length, .. } => Some(*length),
            Self::Unclear => None,
        }
    }

    pub fn of(response: &origin::Response) -> Self {
        if response.status != StatusCode::PARTIAL_CONTENT {
            return Self::Whole { length: response.content_length };
        }
        let mut lines = response.headers.get_all(header::CONTENT_RANGE).iter();
        let (Some(value), None) = (lines.next(), lines.next()) else { return Self::Unclear };
        match range::parse_content_range(value.as_bytes()) {
            Some((range, length))
                if response.content_length.is_none_or(|declared| declared == range.end - range.start) =>
            {
                Self::Part { range, length }
            }
            _ => Self::Unclear,
        }
    }
}

/// What `Content-Length` says, which in an answer to HEAD speaks of a body that does not come.
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let (only, None) = (lines.next()?, lines.next()) else { return None };
    let digits = only.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether an answer with this status says something about the resource. The others speak of the request that was
/// answered, or of a server in trouble.
pub fn speaks_for_the_resource(status: StatusCode) -> bool {
    let not_to_be_had = matches!(status.as_u16(), 401 | 403 | 404 | 410 | 416 | 451);
    status.is_success() || status.is_redirection() || not_to_be_had
}

/// Whether an answer is of the version that `expected` names.
pub fn same_version(headers: &HeaderMap, expected: &HeaderValue) -> bool {
    validator::strong(headers) == Some(expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    fn response(
        status: u16,
        lines: &[(&'static str, &'static str)],
        length: Option<u64>,
    ) -> origin::Response {
        let headers = lines
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        origin::Response {
            status,
            headers,
            content_length: length,
            body: stream::empty().boxed(),
            origin: "o".into(),
        }
    }

    #[test]
    fn heads_speak_of_a_body_that_does_not_come() {
        for (lines, length) in [
            (&[("content-length", "7")][..], Some(7)),
            (&[], None),
            (&[("content-length", "+7")], None),
            (&[("content-length", "")], None),
        ] {
            assert_eq!(Extent::of_head(&response(200, lines, Some(0))), Extent::Whole { length });
        }
    }

    #[test]
    fn extents() {
        let part = Extent::Part { range: 0..5, length: 10 };
        let cases = [
            (response(200, &[], Some(7)), Extent::Whole { length: Some(7) }),
            (response(200, &[("content-range", "bytes 0-4/10")], None), Extent::Whole { length: None }),
            (response(206, &[("content-range", "bytes 0-4/10")], Some(5)), part.clone()),
            (response(206, &[("content-range", "bytes 0-4/10")], None), part),
            (response(206, &[("content-range", "bytes 0-4/10")], Some(6)), Extent::Unclear),
            (response(206, &[("content-range", "bytes 0-4/*")], Some(5)), Extent::Unclear),
            (response(206, &[], Some(5)), Extent::Unclear),
        ];
        for (response, expected) in cases {
            assert_eq!(Extent::of(&response), expected);
        }
    }
}
