//! Which fields go to an origin.

use http::{HeaderMap, HeaderName, header};

use super::{
    super::{CdnLoop, remove_hop_by_hop},
    config::Config,
};

pub(super) struct Fields {
    own: HeaderMap,
    only: Option<Vec<HeaderName>>,
    client_host: bool,
    cdn_loop: CdnLoop,
}

/// What the cache asks with, and what frames a body: passed on whatever the settings list.
const ALWAYS: [HeaderName; 10] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::VIA,
    HeaderName::from_static("cdn-loop"),
];

impl Fields {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            own: config.fields.clone(),
            only: config.only_fields.clone(),
            client_host: config.client_host,
            cdn_loop: config.cdn_loop.clone(),
        }
    }

    /// Of a request with these fields.
    pub(super) fn of(&self, mut headers: HeaderMap, has_body: bool) -> HeaderMap {
        remove_hop_by_hop(&mut headers);
        // `Host` is ours to say, unless the settings leave it to the client; `Expect` would need somebody to wait for the 100 (RFC 9110 §10.1.1).
        let host = headers.remove(header::HOST).filter(|_| self.client_host);
        headers.remove(header::EXPECT);
        if !has_body {
            headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(only) = &self.only {
            let kept = |name: &&HeaderName| ALWAYS.contains(*name) || only.contains(*name);
            let doomed: Vec<_> = headers.keys().filter(|name| !kept(name)).cloned().collect();
            doomed.iter().for_each(|name| drop(headers.remove(name)));
        }
        self.cdn_loop.mark(&mut headers);
        for name in self.own.keys() {
            headers.remove(name);
        }
        headers.extend(host.map(|host| (header::HOST, host)));
        for (name, value) in &self.own {
            headers.append(name, value.clone());
        }
        headers
    }

    /// Takes out what only the origin itself may see, before another host is asked.
    pub(super) fn keep_for_us(&self, headers: &mut HeaderMap) {
        for name in self.own.keys().chain(&[header::AUTHORIZATION, header::COOKIE, header::HOST]) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use url::Url;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter();
        fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_list_and_own_fields() {
        let config = Config {
            fields: map(&[("x-key", "secret"), ("accept", "image/*")]),
            only_fields: Some(vec![header::ACCEPT, header::AUTHORIZATION]),
            ..Config::new("o", Url::parse("http://h").unwrap())
        };
        let fields = Fields::new(&config);
        let client = map(&[
            ("accept", "*/*"),
            ("x-key", "theirs"),
            ("x-other", "1"),
            ("host", "h"),
            ("range", "bytes=0-"),
            ("authorization", "Basic x"),
            ("via", "1.1 millrace"),
        ]);
        let mut headers = fields.of(client, false);
        assert_eq!(names(&headers), ["accept", "authorization", "cdn-loop", "range", "via", "x-key"]);
        assert_eq!(
            (&headers["x-key"], &headers["accept"]),
            (&config.fields["x-key"], &config.fields["accept"])
        );
        fields.keep_for_us(&mut headers);
        assert_eq!(names(&headers), ["cdn-loop", "range", "via"]);
    }
}
