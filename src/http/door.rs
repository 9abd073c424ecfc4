//! What every request has to get past, wherever it goes: limits of its client, its place, the way to TLS.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_kit::{
    clock::Clock,
    metrics::{self, IntCounterVec, Registry, catalogue},
};

use super::{
    fronts::{self, Front, Fronts, too_many},
    link::Client,
    pace::Least,
};
use crate::{
    acme,
    admission::{
        client::Proxies,
        load::Load,
        rate::{Asker, Limiter, Local, Rate},
    },
    delivery::{Body, Delivery, FieldLines, Fields, Outcome, Reason, Response, Served, Target},
};

#[derive(Debug, Clone)]
pub struct Config {
    pub fronts: Vec<fronts::Config>,
    pub proxies: Arc<Proxies>,
    /// 0: no bound.
    pub max_requests: usize,
    /// 0: no bound.
    pub max_connections_per_client: usize,
    /// Credentials of one client that may be bad; None: any number.
    pub failures: Option<Rate>,
    pub least: Least,
    /// Port of the addresses to which requests without TLS are sent.
    pub redirect: Option<u16>,
    /// `Strict-Transport-Security`.
    pub transport_security: Option<HeaderValue>,
}

pub struct Door {
    fronts: ArcSwap<Fronts>,
    /// Requests that came too soon, by route.
    limited: IntCounterVec,
    pub load: Arc<Load>,
    pub least: Least,
    proxies: Arc<Proxies>,
    failures: Option<Arc<dyn Limiter>>,
    redirect: Option<u16>,
    transport_security: Option<HeaderValue>,
}

impl Door {
    pub fn new(config: Config, clock: &Clock, registry: &Registry) -> Result<Self, metrics::Error> {
        let limiter = |rate| Arc::new(Local::new(rate, clock.clone())) as Arc<dyn Limiter>;
        let limited = registry.counter(&catalogue::RATE_LIMITED)?;
        let fronts = Fronts::new(config.fronts, &Fronts::default(), clock, &limited);
        Ok(Self {
            fronts: ArcSwap::from_pointee(fronts),
            limited,
            load: Load::new(config.max_requests),
            least: config.least,
            proxies: config.proxies,
            failures: config.failures.map(limiter),
            redirect: config.redirect,
            transport_security: config.transport_security,
        })
    }

    /// What routes say, from now on.
    pub fn change(&self, fronts: Vec<fronts::Config>, clock: &Clock) {
        let fronts = Fronts::new(fronts, &self.fronts.load(), clock, &self.limited);
        self.fronts.store(Arc::new(fronts));
    }

    /// What the route of a request says.
    pub fn front(
        &self,
        delivery: &Delivery,
        target: &Target,
        fields: &impl FieldLines,
    ) -> Option<Arc<Front>> {
        self.fronts.load().of(delivery, target, fields)
    }

    /// Counts bad credentials, on other ports too.
    pub fn failures(&self) -> Option<Arc<dyn Limiter>> {
        self.failures.clone()
    }

    /// Whose request it is.
    pub fn client(&self, client: &Client, fields: &impl FieldLines) -> IpAddr {
        self.proxies.client(client.address, fields.lines("x-forwarded-for"))
    }

    /// Whether this request belongs on TLS.
    pub fn redirects(&self, client: &Client, fields: &impl FieldLines) -> bool {
        self.redirect.is_some() && !self.is_secure(client, fields)
    }

    fn is_secure(&self, client: &Client, fields: &impl FieldLines) -> bool {
        let told =
            || fields.first("x-forwarded-proto").is_some_and(|told| told.eq_ignore_ascii_case(b"https"));
        client.secure || (self.proxies.trusts(client.address) && told())
    }

    /// Sends a request to the same address with TLS. `raw` is that address as it came.
    pub fn redirect(
        &self,
        client: &Client,
        headers: &HeaderMap,
        target: &Target,
        raw: &str,
    ) -> Option<Response> {
        let port = self.redirect.filter(|_| self.redirects(client, headers))?;
        if target.path().starts_with(acme::BELOW) {
            return None;
        }
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let served = Served::new(Outcome::Bypass, Reason::Insecure);
        let response =
            Response::new(StatusCode::PERMANENT_REDIRECT, Fields::Own(HeaderMap::new()), Body::Empty, served);
        Some(response.with(header::LOCATION, format!("https://{name}{port}{raw}")))
    }

    pub fn transport_security(&self, secure: bool) -> Option<&HeaderValue> {
        self.transport_security.as_ref().filter(|_| secure)
    }

    /// Credentials that come with a request; None: there are none, or they are not counted.
    pub fn guess(&self, client: IpAddr, signed: bool, headers: &HeaderMap) -> Option<Guess<'_>> {
        let token = headers.contains_key(header::AUTHORIZATION);
        let failures = self.failures.as_ref().filter(|_| token || signed)?;
        Some(Guess { failures: &**failures, asker: Asker::at(client), signed, token })
    }
}

/// Credentials that may be somebody's guess.
pub struct Guess<'a> {
    failures: &'a dyn Limiter,
    asker: Asker<'static>,
    signed: bool,
    token: bool,
}

impl Guess<'_> {
    /// This client has guessed enough, and is not told about this one.
    pub fn refused(&self) -> Option<Response> {
        let wait = self.failures.is_exhausted(self.asker)?;
        Some(too_many("too many tokens or signatures of this client were bad", wait))
    }

    /// Counts it if it was bad.
    pub fn heed(&self, response: &Response) {
        let bad = match response.status {
            StatusCode::UNAUTHORIZED => self.token,
            StatusCode::FORBIDDEN => self.signed,
            _ => false,
        };
        if bad && response.served.reason == Reason::NotAllowed {
            // It is the next one that may be refused.
            let _ = self.failures.admit(self.asker);
        }
    }
}
