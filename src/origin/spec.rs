//! Reads an origin as people write it on the command line: a URL or a directory. Touches no disk and no network.

use std::path::PathBuf;

use url::Url;

/// A well-formed origin specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `http` or `https`; may have a path prefix, has no userinfo, query or fragment.
    Http(Url),
    /// As given: relative paths are relative to the working directory.
    Directory(PathBuf),
}

/// None of these repeats the text of a URL that holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the origin is empty; give http(s)://host[:port][/prefix] or a directory")]
    Empty,
    #[error("S3 origins are not available in this version")]
    S3,
    #[error("credentials in an origin URL are not accepted")]
    Userinfo,
    #[error("an origin URL takes no query and no fragment")]
    QueryOrFragment,
    #[error("unknown scheme `{0}`; origins are http://, https://, file:// or a directory")]
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

/// Accepts `http(s)://host[:port][/prefix]`, `file:///path` and directory paths.
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
        "s3" => return Err(SpecError::S3),
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
        ] {
            assert_eq!(parse_spec(text), Ok(spec), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_a_reason() {
        for (text, error) in [
            ("", SpecError::Empty),
            ("  ", SpecError::Empty),
            ("s3://bucket/prefix", SpecError::S3),
            ("S3://bucket", SpecError::S3),
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
        for text in
            ["http://user:hunter2@host/", "ftp://user:hunter2@host/", "http://user:hunter2@host:99999/"]
        {
            let error = parse_spec(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
