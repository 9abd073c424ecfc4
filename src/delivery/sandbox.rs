//! Answers that a browser might run though they are shown as pictures. SVG can hold scripts and forms, and load from
//! elsewhere: on a page of its own it runs them with the rights of the site.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    outcome::{Outcome, Reason, Served},
    policy::Denied,
    response::{Fields, Response},
};
use crate::cache::FieldLines;

/// What becomes of SVG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Svg {
    /// It is served, and must not run, load or send anything.
    #[default]
    Sandboxed,
    Refused,
}

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// The answer as it may go out.
pub fn guarded(response: Response, svg: Svg) -> Response {
    let kind = match &response.fields {
        Fields::Stored(head) => Kind::of(head.fields.first("content-type")),
        Fields::Own(headers) => Kind::of(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)),
    };
    match (kind, svg) {
        (Kind::Other, _) => response,
        (Kind::Image, _) => without_guessing(response),
        (Kind::Svg, Svg::Sandboxed) => {
            let policy = HeaderValue::from_static(POLICY);
            without_guessing(response).with(header::CONTENT_SECURITY_POLICY, policy)
        }
        (Kind::Svg, Svg::Refused) => {
            let served = Served::new(Outcome::Error, Reason::Denied(Denied::Svg));
            Response::problem(StatusCode::FORBIDDEN, &Denied::Svg.to_string(), served)
        }
    }
}

/// What the type says counts, whatever the bytes look like.
fn without_guessing(response: Response) -> Response {
    const NOSNIFF: HeaderName = header::X_CONTENT_TYPE_OPTIONS;
    response.with(NOSNIFF, HeaderValue::from_static("nosniff"))
}

enum Kind {
    Svg,
    Image,
    Other,
}

impl Kind {
    fn of(content_type: Option<&[u8]>) -> Self {
        let essence = content_type.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii();
        match essence.split_at_checked(6) {
            Some((kind, format)) if kind.eq_ignore_ascii_case(b"image/") => {
                if format.eq_ignore_ascii_case(b"svg+xml") { Self::Svg } else { Self::Image }
            }
            _ => Self::Other,
        }
    }
}
