//! An origin together with what is known of its condition. Chains share it: what one learns, all know.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use millrace_kit::tasks::Tasks;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::{
    Attempt, Error, ErrorKind, LeastRate, Load, Observer, Origin, Repetition, Request, Response, Share,
    breaker::{self, Breaker, Change, Outcome, Ticket},
    budget,
    condition::Condition,
    health,
    line::Line,
    report::Report,
    watched::watched,
};

mod admittance;

use admittance::Probes;

/// How an origin is watched over.
#[derive(Debug, Clone)]
pub struct Config {
    pub breaker: breaker::Config,
    pub budget: budget::Config,
    pub least_rate: Option<LeastRate>,
    /// An answer whose head takes longer counts as a failure.
    pub slow: Option<Duration>,
    pub health: Option<health::Config>,
    /// How long a request without another origin waits for its turn while this one recovers.
    pub patience: Duration,
    pub share: Share,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            breaker: breaker::Config::default(),
            budget: budget::Config::default(),
            least_rate: None,
            slow: None,
            health: None,
            patience: Duration::from_secs(5),
            share: Share::Weight(1),
        }
    }
}

/// An origin whose bodies break after so many bytes is of use all the same: they are gone on with.
const USEFUL: u64 = 64 << 10;

pub struct Member {
    origin: Arc<dyn Origin>,
    /// By which its breaker goes.
    label: Arc<str>,
    /// The same origin as others know it, where a route has a breaker of its own.
    general: Option<(Arc<Member>, Arc<str>)>,
    breaker: Breaker,
    line: Line,
    probes: Probes,
    condition: Arc<Condition>,
    config: Config,
    observer: Option<Arc<dyn Observer>>,
    tasks: Option<Tasks>,
    /// Nobody new comes to it. Held while gauges are set, so that none is set afterwards.
    retired: RwLock<bool>,
}

impl Member {
    pub fn new(origin: Arc<dyn Origin>, config: Config) -> Self {
        Self {
            label: origin.name().clone(),
            origin,
            general: None,
            breaker: Breaker::new(config.breaker.clone()),
            line: Line::new(config.patience),
            probes: Probes::default(),
            condition: Arc::new(Condition::new(config.budget.clone())),
            config,
            observer: None,
            tasks: None,
            retired: RwLock::default(),
        }
    }

    /// The same origin with another breaker: what fails under this route does not keep the others from it. Budget,
    /// latencies and health are those of the origin.
    #[must_use]
    pub fn apart(self: &Arc<Self>, route: &Arc<str>) -> Self {
        let label: Arc<str> = format!("{}@{route}", self.name()).into();
        if let Some(observer) = &self.observer {
            observer.breaker(&label, breaker::State::Closed);
        }
        Self {
            origin: self.origin.clone(),
            label,
            general: Some((self.clone(), route.clone())),
            breaker: Breaker::new(self.config.breaker.clone()),
            line: Line::new(self.config.patience),
            probes: Probes::default(),
            condition: self.condition.clone(),
            config: self.config.clone(),
            observer: self.observer.clone(),
            tasks: self.tasks.clone(),
            retired: RwLock::default(),
        }
    }

    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        observer.breaker(&self.label, breaker::State::Closed);
        self.observer = Some(observer);
        self
    }

    /// Where it may be asked in the background: for probes and health checks.
    #[must_use]
    pub fn with_tasks(mut self, tasks: Tasks) -> Self {
        self.tasks = Some(tasks);
        self
    }

    /// Begins the health checks that are configured.
    pub fn watch(self: &Arc<Self>) {
        if let (Some(config), Some(tasks)) = (self.config.health.clone(), &self.tasks) {
            tasks.spawn_until_stop("health", health::check(Arc::downgrade(self), config));
        }
    }

    /// From now on nobody new comes to it: it is not probed any more, and gauges are left to those that come after it.
    pub fn retire(&self) {
        *self.retired.write() = true;
    }

    fn is_retired(&self) -> bool {
        *self.retired.read()
    }

    /// As metrics name it: by its origin, and by the route where that has a breaker of its own.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Whether it is this origin, with a breaker for this route.
    pub fn is_apart_of(&self, origin: &Arc<Self>, route: &str) -> bool {
        self.general.as_ref().is_some_and(|(general, of)| Arc::ptr_eq(general, origin) && **of == *route)
    }

    pub fn name(&self) -> &Arc<str> {
        self.origin.name()
    }

    pub(super) fn share(&self) -> Share {
        self.config.share
    }

    /// Whether it is to be asked for this path and query at all.
    pub(super) fn serves(&self, target: &str) -> bool {
        self.origin.serves(target)
    }

    /// How much is asked of it. None: as much as comes.
    pub fn load(&self) -> Option<Load> {
        self.origin.places().map(|places| places.load())
    }

    /// Brings up to date what may change with time alone.
    pub fn refresh(&self) -> breaker::State {
        let (state, change) = self.breaker.state();
        self.note(change);
        self.show(|observer| {
            observer.breaker(&self.label, state);
            if self.general.is_some() {
                return;
            }
            if let Some(load) = self.load() {
                observer.waiting(self.name(), load.waiting);
            }
            for _ in 0..self.condition.newly_too_long(self.origin.too_long_answers()) {
                observer.body_broke(self.name(), ErrorKind::LongBody);
            }
        });
        state
    }

    pub fn report(&self) -> Report {
        let state = self.refresh();
        let (good, bad) = self.breaker.recent();
        let load = self.load();
        let ms = |share| self.quantile(share).map(|took| took.as_secs_f64() * 1000.0);
        Report {
            name: self.name().to_string(),
            route: self.general.as_ref().map(|(_, route)| route.to_string()),
            health: self.condition.health().as_str(),
            breaker: state.as_str(),
            recent_answers: good + bad,
            recent_failures: bad,
            failure_ratio: if bad == 0 { 0.0 } else { f64::from(bad) / f64::from(good + bad) },
            head_p50_ms: ms(0.5),
            head_p95_ms: ms(0.95),
            requests_running: load.map(|load| load.running),
            requests_waiting: load.map(|load| load.waiting),
            repetitions_left: self.condition.budget.left().floor() as u64,
            last_error: self.condition.last_error(),
        }
    }

    fn count_turned_away(&self) {
        if let Some(observer) = &self.observer {
            observer.turned_away(self.name());
        }
    }

    /// Whether it may be asked something again; that is paid for then.
    pub(super) fn may_repeat(&self, why: Repetition) -> bool {
        let allowed = self.condition.may_repeat();
        if let Some(observer) = &self.observer {
            observer.repetition(self.name(), why, allowed);
        }
        allowed
    }

    /// A first request, which earns the right to a share of a repetition.
    pub(super) fn earn(&self) {
        self.condition.budget.deposit();
    }

    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        self.condition.latency.quantile(share)
    }

    /// An answer that nobody waits for any more would have taken longer than that.
    pub(super) fn took_longer_than(&self, waited: Duration) {
        self.condition.latency.add(waited);
    }

    /// Ready when a request to it waits for others to end.
    pub(super) fn wanted(&self) -> BoxFuture<'static, ()> {
        let places = self.origin.places().cloned();
        Box::pin(async move {
            match places {
                Some(places) => places.wanted().await,
                None => std::future::pending().await,
            }
        })
    }

    /// Asks it, once, and draws conclusions.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: Request,
        ticket: Ticket,
    ) -> (Attempt, Result<Response, Error>) {
        let target = hash(&request.target);
        let method = request.method.clone();
        let began = Instant::now();
        let mut result = self.origin.fetch(request).await;
        let took = began.elapsed();
        let attempt = Attempt::of(&result);
        if let Some(outcome) = self.outcome(attempt, &result, took, target) {
            self.note(self.breaker.record(ticket, outcome));
            self.attend();
        }
        if ticket.is_probe() {
            self.probes.tell();
        }
        self.condition.heed(&result);
        match &mut result {
            Ok(answer) => {
                self.condition.latency.add(took);
                let body = std::mem::replace(&mut answer.body, Box::pin(futures_util::stream::empty()));
                let member = self.clone();
                answer.body =
                    watched(body, self.name().clone(), self.config.least_rate, move |error, after| {
                        member.body_broke(error, after, ticket, target);
                    });
            }
            Err(error) => self.condition.remember(error),
        }
        if let Some(observer) = &self.observer {
            observer.attempt(self.name(), attempt);
            if let Ok(answer) = &result {
                observer.head(self.name(), &method, answer.status, took);
            }
        }
        (attempt, result)
    }

    /// Asks for the path of the health checks, past the breaker.
    pub(super) async fn is_healthy(&self, config: &health::Config) -> bool {
        let request = Request::new(Method::GET, config.path.clone());
        match tokio::time::timeout(config.timeout, self.origin.fetch(request)).await {
            Ok(Ok(answer)) => answer.status.is_success() || answer.status.is_redirection(),
            _ => false,
        }
    }

    pub(super) fn health_changed(self: &Arc<Self>, status: health::Status) {
        self.condition.healthy.store(status as u8, Ordering::Relaxed);
        let healthy = status == health::Status::Healthy;
        self.note(self.breaker.health(healthy));
        self.attend();
    }

    /// What this says about the origin; None: nothing.
    fn outcome(
        &self,
        attempt: Attempt,
        result: &Result<Response, Error>,
        took: Duration,
        target: u64,
    ) -> Option<Outcome> {
        match attempt {
            Attempt::Answered | Attempt::Missing if self.config.slow.is_some_and(|slow| took > slow) => {
                Some(Outcome::Bad(target))
            }
            Attempt::Answered | Attempt::Missing => Some(Outcome::Good),
            Attempt::Transient => {
                // 408 and 429 speak of whoever asks.
                let status = result.as_ref().map_or(StatusCode::OK, |answer| answer.status);
                status.is_server_error().then_some(Outcome::Bad(target))
            }
            Attempt::Failed(ErrorKind::Connect | ErrorKind::Dns | ErrorKind::Tls) => {
                Some(Outcome::Unreachable)
            }
            Attempt::Failed(ErrorKind::FirstByteTimeout) => Some(Outcome::Silent(target)),
            // What the client asks for, and how much we ask at a time.
            Attempt::Failed(ErrorKind::Forbidden | ErrorKind::Saturated) => None,
            Attempt::Failed(_) => {
                // A request's body that its client did not finish is not the origin's fault.
                let ours = result.as_ref().is_err_and(|error| error.origin == *self.name());
                ours.then_some(Outcome::Bad(target))
            }
        }
    }

    fn body_broke(self: &Arc<Self>, error: &Error, after: u64, ticket: Ticket, target: u64) {
        self.condition.remember(error);
        if after < USEFUL {
            self.note(self.breaker.retract(ticket, target));
            self.attend();
        }
        if let Some(observer) = &self.observer {
            observer.body_broke(self.name(), error.kind);
        }
    }

    fn note(&self, change: Option<Change>) {
        let Some(Change { to, why }) = change else { return };
        match to {
            breaker::State::Open => tracing::warn!(origin = %self.label, why, "breaker open"),
            _ => tracing::info!(origin = %self.label, why, "breaker {}", to.as_str()),
        }
        self.probes.tell();
        self.show(|observer| observer.breaker(&self.label, to));
    }

    /// Sets gauges, unless they are not its own any more.
    fn show(&self, set: impl FnOnce(&dyn Observer)) {
        let retired = self.retired.read();
        if let (Some(observer), false) = (&self.observer, *retired) {
            set(&**observer);
        }
    }
}

fn hash(target: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(target)
}
