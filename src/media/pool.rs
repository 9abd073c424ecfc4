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
use tokio::sync::oneshot;

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
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    running: usize,
    tickets: u64,
    closed: bool,
}

/// Gives its place back through the argument before it reports its result.
type Job = Box<dyn FnOnce(&Shared) + Send>;

impl Pool {
    /// Starts the threads.
    pub fn new(config: Config) -> std::io::Result<Self> {
        let config = Config { threads: config.threads.max(1), ..config };
        let shared = Arc::new(Shared { config, state: Mutex::default(), work: Condvar::new() });
        let pool = Self { shared: shared.clone() };
        for number in 0..config.threads {
            let shared = shared.clone();
            thread::Builder::new()
                .name(format!("media-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || shared.work_off())?;
        }
        Ok(pool)
    }

    /// Runs `job` on the pool. Dropping the future before the job starts cancels it; once started it runs to
    /// its end, and its result is thrown away.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.shared.enqueue(Box::new(move |shared: &Shared| {
            let result =
                catch_unwind(AssertUnwindSafe(job)).map_err(|panic| Error::Panicked(text_of(&*panic)));
            // First give the place back: who has its result may ask for the next one at once.
            shared.state.lock().running -= 1;
            // An unwanted result is dropped here, and that may panic as well.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender.send(result))));
        }))?;
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
    fn enqueue(&self, job: Job) -> Result<u64, Error> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.running + state.waiting.len() >= self.config.threads + self.config.queue {
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

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use super::*;

    /// A job that runs until it is let go, and says when it has started.
    struct Gate {
        go: mpsc::Sender<()>,
        started: mpsc::Receiver<()>,
    }

    fn gate() -> (Gate, impl FnOnce() + Send + 'static) {
        let (go, wait) = mpsc::channel::<()>();
        let (start, started) = mpsc::channel();
        let job = move || {
            start.send(()).unwrap();
            let _ = wait.recv();
        };
        (Gate { go, started }, job)
    }

    fn pool(threads: usize, queue: usize) -> Pool {
        Pool::new(Config { threads, queue }).unwrap()
    }

    /// Polls once: that queues the job.
    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        future.poll_unpin(&mut Context::from_waker(Waker::noop()))
    }

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn results_come_back() {
        let pool = pool(2, 10);
        assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
        assert_eq!(pool.run(|| thread::current().name().unwrap()[..6].to_owned()).await.unwrap(), "media-");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = pool(1, 2);
        let (gate, job) = gate();
        let mut running = Box::pin(pool.run(job));
        assert!(poll(&mut running).is_pending());
        gate.started.recv().unwrap();
        let mut first = Box::pin(pool.run(|| 1));
        let mut second = Box::pin(pool.run(|| 2));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        assert_eq!((pool.running(), pool.depth()), (1, 2));

        assert_eq!(poll(&mut Box::pin(pool.run(|| 3))), Poll::Ready(Err(Error::Busy)));
        gate.go.send(()).unwrap();
        assert_eq!((running.await, first.await, second.await), (Ok(()), Ok(1), Ok(2)));
        // Its place is free as soon as a result is there.
        assert_eq!((pool.running(), pool.depth()), (0, 0));
        for _ in 0..100 {
            assert_eq!(pool.run(|| 4).await, Ok(4));
        }
    }

    #[tokio::test]
    async fn without_a_queue_only_idle_threads_are_used() {
        let pool = pool(1, 0);
        let (gate, job) = gate();
        let mut running = Box::pin(pool.run(job));
        assert!(poll(&mut running).is_pending());
        assert_eq!(pool.run(|| ()).await, Err(Error::Busy));
        gate.go.send(()).unwrap();
        assert_eq!(running.await, Ok(()));
        assert_eq!(pool.run(|| ()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_job_nobody_waits_for_never_starts_and_leaves_its_place() {
        let pool = pool(1, 1);
        let (gate, job) = gate();
        let mut running = Box::pin(pool.run(job));
        assert!(poll(&mut running).is_pending());
        gate.started.recv().unwrap();

        let runs = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let runs = runs.clone();
            let mut abandoned = Box::pin(pool.run(move || runs.fetch_add(1, Ordering::SeqCst)));
            assert!(poll(&mut abandoned).is_pending());
            assert_eq!(pool.depth(), 1);
            drop(abandoned);
            assert_eq!(pool.depth(), 0);
        }
        let mut last = Box::pin(pool.run(|| "ran"));
        assert!(poll(&mut last).is_pending());
        gate.go.send(()).unwrap();
        assert_eq!((running.await, last.await), (Ok(()), Ok("ran")));
        assert_eq!(runs.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_started_job_without_caller_gives_its_place_back() {
        let pool = pool(1, 0);
        let (gate, job) = gate();
        let mut abandoned = Box::pin(pool.run(job));
        assert!(poll(&mut abandoned).is_pending());
        gate.started.recv().unwrap();
        drop(abandoned);
        assert_eq!(pool.running(), 1);
        gate.go.send(()).unwrap();
        eventually("the place is free", || pool.running() == 0);
        assert_eq!(pool.run(|| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_harms_nobody_else() {
        let pool = pool(1, 8);
        for _ in 0..20 {
            assert_eq!(pool.run(|| panic!("boom")).await, Err::<(), _>(Error::Panicked("boom".into())));
            let text = pool.run(|| std::panic::panic_any(7)).await;
            assert_eq!(text, Err::<(), _>(Error::Panicked("no message".into())));
        }
        assert_eq!(pool.run(|| 1).await, Ok(1));
        assert_eq!(pool.running(), 0);
    }

    #[tokio::test]
    async fn closing_refuses_what_waits_and_finishes_what_runs() {
        let pool = pool(1, 4);
        let (gate, job) = gate();
        let shared = pool.shared.clone();
        let mut running = Box::pin(pool.run(job));
        assert!(poll(&mut running).is_pending());
        gate.started.recv().unwrap();
        let mut waiting = Box::pin(pool.run(|| ()));
        assert!(poll(&mut waiting).is_pending());

        pool.close();
        assert_eq!(waiting.await, Err(Error::Closed));
        assert_eq!(pool.run(|| ()).await, Err(Error::Closed));
        gate.go.send(()).unwrap();
        assert_eq!(running.await, Ok(()));
        drop(pool);
        eventually("the thread ends", || Arc::strong_count(&shared) == 1);
    }

    #[tokio::test]
    async fn threads_run_side_by_side() {
        let pool = pool(3, 0);
        let gates: Vec<_> = (0..3).map(|_| gate()).collect();
        let mut runs = Vec::new();
        let mut holds = Vec::new();
        for (gate, job) in gates {
            let mut run = Box::pin(pool.run(job));
            assert!(poll(&mut run).is_pending());
            runs.push(run);
            holds.push(gate);
        }
        for gate in &holds {
            gate.started.recv().unwrap();
        }
        assert_eq!(pool.running(), 3);
        for gate in &holds {
            gate.go.send(()).unwrap();
        }
        for run in runs {
            assert_eq!(run.await, Ok(()));
        }
    }
}
