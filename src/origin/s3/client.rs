//! The SDK's client for one bucket: where S3 is, who we are there, and everything off that the chain does better.

use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableRegionProvider,
    meta::region::RegionProviderChain, profile::ProfileFileRegionProvider, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_sdk_s3::{
    Client,
    config::{Builder, Credentials, ResponseChecksumValidation, SharedHttpClient},
};

use super::{Config, Identity, connector::Connector};

/// Where nobody names a region, which servers other than Amazon's do not mind.
const DEFAULT_REGION: &str = "us-east-1";
/// Names S3's endpoint in the usual environment; the other one is read with the shared configuration.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// Reads environment and profile files; may ask the machine's metadata service for the region.
pub(super) async fn connect(config: &Config, connector: Connector) -> Client {
    connect_over(SharedHttpClient::new(connector), config).await
}

async fn connect_over(http: SharedHttpClient, config: &Config) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    loader = match &config.identity {
        Identity::Usual { profile: None } => loader,
        Identity::Usual { profile: Some(profile) } => loader.profile_name(profile),
        Identity::Anonymous => loader.no_credentials(),
        Identity::Key(key) => {
            let token = key.session_token.clone();
            let secret = key.secret_access_key.clone();
            loader.credentials_provider(Credentials::new(
                &key.access_key_id,
                secret,
                token,
                None,
                "configuration",
            ))
        }
    };
    if let Some(endpoint) = &config.endpoint {
        // The machine's metadata service knows nothing of a server elsewhere, and may take seconds to say so.
        let said = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        let said = said.or_else(ProfileFileRegionProvider::new()).or_else(DEFAULT_REGION);
        loader = loader.endpoint_url(endpoint.as_str()).region(said);
    }
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let shared = loader.load().await;
    let elsewhere = shared.endpoint_url().is_some() || std::env::var_os(ENDPOINT_VARIABLE).is_some();
    let region = shared.region().cloned().unwrap_or(Region::from_static(DEFAULT_REGION));
    let s3 = Builder::from(&shared)
        .region(region)
        .force_path_style(config.path_style.unwrap_or(elsewhere))
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(s3.build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_sdk_s3::{
        config::http::{HttpRequest, HttpResponse},
        primitives::SdkBody,
    };
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use parking_lot::Mutex;
    use url::Url;

    use super::{super::AccessKey, *};
    use crate::origin::http as http_origin;

    /// Keeps address and signature of the one request.
    #[derive(Debug, Clone, Default)]
    struct Recorder(Arc<Mutex<Option<(String, String)>>>);

    impl HttpConnector for Recorder {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let signature = request.headers().get("authorization").unwrap_or_default().to_owned();
            *self.0.lock() = Some((request.uri().to_owned(), signature));
            let status = http::StatusCode::OK.into();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
        }
    }

    async fn request(change: impl FnOnce(&mut Config)) -> (String, String) {
        let nowhere = http_origin::Config::new("s3", Url::parse("http://nowhere.invalid").unwrap());
        let key = AccessKey {
            access_key_id: "ID".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        };
        let mut config = Config { identity: Identity::Key(key), ..Config::new("s3", "media", nowhere) };
        config.region = Some("eu-central-1".to_owned());
        change(&mut config);
        let recorder = Recorder::default();
        let http = SharedHttpConnector::new(recorder.clone());
        let client = connect_over(http_client_fn(move |_, _| http.clone()), &config).await;
        client.get_object().bucket(&config.bucket).key("a b/é+%.jpg").send().await.unwrap();
        recorder.0.lock().take().unwrap()
    }

    #[tokio::test]
    async fn the_bucket_goes_where_its_server_wants_it() {
        let path = "a%20b/%C3%A9%2B%25.jpg?x-id=GetObject";
        let elsewhere = Some(Url::parse("http://s3.internal:9000").unwrap());
        for (endpoint, path_style, start) in [
            (None, None, "https://media.s3.eu-central-1.amazonaws.com/"),
            (None, Some(true), "https://s3.eu-central-1.amazonaws.com/media/"),
            (elsewhere.clone(), None, "http://s3.internal:9000/media/"),
            (elsewhere, Some(false), "http://media.s3.internal:9000/"),
        ] {
            let (address, signature) = request(|config| {
                (config.endpoint, config.path_style) = (endpoint, path_style);
            })
            .await;
            assert_eq!(address, format!("{start}{path}"));
            assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=ID/"), "{signature}");
            assert!(signature.contains("/eu-central-1/s3/aws4_request"), "{signature}");
        }
    }

    #[tokio::test]
    async fn a_public_bucket_is_asked_without_signature() {
        let (_, signature) = request(|config| config.identity = Identity::Anonymous).await;
        assert_eq!(signature, "");
    }
}
