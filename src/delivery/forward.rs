//! Asking the origin chain, and which of the client's fields go along.

use std::{net::IpAddr, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    fill::{Ask, Upstream},
    policy,
    request::{Request, Target},
};
use crate::origin::{self, Chain, Interims};

/// The origins, asked for one target.
pub struct OriginUpstream {
    chain: Arc<Chain>,
    target: String,
    interims: Option<Interims>,
    client: Option<IpAddr>,
    /// Something else is at hand to answer with.
    has_stand_in: bool,
}

impl OriginUpstream {
    pub fn new(chain: Arc<Chain>, target: &Target) -> Self {
        Self { chain, target: target.to_string(), interims: None, client: None, has_stand_in: false }
    }

    /// On behalf of a client that also gets what comes before an answer.
    #[must_use]
    pub fn on_behalf_of(self, request: &Request) -> Self {
        Self { interims: request.interims.clone(), client: request.client, ..self }
    }

    /// Whether its requests need not wait for an origin in trouble, as there is something to serve in its place.
    #[must_use]
    pub fn with_stand_in(self, has_stand_in: bool) -> Self {
        Self { has_stand_in, ..self }
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

    fn wanted(&self, origin: &str) -> BoxFuture<'static, ()> {
        self.chain.wanted(origin)
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
        request.client = self.client;
        request.patient = ask.validate.is_none() && !self.has_stand_in;
        request
    }
}

fn is_unasked(ask: &Ask, answer: &origin::Response) -> bool {
    answer.status == StatusCode::NOT_MODIFIED && !ask.is_conditional()
}

/// The name by which we appear in `Via`.
pub const VIA: &str = "1.1 millrace";

/// What of the fields that a policy heeds an origin gets to see of a request that the cache makes for it.
fn asked_fields(heeded: &HeaderMap) -> HeaderMap {
    with_via(heeded.iter().filter(|(name, _)| !policy::is_judged_here(name)))
}

/// What of a client's end-to-end fields an origin gets to see of a request that the cache only passes on: conditions are
/// the origin's to judge.
pub fn passed_fields(client: &HeaderMap) -> HeaderMap {
    with_via(policy::passed(client))
}

fn with_via<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> HeaderMap {
    let mut sent = HeaderMap::new();
    for (name, value) in fields {
        sent.append(name, value.clone());
    }
    sent.append(header::VIA, HeaderValue::from_static(VIA));
    sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::policy::FieldRule;

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
        let heeded = FieldRule::default().heeded(&Arc::new(client.clone()));
        assert_eq!(names(&asked_fields(&heeded)), ["req-num", "via", "via"]);
        assert_eq!(names(&passed_fields(&client)), ["if-none-match", "range", "req-num", "via", "via"]);
    }
}
