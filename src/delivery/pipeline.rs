//! The life of a request: target → plan and policy → key → store or fill → answer, or the route's last resort. Every exit
//! has an outcome and a reason.

use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::{
    Core,
    ahead::{self, Ahead},
    coding::{self, Form},
    derive::{Address, Candidate, CodedVariant, Improvable, Refusal},
    failure::{broken, failed},
    fill::{self, Attachment},
    handout::Download,
    handover::Givers,
    instruments::Instruments,
    outcome::{Outcome, Reason, Served},
    pass::pass,
    policy,
    request::{Asked, Request},
    resolve::{Query, Resolved},
    respond::{Available, not_cached, respond, respond_inline},
    response::Response,
    route::{BadQuery, Plan, Route, Work},
    routing::Routing,
    sandbox::{self, Svg},
    shown_key,
    warm::Warmer,
    writes::RequestBody,
};
use crate::{
    cache::{FieldLines, Found, Head, Key, control::RequestControl, freshness::Verdict},
    media::coding::Coding,
    origin,
};

/// Answers requests. Shared by all connections.
pub struct Delivery {
    pub(super) core: Arc<Core>,
    pub(super) coding: coding::Rules,
    pub(super) instruments: Instruments,
    pub(super) show_keys: bool,
    pub(super) ahead: Arc<Ahead>,
    pub(super) svg: Svg,
    pub(super) warmer: Arc<Warmer>,
    pub(super) givers: Givers,
}

pub struct Answer {
    pub route: Route,
    pub response: Response,
}

/// An object that changed between lookup and first byte is looked up again this often.
const MAX_CHANGES: usize = 3;

impl Delivery {
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
        let mut stand_in = None;
        for _ in 0..MAX_CHANGES {
            let resolved = match stand_in.take() {
                Some(stand_in) => stand_in,
                None => match self.core.put_together(plan, &query, &request.headers).await {
                    Some(source) => source,
                    None => self.core.resolve(&query).await,
                },
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
                    let head = available.object.head.clone();
                    let answer = respond(&self.core.fills, request, available, served, now).await;
                    drop(hold);
                    match answer {
                        Ok(mut response) => {
                            response.added.extend(vary);
                            return response;
                        }
                        // Either way it is gone from the store.
                        Err(fill::Error::Changed | fill::Error::NotResumable) => {}
                        Err(error) => match self.core.stand_in_for(&query, &head).await {
                            Some(found) if served.outcome == Outcome::Miss => stand_in = Some(found),
                            _ => return broken(&error, served),
                        },
                    }
                }
                // A part of the source, of no use to anybody.
                Resolved::Answer { response, served }
                    if plan.clip().is_some() && response.status.is_success() =>
                {
                    return Refusal::unclipped("it may not be stored in parts").into_problem(served);
                }
                Resolved::Answer { response, served } => {
                    let response = self.core.fills.passing(response);
                    return pass(request, &query, response, served).await.unwrap_or_else(|error| {
                        let reason = Reason::Origin(error.kind);
                        failed(&error, Served { outcome: Outcome::Error, reason, ..served })
                    });
                }
                Resolved::Failed { error, served } => return failed(&error, served),
                Resolved::NotCached => return not_cached(),
                Resolved::Overloaded { served } => return broken(&fill::Error::Full, served),
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
}
