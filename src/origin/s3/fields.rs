//! The fields of an object as HTTP knows them: S3's own are taken out, what S3 leaves open is filled in.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::super::{content_type, validators::http_date};

/// What S3 says of an object whose uploader named no type.
const UNNAMED_TYPES: [&str; 2] = ["binary/octet-stream", "application/octet-stream"];

/// What the configuration says of every object.
pub(super) struct Policy {
    /// For objects that say nothing of it themselves.
    pub(super) cache_control: HeaderValue,
    /// Whether clients see the metadata that uploaders gave (`x-amz-meta-*`).
    pub(super) metadata: bool,
}

pub(super) fn end_to_end(mut fields: HeaderMap, key: &str, policy: &Policy) -> HeaderMap {
    let is_ours = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-amz-") && !(policy.metadata && name.starts_with("x-amz-meta-"))
    };
    let doomed: Vec<_> = fields.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in doomed {
        fields.remove(name);
    }
    remove_upload_coding(&mut fields);
    let named = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if named.is_none_or(|named| UNNAMED_TYPES.contains(&named)) {
        let extension = key.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
        let extension = extension.map_or("", |(_, extension)| extension);
        fields.insert(header::CONTENT_TYPE, content_type::of(extension));
    }
    if !fields.contains_key(header::CACHE_CONTROL) && !fields.contains_key(header::EXPIRES) {
        fields.insert(header::CACHE_CONTROL, policy.cache_control.clone());
    }
    if !fields.contains_key(header::ACCEPT_RANGES) {
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    set_date(&mut fields);
    fields
}

/// Of an answer that confirms a stored one.
pub(super) fn confirming(mut fields: HeaderMap, key: &str, policy: &Policy) -> HeaderMap {
    fields = end_to_end(fields, key, policy);
    for name in [header::CONTENT_LENGTH, header::CONTENT_RANGE, header::CONTENT_TYPE, header::ACCEPT_RANGES] {
        fields.remove(name);
    }
    fields
}

pub(super) fn set_date(fields: &mut HeaderMap) {
    if !fields.contains_key(header::DATE)
        && let Some(date) = http_date(SystemTime::now())
    {
        fields.insert(header::DATE, date);
    }
}

/// `aws-chunked` is how some uploaders sent the object, not how it is stored.
fn remove_upload_coding(fields: &mut HeaderMap) {
    let Some(value) = fields.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let codings = value.split(',').map(str::trim);
    let kept: Vec<_> = codings.filter(|coding| !matches!(*coding, "" | "aws-chunked")).collect();
    match HeaderValue::try_from(kept.join(", ")) {
        Ok(rest) if !rest.is_empty() => fields.insert(header::CONTENT_ENCODING, rest),
        _ => fields.remove(header::CONTENT_ENCODING),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&'static str, &'static str)], key: &str, metadata: bool) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let policy = Policy { cache_control: HeaderValue::from_static("max-age=5"), metadata };
        end_to_end(fields, key, &policy)
    }

    #[test]
    fn fields_of_s3_stay_here() {
        let fields = [
            ("x-amz-request-id", "1"),
            ("x-amz-id-2", "2"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-meta-owner", "me"),
            ("content-disposition", "inline"),
        ];
        let left = shown(&fields, "a", false);
        assert!(!left.keys().any(|name| name.as_str().starts_with("x-amz-")), "{left:?}");
        assert_eq!(left["content-disposition"], "inline");
        let left = shown(&fields, "a", true);
        assert_eq!(left["x-amz-meta-owner"], "me");
        assert!(!left.contains_key("x-amz-request-id"));
    }

    #[test]
    fn what_the_object_says_of_itself_counts() {
        for (given, key, kind) in [
            (&[("content-type", "image/webp")][..], "a.jpg", "image/webp"),
            (&[("content-type", "binary/octet-stream")], "a.mp4", "video/mp4"),
            (&[], "x.y/a", "application/octet-stream"),
            (&[], "x/a.PNG", "image/png"),
        ] {
            assert_eq!(shown(given, key, false)["content-type"], kind, "{given:?} {key}");
        }
        assert_eq!(shown(&[], "a", false)["cache-control"], "max-age=5");
        assert_eq!(shown(&[("cache-control", "no-store")], "a", false)["cache-control"], "no-store");
        assert!(!shown(&[("expires", "0")], "a", false).contains_key("cache-control"));
    }

    #[test]
    fn the_coding_of_an_upload_is_none_of_the_object() {
        for (stored, shown_as) in
            [("aws-chunked", None), ("aws-chunked,gzip", Some("gzip")), ("gzip, br", Some("gzip, br"))]
        {
            let left = shown(&[("content-encoding", stored)], "a", false);
            assert_eq!(
                left.get("content-encoding").map(|value| value.to_str().unwrap()),
                shown_as,
                "{stored}"
            );
        }
    }
}
