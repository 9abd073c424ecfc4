//! Where jobs are kept until they are done, and for a while after: durable, in an order that is fair. [`Sqlite`] keeps them in a file
//! for one server, [`Postgres`] for all servers of a fleet. Times are milliseconds since 1970, and given by the callers.

use std::fmt;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod postgres;
mod sqlite;

pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// A job that has waited for so long goes among those of the next higher priority, up to the highest.
const AGEING: i64 = 15 * 60 * 1000;
const STOPPED: &str = "the server stopped while it ran, as often as may be";

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("the queue of jobs: {0}")]
    Engine(String),
    /// It may be there again soon.
    #[error("the queue of jobs cannot be reached: {0}")]
    Unavailable(String),
    #[error("another server is using {0}")]
    InUse(String),
    #[error("{0} was written by a later version")]
    TooNew(String),
}

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Running,
    Succeeded,
    /// It cannot succeed: another attempt would end the same way.
    Failed,
    /// All its attempts were in vain.
    Dead,
    Cancelled,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: String,
    /// Empty: nobody in particular.
    pub owner: String,
    pub preset: String,
    /// JSON of [`Work`](super::Work).
    pub work: String,
    pub priority: Priority,
    pub state: State,
    /// Begun so far.
    pub attempts: u32,
    pub created: i64,
    /// Not to begin before.
    pub due: i64,
    /// The latest attempt.
    pub started: Option<i64>,
    pub finished: Option<i64>,
    /// Why the latest attempt ended, if not well.
    pub detail: Option<String>,
    /// JSON.
    pub result: Option<String>,
    /// Of the latest attempt, from 0 to 1, as its server last said.
    pub progress: f64,
}

#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: String,
    pub owner: String,
    pub preset: String,
    pub work: String,
    pub priority: Priority,
    /// What the client calls this request.
    pub idempotency: Option<String>,
    pub now: i64,
}

/// How many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub all: usize,
    pub owner: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Added {
    New(Job),
    /// It was there already, by its idempotency key.
    Same(Job),
    /// That key stands for other work.
    Other,
    OwnerFull,
    Full,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Succeeded {
        result: String,
    },
    Failed {
        detail: String,
    },
    Dead {
        detail: String,
    },
    /// To be tried again.
    Again {
        due: i64,
        detail: String,
    },
    /// It did not get to end, and it was not its fault: the attempt does not count.
    Released {
        due: i64,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub owner: Option<String>,
    pub state: Option<State>,
    /// The id of the last one of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

/// Every implementation must pass `tests/it/edge/queues.rs`.
pub trait Queue: Send + Sync {
    /// Jobs may change at other servers.
    fn is_shared(&self) -> bool {
        false
    }

    fn add(&self, new: NewJob, room: Room) -> BoxFuture<'_, Result<Added>>;

    /// The job whose turn it is, leased to a worker: of the highest priority (see [`AGEING`]), of the owner with the fewest running, of
    /// the owner who was served longest ago, the oldest.
    fn claim<'a>(&'a self, worker: &'a str, now: i64, until: i64) -> BoxFuture<'a, Result<Option<Job>>>;

    /// Keeps a lease, and notes how far the work is. False: it is not this worker's any more.
    fn renew<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        until: i64,
        progress: f64,
    ) -> BoxFuture<'a, Result<bool>>;

    /// The same.
    fn end<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        ending: Ending,
        now: i64,
    ) -> BoxFuture<'a, Result<bool>>;

    /// What waits or runs is cancelled. The job as it was before; None: there is none.
    fn cancel<'a>(&'a self, id: &'a str, now: i64) -> BoxFuture<'a, Result<Option<Job>>>;

    /// What failed, died or was cancelled waits again, with all its attempts, if there is room as for a new one. The job as it was
    /// before: `New`, or `Same` if it was none of these. None: there is none.
    fn revive<'a>(&'a self, id: &'a str, now: i64, room: Room) -> BoxFuture<'a, Result<Option<Added>>>;

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>>>;

    /// The latest first.
    fn list(&self, listing: Listing) -> BoxFuture<'_, Result<Vec<Job>>>;

    /// What leases that are over have left behind waits again, or is dead after so many attempts. How many.
    fn reclaim(&self, now: i64, attempts: u32) -> BoxFuture<'_, Result<usize>>;

    fn waiting(&self) -> BoxFuture<'_, Result<usize>>;

    /// Forgets what was finished before that time, and the oldest of what is more than so many.
    fn prune(&self, before: i64, most: usize) -> BoxFuture<'_, Result<usize>>;

    /// Another server may have it from now on.
    fn close(&self);
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Dead, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Nothing more becomes of it, unless somebody revives it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Priority {
    fn rank(self) -> i64 {
        self as i64
    }

    fn of_rank(rank: i64) -> Self {
        match rank {
            0 => Self::Low,
            1 => Self::Normal,
            _ => Self::High,
        }
    }
}
