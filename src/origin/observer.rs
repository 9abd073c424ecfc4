//! What is told of the requests to origins, to whoever counts them.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::{Error, ErrorKind, Response, RetryPolicy, breaker::State, retry::is_transient};

/// What one attempt at one origin came to. The word goes to the metric label `result` and to logs alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// Any answer that is none of the below; its body may still break.
    Answered,
    /// 404 or 410.
    Missing,
    /// 408, 421, 425, 429, 500, 502, 503 or 504.
    Transient,
    Failed(ErrorKind),
}

/// Why an origin is asked something again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repetition {
    /// It failed.
    Retry,
    /// It takes long.
    Hedge,
    /// A body broke before much of it had come.
    Resume,
}

/// Told of everything that is to be counted. Called on the request's path: it must not block.
pub trait Observer: Send + Sync {
    /// Every attempt, failed ones included.
    fn attempt(&self, origin: &Arc<str>, result: Attempt);

    /// The head of an answer is in.
    fn head(&self, _origin: &Arc<str>, _method: &Method, _status: StatusCode, _took: Duration) {}

    /// A body broke that had begun well.
    fn body_broke(&self, _origin: &Arc<str>, _kind: ErrorKind) {}

    /// A repetition is wanted, and allowed by the budget or not.
    fn repetition(&self, _origin: &Arc<str>, _why: Repetition, _allowed: bool) {}

    /// The breaker kept a request away.
    fn turned_away(&self, _origin: &Arc<str>) {}

    /// Of an origin, or of `origin@route` where a route has a breaker of its own.
    fn breaker(&self, _origin: &Arc<str>, _state: State) {}

    /// There is no such origin any more.
    fn gone(&self, _origin: &Arc<str>) {}

    /// So many requests wait for others to end.
    fn waiting(&self, _origin: &Arc<str>, _requests: usize) {}
}

impl Repetition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Resume => "resume",
        }
    }
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

    pub(super) fn of(result: &Result<Response, Error>) -> Self {
        match result {
            Err(error) => Self::Failed(error.kind),
            Ok(answer) if is_transient(answer.status) => Self::Transient,
            Ok(answer) if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) => Self::Missing,
            Ok(_) => Self::Answered,
        }
    }

    pub(super) fn may_retry(self, policy: &RetryPolicy) -> bool {
        match self {
            Self::Answered | Self::Missing => false,
            Self::Transient => policy.statuses,
            Self::Failed(kind) => kind.is_worth_repeating(),
        }
    }
}
