//! What routes say that is no concern of delivery: how fast clients may ask, whose pages may read. By their places, which
//! delivery tells.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use millrace_kit::{
    clock::Clock,
    metrics::{IntCounter, IntCounterVec},
};

use super::cors;
use crate::{
    admission::{
        Admission,
        rate::{Asker, By, Limiter, Local, NotBefore, Rate},
    },
    delivery::{Delivery, FieldLines, Outcome, Reason, Response, Served, Target},
};

/// Of one route, as configured.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: Arc<str>,
    pub limit: Option<(Rate, By)>,
    pub cors: Option<cors::Rule>,
}

/// Of all routes that have something here.
#[derive(Default)]
pub struct Fronts(HashMap<Arc<str>, Arc<Front>>);

pub struct Front {
    limit: Option<Limit>,
    pub cors: Option<cors::Rule>,
}

struct Limit {
    name: Arc<str>,
    rate: Rate,
    by: By,
    limiter: Arc<dyn Limiter>,
    counted: IntCounter,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Fronts {
    /// `before`: what was there, which counts on where nothing has changed.
    pub fn new(configured: Vec<Config>, before: &Self, clock: &Clock, limited: &IntCounterVec) -> Self {
        let front = |Config { name, limit, cors }| {
            let limit = limit.map(|(rate, by)| Limit {
                counted: limited.with_label_values(&[&*name]),
                limiter: before
                    .limiter(&name, &rate, &by)
                    .unwrap_or_else(|| Arc::new(Local::new(rate, clock.clone()))),
                name: name.clone(),
                rate,
                by,
            });
            (name, Arc::new(Front { limit, cors }))
        };
        Self(configured.into_iter().map(front).collect())
    }

    /// Where no route has anything here, that is all it costs.
    pub fn of(&self, delivery: &Delivery, target: &Target, fields: &impl FieldLines) -> Option<Arc<Front>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&delivery.front(target, fields)?).cloned()
    }

    fn limiter(&self, name: &str, rate: &Rate, by: &By) -> Option<Arc<dyn Limiter>> {
        let limit = self.0.get(name)?.limit.as_ref()?;
        (limit.rate == *rate && limit.by == *by).then(|| limit.limiter.clone())
    }
}

impl Front {
    /// Counts a request of this client. Some: it came too soon.
    pub fn refuses(&self, admission: &Admission, client: IpAddr, headers: &HeaderMap) -> Option<Response> {
        let limit = self.limit.as_ref()?;
        match &limit.by {
            By::Address => limit.judge(Asker::at(client)),
            By::Field(name) => limit.judge(field(headers, name.as_str()).unwrap_or(Asker::at(client))),
            By::Token => match admission.identify(headers) {
                Ok(grant) if !grant.owner.is_empty() => limit.judge(Asker::Token(&grant.owner)),
                _ => limit.judge(Asker::at(client)),
            },
        }
    }

    /// Whether [`Self::refuses_at_once`] knows whose request this is.
    pub fn can_judge_at_once(&self, fields: &impl FieldLines) -> bool {
        !(matches!(&self.limit, Some(Limit { by: By::Token, .. })) && fields.has("authorization"))
    }

    /// The same as [`Self::refuses`] for what is answered at once.
    pub fn refuses_at_once(
        &self,
        client: impl FnOnce() -> IpAddr,
        fields: &impl FieldLines,
    ) -> Option<Response> {
        let limit = self.limit.as_ref()?;
        let asker = match &limit.by {
            By::Field(name) => field(fields, name.as_str()),
            By::Token | By::Address => None,
        };
        limit.judge(asker.unwrap_or_else(|| Asker::at(client())))
    }

    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        self.cors.as_ref()?.preflight(method, headers)
    }

    pub fn open(&self, response: &mut Response, origin: Option<&[u8]>) {
        if let Some(rule) = &self.cors {
            rule.open(response, origin);
        }
    }
}

fn field<'f>(fields: &'f impl FieldLines, name: &'f str) -> Option<Asker<'f>> {
    fields.first(name).filter(|value| !value.is_empty()).map(Asker::Field)
}

impl Limit {
    fn judge(&self, asker: Asker<'_>) -> Option<Response> {
        let wait = self.limiter.admit(asker).err()?;
        self.counted.inc();
        // draft-ietf-httpapi-ratelimit-headers: what is left, and when there is more.
        let (burst, window) = (self.rate.burst, self.rate.window().as_secs().max(1));
        let quoted = self.name.replace(['"', '\\'], "");
        let policy = format!("\"{quoted}\";q={burst};w={window}");
        let state = format!("\"{quoted}\";r=0;t={}", wait.seconds());
        let response = too_many("too many requests of this client", wait);
        Some(response.with(RATE_LIMIT_POLICY, policy).with(RATE_LIMIT, state))
    }
}

/// 429, and when to come again.
pub fn too_many(detail: &str, wait: NotBefore) -> Response {
    let served = Served::new(Outcome::Error, Reason::RateLimited);
    Response::problem(StatusCode::TOO_MANY_REQUESTS, detail, served)
        .with(header::RETRY_AFTER, HeaderValue::from(wait.seconds()))
}
