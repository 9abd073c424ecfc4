//! The SDK's client for one bucket: where S3 is, who we are there, and everything off that the chain does better.

use aws_config::{
    BehaviorVersion, Region, meta::region::RegionProviderChain, retry::RetryConfig,
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
pub(super) async fn connect(config: &Config) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(SharedHttpClient::new(Connector::new(config.http.clone())))
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
    loader = match &config.region {
        Some(region) => loader.region(Region::new(region.clone())),
        None => {
            let mut usual = aws_config::default_provider::region::Builder::default();
            if let Identity::Usual { profile: Some(profile) } = &config.identity {
                usual = usual.profile_name(profile);
            }
            loader.region(RegionProviderChain::first_try(usual.build()).or_else(DEFAULT_REGION))
        }
    };
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint.as_str());
    }
    let shared = loader.load().await;
    let elsewhere = shared.endpoint_url().is_some() || std::env::var_os(ENDPOINT_VARIABLE).is_some();
    let s3 = Builder::from(&shared)
        .force_path_style(config.path_style.unwrap_or(elsewhere))
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(s3.build())
}
