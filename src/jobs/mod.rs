//! Slow work that nobody waits for with an open connection: a durable queue with priorities and fairness, workers who do it one after
//! the other, and progress for those who ask. Knows neither the cache nor HTTP; where sources come from and assets go to is told by
//! [`Library`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use millrace_kit::{
    clock::Clock,
    metrics::{self, Registry},
    tasks::Tasks,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::sleep,
};

mod instruments;
mod library;
mod live;
mod lock;
mod queue;
mod run;
mod scratch;
mod told;
mod work;
mod worker;

#[cfg(test)]
mod tests;

pub use library::{Failure, Keeping, Kept, Library};
pub use lock::Lock;
pub use queue::{
    Added, Ending, Error as QueueError, Job, Listing, NewJob, Postgres, Priority, Queue, Room, Sqlite, State,
};
pub use run::Workshop;
pub use scratch::Scratch;
pub use told::Told;
pub use work::{Ladder, Part, Setup, Work};

use instruments::Instruments;
use live::Live;

use crate::store::database;

#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    /// None: the queue is in `dir`, for one server.
    pub database: Option<database::Config>,
    /// Jobs that run at a time.
    pub workers: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// Of one owner, running ones included.
    pub per_owner: usize,
    /// Of one job.
    pub attempts: u32,
    /// Of one attempt.
    pub time: Duration,
    /// Room for sources and outputs of all that run.
    pub scratch_bytes: u64,
    /// What is over is remembered for so long.
    pub keep: Duration,
    pub threads: usize,
}

/// Finished jobs that are remembered at most.
const MAX_FINISHED: usize = 10_000;
/// Who follow jobs at a time.
const MAX_FOLLOWERS: usize = 64;
/// Between two looks at a job that another server may be doing.
const SHARED_LOOK: Duration = Duration::from_secs(1);
/// Longest JSON of the work of one job.
pub const MAX_WORK: usize = 64 << 10;

/// The queue as those see it who send jobs. Shared by all connections.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<dyn Queue>,
    config: Config,
    /// This server, as leases name it.
    worker: String,
    live: Arc<Live>,
    added: Notify,
    followers: Arc<Semaphore>,
    clock: Clock,
    tasks: Tasks,
    instruments: Instruments,
}

/// Who sends a job, and how.
#[derive(Debug, Clone, Default)]
pub struct Order {
    pub owner: String,
    pub priority: Priority,
    pub idempotency: Option<String>,
}

/// Why a job was not taken, or nothing can be done to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.join("; "))]
    Bad(Vec<String>),
    #[error("this idempotency key stands for another job")]
    Idempotency,
    #[error("this owner has as many jobs as one may have")]
    OwnerFull,
    #[error("too many jobs are waiting")]
    Full,
    #[error("there is no such job")]
    NoJob,
    #[error("{0}")]
    State(&'static str),
    #[error("too many are following jobs")]
    Followers,
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A job that was sent, and whether it is new.
#[derive(Debug, Clone)]
pub struct Sent {
    pub told: Told,
    pub new: bool,
}

/// Somebody who follows a job, as long as this is held.
pub struct Follower {
    jobs: Jobs,
    id: String,
    changes: watch::Receiver<u64>,
    last: Option<Told>,
    /// What others do is looked for as often.
    patience: Duration,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Jobs {
    /// Another server may take the queue up. Whoever works must have stopped.
    pub fn close(&self) {
        self.inner.queue.close();
    }

    pub fn new(
        queue: Arc<dyn Queue>,
        config: Config,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Self, metrics::Error> {
        let inner = Inner {
            queue,
            config,
            worker: random(),
            live: Live::new(),
            added: Notify::new(),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            clock,
            tasks,
            instruments: Instruments::new(registry)?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts a job in the queue. When this resolves it is durable.
    pub async fn send(&self, work: &Work, order: Order) -> Result<Sent, Error> {
        let sent = self.send_now(work, order).await;
        if let Err(error @ (Error::OwnerFull | Error::Full)) = &sent {
            let why = if matches!(error, Error::Full) { "full" } else { "owner" };
            self.inner.instruments.refused.with_label_values(&[why]).inc();
        }
        sent
    }

    async fn send_now(&self, work: &Work, order: Order) -> Result<Sent, Error> {
        let faults = work.faults();
        if !faults.is_empty() {
            return Err(Error::Bad(faults));
        }
        let inner = &self.inner;
        let new = NewJob {
            id: random(),
            owner: order.owner,
            preset: work.preset().to_owned(),
            work: serde_json::to_string(work).map_err(|wrong| Error::Bad(vec![wrong.to_string()]))?,
            priority: order.priority,
            idempotency: order.idempotency,
            now: self.now(),
        };
        match inner.queue.add(new, self.room()).await? {
            Added::New(job) => {
                inner.added.notify_one();
                self.count_waiting().await;
                inner.live.changed();
                Ok(Sent { told: self.told(job), new: true })
            }
            Added::Same(job) => Ok(Sent { told: self.told(job), new: false }),
            Added::Other => Err(Error::Idempotency),
            Added::OwnerFull => Err(Error::OwnerFull),
            Added::Full => Err(Error::Full),
        }
    }

    /// `owner`: only if it is this one's.
    pub async fn get(&self, id: &str, owner: Option<&str>) -> Result<Told, Error> {
        Ok(self.told(self.find(id, owner).await?))
    }

    async fn find(&self, id: &str, owner: Option<&str>) -> Result<Job, Error> {
        let found = self.inner.queue.get(id).await?;
        found.filter(|job| owner.is_none_or(|owner| job.owner == owner)).ok_or(Error::NoJob)
    }

    /// The latest first.
    pub async fn list(&self, listing: Listing) -> Result<Vec<Told>, Error> {
        let jobs = self.inner.queue.list(listing).await?;
        Ok(jobs.into_iter().map(|job| self.told(job)).collect())
    }

    /// What waits does not begin, what runs is stopped.
    pub async fn cancel(&self, id: &str, owner: Option<&str>) -> Result<Told, Error> {
        let job = self.find(id, owner).await?;
        if job.state.is_over() {
            return Err(Error::State("the job is over"));
        }
        if !self.inner.live.cancel(id) {
            return Err(Error::State("what the job has made is being put in place"));
        }
        self.inner.queue.cancel(id, self.now()).await?;
        self.count_waiting().await;
        self.inner.live.changed();
        self.get(id, owner).await
    }

    /// Once more, after it has failed, died or been cancelled.
    pub async fn retry(&self, id: &str, owner: Option<&str>) -> Result<Told, Error> {
        let job = self.find(id, owner).await?;
        match self.inner.queue.revive(&job.id, self.now(), self.room()).await? {
            Some(Added::New(_)) => {}
            Some(Added::OwnerFull) => return Err(Error::OwnerFull),
            Some(Added::Full) => return Err(Error::Full),
            Some(Added::Same(_) | Added::Other) => {
                let which = "only what has failed, died or been cancelled can be tried again";
                return Err(Error::State(which));
            }
            None => return Err(Error::NoJob),
        }
        self.inner.added.notify_one();
        self.count_waiting().await;
        self.inner.live.changed();
        self.get(id, owner).await
    }

    pub async fn follow(&self, id: &str, owner: Option<&str>) -> Result<Follower, Error> {
        let place = self.inner.followers.clone().try_acquire_owned().map_err(|_| Error::Followers)?;
        let changes = self.inner.live.changes();
        self.find(id, owner).await?;
        let patience = if self.inner.queue.is_shared() { SHARED_LOOK } else { Duration::MAX };
        Ok(Follower { jobs: self.clone(), id: id.to_owned(), changes, last: None, patience, _place: place })
    }

    fn told(&self, job: Job) -> Told {
        let progress = self.inner.live.progress(&job.id);
        Told::of(job, progress, self.now())
    }

    fn room(&self) -> Room {
        Room { all: self.inner.config.queue, owner: self.inner.config.per_owner }
    }

    fn now(&self) -> i64 {
        self.inner.clock.unix_millis()
    }

    async fn count_waiting(&self) {
        if let Ok(count) = self.inner.queue.waiting().await {
            self.inner.instruments.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl Follower {
    /// How the job is, each time that has changed. None: it is over, and that has been told.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if self.last.as_ref().is_some_and(|last| last.state.is_over()) {
                return None;
            }
            self.changes.borrow_and_update();
            // Forgotten, or the queue is gone: the end in any case.
            let told = self.jobs.get(&self.id, None).await.ok()?;
            if self.last.as_ref() != Some(&told) {
                self.last = Some(told.clone());
                return Some(told);
            }
            let stopping = self.jobs.inner.tasks.stopping();
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = sleep(self.patience) => {}
                () = stopping.cancelled() => return None,
            }
        }
    }
}

/// 128 bits of chance in hexadecimal digits.
fn random() -> String {
    crate::store::BlobId::random().as_str().to_owned()
}
