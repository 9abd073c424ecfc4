//! The CPU pool of media work: a bounded queue, then a running permit. Full means refused at once, so that the
//! answer is `503` with `Retry-After` and not a growing line; a job that nobody waits for any more is taken
//! out of the queue and never starts; a panic in a job is that job's error.
//!
//! Own threads, not tokio's blocking pool: their number is the running permit itself, the queue can be counted
//! and abandoned entries removed from its middle, no runtime is needed (actix has one per worker, each with
//! its own blocking pool), and a runtime's shutdown does not wait for codecs. What a job does is the caller's.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt as _;
use parking_lot::{Condvar, Mutex};
use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::{Notify, oneshot};

/// With this much less priority a thread gets a tenth of the time of another that wants the same core. At 5 the slowest hundredth
/// of hits beside transforms took half as long again; at 19, or in the idle class, transforms would starve beside an encode.
const NICENESS: i32 = 10;
/// Enough for libwebp and libjpeg, which keep their tables on the heap.
const STACK_BYTES: usize = 2 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Jobs that run at once; at least one.
    pub threads: usize,
    /// Jobs that may wait besides. Zero admits only what can start at once.
    pub queue: usize,
}

impl Default for Config {
    /// A thread per core, and a line that each works off in about a second.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { threads, queue: threads * 16 }
    }
}

/// Why a job gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The queue is full; later there may be room.
    #[error("the media queue is full")]
    Busy,
    /// The job panicked. The text is for logs.
    #[error("a media job panicked: {0}")]
    Panicked(String),
    /// The pool was closed before the job started.
    #[error("the media pool is closed")]
    Closed,
}

/// Its threads end when it is closed or dropped.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    state: Mutex<State>,
    work: Condvar,
    /// Told whenever a job has ended.
    quiet: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    running: usize,
    tickets: u64,
    closed: bool,
}

impl State {
    fn is_idle(&self, _: &Config) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

/// Gives its place back through the argument before it reports its result.
type Job = Box<dyn FnOnce(&Shared) + Send>;

impl Pool {
    /// Starts the threads.
    pub fn new(config: Config) -> std::io::Result<Self> {
        let config = Config { threads: config.threads.max(1), ..config };
        let shared =
            Arc::new(Shared { config, state: Mutex::default(), work: Condvar::new(), quiet: Notify::new() });
        let pool = Self { shared: shared.clone() };
        for number in 0..config.threads {
            let shared = shared.clone();
            thread::Builder::new().name(format!("media-{number}")).stack_size(STACK_BYTES).spawn(
                move || {
                    yield_to_others();
                    shared.work_off();
                },
            )?;
        }
        Ok(pool)
    }

    /// Runs `job` on the pool. Dropping the future before the job starts cancels it; once started it runs to
    /// its end, and its result is thrown away.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.run_if(|state, config| state.running + state.waiting.len() < config.threads + config.queue, job)
            .await
    }

    /// The same for what can as well be done later: busy when it would have to wait, or when others would soon have to.
    pub async fn run_when_idle<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.run_if(State::is_idle, job).await
    }

    async fn run_if<T: Send + 'static>(
        &self,
        admits: fn(&State, &Config) -> bool,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.shared.enqueue(
            Box::new(move |shared: &Shared| {
                let result =
                    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| Error::Panicked(text_of(&*panic)));
                // First give the place back: who has its result may ask for the next one at once.
                shared.state.lock().running -= 1;
                shared.quiet.notify_waiters();
                // An unwanted result is dropped here, and that may panic as well.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(sender.send(result))));
            }),
            admits,
        )?;
        let _cancel = Cancel { shared: &self.shared, ticket };
        receiver.map(|result| result.unwrap_or(Err(Error::Closed))).await
    }

    /// Refuses what waits and what is still to come; lets what runs finish. For a drain that ran out of time.
    pub fn close(&self) {
        let abandoned = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        // Jobs own what their callers gave them; dropping that is not done under the lock.
        drop(abandoned);
        self.shared.work.notify_all();
    }

    /// Waits until nothing runs or waits.
    pub async fn idle(&self) {
        loop {
            let changed = self.shared.quiet.notified();
            if self.shared.state.lock().is_idle(&self.shared.config) {
                return;
            }
            changed.await;
        }
    }

    /// Jobs that wait.
    pub fn depth(&self) -> usize {
        self.shared.state.lock().waiting.len()
    }

    /// Jobs that run.
    pub fn running(&self) -> usize {
        self.shared.state.lock().running
    }

    pub fn config(&self) -> Config {
        self.shared.config
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn enqueue(&self, job: Job, admits: fn(&State, &Config) -> bool) -> Result<u64, Error> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if !admits(&state, &self.config) {
            return Err(Error::Busy);
        }
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting.push_back((ticket, job));
        drop(state);
        self.work.notify_one();
        Ok(ticket)
    }

    fn work_off(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((_, job)) = state.waiting.pop_front() {
                state.running += 1;
                drop(state);
                job(self);
                state = self.state.lock();
            } else if state.closed {
                return;
            } else {
                self.work.wait(&mut state);
            }
        }
    }

    fn remove(&self, ticket: u64) {
        let job = {
            let mut state = self.state.lock();
            // Tickets ascend along the queue.
            let place = state.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
            place.ok().and_then(|at| state.waiting.remove(at))
        };
        drop(job);
        self.quiet.notify_waiters();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).field("running", &self.running).finish()
    }
}

/// Takes the job out of the queue when its caller goes away.
struct Cancel<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        self.shared.remove(self.ticket);
    }
}

/// Makes the calling thread nicer: when cores are scarce, what is cached is still served at once. On Linux priorities are
/// those of threads, and no process means the calling one.
fn yield_to_others() {
    let lowered = getpriority_process(None).and_then(|own| setpriority_process(None, own + NICENESS));
    if let Err(error) = lowered {
        tracing::debug!("media threads run like all others: {error}");
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests;
