//! Asking the origin chain, and which of the client's fields go along.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    fill::{Ask, Upstream},
    request::Target,
};
use crate::origin::{self, Chain, Interims};

/// The origins, asked for one target.
pub struct OriginUpstream {
    chain: Arc<Chain>,
    target: String,
    interims: Option<Interims>,
}

impl OriginUpstream {
    pub fn new(chain: Arc<Chain>, target: &Target) -> Self {
        Self { chain, target: target.to_string(), interims: None }
    }

    /// On behalf of a client that also gets what comes before an answer.
    #[must_use]
    pub fn with_interims(self, interims: Option<Interims>) -> Self {
        Self { interims, ..self }
    }
}

impl Upstream for OriginUpstream {
    fn open(&self, ask: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>> {
        async move {
            let answer = self.send(&ask).await?;
            if !is_unasked(&ask, &answer) {
                return Ok(answer);
            }
            // A 304 without a condition has nothing to stand on: once more, then it is an error.
            drop(answer);
            let answer = self.send(&ask).await?;
            if is_unasked(&ask, &answer) {
                let detail = "304 to a request without condition";
                return Err(origin::Error::new(&answer.origin, origin::ErrorKind::BadResponse, detail));
            }
            Ok(answer)
        }
        .boxed()
    }
}

impl OriginUpstream {
    async fn send(&self, ask: &Ask) -> Result<origin::Response, origin::Error> {
        match &ask.resume {
            Some(resume) => self.chain.resume(self.request(ask), resume).await,
            None => self.chain.fetch(self.request(ask)).await,
        }
    }

    fn request(&self, ask: &Ask) -> origin::Request {
        let mut request = origin::Request::new(ask.method.clone(), self.target.clone());
        request.headers = asked_fields(&ask.headers);
        ask.add_to(&mut request.headers);
        request.interims = self.interims.clone();
        request
    }
}

fn is_unasked(ask: &Ask, answer: &origin::Response) -> bool {
    answer.status == StatusCode::NOT_MODIFIED && !ask.is_conditional()
}

/// Fields that never go to an origin: what speaks of this connection only, and what a client could use to make an origin
/// answer something that is then stored for others.
const WITHHELD: [HeaderName; 3] = [header::HOST, header::EXPECT, header::FORWARDED];
/// The cache asks its own conditions, and judges the client's itself.
const JUDGED_HERE: [HeaderName; 7] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::CONTENT_LENGTH,
];
const UNTRUSTED: [&str; 10] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
];

/// The name by which we appear in `Via`.
pub const VIA: &str = "1.1 millrace";

/// What of a client's end-to-end fields an origin gets to see of a request that the cache makes for it.
fn asked_fields(client: &HeaderMap) -> HeaderMap {
    let mut fields = forwarded_fields(client);
    for name in &JUDGED_HERE {
        fields.remove(name);
    }
    fields
}

/// The same of a request that the cache only passes on: its conditions are the origin's to judge.
pub fn forwarded_fields(client: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(client.len() + 1);
    for (name, value) in client {
        if !WITHHELD.contains(name) && !UNTRUSTED.contains(&name.as_str()) {
            fields.append(name, value.clone());
        }
    }
    fields.append(header::VIA, HeaderValue::from_static(VIA));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_spoofed_fields_stay_here() {
        let mut client = HeaderMap::new();
        for name in ["host", "range", "if-none-match", "x-forwarded-host", "x-original-url", "forwarded"] {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static("evil"));
        }
        client.insert("req-num", HeaderValue::from_static("1"));
        client.insert("via", HeaderValue::from_static("1.1 other"));
        let names = |fields: &HeaderMap| {
            let mut names: Vec<_> = fields.iter().map(|(name, _)| name.as_str().to_owned()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&asked_fields(&client)), ["req-num", "via", "via"]);
        assert_eq!(names(&forwarded_fields(&client)), ["if-none-match", "range", "req-num", "via", "via"]);
    }
}
