//! Puts a request target behind the base URL, byte for byte or not at all.

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use url::Url;

pub(super) struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Path prefix without the slash at its end; empty for none.
    prefix: String,
    /// The same of what comes off before.
    strip: String,
}

impl Base {
    pub(super) fn new(url: &Url, authority: Authority, strip: &str) -> Self {
        Self {
            scheme: if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP },
            authority,
            prefix: url.path().trim_end_matches('/').to_owned(),
            strip: strip.trim_end_matches('/').to_owned(),
        }
    }

    /// The origin has to see the resource that the cache's key names, and nothing beside the prefix: a target is refused
    /// that somebody on the way might repair, such as one with dot segments (`%2e%2e` too).
    pub(super) fn join(&self, target: &str) -> Result<Uri, &'static str> {
        if !target.starts_with('/') {
            return Err("the target does not begin with a slash");
        }
        let target = match target.strip_prefix(&self.strip) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => rest,
            _ => return Err("the target is outside of the prefix of this origin"),
        };
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        if path.split('/').any(is_dots) {
            return Err("the target has dot segments");
        }
        let slash = if self.prefix.is_empty() && !target.starts_with('/') { "/" } else { "" };
        let wanted = format!("{}{slash}{target}", self.prefix);
        // Else it would be cut there, silently.
        if wanted.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'#')) {
            return Err("the target is malformed");
        }
        let wanted: PathAndQuery = wanted.parse().map_err(|_| "the target is malformed")?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(wanted)
            .build()
            .map_err(|_| "the target is malformed")
    }
}

fn is_dots(segment: &str) -> bool {
    let dot = |text: &str| match text.as_bytes() {
        [b'.', ..] => Some(1),
        [b'%', b'2', b'e' | b'E', ..] => Some(3),
        _ => None,
    };
    let mut rest = segment;
    while let Some(length) = dot(rest) {
        rest = &rest[length..];
    }
    // Three dots and more are a name like any other.
    rest.is_empty() && (1..=2).contains(&segment.replace("%2e", ".").replace("%2E", ".").len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, strip: &str, target: &str) -> Result<String, &'static str> {
        let url = Url::parse(base).unwrap();
        let authority = url.authority().parse().unwrap();
        Base::new(&url, authority, strip).join(target).map(|uri| uri.to_string())
    }

    #[test]
    fn exact_targets_are_appended() {
        for target in [
            "/",
            "/a/b.jpg?w=1&h=2",
            "/a%2Fb%5c%20%C3%A9%zz",
            "/a//b/",
            "//host/x",
            "/a?",
            "/?q=http://x/../y",
            "/a?q='x'",
            "/a;v=1,2:@!$&()*+=~-._",
            "/...",
            "/%2e%2e%2e",
            "/%61",
        ] {
            assert_eq!(join("http://h:9000", "", target), Ok(format!("http://h:9000{target}")));
            assert_eq!(join("http://h/p/q/", "", target), Ok(format!("http://h/p/q{target}")));
        }
    }

    #[test]
    fn what_could_be_altered_is_refused() {
        for target in [
            "",
            "a",
            "?a",
            "/../x",
            "/a/..",
            "/./a",
            "/%2e%2e/x",
            "/.%2E/x",
            "/%2e/x",
            "/a\\b",
            "/\\host/x",
            "/a\tb",
            "/a\nb",
            "/a b",
            "/a#b",
            "/\u{e9}",
            "http://other/",
            "@other/",
        ] {
            assert!(join("http://h", "", target).is_err(), "{target:?}");
            assert!(join("http://h/p", "", target).is_err(), "{target:?}");
        }
    }

    #[test]
    fn a_prefix_is_taken_off_and_another_put_before() {
        for (base, target, joined) in [
            ("http://h/new", "/old/a?b", Some("http://h/new/a?b")),
            ("http://h", "/old/a", Some("http://h/a")),
            ("http://h", "/old", Some("http://h/")),
            ("http://h", "/old?x", Some("http://h/?x")),
            ("http://h/new", "/old", Some("http://h/new")),
            ("http://h", "/older/a", None),
            ("http://h", "/a", None),
            ("http://h", "/old/../a", None),
        ] {
            assert_eq!(join(base, "/old/", target).ok().as_deref(), joined, "{base} {target}");
        }
    }
}
