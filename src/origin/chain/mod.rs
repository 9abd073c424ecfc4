//! Asks several origins in order and decides which answer counts. Retry and failover live here; what a request means
//! to one origin lives with that origin, and resuming a broken body is the caller's business (`fetch_from`).
//!
//! Which answer counts, for a safe request without body:
//! 1. The first answer that is neither transient (408, 429, 500, 502, 503, 504) nor missing (404, 410).
//! 2. If there is none, a transient answer; failing that, an error. Missing is only believed when *every* origin says
//!    so: an origin that is down may well have the object, and a 404 would be remembered in its place.
//! 3. Missing. A path that an origin refuses to look up counts as missing there, below a real 404.
//!
//! Among equals the last one counts. Any other request goes once to the first origin, and its answer stands.

use std::{cmp::Ordering, sync::Arc};

use http::{HeaderMap, Method, StatusCode};
use tracing::{debug, warn};

use super::{
    Error, ErrorKind, Interims, Origin, Request, Response, RetryPolicy,
    retry::{asks_for_longer, is_transient},
};

/// What one attempt at one origin came to. The word goes to the metric label `result` and to logs alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// Any answer that is none of the below; its body may still break.
    Answered,
    /// 404 or 410.
    Missing,
    /// 408, 429, 500, 502, 503 or 504.
    Transient,
    Failed(ErrorKind),
}

/// Told of every attempt, failed ones included. Called on the request's path: it must not block.
pub trait Observer: Send + Sync {
    fn attempt(&self, origin: &Arc<str>, result: Attempt);
}

/// Origins in order of preference.
pub struct Chain {
    origins: Vec<Arc<dyn Origin>>,
    retry: RetryPolicy,
    observer: Option<Arc<dyn Observer>>,
}

impl Attempt {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Missing => "missing",
            Self::Transient => "transient",
            Self::Failed(kind) => kind.as_str(),
        }
    }

    fn of(result: &Result<Response, Error>) -> Self {
        match result {
            Err(error) => Self::Failed(error.kind),
            Ok(answer) if is_transient(answer.status) => Self::Transient,
            Ok(answer) if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) => Self::Missing,
            Ok(_) => Self::Answered,
        }
    }

    fn may_retry(self, policy: &RetryPolicy) -> bool {
        match self {
            Self::Answered | Self::Missing => false,
            Self::Transient => policy.statuses,
            Self::Failed(kind) => kind.is_retryable(),
        }
    }

    /// See the caption of this file.
    fn rank(self) -> u8 {
        match self {
            Self::Answered => 4,
            Self::Transient => 3,
            Self::Failed(kind) if kind.is_retryable() => 2,
            Self::Missing => 1,
            Self::Failed(_) => 0,
        }
    }
}

impl Chain {
    pub fn new(origins: Vec<Arc<dyn Origin>>, retry: RetryPolicy) -> Self {
        Self { origins, retry, observer: None }
    }

    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Names in order of preference.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.origins.iter().map(|origin| origin.name())
    }

    /// Asks the origins in order; see the caption of this file for which answer counts.
    pub async fn fetch(&self, request: Request) -> Result<Response, Error> {
        let Some(first) = self.origins.first() else {
            return Err(Error::new(&Arc::from("none"), ErrorKind::Connect, "no origin is configured"));
        };
        if !is_repeatable(&request) {
            return self.attempt(first.as_ref(), request).await.1;
        }
        let question = Question::from(request);
        let mut best: Option<(Attempt, Result<Response, Error>)> = None;
        for (index, origin) in self.origins.iter().enumerate() {
            let (attempt, result) = self.attempts(origin.as_ref(), &question).await;
            if attempt == Attempt::Answered {
                return result;
            }
            if let Some(next) = self.origins.get(index + 1) {
                report_failover(attempt, &result, origin.name(), next.name());
            }
            // The answer that no longer counts is dropped here, and its connection with it.
            best = Some(match best.take() {
                Some(kept) if kept.0.rank().cmp(&attempt.rank()) == Ordering::Greater => kept,
                _ => (attempt, result),
            });
        }
        match best {
            Some((_, result)) => result,
            None => Err(Error::new(first.name(), ErrorKind::Connect, "no origin was asked")),
        }
    }

    /// Asks only the origin of that name, with retry: to go on with a body under the validator this origin gave.
    pub async fn fetch_from(&self, name: &str, request: Request) -> Result<Response, Error> {
        let Some(origin) = self.origins.iter().find(|origin| &**origin.name() == name) else {
            return Err(Error::new(&Arc::from(name), ErrorKind::Connect, "no origin has this name"));
        };
        if !is_repeatable(&request) {
            return self.attempt(origin.as_ref(), request).await.1;
        }
        self.attempts(origin.as_ref(), &Question::from(request)).await.1
    }

    /// Asks one origin until it answers, refuses for good, or `attempts_per_origin` are used up.
    async fn attempts(&self, origin: &dyn Origin, question: &Question) -> (Attempt, Result<Response, Error>) {
        let mut failed = 0;
        loop {
            let (attempt, result) = self.attempt(origin, question.ask()).await;
            failed += 1;
            if !attempt.may_retry(&self.retry) || failed >= self.retry.attempts_per_origin {
                return (attempt, result);
            }
            if let Ok(answer) = &result
                && asks_for_longer(&answer.headers, self.retry.backoff_max)
            {
                return (attempt, result);
            }
            // Free the failed answer's connection before the pause.
            drop(result);
            let pause = self.retry.backoff(failed);
            debug!(origin = %origin.name(), result = attempt.as_str(), ?pause, "origin is asked again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, origin: &dyn Origin, request: Request) -> (Attempt, Result<Response, Error>) {
        let result = origin.fetch(request).await;
        let attempt = Attempt::of(&result);
        if let Some(observer) = &self.observer {
            observer.attempt(origin.name(), attempt);
        }
        (attempt, result)
    }
}

/// Whether sending it twice does no harm: its method is safe (RFC 9110 §9.2.1) and it has no body.
fn is_repeatable(request: &Request) -> bool {
    request.body.is_none() && request.method.is_safe()
}

/// A repeatable request, to be sent as often as needed.
struct Question {
    method: Method,
    target: String,
    headers: HeaderMap,
    interims: Option<Interims>,
}

impl From<Request> for Question {
    fn from(Request { method, target, headers, body: _, interims }: Request) -> Self {
        Self { method, target, headers, interims }
    }
}

impl Question {
    fn ask(&self) -> Request {
        Request {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: None,
            interims: self.interims.clone(),
        }
    }
}

/// A missing asset is what a fallback chain is for; an origin in trouble is worth waking somebody up. The target stays
/// out of the log, since it may carry a signature.
fn report_failover(attempt: Attempt, result: &Result<Response, Error>, from: &str, to: &str) {
    match (attempt, result) {
        (Attempt::Missing, _) => debug!(from, to, "missing at this origin, asking the next"),
        (_, Ok(answer)) => {
            warn!(from, to, result = attempt.as_str(), status = answer.status.as_u16(), "failing over");
        }
        (_, Err(error)) if !error.kind.is_retryable() => {
            debug!(from, to, detail = error.detail, "refused by this origin, asking the next");
        }
        (_, Err(error)) => {
            warn!(from, to, result = attempt.as_str(), detail = error.detail, "failing over");
        }
    }
}

#[cfg(test)]
mod tests;
