//! One POST to a receiver. Any 2xx is a delivery.

use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::scrape::innermost;

#[derive(Debug, Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: Url,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Connection(String),
    #[error("answered {0}")]
    Status(u16),
}

impl Webhook {
    pub fn new(url: Url, timeout: Duration) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|reason| Error::Connection(reason.to_string()))?;
        Ok(Self { http, url })
    }

    pub async fn post(&self, body: &serde_json::Value) -> Result<(), Error> {
        let body = serde_json::to_vec(body).map_err(|reason| Error::Connection(reason.to_string()))?;
        let request = self.http.post(self.url.clone()).header("content-type", "application/json");
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|reason| Error::Connection(innermost(&reason)))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(Error::Status(answer.status().as_u16())),
        }
    }
}
