//! What S3 says instead of giving an object: whether that is an answer for the client or a trouble of ours with S3.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use http::{HeaderMap, header};

use super::{
    super::{Error, ErrorKind, precondition, retry::retry_after, validators::unix_secs},
    connector,
};

/// An answer about the object that does not carry it.
#[derive(Debug)]
pub(super) enum Instead {
    NotModified(HeaderMap),
    /// 412: it is not, or no more, the version that was named.
    Changed,
    /// 416, and how long the object is, when S3 says so.
    Unsatisfiable(Option<u64>),
    Missing,
    Denied,
}

/// S3 itself refuses beyond this.
const MOST_SKEW: Duration = Duration::from_secs(15 * 60);
/// What a log has to take of S3's own words.
const MAX_WORDS: usize = 200;
/// 403s that are not about the object.
const ABOUT_US: [&str; 9] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

pub(super) fn judge<E>(origin: &Arc<str>, error: SdkError<E, HttpResponse>) -> Result<Instead, Error>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    // From our connector: what befell the connection.
    if let Some(own) = find::<Error>(&error) {
        return Err(own.clone());
    }
    let Some(answer) = error.raw_response() else {
        // No request was made: there are no credentials, or no such endpoint.
        return Err(Error::new(origin, ErrorKind::Refused, with_causes(&error)));
    };
    let (status, fields) = (answer.status().as_u16(), connector::fields(answer));
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let kind = match status {
        304 => return Ok(Instead::NotModified(fields)),
        412 => return Ok(Instead::Changed),
        416 => return Ok(Instead::Unsatisfiable(object_length(&fields, answer.body().bytes()))),
        404 if code == "NoSuchBucket" => ErrorKind::Refused,
        404 => return Ok(Instead::Missing),
        400 if code == "KeyTooLongError" => return Ok(Instead::Missing),
        403 if !ABOUT_US.contains(&code) && skew(&fields).is_none() => return Ok(Instead::Denied),
        300..=499 if status != 429 => ErrorKind::Refused,
        429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::BadResponse,
    };
    let mut detail = format!("S3 answered {status}");
    for words in [code, message].into_iter().filter(|words| !words.is_empty()) {
        detail.push_str(": ");
        detail.extend(words.chars().filter(|c| !c.is_control()).take(MAX_WORDS));
    }
    if kind == ErrorKind::BadResponse {
        detail = format!("{detail}: {}", with_causes(&error));
    }
    if let Some(region) = fields.get("x-amz-bucket-region").and_then(|region| region.to_str().ok()) {
        detail.push_str(&format!("; the bucket is in region {region}"));
    }
    if let Some(skew) = skew(&fields) {
        detail.push_str(&format!("; {skew}"));
    }
    Err(Error { retry_after: retry_after(&fields), ..Error::new(origin, kind, detail) })
}

/// The error of ours that a library carried along.
pub(super) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// A wrong clock looks like wrong credentials, unless somebody compares.
fn skew(fields: &HeaderMap) -> Option<String> {
    let theirs = precondition::single(fields, header::DATE).and_then(precondition::parse_date)?;
    let ours = unix_secs(SystemTime::now());
    let (apart, which) = match ours.checked_sub(theirs) {
        Some(ahead) => (ahead, "ahead of"),
        None => (theirs - ours, "behind"),
    };
    (apart > MOST_SKEW.as_secs()).then(|| format!("this machine's clock is {apart} s {which} that of S3"))
}

/// From `Content-Range: bytes */N`, which compatible servers send, or from S3's own document.
fn object_length(fields: &HeaderMap, document: Option<&[u8]>) -> Option<u64> {
    let field = fields.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if let Some(length) = field.and_then(|text| text.strip_prefix("bytes */")?.parse().ok()) {
        return Some(length);
    }
    let text = std::str::from_utf8(document?).ok()?;
    let (_, rest) = text.split_once("<ActualObjectSize>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_length_is_found_wherever_it_stands() {
        let mut fields = HeaderMap::new();
        let document = b"<Error><Code>InvalidRange</Code><ActualObjectSize>12</ActualObjectSize></Error>";
        assert_eq!(object_length(&fields, Some(document)), Some(12));
        assert_eq!(object_length(&fields, Some(b"<Error/>")), None);
        assert_eq!(object_length(&fields, None), None);
        fields.insert(header::CONTENT_RANGE, HeaderValue::from_static("bytes */7"));
        assert_eq!(object_length(&fields, Some(document)), Some(7));
    }
}
