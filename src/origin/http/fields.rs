//! Which fields go to an origin.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    super::{CdnLoop, remove_hop_by_hop},
    config::Config,
};

pub(super) struct Fields {
    own: HeaderMap,
    only: Option<Vec<HeaderName>>,
    client_host: bool,
    forwarded_for: bool,
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

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Fields {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            own: config.fields.clone(),
            only: config.only_fields.clone(),
            client_host: config.client_host,
            forwarded_for: config.forwarded_for,
            cdn_loop: config.cdn_loop.clone(),
        }
    }

    /// Of a request with these fields, on behalf of the client.
    pub(super) fn of(&self, mut headers: HeaderMap, has_body: bool, client: Option<IpAddr>) -> HeaderMap {
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
        // Nobody's word is taken for it: who the client is has been found out already.
        if self.forwarded_for {
            headers.remove(FORWARDED_FOR);
            let value = client.and_then(|client| HeaderValue::try_from(client.to_string()).ok());
            headers.extend(value.map(|value| (FORWARDED_FOR, value)));
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
        let private = [header::AUTHORIZATION, header::COOKIE, header::HOST, FORWARDED_FOR];
        for name in self.own.keys().chain(&private) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut headers = fields.of(client, false, None);
        assert_eq!(names(&headers), ["accept", "authorization", "cdn-loop", "range", "via", "x-key"]);
        assert_eq!(
            (&headers["x-key"], &headers["accept"]),
            (&config.fields["x-key"], &config.fields["accept"])
        );
        fields.keep_for_us(&mut headers);
        assert_eq!(names(&headers), ["cdn-loop", "range", "via"]);
    }

    #[test]
    fn an_origin_is_told_the_clients_address_where_it_may_know() {
        let of = |forwarded_for, client| {
            let config = Config { forwarded_for, ..Config::new("o", Url::parse("http://h").unwrap()) };
            Fields::new(&config).of(map(&[("x-forwarded-for", "made up")]), false, client)
        };
        let client = Some(IpAddr::from([192, 0, 2, 7]));
        assert_eq!(of(true, client)["x-forwarded-for"], "192.0.2.7");
        assert!(!of(true, None).contains_key("x-forwarded-for"), "its own requests are nobody's");
        let mut told = of(true, client);
        Fields::new(&Config::new("o", Url::parse("http://h").unwrap())).keep_for_us(&mut told);
        assert!(!told.contains_key("x-forwarded-for"));
    }
}
