//! Puts a request target behind the base URL, byte for byte or not at all.

use url::{Position, Url};

pub(super) struct Base {
    /// `scheme://host:port`, no slash at the end.
    authority: String,
    /// Path prefix without the slash at its end; empty for none.
    prefix: String,
}

impl Base {
    pub(super) fn new(url: &Url) -> Self {
        Self {
            authority: url[..Position::BeforePath].to_owned(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        }
    }

    /// `Url` repairs what it parses: it resolves dot segments (`%2e%2e` too), turns `\` into `/`, drops tabs, encodes
    /// what should have been encoded. The origin would then see another resource than the cache's key says, so a target
    /// that does not survive unaltered is refused. With it goes every way out of the prefix.
    pub(super) fn join(&self, target: &str) -> Result<Url, &'static str> {
        if !target.starts_with('/') {
            return Err("the target does not begin with a slash");
        }
        let wanted = format!("{}{target}", self.prefix);
        let url =
            Url::parse(&format!("{}{wanted}", self.authority)).map_err(|_| "the target is malformed")?;
        if url[Position::BeforePath..] != *wanted || url.fragment().is_some() {
            return Err("the target would not reach the origin unaltered");
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, target: &str) -> Result<String, &'static str> {
        Base::new(&Url::parse(base).unwrap()).join(target).map(String::from)
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
            "/a;v=1,2:@!$&()*+=~-._",
            "/...",
            "/%61",
        ] {
            assert_eq!(join("http://h:9000", target), Ok(format!("http://h:9000{target}")));
            assert_eq!(join("http://h/p/q/", target), Ok(format!("http://h/p/q{target}")));
        }
    }

    #[test]
    fn what_would_be_altered_is_refused() {
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
            "/a?q='x'",
            "http://other/",
            "@other/",
        ] {
            assert!(join("http://h", target).is_err(), "{target:?}");
            assert!(join("http://h/p", target).is_err(), "{target:?}");
        }
    }
}
