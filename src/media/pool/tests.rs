//! A full queue, abandoned jobs, panics, closing.

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
async fn jobs_yield_to_those_who_serve() {
    let own = getpriority_process(None).unwrap();
    let of_job = pool(1, 0).run(|| getpriority_process(None)).await.unwrap().unwrap();
    assert_eq!(of_job, (own + NICENESS).min(19));
    assert_eq!(getpriority_process(None).unwrap(), own, "of that thread only");
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
async fn what_can_wait_runs_only_on_idle_threads() {
    let pool = pool(1, 4);
    let (gate, job) = gate();
    let mut running = Box::pin(pool.run(job));
    assert!(poll(&mut running).is_pending());
    gate.started.recv().unwrap();
    assert_eq!(pool.run_when_idle(|| 1).await, Err(Error::Busy));
    let mut idle = Box::pin(pool.idle());
    assert!(idle.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut waiting = Box::pin(pool.run(|| 2));
    assert!(poll(&mut waiting).is_pending());
    gate.go.send(()).unwrap();
    assert_eq!((running.await, waiting.await), (Ok(()), Ok(2)));
    idle.await;
    assert_eq!(pool.run_when_idle(|| 3).await, Ok(3));
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
