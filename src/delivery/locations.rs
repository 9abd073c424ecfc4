//! Which of our own resources a `Location` or `Content-Location` names.

use http::{HeaderMap, header};
use url::Url;

use super::request::{Request, Target};
use crate::cache::FieldLines;

/// The target that the field of an answer to `request` names, when it lies with the same host.
pub fn named(request: &Request, answer: &HeaderMap, field: header::HeaderName) -> Option<Target> {
    let reference = std::str::from_utf8(answer.first(field.as_str())?).ok()?;
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let base = Url::parse(&format!("http://{host}{}", request.target)).ok()?;
    let named = base.join(reference).ok()?;
    let ours = matches!(named.scheme(), "http" | "https")
        && named.host() == base.host()
        && (named.port() == base.port() || named.scheme() != base.scheme());
    let path_and_query = &named[url::Position::BeforePath..url::Position::AfterQuery];
    Target::parse(path_and_query).ok().filter(|_| ours)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderValue, Method};

    use super::*;

    #[test]
    fn only_our_own_are_named() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("edge.example:8080"));
        let target = Target::parse("/films/a?x=1").unwrap();
        let request = Request {
            method: Method::POST,
            target,
            headers: Arc::new(headers),
            interims: None,
            client: None,
        };
        for (reference, expected) in [
            ("/b?y=2", Some("/b?y=2")),
            ("b", Some("/films/b")),
            ("", Some("/films/a?x=1")),
            ("http://edge.example:8080/b", Some("/b")),
            ("//edge.example:8080/b#part", Some("/b")),
            ("http://other.example/b", None),
            ("http://edge.example:9090/b", None),
            ("ftp://edge.example:8080/b", None),
            ("http://[/b", None),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert(header::LOCATION, HeaderValue::from_static(reference));
            let named = named(&request, &answer, header::LOCATION).map(|target| target.to_string());
            assert_eq!(named.as_deref(), expected, "{reference}");
        }
    }
}
