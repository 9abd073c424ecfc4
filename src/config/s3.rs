//! The settings of one S3 origin, from what a user wrote.

use millrace_kit::config::Faults;
use url::Url;

use super::raw::{self, Addressing};
use crate::origin::{
    http as http_origin,
    s3::{AccessKey, Config, Identity},
};

/// Stands in the settings of requests until the origin knows where S3 is.
#[expect(clippy::expect_used, reason = "the text is a URL")]
pub(super) fn somewhere() -> Url {
    Url::parse("https://s3.amazonaws.com").expect("a URL")
}

/// `key` names a field of this origin in faults.
pub(super) fn resolve(
    raw: &raw::Origin,
    (bucket, prefix): (String, String),
    http: http_origin::Config,
    key: impl Fn(&str) -> String,
    faults: &mut Faults,
) -> Config {
    let s3 = &raw.s3;
    let mut fault = |field: &str, wrong: &str| faults.push(key(&format!("s3.{field}")), wrong);
    let endpoint = match s3.endpoint.as_str() {
        "" => None,
        text => {
            let endpoint = parse_endpoint(text);
            if endpoint.is_none() {
                fault("endpoint", "must be http(s)://host[:port], without credentials and path");
            }
            endpoint
        }
    };
    if !s3.region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        fault("region", "must be letters, digits and -, such as eu-central-1");
    }
    let (id, secret) = (s3.access_key_id.as_str(), s3.secret_access_key.0.as_str());
    if id.is_empty() != secret.is_empty() {
        fault("access_key_id", "access_key_id and secret_access_key go together");
    }
    if id.is_empty() && !s3.session_token.0.is_empty() {
        fault("session_token", "goes with an access_key_id");
    }
    let ways = [!id.is_empty(), !s3.profile.is_empty(), s3.anonymous];
    if ways.iter().filter(|way| **way).count() > 1 {
        fault("access_key_id", "give only one of access_key_id, profile and anonymous");
    }
    for (field, given) in [("host_header", !raw.host_header.is_empty()), ("client_host", raw.client_host)] {
        if given {
            faults.push(key(field), "cannot be another one for S3, where it is signed");
        }
    }
    let identity = match (s3.anonymous, id) {
        (true, _) => Identity::Anonymous,
        (false, "") => Identity::Usual { profile: given(&s3.profile) },
        (false, id) => Identity::Key(AccessKey {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: given(&s3.session_token.0),
        }),
    };
    Config {
        prefix,
        strip_prefix: raw.strip_prefix.clone(),
        endpoint,
        region: given(&s3.region),
        path_style: match s3.addressing {
            Addressing::Auto => None,
            Addressing::Path => Some(true),
            Addressing::Virtual => Some(false),
        },
        identity,
        cache_control: raw.cache_control.clone(),
        metadata: s3.metadata,
        denied_is_missing: s3.denied_is_missing,
        ..Config::new(http.name.clone(), bucket, http)
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn parse_endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let open = url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && bare && open).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::{super::resolve as settings, *};
    use crate::config::{OriginSettings, Raw};

    fn origin(url: &str, s3: raw::S3) -> Raw {
        let origin = raw::Origin { url: url.to_owned(), s3, ..Default::default() };
        Raw { origins: vec![origin], ..Raw::default() }
    }

    fn resolved(s3: raw::S3) -> Config {
        match settings(&origin("s3://media/films", s3)).unwrap().origins.remove(0) {
            OriginSettings::S3(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn faults(url: &str, s3: raw::S3) -> Vec<String> {
        settings(&origin(url, s3)).unwrap_err().0.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn a_bucket_alone_is_enough() {
        let config = resolved(raw::S3::default());
        assert_eq!((&*config.name, &*config.bucket, &*config.prefix), ("media", "media", "films"));
        assert!(matches!(config.identity, Identity::Usual { profile: None }));
        assert_eq!((config.endpoint, config.region, config.path_style), (None, None, None));
    }

    #[test]
    fn secrets_do_not_show() {
        let config = resolved(raw::S3 {
            access_key_id: "id".to_owned(),
            secret_access_key: raw::Secret("hunter2".to_owned()),
            session_token: raw::Secret("hunter3".to_owned()),
            ..Default::default()
        });
        assert!(matches!(&config.identity, Identity::Key(key) if key.secret_access_key == "hunter2"));
        assert!(!format!("{config:?}").contains("hunter"), "{config:?}");
    }

    #[test]
    fn every_fault_is_found() {
        let wrong = raw::S3 {
            endpoint: "http://user@host/path".to_owned(),
            region: "eu central".to_owned(),
            access_key_id: "id".to_owned(),
            anonymous: true,
            ..Default::default()
        };
        let at = |field: &str| format!("origins[0].s3.{field}");
        assert_eq!(
            faults("s3://media", wrong),
            [at("endpoint"), at("region"), at("access_key_id"), at("access_key_id")]
        );
        let token = raw::S3 { session_token: raw::Secret("t".to_owned()), ..Default::default() };
        assert_eq!(faults("s3://media", token), [at("session_token")]);
        let mut host = origin("s3://media", raw::S3::default());
        host.origins[0].host_header = "media.example".to_owned();
        assert_eq!(settings(&host).unwrap_err().0[0].key, "origins[0].host_header");
        let metadata = raw::S3 { metadata: true, ..Default::default() };
        assert_eq!(faults("http://media", metadata), ["origins[0].s3"]);
    }
}
