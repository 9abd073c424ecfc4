//! An origin together with what is known of its condition. Chains share it: what one learns, all know.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use millrace_kit::tasks::Tasks;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Attempt, Error, ErrorKind, LeastRate, Observer, Origin, Repetition, Request, Response,
    breaker::{self, Admission, Breaker, Change, Outcome, Ticket},
    budget::{self, Budget},
    chain::Question,
    health,
    latency::Latency,
    report::{LastError, Report},
    retry::retry_after,
    watched::watched,
};

/// How an origin is watched over.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub breaker: breaker::Config,
    pub budget: budget::Config,
    pub least_rate: Option<LeastRate>,
    /// An answer whose head takes longer counts as a failure.
    pub slow: Option<Duration>,
    pub health: Option<health::Config>,
}

/// However long an origin asks to be left alone: its word is taken for so long.
const MAX_QUIET: Duration = Duration::from_secs(30);

/// An origin whose bodies break after so many bytes is of use all the same: they are gone on with.
const USEFUL: u64 = 64 << 10;

pub struct Member {
    origin: Arc<dyn Origin>,
    breaker: Breaker,
    budget: Budget,
    latency: Latency,
    least_rate: Option<LeastRate>,
    slow: Option<Duration>,
    pub(super) health: Option<health::Config>,
    observer: Option<Arc<dyn Observer>>,
    tasks: Option<Tasks>,
    last_error: Mutex<Option<(Instant, ErrorKind, String)>>,
    /// It has asked for no repetitions until then.
    quiet_until: Mutex<Option<Instant>>,
    /// See [`health::Status`].
    pub(super) healthy: AtomicU8,
}

impl Member {
    pub fn new(origin: Arc<dyn Origin>, config: Config) -> Self {
        Self {
            origin,
            breaker: Breaker::new(config.breaker),
            budget: Budget::new(config.budget),
            latency: Latency::default(),
            least_rate: config.least_rate,
            slow: config.slow,
            healthy: AtomicU8::new(health::Status::Unknown as u8),
            health: config.health,
            observer: None,
            tasks: None,
            last_error: Mutex::default(),
            quiet_until: Mutex::default(),
        }
    }

    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        observer.breaker(self.origin.name(), breaker::State::Closed);
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
        if let (Some(config), Some(tasks)) = (self.health.clone(), &self.tasks) {
            tasks.spawn_until_stop("health", health::check(self.clone(), config));
        }
    }

    pub fn name(&self) -> &Arc<str> {
        self.origin.name()
    }

    /// Whether it is to be asked for this path and query at all.
    pub(super) fn serves(&self, target: &str) -> bool {
        self.origin.serves(target)
    }

    /// Brings the state up to date, which may change with time alone.
    pub fn refresh(&self) -> breaker::State {
        let (state, change) = self.breaker.state();
        self.note(change);
        state
    }

    pub fn report(&self) -> Report {
        let state = self.refresh();
        let (good, bad) = self.breaker.recent();
        let last_error = self.last_error.lock().as_ref().map(|(when, kind, detail)| LastError {
            kind: kind.as_str(),
            detail: detail.clone(),
            seconds_ago: when.elapsed().as_secs(),
        });
        let ms = |share| self.latency.quantile(share).map(|took| took.as_secs_f64() * 1000.0);
        Report {
            name: self.name().to_string(),
            health: health::Status::from_u8(self.healthy.load(Ordering::Relaxed)).as_str(),
            breaker: state.as_str(),
            recent_answers: good + bad,
            recent_failures: bad,
            failure_ratio: if bad == 0 { 0.0 } else { f64::from(bad) / f64::from(good + bad) },
            head_p50_ms: ms(0.5),
            head_p95_ms: ms(0.95),
            repetitions_left: self.budget.left().floor() as u64,
            last_error,
        }
    }

    /// Whether it may be asked; `alternative`: there is another origin to go to.
    pub(super) fn admit(&self, alternative: bool) -> Admission {
        let (admission, change) = self.breaker.admit(alternative);
        self.note(change);
        if matches!(admission, Admission::No { .. })
            && let Some(observer) = &self.observer
        {
            observer.turned_away(self.name());
        }
        admission
    }

    /// Whether it may be asked something again; that is paid for then.
    pub(super) fn may_repeat(&self, why: Repetition) -> bool {
        let is_quiet = self.quiet_until.lock().is_some_and(|until| Instant::now() < until);
        let allowed = !is_quiet && self.budget.withdraw();
        if let Some(observer) = &self.observer {
            observer.repetition(self.name(), why, allowed);
        }
        allowed
    }

    /// A first request, which earns the right to a share of a repetition.
    pub(super) fn earn(&self) {
        self.budget.deposit();
    }

    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        self.latency.quantile(share)
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
        }
        match &mut result {
            Ok(answer) => {
                self.latency.add(took);
                self.heed(answer);
                let body = std::mem::replace(&mut answer.body, Box::pin(futures_util::stream::empty()));
                let member = self.clone();
                answer.body = watched(body, self.name().clone(), self.least_rate, move |error, after| {
                    member.body_broke(error, after, ticket, target);
                });
            }
            Err(error) => self.remember(error),
        }
        if let Some(observer) = &self.observer {
            observer.attempt(self.name(), attempt);
            if let Ok(answer) = &result {
                observer.head(self.name(), &method, answer.status, took);
            }
        }
        (attempt, result)
    }

    /// Finds out in the background whether it answers again.
    pub(super) fn probe(self: &Arc<Self>, question: &Question, ticket: Ticket) -> bool {
        let Some(tasks) = &self.tasks else { return false };
        let (member, request) = (self.clone(), question.ask());
        tasks.spawn_until_stop("probe", async move {
            // Only the head is wanted; the body is let go.
            let _ = member.ask(request, ticket).await;
        });
        true
    }

    /// Asks for the path of the health checks, past the breaker.
    pub(super) async fn is_healthy(&self, config: &health::Config) -> bool {
        let request = Request::new(Method::GET, config.path.clone());
        match tokio::time::timeout(config.timeout, self.origin.fetch(request)).await {
            Ok(Ok(answer)) => answer.status.is_success() || answer.status.is_redirection(),
            _ => false,
        }
    }

    pub(super) fn health_changed(&self, healthy: bool) {
        self.note(self.breaker.health(healthy));
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
            Attempt::Answered | Attempt::Missing if self.slow.is_some_and(|slow| took > slow) => {
                Some(Outcome::Bad(target))
            }
            Attempt::Answered | Attempt::Missing => Some(Outcome::Good),
            Attempt::Transient => {
                // 408 and 429 speak of whoever asks.
                let status = result.as_ref().map_or(StatusCode::OK, |answer| answer.status);
                status.is_server_error().then_some(Outcome::Bad(target))
            }
            Attempt::Failed(ErrorKind::Connect) => Some(Outcome::Unreachable),
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

    /// `Retry-After` of an answer that means "not now".
    fn heed(&self, answer: &Response) {
        if !matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        if let Some(pause) = retry_after(&answer.headers) {
            *self.quiet_until.lock() = Some(Instant::now() + pause.min(MAX_QUIET));
        }
    }

    fn body_broke(&self, error: &Error, after: u64, ticket: Ticket, target: u64) {
        self.remember(error);
        if after < USEFUL {
            self.note(self.breaker.retract(ticket, target));
        }
        if let Some(observer) = &self.observer {
            observer.body_broke(self.name(), error.kind);
        }
    }

    fn remember(&self, error: &Error) {
        *self.last_error.lock() = Some((Instant::now(), error.kind, error.detail.clone()));
    }

    fn note(&self, change: Option<Change>) {
        let Some(Change { to, why }) = change else { return };
        match to {
            breaker::State::Open => tracing::warn!(origin = %self.name(), why, "breaker open"),
            _ => tracing::info!(origin = %self.name(), why, "breaker {}", to.as_str()),
        }
        if let Some(observer) = &self.observer {
            observer.breaker(self.name(), to);
        }
    }
}

fn hash(target: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(target)
}
