//! One POST to a receiver. Any 2xx is a delivery.

use std::time::Duration;

use url::Url;

use super::carrier::Error;
use crate::scrape::innermost;

#[derive(Debug, Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: Url,
}

impl Webhook {
    pub(super) fn new(url: Url, timeout: Duration) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|reason| Error::Connection(reason.to_string()))?;
        Ok(Self { http, url })
    }

    pub(super) async fn post(&self, body: String) -> Result<(), Error> {
        let request = self.http.post(self.url.clone()).header("content-type", "application/json");
        let answer = request.body(body).send().await.map_err(|reason| {
            let text = innermost(&reason);
            if reason.is_connect() { Error::Connection(text) } else { Error::Unknown(text) }
        })?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(Error::Status(answer.status().as_u16())),
        }
    }
}
