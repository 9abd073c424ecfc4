//! From `[limits]`, `[proxies]`, `[tls]` and what routes say of clients to what the listeners want.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use bytesize::ByteSize;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use millrace_kit::config::Faults;

use super::{Raw, raw};
use crate::{
    acme,
    admission::{
        client::Proxies,
        rate::{By, Rate},
    },
    http::{Least, cors, door, fronts, tls},
};

const MINUTE: Duration = Duration::from_secs(60);

/// `fronts`: of the routes that have some.
pub fn door(raw: &Raw, fronts: Vec<fronts::Config>, faults: &mut Faults) -> door::Config {
    let limits = &raw.limits;
    let bytes = limits.min_progress.parse::<ByteSize>().map(|size| size.as_u64()).unwrap_or_else(|_| {
        faults.push("limits.min_progress", format!("{:?} is not a size such as 64KiB", limits.min_progress));
        0
    });
    let trusted = networks(&raw.proxies.trusted, "proxies.trusted", faults);
    let announced = networks(&raw.proxies.proxy_protocol, "proxies.proxy_protocol", faults);
    let failures = NonZeroU32::new(limits.failures_per_minute);
    door::Config {
        fronts,
        proxies: Arc::new(Proxies { trusted, announced }),
        max_requests: limits.max_requests as usize,
        max_connections_per_client: limits.max_connections_per_client as usize,
        failures: failures.map(|requests| Rate { requests, per: MINUTE, burst: requests }),
        least: Least { window: Duration::from_secs(u64::from(limits.slow_secs)), bytes },
        redirect: raw.tls.redirect.then(|| redirect_port(&raw.tls)),
        transport_security: (raw.tls.hsts_secs > 0).then(|| {
            let rest = if raw.tls.hsts_subdomains { "; includeSubDomains" } else { "" };
            // Digits and plain text are always a value.
            HeaderValue::try_from(format!("max-age={}{rest}", raw.tls.hsts_secs))
                .unwrap_or(HeaderValue::from_static("max-age=0"))
        }),
    }
}

fn redirect_port(raw: &raw::Tls) -> u16 {
    let listens = || raw.listen.parse::<SocketAddr>().map_or(443, |address| address.port());
    if raw.redirect_port == 0 { listens() } else { raw.redirect_port }
}

/// None: no TLS.
pub fn tls(
    raw: &raw::Tls,
    acme: Option<&acme::Config>,
    faults: &mut Faults,
) -> Option<(SocketAddr, tls::Config)> {
    if raw.listen.is_empty() {
        for (field, set) in [
            ("certificates", !raw.certificates.is_empty()),
            ("acme.names", !raw.acme.names.is_empty()),
            ("redirect", raw.redirect && raw.redirect_port == 0),
            ("hsts_secs", raw.hsts_secs > 0),
        ] {
            if set {
                faults.push(format!("tls.{field}"), "is of no use without tls.listen");
            }
        }
        return None;
    }
    let address = raw.listen.parse();
    if address.is_err() {
        faults
            .push("tls.listen", format!("{:?} is not an address and port such as 0.0.0.0:8443", raw.listen));
    }
    if raw.certificates.is_empty() && raw.acme.names.is_empty() {
        faults.push("tls.certificates", "none is given, nor are there tls.acme.names");
    }
    for (place, pair) in raw.certificates.iter().enumerate() {
        for (field, file) in [("certificate_file", &pair.certificate_file), ("key_file", &pair.key_file)] {
            if file.is_empty() {
                faults.push(format!("tls.certificates[{place}].{field}"), "is missing");
            }
        }
    }
    if !matches!(raw.min_version.as_str(), "1.2" | "1.3") {
        faults.push("tls.min_version", "must be 1.2 or 1.3");
    }
    if raw.watch_secs == 0 {
        faults.push("tls.watch_secs", "must be at least 1");
    }
    let pairs: Vec<_> = raw
        .certificates
        .iter()
        .map(|pair| tls::Pair {
            certificate: pair.certificate_file.clone().into(),
            key: pair.key_file.clone().into(),
            awaited: false,
        })
        .collect();
    if let Err(wrong) = tls::check(&pairs) {
        faults.push("tls.certificates", wrong.to_string());
    }
    let ordered = acme.iter().flat_map(|acme| acme.names.iter().map(|name| acme.file(name)));
    let ordered = ordered.map(|file| tls::Pair { certificate: file.clone(), key: file, awaited: true });
    let pairs = pairs.into_iter().chain(ordered).collect();
    let only_13 = raw.min_version == "1.3";
    let watch = Duration::from_secs(u64::from(raw.watch_secs));
    Some((address.ok()?, tls::Config { pairs, only_13, http2: raw.http2, watch }))
}

/// None: no certificates are ordered.
pub fn acme(raw: &raw::Acme, dir: PathBuf, faults: &mut Faults) -> Option<acme::Config> {
    if raw.names.is_empty() {
        return None;
    }
    if raw.names.len() > acme::MOST_NAMES {
        faults.push("tls.acme.names", format!("there are more than {}", acme::MOST_NAMES));
    }
    let mut names: Vec<String> = Vec::new();
    for name in &raw.names {
        let name = name.to_ascii_lowercase();
        if !acme::is_name(&name) {
            faults.push(
                "tls.acme.names",
                format!("{name:?} is neither a name that can be proven nor an address"),
            );
        } else if names.contains(&name) {
            faults.push("tls.acme.names", format!("{name:?} stands there twice"));
        } else {
            names.push(name);
        }
    }
    if !url::Url::parse(&raw.directory).is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
        faults.push("tls.acme.directory", "is not an address that begins with https://");
    }
    if !raw.agree_to_terms {
        faults.push("tls.acme.agree_to_terms", "must be true: the authority wants its terms agreed to");
    }
    let is_mail = |contact: &str| {
        contact.contains('@') && !contact.contains(|found: char| found.is_whitespace() || found.is_control())
    };
    if !raw.contact.is_empty() && !is_mail(&raw.contact) {
        faults.push("tls.acme.contact", format!("{:?} is not an address of mail", raw.contact));
    }
    let contact = (!raw.contact.is_empty()).then(|| match raw.contact.starts_with("mailto:") {
        true => raw.contact.clone(),
        false => format!("mailto:{}", raw.contact),
    });
    let ca_file = (!raw.ca_file.is_empty()).then(|| PathBuf::from(&raw.ca_file));
    Some(acme::Config { names, directory: raw.directory.clone(), contact, ca_file, dir })
}

/// Names for which the admin port takes itself.
pub fn admin_hosts(raw: &raw::Admin, faults: &mut Faults) -> Arc<[String]> {
    for host in &raw.hosts {
        if host.is_empty() || host.contains(['/', ':', '@', ' ']) {
            faults.push("admin.hosts", format!("{host:?} is not a name such as ops.example.com"));
        }
    }
    raw.hosts.clone().into()
}

/// What a route says, and whether that is anything. Faults go to `push` by their field.
pub fn front(
    name: &Arc<str>,
    route: &raw::Route,
    mut push: impl FnMut(&str, String),
) -> Option<fronts::Config> {
    let limit = limit(&route.rate, &mut push);
    let cors = cors_rule(&route.cors, &mut push);
    (limit.is_some() || cors.is_some()).then(|| fronts::Config { name: name.clone(), limit, cors })
}

fn limit(raw: &raw::Rate, push: &mut impl FnMut(&str, String)) -> Option<(Rate, By)> {
    let by = match raw.by.split_once(':') {
        None if raw.by == "address" => Some(By::Address),
        None if raw.by == "token" => Some(By::Token),
        Some(("header", name)) => HeaderName::try_from(name).ok().map(By::Field),
        _ => None,
    };
    if by.is_none() {
        push("rate.by", format!("{:?} is not address, token or header:NAME", raw.by));
    }
    if raw.per_secs == 0 {
        push("rate.per_secs", "must be at least 1".to_owned());
    }
    let requests = NonZeroU32::new(raw.requests)?;
    let burst = NonZeroU32::new(raw.burst).unwrap_or(requests);
    Some((Rate { requests, per: Duration::from_secs(u64::from(raw.per_secs)), burst }, by?))
}

fn cors_rule(raw: &raw::Cors, push: &mut impl FnMut(&str, String)) -> Option<cors::Rule> {
    if raw.allow_origins.is_empty() {
        return None;
    }
    let all = raw.allow_origins.iter().any(|origin| origin == "*");
    if !all {
        for origin in raw.allow_origins.iter().filter(|origin| !is_origin(origin)) {
            push("cors.allow_origins", format!("{origin:?} is not an origin such as https://player.example"));
        }
    }
    for method in &raw.allow_methods {
        if Method::from_bytes(method.as_bytes()).is_err() {
            push("cors.allow_methods", format!("{method:?} is not a method"));
        }
    }
    let mut names = |field: &str, names: &[String]| {
        for name in names.iter().filter(|name| HeaderName::try_from(name.as_str()).is_err()) {
            push(field, format!("{name:?} is not the name of a field"));
        }
        (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
    };
    let any = raw.allow_headers.iter().any(|name| name == "*");
    let headers = if any { None } else { names("cors.allow_headers", &raw.allow_headers) };
    let headers = if any { None } else { headers.or(Some(HeaderValue::from_static(""))) };
    let exposed = names("cors.expose_headers", &raw.expose_headers);
    let origins = match all {
        true => cors::Origins::All,
        false => {
            cors::Origins::These(raw.allow_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect())
        }
    };
    let methods = HeaderValue::try_from(raw.allow_methods.join(", ")).ok()?;
    Some(cors::Rule { origins, methods, headers, exposed, max_age: raw.max_age_secs.into() })
}

/// Scheme, host and perhaps port, and nothing else.
fn is_origin(text: &str) -> bool {
    let Ok(url) = url::Url::parse(&text.replacen("//*.", "//any.", 1)) else { return false };
    let plain =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    plain && matches!(url.scheme(), "http" | "https") && url.has_host() && !text.ends_with('/')
}

fn networks(texts: &[String], key: &str, faults: &mut Faults) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(texts.len());
    for text in texts {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|_| address()) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => faults.push(key, format!("{text:?} is not a network such as 10.0.0.0/8")),
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found() {
        let mut raw = Raw::default();
        raw.limits.min_progress = "lots".to_owned();
        raw.proxies.trusted = vec!["10.0.0.0/8".to_owned(), "10.0.0.0/33".to_owned()];
        raw.proxies.proxy_protocol = vec!["::1".to_owned(), "balancer".to_owned()];
        raw.admin.hosts = vec!["ops.example".to_owned(), "https://ops.example".to_owned()];
        raw.tls.certificates = vec![raw::Certificate::default()];
        raw.tls.hsts_secs = 1;
        let mut faults = Faults::default();
        let resolved = door(&raw, Vec::new(), &mut faults);
        assert_eq!((resolved.proxies.trusted.len(), resolved.proxies.announced.len()), (1, 1));
        admin_hosts(&raw.admin, &mut faults);
        assert!(tls(&raw.tls, None, &mut faults).is_none());
        raw.tls.listen = "somewhere".to_owned();
        raw.tls.min_version = "1.1".to_owned();
        raw.tls.certificates =
            vec![raw::Certificate { certificate_file: "/nowhere/a.pem".to_owned(), key_file: String::new() }];
        tls(&raw.tls, None, &mut faults);
        let keys: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "limits.min_progress",
                "proxies.trusted",
                "proxies.proxy_protocol",
                "admin.hosts",
                "tls.certificates",
                "tls.hsts_secs",
                "tls.listen",
                "tls.certificates[0].key_file",
                "tls.min_version",
                "tls.certificates",
            ]
        );
    }

    #[test]
    fn what_is_to_be_ordered_makes_sense() {
        let found = |change: &dyn Fn(&mut raw::Acme)| {
            let mut raw =
                raw::Acme { names: vec!["A.example".to_owned()], agree_to_terms: true, ..Default::default() };
            change(&mut raw);
            let mut faults = Faults::default();
            let acme = acme(&raw, "/data/acme".into(), &mut faults);
            (acme, faults.0.iter().map(|fault| fault.key.clone()).collect::<Vec<_>>())
        };
        let (good, faults) = found(&|raw| raw.contact = "ops@example.com".to_owned());
        let good = good.unwrap();
        assert_eq!(
            (&*good.names, good.contact.as_deref()),
            (&["a.example".to_owned()][..], Some("mailto:ops@example.com"))
        );
        assert_eq!((faults, good.file("a.example")), (vec![], "/data/acme/a.example.pem".into()));
        assert!(found(&|raw| raw.names.clear()).0.is_none());
        let set = |name: &str| vec!["a.example".to_owned(), name.to_owned()];
        for (change, key) in [
            (
                &(|raw: &mut raw::Acme| raw.names = set("*.a.example")) as &dyn Fn(&mut raw::Acme),
                "tls.acme.names",
            ),
            (&|raw| raw.names = set("A.example"), "tls.acme.names"),
            (&|raw| raw.names = (0..101).map(|at| format!("{at}.example")).collect(), "tls.acme.names"),
            (&|raw| raw.directory = "http://a.example/dir".to_owned(), "tls.acme.directory"),
            (&|raw| raw.agree_to_terms = false, "tls.acme.agree_to_terms"),
            (&|raw| raw.contact = "nobody".to_owned(), "tls.acme.contact"),
        ] {
            assert_eq!(found(change).1, [key]);
        }
    }

    #[test]
    fn faults_of_a_route_are_named_by_their_field() {
        let mut route = raw::Route::default();
        let found = |route: &raw::Route| {
            let mut found = Vec::new();
            let front = front(&"r".into(), route, |field, _| found.push(field.to_owned()));
            (front.is_some(), found)
        };
        assert_eq!(found(&route), (false, vec![]));
        route.cors.allow_origins =
            vec!["https://a.example".to_owned(), "https://*.b.example:8443".to_owned()];
        route.rate = raw::Rate { requests: 5, by: "header:X-Key".to_owned(), ..Default::default() };
        assert_eq!(found(&route), (true, vec![]));
        route.rate = raw::Rate { requests: 5, per_secs: 0, by: "cookie".to_owned(), ..Default::default() };
        route.cors = raw::Cors {
            allow_origins: ["a.example", "https://a.example/", "https://u@a.example"]
                .map(str::to_owned)
                .to_vec(),
            allow_methods: vec!["G T".to_owned()],
            allow_headers: vec!["a b".to_owned()],
            expose_headers: vec!["a:b".to_owned()],
            ..Default::default()
        };
        let fields = [
            "rate.by",
            "rate.per_secs",
            "cors.allow_origins",
            "cors.allow_origins",
            "cors.allow_origins",
            "cors.allow_methods",
            "cors.allow_headers",
            "cors.expose_headers",
        ];
        assert_eq!(found(&route).1, fields);
    }
}
