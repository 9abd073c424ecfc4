//! Requests that the cache does not answer: passed on as they come, once. What they change is outdated afterwards.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode, header};

use super::{
    failure::failed,
    forward, locations,
    outcome::{Outcome, Reason, Served},
    pipeline::Delivery,
    policy,
    request::Request,
    response::{Body, BodyError, Fields, Response, begun},
    route::Plan,
};
use crate::{
    cache::{
        Content, Freshness, Head, Held,
        control::{RequestControl, ResponseControl},
        purge::Purge,
        storable::{self, Asked, Refusal},
    },
    origin,
};

/// What a client sends along, to be passed on as it comes.
pub type RequestBody = origin::Body;

/// The item with which a request body ends that its client did not finish.
pub fn broken_request_body(detail: String) -> origin::Error {
    origin::Error::new(&Arc::from("client"), origin::ErrorKind::BrokenBody, detail)
}

/// The same of one whose client sends too slowly.
pub fn slow_request_body() -> origin::Error {
    let detail = "the client's body comes too slowly".to_owned();
    origin::Error::new(&Arc::from("client"), origin::ErrorKind::IdleTimeout, detail)
}

impl Delivery {
    /// Sent on once; a success makes what is stored outdated (RFC 9111 §4.4).
    pub(super) async fn forward(&self, request: &Request, body: Option<RequestBody>) -> Response {
        let refused = Served::new(Outcome::Error, Reason::NotAllowed);
        if matches!(request.method, Method::TRACE | Method::CONNECT) {
            return Response::problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method is not answered here",
                refused,
            )
            .with(header::ALLOW, "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
        }
        let host = policy::host_of(&*request.headers);
        let routing = self.core.router.now();
        let policies = &routing.policies;
        let mut onward = origin::Request::new(request.method.clone(), request.target.to_string());
        onward.headers = forward::passed_fields(&request.headers);
        onward.body = body;
        onward.interims = request.interims.clone();
        onward.client = request.client;
        let (sent, mut born) = (self.core.clock().unix_millis(), self.store().purges().latest());
        let policy = policies.of(host, request.target.path());
        if policy.rules.fields.has_host()
            && let Some(host) = request.headers.get(header::HOST)
        {
            onward.headers.insert(header::HOST, host.clone());
        }
        match policy.chain.fetch(onward).await {
            Ok(response) => {
                let times = (sent, self.core.clock().unix_millis());
                let succeeded = response.status.is_success() || response.status.is_redirection();
                if succeeded && !request.method.is_safe() {
                    let of = |field| locations::named(request, &response.headers, field);
                    let named = [of(header::LOCATION), of(header::CONTENT_LOCATION)];
                    for target in named.iter().flatten().chain([&request.target]) {
                        born = self.outdate(&Plan::fetch(target, host, policies), born).await;
                    }
                }
                let response = match self.keep(request, response, times, born).await {
                    Ok(response) => response,
                    Err(error) => {
                        return failed(&error, Served::new(Outcome::Error, Reason::Origin(error.kind)));
                    }
                };
                let served = Served {
                    forward_status: Some(response.status),
                    ..Served::new(Outcome::Bypass, Reason::Refused(Refusal::Method))
                };
                let length = response.content_length;
                let bytes = match begun(response.body).await {
                    Ok(bytes) => bytes.map(|item| item.map_err(BodyError::from)).boxed(),
                    Err(error) => {
                        let reason = Reason::Origin(error.kind);
                        return failed(&error, Served { outcome: Outcome::Error, reason, ..served });
                    }
                };
                Response::new(
                    response.status,
                    Fields::Own(response.headers),
                    Body::Stream { length, bytes },
                    served,
                )
            }
            Err(error) => failed(&error, Served::new(Outcome::Error, Reason::Origin(error.kind))),
        }
    }

    /// What is stored of an address, and what is made of that: as a purge has it, which is worth its place on the books only where
    /// something is stored. What was born after the purge `born` was born after this one, too, if it is the next.
    async fn outdate(&self, plan: &Plan<'_>, born: u64) -> u64 {
        let key = plan.key(self.store().seed());
        let held = self.store().inspect(&key).await;
        let stored = matches!(held, Some((Held::Head(_) | Held::Variants(_), _)));
        self.core.fills.invalidate(&key).await;
        if !stored {
            return born;
        }
        let purge = Purge::hard().url(&plan.url_text());
        match self.store().purges().purge(&purge, self.core.clock().unix_millis()).await {
            Ok(sequence) if sequence == born + 1 => sequence,
            Ok(_) => born,
            Err(error) => {
                tracing::warn!("what is made of a changed address may be served until it is stale: {error}");
                born
            }
        }
    }

    /// An answer to POST that is the resource's own representation is stored for GET (RFC 9110 §9.3.3), when it fits
    /// into one block.
    async fn keep(
        &self,
        request: &Request,
        response: origin::Response,
        times: (i64, i64),
        latest_purge: u64,
    ) -> Result<origin::Response, origin::Error> {
        let block_size = u64::from(self.store().block_size());
        let small = response.content_length.is_some_and(|length| length <= block_size);
        let named = locations::named(request, &response.headers, header::CONTENT_LOCATION);
        let routing = self.core.router.now();
        let plan = Plan::fetch(&request.target, policy::host_of(&*request.headers), &routing.policies);
        // With a query that its key does not tell in full, it may not be what others get.
        let itself = named.as_ref() == Some(&request.target) && plan.source == request.target;
        if request.method != Method::POST || response.status != StatusCode::OK || !small || !itself {
            return Ok(response);
        }
        let control = ResponseControl::parse(&response.headers);
        let freshness = Freshness::of(response.status, &response.headers, &control, times.0, times.1);
        let asked = Asked {
            method: &Method::GET,
            control: &RequestControl::parse(&*request.headers),
            authorization: request.headers.contains_key(header::AUTHORIZATION),
            cookie: request.headers.contains_key(header::COOKIE),
        };
        let rules = &plan.policy.rules;
        let said = freshness;
        let freshness = rules.lifetimes.bound(response.status, said);
        let lengthened = storable::check_lengthened(asked.cookie, &control, &said, &freshness).is_err();
        let too_long = response.content_length.is_some_and(|length| length > rules.storing.max_length);
        let storable =
            storable::check(&rules.storing, &asked, response.status, &response.headers, &control, &freshness);
        let varies = response.headers.contains_key(header::VARY) || !rules.fields.nominated().is_empty();
        if storable.is_err() || lengthened || too_long || varies || !freshness.is_explicit() {
            return Ok(response);
        }
        let mut whole = Vec::new();
        let mut body = response.body;
        while let Some(chunk) = body.next().await {
            whole.extend_from_slice(&chunk?);
        }
        let whole = Bytes::from(whole);
        let key = plan.key(self.store().seed());
        let content = Content::Inline(whole.clone());
        let head =
            Head::new(key.text(), response.status, &response.headers, times, whole.len() as u64, content);
        self.store().put_head(&key, Arc::new(head.born_after(latest_purge))).await;
        let body = stream::iter([Ok(whole)]).boxed();
        Ok(origin::Response { body, ..response })
    }
}
