//! Reads an origin as people write it on the command line: a URL, a bucket or a directory. Touches no disk and no network.

use std::path::PathBuf;

use url::Url;

/// A well-formed origin specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `http` or `https`; may have a path prefix, has no userinfo, query or fragment.
    Http(Url),
    /// As given: relative paths are relative to the working directory.
    Directory(PathBuf),
    /// The prefix is as keys begin, nothing encoded, without a slash at its end; may be empty.
    S3 { bucket: String, prefix: String },
}

/// None of these repeats the text of a URL that holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the origin is empty; give http(s)://host[:port][/prefix], s3://bucket[/prefix] or a directory")]
    Empty,
    #[error(
        "an S3 origin is s3://bucket[/prefix]; a bucket's name has 3 to 63 letters, digits, `.`, `-` and `_`"
    )]
    Bucket,
    #[error(
        "the prefix of an S3 origin must not hold . or .. segments, empty segments or control characters"
    )]
    Prefix,
    #[error("credentials in an origin URL are not accepted")]
    Userinfo,
    #[error("an origin URL takes no query and no fragment")]
    QueryOrFragment,
    #[error("unknown scheme `{0}`; origins are http://, https://, s3://, file:// or a directory")]
    Scheme(String),
    #[error("`{0}` has no scheme; write http://{0}, or ./{0} for a directory")]
    MissingScheme(String),
    #[error("not a valid URL: {0}")]
    Url(url::ParseError),
    #[error("a file:// origin must name an absolute path on this machine")]
    FileUrl,
    #[error("the path contains a NUL character")]
    Nul,
}

/// Accepts `http(s)://host[:port][/prefix]`, `s3://bucket[/prefix]`, `file:///path` and directory paths.
///
/// ```
/// use millrace::origin::{Spec, parse_spec};
/// assert_eq!(parse_spec("./media"), Ok(Spec::Directory("./media".into())));
/// ```
pub fn parse_spec(text: &str) -> Result<Spec, SpecError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SpecError::Empty);
    }
    if text.contains('\0') {
        return Err(SpecError::Nul);
    }
    match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => parse_url(&scheme.to_ascii_lowercase(), text),
        _ if looks_like_host_and_port(text) => Err(SpecError::MissingScheme(text.to_owned())),
        _ => Ok(Spec::Directory(PathBuf::from(text))),
    }
}

fn parse_url(scheme: &str, text: &str) -> Result<Spec, SpecError> {
    match scheme {
        "http" | "https" | "file" => {}
        "s3" => return parse_s3(text),
        _ => return Err(SpecError::Scheme(scheme.to_owned())),
    }
    let url = Url::parse(text).map_err(SpecError::Url)?;
    if has_userinfo(&url) {
        return Err(SpecError::Userinfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SpecError::QueryOrFragment);
    }
    if scheme == "file" {
        return url.to_file_path().map(Spec::Directory).map_err(|()| SpecError::FileUrl);
    }
    Ok(Spec::Http(url))
}

/// As the tools of S3 read it: the prefix is text, not an encoded path.
fn parse_s3(text: &str) -> Result<Spec, SpecError> {
    let Some((_, rest)) = text.split_once("://") else { return Err(SpecError::Bucket) };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return Err(SpecError::Userinfo);
    }
    if rest.contains(['?', '#']) {
        return Err(SpecError::QueryOrFragment);
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) || bucket.contains("..") {
        return Err(SpecError::Bucket);
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_wrong = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains(char::is_control);
    if !prefix.is_empty() && prefix.split('/').any(is_wrong) {
        return Err(SpecError::Prefix);
    }
    Ok(Spec::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

pub(super) fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// `localhost:9000` would otherwise be taken for a directory that nobody has.
fn looks_like_host_and_port(text: &str) -> bool {
    let authority = text.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_urls_and_directories() {
        let http = |text: &str| Spec::Http(Url::parse(text).unwrap());
        let directory = |text: &str| Spec::Directory(PathBuf::from(text));
        let s3 = |bucket: &str, prefix: &str| Spec::S3 { bucket: bucket.into(), prefix: prefix.into() };
        for (text, spec) in [
            ("http://127.0.0.1:9000", http("http://127.0.0.1:9000/")),
            ("https://media.example/prefix/", http("https://media.example/prefix/")),
            ("HTTP://Media.Example", http("http://media.example/")),
            ("http://[::1]:80", http("http://[::1]/")),
            ("/srv/media", directory("/srv/media")),
            ("media", directory("media")),
            ("./localhost:9000", directory("./localhost:9000")),
            ("../with space", directory("../with space")),
            ("file:///srv/my%20media", directory("/srv/my media")),
            ("file://localhost/srv", directory("/srv")),
            ("s3://media", s3("media", "")),
            ("S3://my.bucket-1/", s3("my.bucket-1", "")),
            ("s3://media/a b/%20c+é/", s3("media", "a b/%20c+é")),
        ] {
            assert_eq!(parse_spec(text), Ok(spec), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_a_reason() {
        for (text, error) in [
            ("", SpecError::Empty),
            ("  ", SpecError::Empty),
            ("s3://", SpecError::Bucket),
            ("s3:///prefix", SpecError::Bucket),
            ("s3://ab", SpecError::Bucket),
            ("s3://a..b", SpecError::Bucket),
            ("s3://bucket:9000/x", SpecError::Bucket),
            ("s3://key:secret@bucket/x", SpecError::Userinfo),
            ("s3://bucket/x?region=y", SpecError::QueryOrFragment),
            ("s3://bucket/../x", SpecError::Prefix),
            ("s3://bucket//x", SpecError::Prefix),
            ("s3://bucket/a\nb", SpecError::Prefix),
            ("http://user:pass@host/", SpecError::Userinfo),
            ("https://user@host/", SpecError::Userinfo),
            ("http://host/?a=1", SpecError::QueryOrFragment),
            ("http://host/#part", SpecError::QueryOrFragment),
            ("ftp://host/", SpecError::Scheme("ftp".into())),
            ("gopher://host/", SpecError::Scheme("gopher".into())),
            ("localhost:9000", SpecError::MissingScheme("localhost:9000".into())),
            ("[::1]:9000/x", SpecError::MissingScheme("[::1]:9000/x".into())),
            ("http://", SpecError::Url(url::ParseError::EmptyHost)),
            ("http://host:99999/", SpecError::Url(url::ParseError::InvalidPort)),
            ("file://elsewhere/srv", SpecError::FileUrl),
            ("me\0dia", SpecError::Nul),
        ] {
            assert_eq!(parse_spec(text), Err(error), "{text}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        for text in [
            "http://user:hunter2@host/",
            "ftp://user:hunter2@host/",
            "http://user:hunter2@host:99999/",
            "s3://user:hunter2@bucket",
        ] {
            let error = parse_spec(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
