//! The life of a request: target → plan → key → store or fill → answer. Every exit has an outcome and a reason.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};

use super::{
    Core,
    derive::{ImageVariant, Media, MediaConfig, SetupError, VideoAsset},
    fill::{self, Fills, Upstream},
    forward::OriginUpstream,
    instruments::{self, Instruments, OriginRequests},
    outcome::{Outcome, Reason, Served},
    pass::pass,
    range::{self, Spec},
    request::Request,
    resolve::{Query, Resolved},
    respond::{respond, respond_inline},
    response::Response,
    route::{Plan, Route, Work},
};
use crate::{
    cache::{FieldLines, Found, Key, Store, control::RequestControl, freshness, storable},
    origin::{self, Chain, Member, Origin, RetryPolicy, member},
};

#[derive(Debug, Clone)]
pub struct Config {
    pub fill: fill::Limits,
    pub rules: storable::Rules,
    pub retry: RetryPolicy,
    pub media: MediaConfig,
}

/// Answers requests. Shared by all connections.
pub struct Delivery {
    pub(super) core: Arc<Core>,
    instruments: Instruments,
    origins: Vec<Arc<Member>>,
}

pub struct Answer {
    pub route: Route,
    pub response: Response,
}

/// What a client sends along, to be passed on as it comes.
pub type RequestBody = origin::Body;

/// The item with which a request body ends that its client did not finish.
pub fn broken_request_body(detail: String) -> origin::Error {
    origin::Error::new(&Arc::from("client"), origin::ErrorKind::BrokenBody, detail)
}

/// An object that changed between lookup and first byte is looked up again this often.
const MAX_CHANGES: usize = 3;

impl Delivery {
    pub fn new(
        config: Config,
        store: Arc<Store>,
        origins: Vec<(Arc<dyn Origin>, member::Config)>,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Self, SetupError> {
        let observer = OriginRequests::new(registry)?;
        let member = |(origin, config)| {
            let member = Member::new(origin, config).observed_by(observer.clone()).with_tasks(tasks.clone());
            Arc::new(member)
        };
        let origins: Vec<_> = origins.into_iter().map(member).collect();
        origins.iter().for_each(Member::watch);
        let chain = Chain::new(origins.clone(), config.retry);
        let fills =
            Fills::new(store, config.fill, config.rules, clock, tasks, instruments::of_fills(registry)?);
        let media = Media::new(config.media, registry)?;
        let core = Arc::new(Core { fills, chain: Arc::new(chain), media });
        Ok(Self { core, instruments: Instruments::new(registry)?, origins })
    }

    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    pub fn store(&self) -> &Arc<Store> {
        self.core.fills.store()
    }

    /// Brings gauges up to date, before they are read.
    pub fn observe(&self) {
        self.core.media.observe();
        for origin in &self.origins {
            origin.refresh();
        }
    }

    /// The condition of all origins.
    pub fn origins(&self) -> Vec<origin::Report> {
        self.origins.iter().map(|origin| origin.report()).collect()
    }

    /// The answer to a request for a small object that is in memory and fresh: the shortest way, without waiting.
    /// None: take the long way, [`Self::answer`].
    pub fn answer_at_once(&self, request: &Request) -> Option<Answer> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return None;
        }
        let plan = Plan::of(&request.target).ok().filter(|plan| !plan.is_progressive())?;
        let key = Key::new(plan.key_text(), self.store().seed());
        let Some(Found::Head(head)) = self.store().peek(&key) else { return None };
        let now = self.core.clock().unix_millis();
        let control = RequestControl::parse(&*request.headers);
        if head.freshness.judge(&head.control, &control, now) != freshness::Verdict::Fresh {
            return None;
        }
        let ttl = Some(head.freshness.ttl(now).div_euclid(1000));
        let served = Served { ttl, ..Served::new(Outcome::Hit, Reason::Fresh) };
        let response = respond_inline(request, &head, served, now)?;
        self.store().count_hit();
        Some(Answer { route: plan.route, response })
    }

    /// `body` is given for requests that have one.
    pub async fn answer(&self, request: &Request, body: Option<RequestBody>) -> Answer {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Answer { route: Route::Asset, response: self.forward(request, body).await };
        }
        match Plan::of(&request.target) {
            Ok(plan) => Answer { route: plan.route, response: self.get(request, &plan).await },
            Err(bad) => {
                let served = Served::new(Outcome::Error, Reason::BadRequest);
                let response = Response::problem(StatusCode::BAD_REQUEST, &bad.to_string(), served);
                Answer { route: Route::Image, response }
            }
        }
    }

    async fn get(&self, request: &Request, plan: &Plan) -> Response {
        let query = self.query(request, plan);
        for _ in 0..MAX_CHANGES {
            match self.core.resolve(&query).await {
                Resolved::Object { mut available, served, hold } => {
                    if plan.is_progressive() {
                        available.arrangement = self.core.arrange(&available).await;
                    }
                    let now = self.core.clock().unix_millis();
                    let answer = respond(&self.core.fills, request, available, served, now).await;
                    drop(hold);
                    match answer {
                        Ok(response) => return response,
                        // Either way it is gone from the store.
                        Err(fill::Error::Changed | fill::Error::NotResumable) => {}
                        Err(error) => return broken(&error, served),
                    }
                }
                Resolved::Answer { response, served } => {
                    return pass(request, &query, response, served).unwrap_or_else(|error| {
                        let reason = Reason::Origin(error.kind);
                        failed(&error, Served { outcome: Outcome::Error, reason, ..served })
                    });
                }
                Resolved::Failed { error, served } => return failed(&error, served),
                Resolved::NotCached { served } => {
                    return Response::problem(StatusCode::GATEWAY_TIMEOUT, "not in the cache", served);
                }
                Resolved::Overloaded { served } => {
                    let detail = "too many requests are waiting for origins";
                    return Response::problem(StatusCode::SERVICE_UNAVAILABLE, detail, served)
                        .with(header::RETRY_AFTER, "1");
                }
            }
        }
        broken(
            &fill::Error::Changed,
            Served::new(Outcome::Error, Reason::Origin(origin::ErrorKind::BrokenBody)),
        )
    }

    fn query(&self, request: &Request, plan: &Plan) -> Query {
        let core = &self.core;
        let upstream: Arc<dyn Upstream> = match &plan.work {
            Work::Fetch => Arc::new(OriginUpstream::new(core.chain.clone(), &plan.source)),
            Work::Image(params) => {
                Arc::new(ImageVariant { core: core.clone(), source: plan.source.clone(), params: *params })
            }
            work @ (Work::Video(_) | Work::Poster { .. }) => {
                Arc::new(VideoAsset { core: core.clone(), source: plan.source.clone(), work: work.clone() })
            }
        };
        let mut headers = request.headers.clone();
        let range = match &plan.work {
            // In the source, the bytes may be elsewhere; its beginning is needed to say so.
            Work::Fetch if plan.is_progressive() => {
                if headers.contains_key(header::IF_RANGE) {
                    Arc::make_mut(&mut headers).remove(header::IF_RANGE);
                }
                first_range(request).map(|range| match range {
                    Spec::From(0) | Spec::FromTo(0, _) => range,
                    _ => Spec::FromTo(0, u64::from(core.fills.store().block_size()) - 1),
                })
            }
            Work::Fetch => first_range(request),
            // Derived objects are made whole.
            _ => None,
        };
        Query {
            key: Key::new(plan.key_text(), core.fills.store().seed()),
            upstream,
            method: request.method.clone(),
            headers,
            control: RequestControl::parse(&*request.headers),
            range,
        }
    }
}

fn first_range(request: &Request) -> Option<Spec> {
    if request.method != Method::GET {
        return None;
    }
    range::parse((*request.headers).first("range")?)?.first().copied()
}

/// No origin could answer.
pub(super) fn failed(error: &origin::Error, served: Served) -> Response {
    use origin::ErrorKind;
    let (status, detail) = match error.kind {
        ErrorKind::FirstByteTimeout | ErrorKind::IdleTimeout | ErrorKind::TooSlow => {
            (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time")
        }
        ErrorKind::BreakerOpen => {
            (StatusCode::SERVICE_UNAVAILABLE, "the origin is in trouble and left alone")
        }
        ErrorKind::Forbidden => (StatusCode::NOT_FOUND, "there is nothing at this path"),
        ErrorKind::Connect => (StatusCode::BAD_GATEWAY, "the origin cannot be reached"),
        _ => (StatusCode::BAD_GATEWAY, "the origin's answer cannot be used"),
    };
    // Of an open breaker the log has heard when it opened.
    match error.kind {
        ErrorKind::BreakerOpen => tracing::debug!("{error}"),
        _ => tracing::warn!("{error}"),
    }
    let response = Response::problem(status, detail, served);
    match error.retry_after {
        Some(after) => {
            response.with(header::RETRY_AFTER, (after.as_secs_f64().ceil().max(1.0) as u64).to_string())
        }
        None => response,
    }
}

/// The body broke before its first byte.
fn broken(error: &fill::Error, served: Served) -> Response {
    if let fill::Error::Origin(error) = error {
        return failed(
            error,
            Served { outcome: Outcome::Error, reason: Reason::Origin(error.kind), ..served },
        );
    }
    tracing::warn!("{error}");
    let reason = Reason::Origin(origin::ErrorKind::BrokenBody);
    let served = Served { outcome: Outcome::Error, reason, ..served };
    Response::problem(StatusCode::BAD_GATEWAY, "the origin's answer broke off", served)
}
