//! The life of a request: target → plan and policy → key → store or fill → answer, or the route's last resort. Every exit
//! has an outcome and a reason.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};

use super::{
    Core,
    ahead::{self, Ahead},
    coding::{self, Form},
    derive::{
        Address, Candidate, CodedVariant, ImageVariant, Improvable, Media, MediaConfig, Refusal, SetupError,
        VideoAsset,
    },
    fill::{self, Attachment, Fills, Upstream},
    forward::OriginUpstream,
    handout::Download,
    handover::Givers,
    instruments::{self, Instruments},
    outcome::{Outcome, Reason, Served},
    pass::pass,
    policy,
    range::{self, Spec},
    request::{Asked, Request},
    resolve::{Query, Resolved},
    respond::{Available, respond, respond_inline},
    response::Response,
    route::{BadQuery, Plan, Route, Work},
    routing::{self, Router, Routing},
    sandbox::{self, Svg},
    shown_key,
    warm::{self, Warmer},
};
use crate::{
    cache::{FieldLines, Found, Head, Key, Store, control::RequestControl, freshness::Verdict},
    media::{coding::Coding, encodes::Urgency},
    origin::{self, Origin, member},
};

#[derive(Debug, Clone)]
pub struct Config {
    pub fill: fill::Limits,
    pub routing: routing::Config,
    /// Whether `Cache-Status` has the key.
    pub show_keys: bool,
    pub svg: Svg,
    pub media: MediaConfig,
    pub coding: coding::Rules,
    pub warm: warm::Config,
}

/// Answers requests. Shared by all connections.
pub struct Delivery {
    pub(super) core: Arc<Core>,
    coding: coding::Rules,
    instruments: Instruments,
    show_keys: bool,
    pub(super) ahead: Arc<Ahead>,
    svg: Svg,
    warmer: Arc<Warmer>,
    pub(super) givers: Givers,
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

/// The same of one whose client sends too slowly.
pub fn slow_request_body() -> origin::Error {
    let detail = "the client's body comes too slowly".to_owned();
    origin::Error::new(&Arc::from("client"), origin::ErrorKind::IdleTimeout, detail)
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
        let router = Router::new(config.routing, origins, tasks.clone(), registry)?;
        let ahead = Arc::new(Ahead::new(tasks.clone(), config.media.ahead));
        let warmer = Warmer::new(config.warm, store.clone(), clock.clone(), tasks.clone(), registry)?;
        let fills = Fills::new(store, config.fill, clock, tasks.clone(), instruments::of_fills(registry)?);
        let media = Media::new(config.media, registry)?;
        let core = Arc::new(Core { fills, router, media });
        tasks.spawn_until_stop("improve images", core.clone().improve());
        let (coding, show_keys, svg) = (config.coding, config.show_keys, config.svg);
        let (instruments, givers) = (Instruments::new(registry)?, Givers::default());
        Ok(Self { core, coding, instruments, show_keys, ahead, svg, warmer, givers })
    }

    /// Tries out what else would be tried out when it is first needed.
    pub async fn warm_up(&self) {
        self.core.media.transcoder().await;
    }

    /// Fills the store from peers.
    pub fn warmer(&self) -> &Arc<Warmer> {
        &self.warmer
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
        self.core.router.at_once().observe();
    }

    /// The condition of all origins.
    pub fn origins(&self) -> Vec<origin::Report> {
        self.core.router.at_once().origins()
    }

    /// From now on these origins and rules are in force.
    pub fn reroute(&self, config: routing::Config, origins: Vec<routing::Wanted>) {
        self.core.router.change(config, origins);
    }

    /// The answer to a request for a small object that is in memory and fresh: the shortest way, without waiting.
    /// None: take the long way, [`Self::answer`], or its body would not come at once, or is longer than `longest`. Then nothing has
    /// been counted.
    pub fn answer_at_once(&self, request: &Asked<'_, impl FieldLines>, longest: u64) -> Option<Answer> {
        if !matches!(*request.method, Method::GET | Method::HEAD) {
            return None;
        }
        let routing = self.core.router.at_once();
        let plan = self
            .plan(&routing, request)
            .ok()
            .filter(|plan| !plan.is_progressive() && !ahead::looks_ahead(plan))?;
        if longest < u64::MAX && plan.policy.rules.pace.is_some() {
            return None;
        }
        let key = plan.key(self.store().seed());
        let now = self.core.clock().unix_millis();
        let control = RequestControl::parse(request.fields);
        let lifetimes = &plan.policy.rules.lifetimes;
        let fresh = |head: &Head| lifetimes.of(head).judge(&head.control, &control, now) == Verdict::Fresh;
        let (key, mut head) = match self.store().peek(&key)? {
            Found::Head(head) => (key, head),
            Found::Variants(variants) if plan.policy.rules.fields.passes_all(variants.spec.names()) => {
                let key = key.variant(&variants, &variants.spec.select(request.fields), self.store().seed());
                let head = self.in_memory(&key)?;
                (key, head)
            }
            _ => return None,
        };
        if !fresh(&head) || head.length > longest {
            return None;
        }
        if !self.count_use(&plan, &key, &head, || None) {
            return None;
        }
        let form = self.coding.form(request, &head, head.length);
        let vary = form.vary(&head);
        if let Form::Coded(coding) = form {
            // Where there is no use in coding it, the long way finds that out.
            head = self.in_memory(&coding::key(&key, &head, coding, self.store().seed()))?;
            if head.status != StatusCode::OK || !fresh(&head) {
                return None;
            }
        }
        let ttl = Some(lifetimes.of(&head).ttl(now).div_euclid(1000));
        let served = Served { ttl, ..Served::new(Outcome::Hit, Reason::Fresh) };
        let mut response = respond_inline(request, &head, served, now)?;
        response.added.extend(vary);
        self.store().count_hit();
        Some(self.finished(&plan, response))
    }

    fn in_memory(&self, key: &Key) -> Option<Arc<Head>> {
        match self.store().peek(key) {
            Some(Found::Head(head)) => Some(head),
            _ => None,
        }
    }

    /// `body` is given for requests that have one.
    pub async fn answer(&self, request: &Request, body: Option<RequestBody>) -> Answer {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Answer { route: Route::Asset, response: self.forward(request, body).await };
        }
        let routing = self.core.router.now();
        match self.plan(&routing, &request.asked()) {
            Ok(plan) => {
                let answer = self.get(request, &plan).await;
                let response = self.or_fallback(request, &plan, answer).await;
                self.finished(&plan, response)
            }
            Err(bad) => {
                let served = Served::new(Outcome::Error, bad.reason());
                let response = Response::problem(bad.status(), &bad.to_string(), served);
                Answer { route: Route::Image, response }
            }
        }
    }

    /// Whether the answer has to be made of something else, unless it is stored.
    pub fn is_made(&self, request: &Request) -> bool {
        self.plan(&self.core.router.at_once(), &request.asked()).is_ok_and(|plan| {
            matches!(plan.work, Work::Image(_) | Work::Poster { .. } | Work::Waveform { .. })
        })
    }

    pub(super) fn plan<'p>(
        &self,
        routing: &'p Routing,
        request: &Asked<'_, impl FieldLines>,
    ) -> Result<Plan<'p>, BadQuery> {
        let (host, now) = (policy::host_of(request.fields), self.core.clock().unix_millis() / 1000);
        let now = u64::try_from(now).unwrap_or_default();
        let plan = Plan::admitted(request.target, host, &routing.policies, now)?;
        Ok(plan.settled(request.fields, self.core.media.lengths()))
    }

    /// With what goes with each answer to this plan.
    fn finished(&self, plan: &Plan<'_>, response: Response) -> Answer {
        let mut response = sandbox::guarded(response, self.svg);
        response.added.extend(plan.vary());
        let accept_ch = plan.accept_ch(|| response.is_page());
        response.added.extend(accept_ch);
        if response.status.is_success() {
            let disposition = plan.download().and_then(Download::disposition);
            response.added.extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
        }
        if let Some(pace) = plan.policy.rules.pace.filter(|_| plan.route == Route::Asset) {
            response.body = pace.of(response.body);
        }
        response.key = self.shown_key(plan);
        Answer { route: plan.route, response }
    }

    fn shown_key(&self, plan: &Plan<'_>) -> Option<String> {
        self.show_keys.then(|| shown_key::shown(plan))
    }

    async fn get(&self, request: &Request, plan: &Plan<'_>) -> Response {
        let query = self.query(request, plan);
        if request.method == Method::GET {
            self.foresee(request, plan, &query.key);
        }
        for _ in 0..MAX_CHANGES {
            let resolved = match self.core.put_together(plan, &query, &request.headers).await {
                Some(source) => source,
                None => self.core.resolve(&query).await,
            };
            match resolved {
                Resolved::Object { mut available, mut served, mut hold } => {
                    if served.outcome == Outcome::Hit {
                        let source = || Some(Address::of(plan, &request.headers));
                        let object = &available.object;
                        self.count_use(plan, &object.key, &object.head, source);
                    }
                    if let Some(span) = plan.clip() {
                        match self.core.clip(&available, span).await {
                            Ok(arrangement) => available.arrangement = arrangement,
                            Err(refusal) => return refusal.into_problem(served),
                        }
                    } else if plan.is_progressive() {
                        available.arrangement = self.core.arrange(&available).await;
                    }
                    // Of a body that comes without its length, the coded form is made next time.
                    let form = match available.length() {
                        Some(length) => self.coding.form(&request.asked(), &available.object.head, length),
                        None => Form::Only,
                    };
                    let vary = form.vary(&available.object.head);
                    if let Form::Coded(coding) = form
                        && let Some(coded) = self.coded(&query, &available, served, coding).await
                    {
                        (available, served, hold) = coded;
                    }
                    let now = self.core.clock().unix_millis();
                    let answer = respond(&self.core.fills, request, available, served, now).await;
                    drop(hold);
                    match answer {
                        Ok(mut response) => {
                            response.added.extend(vary);
                            return response;
                        }
                        // Either way it is gone from the store.
                        Err(fill::Error::Changed | fill::Error::NotResumable) => {}
                        Err(error) => return broken(&error, served),
                    }
                }
                // A part of the source, of no use to anybody.
                Resolved::Answer { response, served }
                    if plan.clip().is_some() && response.status.is_success() =>
                {
                    return Refusal::unclipped("it may not be stored in parts").into_problem(served);
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

    /// The object in a content coding. None: as it is will do better, or has to do.
    async fn coded(
        &self,
        query: &Query,
        available: &Available,
        served: Served,
        coding: Coding,
    ) -> Option<(Available, Served, Option<Attachment>)> {
        let source =
            Query { method: Method::GET, control: RequestControl::default(), range: None, ..query.clone() };
        let head = &available.object.head;
        let version = coding::version(head);
        let upstream = Arc::new(CodedVariant { core: self.core.clone(), source, version, coding });
        let key = coding::key(&available.object.key, head, coding, self.store().seed());
        match self.core.resolve(&Query { key, upstream, ..query.clone() }).await {
            Resolved::Object { available, served: coded, hold }
                if available.object.head.status == StatusCode::OK =>
            {
                // What became of the request is told by what took longest.
                let served = if served.outcome == Outcome::Hit { coded } else { served };
                Some((available, served, hold))
            }
            _ => None,
        }
    }

    /// What is asked for often may be worth a better form: false when it has become so now, but its source is not told.
    fn count_use(
        &self,
        plan: &Plan<'_>,
        key: &Key,
        head: &Head,
        source: impl FnOnce() -> Option<Address>,
    ) -> bool {
        let Some(what) = Improvable::of(&plan.work) else { return true };
        let candidate = || Some(Candidate { key: key.clone(), source: source()?, what });
        self.core.media.improvements().used(key, head, candidate)
    }

    pub(super) fn query(&self, request: &Request, plan: &Plan<'_>) -> Query {
        self.query_of(request, plan, self.ahead.urgency(plan))
    }

    pub(super) fn query_of(&self, request: &Request, plan: &Plan<'_>, urgency: Urgency) -> Query {
        let core = &self.core;
        let source = || Address::of(plan, &request.headers);
        let key = plan.key(core.fills.store().seed());
        let upstream: Arc<dyn Upstream> = match &plan.work {
            Work::Fetch => {
                let upstream = OriginUpstream::new(plan.policy.chain.clone(), &plan.source);
                let has_stand_in = plan.policy.rules.fallback.is_some();
                Arc::new(upstream.on_behalf_of(request).with_stand_in(has_stand_in))
            }
            Work::Image(params) => {
                Arc::new(ImageVariant { core: core.clone(), source: source(), params: *params })
            }
            work @ (Work::Video(_) | Work::Poster { .. } | Work::Waveform { .. }) => Arc::new(VideoAsset {
                core: core.clone(),
                source: source(),
                work: work.clone(),
                what: key.hash(),
                urgency,
            }),
        };
        let mut headers = plan.policy.rules.fields.heeded(&request.headers);
        let first_block = Spec::FromTo(0, u64::from(core.fills.store().block_size()) - 1);
        let mut method = request.method.clone();
        let range = match &plan.work {
            // Of a clip, the answer's bytes are known when the source's index is.
            Work::Fetch if plan.clip().is_some() => {
                if headers.contains_key(header::IF_RANGE) {
                    Arc::make_mut(&mut headers).remove(header::IF_RANGE);
                }
                method = Method::GET;
                Some(first_block)
            }
            // In the source, the bytes may be elsewhere; its beginning is needed to say so.
            Work::Fetch if plan.is_progressive() => {
                if headers.contains_key(header::IF_RANGE) {
                    Arc::make_mut(&mut headers).remove(header::IF_RANGE);
                }
                first_range(request).map(|range| match range {
                    Spec::From(0) | Spec::FromTo(0, _) => range,
                    _ => first_block,
                })
            }
            Work::Fetch => first_range(request),
            // Derived objects are made whole.
            _ => None,
        };
        Query {
            key,
            upstream,
            method,
            headers,
            policy: plan.policy.clone(),
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
        ErrorKind::Saturated => (StatusCode::SERVICE_UNAVAILABLE, "too much is asked of the origin"),
        ErrorKind::FirstByteTimeout
        | ErrorKind::IdleTimeout
        | ErrorKind::TotalTimeout
        | ErrorKind::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time"),
        ErrorKind::BreakerOpen => {
            (StatusCode::SERVICE_UNAVAILABLE, "the origin is in trouble and left alone")
        }
        ErrorKind::Forbidden => (StatusCode::NOT_FOUND, "there is nothing at this path"),
        ErrorKind::Connect | ErrorKind::Dns | ErrorKind::Tls | ErrorKind::PrivateAddress => {
            (StatusCode::BAD_GATEWAY, "the origin cannot be reached")
        }
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "the origin cannot answer now"),
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
