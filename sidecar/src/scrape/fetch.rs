//! The HTTP side of a scrape: one GET, bounded in time and size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use url::Url;

use super::{Error, Settings, parse::Format};

const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.8,*/*;q=0.1";

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
    max_body_bytes: usize,
}

#[derive(Debug, Clone)]
pub struct Fetched {
    pub body: Bytes,
    pub format: Format,
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|reason| Error::Connection(chain(&reason)))?;
        Ok(Self { http, timeout: settings.timeout, max_body_bytes: settings.max_body_bytes })
    }

    pub async fn get(&self, url: &Url) -> Result<Fetched, Error> {
        let fetched = tokio::time::timeout(self.timeout, self.get_unbounded(url)).await;
        fetched.unwrap_or(Err(Error::Timeout(self.timeout)))
    }

    async fn get_unbounded(&self, url: &Url) -> Result<Fetched, Error> {
        let failed = |reason: reqwest::Error| Error::Connection(chain(&reason));
        let seconds = self.timeout.as_secs_f64().to_string();
        let request = self.http.get(url.clone()).header("accept", ACCEPT);
        let mut answer =
            request.header("x-prometheus-scrape-timeout-seconds", seconds).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Error::Status(answer.status().as_u16()));
        }
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let format = Format::of(content_type.unwrap_or_default());
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > self.max_body_bytes {
                return Err(Error::BodyTooLarge(self.max_body_bytes));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Fetched { body: body.freeze(), format })
    }
}

/// The innermost reason is the one that helps (`Connection refused`); the URL is known already.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
