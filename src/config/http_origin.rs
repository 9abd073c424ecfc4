//! What a user writes of an HTTP origin, as the origin wants it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, uri::Authority};
use millrace_kit::config::Faults;
use url::Url;

use super::raw;
use crate::origin::{
    CdnLoop,
    http::{Config, Dns, Tls},
};

/// `key` names a field of this origin in faults.
pub fn resolve(
    raw: &raw::Origin,
    name: Arc<str>,
    url: Url,
    cdn_loop: &CdnLoop,
    key: &dyn Fn(&str) -> String,
    faults: &mut Faults,
) -> Config {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let millis = |millis: u32| Duration::from_millis(u64::from(millis));
    if raw.max_requests == 0 {
        faults.push(key("max_requests"), "must be at least 1");
    }
    if raw.client_host && !raw.host_header.is_empty() {
        faults.push(key("client_host"), "does not go with `host_header`");
    }
    if raw.h2c && (url.scheme() != "http" || raw.client_host || !raw.http2) {
        faults.push(key("h2c"), "goes with an http:// URL and `http2`, and not with `client_host`");
    }
    for host in &raw.follow_redirects_to {
        let is_host = host.parse::<Authority>().is_ok_and(|_| !host.contains('@'));
        if !is_host {
            faults.push(key("follow_redirects_to"), format!("{host:?} is not a host or host:port"));
        }
    }
    Config {
        strip_prefix: raw.strip_prefix.clone(),
        connect_timeout: millis(raw.connect_timeout_ms),
        first_byte_timeout: millis(raw.first_byte_timeout_ms),
        idle_timeout: millis(raw.idle_timeout_ms),
        total_timeout: (raw.total_timeout_ms > 0).then(|| millis(raw.total_timeout_ms)),
        max_idle_connections: raw.max_idle_connections as usize,
        max_requests: raw.max_requests as usize,
        max_waiting: raw.max_waiting as usize,
        host_header: some(&raw.host_header),
        client_host: raw.client_host,
        forwarded_for: raw.forwarded_for,
        http2: raw.http2,
        h2c: raw.h2c,
        tls: tls(&raw.tls, &url, key, faults),
        fields: fields(raw, key, faults),
        only_fields: only_fields(raw, key, faults),
        allow_private: raw.allow_private,
        follow_redirects_to: raw.follow_redirects_to.clone(),
        dns: dns(raw, key, faults),
        cdn_loop: cdn_loop.clone(),
        ..Config::new(name, url)
    }
}

fn tls(raw: &raw::OriginTls, url: &Url, key: &dyn Fn(&str) -> String, faults: &mut Faults) -> Tls {
    let file = |path: &String| (!path.is_empty()).then(|| PathBuf::from(path));
    let none = raw.server_name.is_empty() && raw.ca_file.is_empty() && raw.cert_file.is_empty();
    if url.scheme() == "http" && !(none && raw.key_file.is_empty() && !raw.insecure_skip_verify) {
        faults.push(key("tls"), "is of use with an https:// URL only");
    }
    if raw.insecure_skip_verify && !raw.ca_file.is_empty() {
        faults.push(key("tls.insecure_skip_verify"), "makes `ca_file` meaningless: give one of them");
    }
    let client = match (file(&raw.cert_file), file(&raw.key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            faults.push(key("tls.cert_file"), "`cert_file` and `key_file` belong together");
            None
        }
    };
    Tls {
        server_name: (!raw.server_name.is_empty()).then(|| raw.server_name.clone()),
        ca_file: file(&raw.ca_file),
        client,
        insecure_skip_verify: raw.insecure_skip_verify,
    }
}

fn fields(raw: &raw::Origin, key: &dyn Fn(&str) -> String, faults: &mut Faults) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in &raw.request_headers {
        let parsed = (name.parse::<HeaderName>(), HeaderValue::from_str(&value.0));
        let (Ok(name), Ok(mut value)) = parsed else {
            faults.push(key("request_headers"), format!("{name:?} or its value is not a valid field"));
            continue;
        };
        if OURS.contains(&name.as_str()) {
            faults.push(key("request_headers"), format!("{name:?} is not for the settings to say"));
            continue;
        }
        value.set_sensitive(true);
        fields.insert(name, value);
    }
    fields
}

/// Fields that frame a message, or that the cache speaks with.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
];

fn only_fields(
    raw: &raw::Origin,
    key: &dyn Fn(&str) -> String,
    faults: &mut Faults,
) -> Option<Vec<HeaderName>> {
    let names = raw.forward_headers.iter().filter_map(|name| match name.parse() {
        Ok(name) => Some(name),
        Err(_) => {
            faults.push(key("forward_headers"), format!("{name:?} is not the name of a field"));
            None
        }
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then_some(names)
}

fn dns(raw: &raw::Origin, key: &dyn Fn(&str) -> String, faults: &mut Faults) -> Dns {
    let servers = raw.dns_servers.iter().filter_map(|server| match server.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let wrong = format!("{server:?} is not an address and port such as 192.0.2.1:53");
            faults.push(key("dns_servers"), wrong);
            None
        }
    });
    Dns { servers: servers.collect(), stale_max: Duration::from_secs(u64::from(raw.dns_stale_secs)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(raw: &raw::Origin) -> Vec<String> {
        let mut faults = Faults::default();
        let url = Url::parse(&raw.url).unwrap();
        let key = |field: &str| field.to_owned();
        resolve(raw, "o".into(), url, &CdnLoop::default(), &key, &mut faults);
        faults.0.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let good = raw::Origin { url: "https://h".to_owned(), ..Default::default() };
        let fields = |name: &str, value: &str| {
            [(name.to_owned(), raw::Secret(value.to_owned()))].into_iter().collect()
        };
        let tls = |tls: raw::OriginTls| raw::Origin { tls, ..good.clone() };
        let text = str::to_owned;
        assert!(faults_of(&good).is_empty());
        for (raw, fault) in [
            (raw::Origin { max_requests: 0, ..good.clone() }, "max_requests"),
            (raw::Origin { host_header: text("h"), client_host: true, ..good.clone() }, "client_host"),
            (
                raw::Origin { follow_redirects_to: vec![text("http://x")], ..good.clone() },
                "follow_redirects_to",
            ),
            (raw::Origin { request_headers: fields("a b", "x"), ..good.clone() }, "request_headers"),
            (raw::Origin { request_headers: fields("a", "x\ny"), ..good.clone() }, "request_headers"),
            (raw::Origin { request_headers: fields("Range", "x"), ..good.clone() }, "request_headers"),
            (raw::Origin { forward_headers: vec![text("a b")], ..good.clone() }, "forward_headers"),
            (raw::Origin { dns_servers: vec![text("name")], ..good.clone() }, "dns_servers"),
            (tls(raw::OriginTls { cert_file: text("c"), ..Default::default() }), "tls.cert_file"),
            (
                tls(raw::OriginTls { insecure_skip_verify: true, ca_file: text("c"), ..Default::default() }),
                "tls.insecure_skip_verify",
            ),
            (
                raw::Origin {
                    url: text("http://h"),
                    ..tls(raw::OriginTls { ca_file: text("c"), ..Default::default() })
                },
                "tls",
            ),
        ] {
            assert_eq!(faults_of(&raw), [fault]);
        }
    }
}
