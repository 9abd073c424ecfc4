//! HTTP with JSON, bounded in time and size, for all that the conductor asks.

use std::{path::PathBuf, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;

/// Of one answer.
const MAX_BYTES: usize = 4 << 20;
/// Of a refusal.
const MOST_WORDS: usize = 300;

#[derive(Debug, Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer in time.
    Silent(String),
    /// Another status than a good one, and the beginning of what was said.
    Status(StatusCode, String),
    /// A good status, but not what was expected.
    Odd(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent(reason) => write!(f, "no answer: {reason}"),
            Self::Status(status, said) if said.is_empty() => write!(f, "answered {}", status.as_u16()),
            Self::Status(status, said) => write!(f, "answered {}: {said}", status.as_u16()),
            Self::Odd(reason) => write!(f, "unexpected answer: {reason}"),
        }
    }
}

impl Wire {
    pub(super) fn new(
        token_file: Option<PathBuf>,
        ca_file: Option<&PathBuf>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let bad = |reason: &dyn std::fmt::Display| Error::Client(reason.to_string());
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca_file {
            let pem = std::fs::read(file).map_err(|reason| bad(&format!("{}: {reason}", file.display())))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|reason| bad(&reason))?;
            builder = builder.tls_certs_only(roots);
        }
        let http = builder.build().map_err(|reason| bad(&reason))?;
        Ok(Self { http, token_file, timeout })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, Fault> {
        let body = self.send(Method::GET, url, None).await?;
        serde_json::from_slice(&body).map_err(|reason| Fault::Odd(reason.to_string()))
    }

    /// `body` with its media type. Redirects are not followed, and count as bad answers.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<(&Value, &'static str)>,
    ) -> Result<Vec<u8>, Fault> {
        tokio::time::timeout(self.timeout, self.ask(method, url, body))
            .await
            .unwrap_or_else(|_| Err(Fault::Silent(format!("not within {:?}", self.timeout))))
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        body: Option<(&Value, &'static str)>,
    ) -> Result<Vec<u8>, Fault> {
        let mut request = self.http.request(method, url);
        if let Some(file) = &self.token_file {
            let token = tokio::fs::read_to_string(file).await;
            let token =
                token.map_err(|reason| Fault::Silent(format!("token file {}: {reason}", file.display())))?;
            request = request.bearer_auth(token.trim());
        }
        if let Some((body, media_type)) = body {
            request = request.header(header::CONTENT_TYPE, media_type).body(body.to_string());
        }
        let mut answer = request.send().await.map_err(said)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(said)? {
            if body.len() + piece.len() > MAX_BYTES {
                return Err(Fault::Odd(format!("more than {MAX_BYTES} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        match status.is_success() {
            true => Ok(body),
            false => Err(Fault::Status(status, beginning(&body))),
        }
    }
}

fn said(error: reqwest::Error) -> Fault {
    let error = error.without_url();
    Fault::Silent(
        std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    )
}

/// In the words of whoever refuses, where they are in the JSON of Kubernetes, Docker or RFC 9457; else the beginning.
fn beginning(body: &[u8]) -> String {
    let object: Option<Value> = serde_json::from_slice(body).ok();
    let words = object
        .as_ref()
        .and_then(|said| ["message", "detail", "title"].iter().find_map(|key| said[key].as_str()));
    match words {
        Some(words) => words.chars().take(MOST_WORDS).collect(),
        None => String::from_utf8_lossy(&body[..body.len().min(MOST_WORDS)]).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_who_refuses() {
        let kubernetes =
            br#"{"kind":"Status","apiVersion":"v1","metadata":{},"message":"pods is forbidden","code":403}"#;
        assert_eq!(beginning(kubernetes), "pods is forbidden");
        assert_eq!(beginning(br#"{"status":401,"title":"Unauthorized","detail":"no token"}"#), "no token");
        assert_eq!(beginning(b" no JSON\n"), "no JSON");
        assert_eq!(beginning(br#"{"message":7}"#), r#"{"message":7}"#);
        assert_eq!(
            beginning(format!(r#"{{"message":"{}"}}"#, "ä".repeat(999)).as_bytes()).chars().count(),
            MOST_WORDS
        );
    }
}
