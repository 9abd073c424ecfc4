//! Where an origin may send us on to: hosts that are configured, and no others.

use http::{StatusCode, Uri, header};
use url::Url;

/// Redirects in a row.
pub(super) const MOST: usize = 5;

pub(super) struct Redirects {
    /// `host` for the scheme's port, or `host:port`.
    allowed: Vec<String>,
}

impl Redirects {
    pub(super) fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Where to ask next. None: the answer is the client's, who may follow on its own.
    pub(super) fn next<B>(&self, asked: &Uri, answer: &http::Response<B>) -> Option<Uri> {
        let follows = matches!(
            answer.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        if self.allowed.is_empty() || !follows {
            return None;
        }
        let mut lines = answer.headers().get_all(header::LOCATION).iter();
        let (Some(location), None) = (lines.next(), lines.next()) else { return None };
        let asked = Url::parse(&asked.to_string()).ok()?;
        let mut next = asked.join(location.to_str().ok()?).ok()?;
        next.set_fragment(None);
        let safe = next.scheme() == asked.scheme() || (asked.scheme(), next.scheme()) == ("http", "https");
        let plain = next.username().is_empty() && next.password().is_none();
        // The URL leaves a scheme's own port out.
        let host = next.authority().to_ascii_lowercase();
        (safe && plain && self.allowed.contains(&host)).then(|| next.as_str().parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_hosts_are_next() {
        let allowed = ["Other.example".to_owned(), "h:8080".to_owned(), "10.0.0.1".to_owned()];
        for (status, location, next) in [
            (302, "http://other.example/x", Some("http://other.example/x")),
            (301, "https://other.example/x?a#b", Some("https://other.example/x?a")),
            (307, "//other.example:80/x", Some("http://other.example/x")),
            (308, "/y", Some("http://h:8080/y")),
            (303, "y", Some("http://h:8080/a/y")),
            (302, "http://10.0.0.1/", Some("http://10.0.0.1/")),
            (302, "http://other.example:81/x", None),
            (302, "http://other.example.evil/x", None),
            (302, "http://other.example@evil/x", None),
            (302, "http://user@other.example/x", None),
            (302, "http://169.254.169.254/latest", None),
            (302, "file:///etc/passwd", None),
            (302, "gopher://other.example/", None),
            (302, "http://", None),
            (300, "http://other.example/x", None),
            (200, "http://other.example/x", None),
        ] {
            let answer = http::Response::builder().status(status).header("location", location).body(());
            let asked: Uri = "http://h:8080/a/b".parse().unwrap();
            let found = Redirects::new(&allowed).next(&asked, &answer.unwrap());
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), next, "{status} {location}");
        }
        let answer = http::Response::builder().status(302).header("location", "http://other.example/");
        let secure: Uri = "https://h:8080/".parse().unwrap();
        assert_eq!(Redirects::new(&allowed).next(&secure, &answer.body(()).unwrap()), None);
    }
}
