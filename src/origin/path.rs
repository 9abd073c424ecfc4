//! The segments of a request target's path, decoded. Anything with a second meaning (dot segments, encoded slashes,
//! backslashes, NUL) is refused, so that one object has one path but for needless percent-encoding.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the target does not begin with a slash")]
    NotAbsolute,
    #[error("invalid percent-encoding")]
    PercentEncoding,
    #[error("not UTF-8")]
    Utf8,
    #[error("NUL, backslash, encoded slash or fragment in the path")]
    Character,
    #[error("dot segment in the path")]
    DotSegment,
    #[error("the target is outside of the prefix of this origin")]
    Outside,
}

/// What is left of a target for an origin that answers only what begins with `strip`.
pub(super) fn below<'t>(strip: &str, target: &'t str) -> Result<Cow<'t, str>, Refusal> {
    match target.strip_prefix(strip.trim_end_matches('/')) {
        Some(rest) if rest.starts_with('/') => Ok(rest.into()),
        Some(rest) if rest.is_empty() || rest.starts_with('?') => Ok(format!("/{rest}").into()),
        _ => Err(Refusal::Outside),
    }
}

/// Each without `/`, `\` and NUL, and neither `.` nor `..`; may be empty.
pub(super) fn segments(target: &str) -> Result<Vec<String>, Refusal> {
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix('/').ok_or(Refusal::NotAbsolute)?;
    path.split('/').map(decode_segment).collect()
}

fn decode_segment(segment: &str) -> Result<String, Refusal> {
    if !has_valid_escapes(segment.as_bytes()) {
        return Err(Refusal::PercentEncoding);
    }
    if segment.contains('#') {
        return Err(Refusal::Character);
    }
    let name = percent_decode_str(segment).decode_utf8().map_err(|_| Refusal::Utf8)?;
    if name.contains(['\0', '\\', '/']) {
        return Err(Refusal::Character);
    }
    if name == "." || name == ".." {
        return Err(Refusal::DotSegment);
    }
    Ok(name.into_owned())
}

/// The library passes `%zz` through as it stands.
fn has_valid_escapes(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().filter(|(_, b)| **b == b'%').all(
        |(at, _)| matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit)),
    )
}
