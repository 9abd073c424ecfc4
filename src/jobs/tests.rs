//! Jobs from queue to end, with a library and an ffmpeg that stand in for the rest of the server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use millrace_kit::{clock::Clock, metrics::Registry, tasks::Tasks};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;
use crate::media::{Source, ffmpeg::Ffmpeg};

/// Warms one place for each permit, and answers as it is told.
struct Double {
    permits: Semaphore,
    asked: Mutex<Vec<String>>,
    answer: Mutex<Result<(), Failure>>,
}

impl Library for Double {
    fn source<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Source>, Failure>> {
        async { Err(Failure::Lasting("no such source".to_owned())) }.boxed()
    }

    fn warm<'a>(&'a self, place: &'a str, _: usize) -> BoxFuture<'a, Result<Bytes, Failure>> {
        async move {
            self.asked.lock().push(place.to_owned());
            if let Ok(permit) = self.permits.acquire().await {
                permit.forget();
            }
            self.answer.lock().clone().map(|()| Bytes::new())
        }
        .boxed()
    }

    fn keep(&self, _: Keeping) -> BoxFuture<'_, Result<Kept, Failure>> {
        async { Err(Failure::Lasting("nothing is kept".to_owned())) }.boxed()
    }

    fn keeps(&self) -> bool {
        false
    }
}

struct Shop {
    jobs: Jobs,
    double: Arc<Double>,
    clock: Clock,
    tasks: Tasks,
    registry: Registry,
    dir: tempfile::TempDir,
}

fn config(dir: &std::path::Path) -> Config {
    Config {
        dir: dir.to_owned(),
        database: None,
        workers: 1,
        queue: 4,
        per_owner: 3,
        attempts: 2,
        time: Duration::from_secs(60),
        scratch_bytes: 1 << 30,
        keep: Duration::from_secs(3600),
        threads: 1,
    }
}

fn shop() -> Shop {
    shop_in(tempfile::tempdir().unwrap(), Clock::manual(1_000_000))
}

fn shop_in(dir: tempfile::TempDir, clock: Clock) -> Shop {
    let (tasks, registry) = (Tasks::new(), Registry::new());
    let double = Double { permits: Semaphore::new(0), asked: Mutex::default(), answer: Mutex::new(Ok(())) };
    let double = Arc::new(double);
    let queue = Arc::new(Sqlite::open(dir.path()).unwrap());
    let jobs = Jobs::new(queue, config(dir.path()), clock.clone(), tasks.clone(), &registry).unwrap();
    jobs.start(Workshop {
        library: double.clone(),
        scratch: Scratch::open(dir.path().join("scratch")).unwrap(),
        ffmpeg: Ffmpeg::new("ffmpeg", Duration::from_secs(60)),
        setup: Setup { threads: 1 },
        time: Duration::from_secs(60),
        bytes: 1 << 30,
    });
    Shop { jobs, double, clock, tasks, registry, dir }
}

impl Shop {
    async fn send(&self, name: &str, owner: &str) -> Result<String, Error> {
        let source = format!("/{name}.mp4");
        let work = Work::Ladder(Ladder { source, renditions: Vec::new(), parts: vec![Part::Poster] });
        let order = Order { owner: owner.to_owned(), ..Order::default() };
        Ok(self.jobs.send(&work, order).await?.told.id)
    }

    async fn state(&self, id: &str) -> Told {
        self.jobs.get(id, None).await.unwrap()
    }

    async fn becomes(&self, id: &str, state: State) -> Told {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let told = self.state(id).await;
            if told.state == state {
                return told;
            }
            assert!(std::time::Instant::now() < deadline, "{told:?} never became {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "never came to this: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn metric(&self, line: &str) -> bool {
        self.registry.encode().lines().any(|found| found == line)
    }
}

#[tokio::test]
async fn a_job_is_done_and_followed_to_its_end() {
    let shop = shop();
    let id = shop.send("a", "me").await.unwrap();
    let mut follower = shop.jobs.follow(&id, Some("me")).await.unwrap();
    assert!(matches!(shop.jobs.follow(&id, Some("you")).await, Err(Error::NoJob)));
    shop.double.permits.add_permits(1);
    let mut states = Vec::new();
    while let Some(told) = follower.next().await {
        states.push(told.state);
    }
    states.dedup();
    assert_eq!(states.last(), Some(&State::Succeeded));
    let told = shop.state(&id).await;
    assert_eq!((told.progress, told.result), (1.0, Some(serde_json::json!({"warmed": 1}))));
    let counted = || shop.metric("millrace_jobs_total{preset=\"ladder\",result=\"succeeded\"} 1");
    shop.until("it is counted", counted).await;
}

#[tokio::test]
async fn room_is_refused_and_depth_is_told() {
    let shop = shop();
    let running = shop.send("running", "a").await.unwrap();
    shop.becomes(&running, State::Running).await;
    for (name, owner) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")] {
        shop.send(name, owner).await.unwrap();
    }
    assert!(matches!(shop.send("5", "c").await, Err(Error::Full)));
    assert!(shop.metric("millrace_queue_depth{queue=\"jobs\"} 4"), "{}", shop.registry.encode());
    assert!(shop.metric("millrace_jobs_refused_total{reason=\"full\"} 1"));
    shop.jobs.cancel(&running, None).await.unwrap();
    shop.becomes(&running, State::Cancelled).await;
}

#[tokio::test]
async fn what_is_passing_is_tried_again_and_given_up_at_last() {
    let shop = shop();
    *shop.double.answer.lock() = Err(Failure::Passing("the origin is away".to_owned()));
    shop.double.permits.add_permits(100);
    let id = shop.send("a", "a").await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while shop.state(&id).await.detail.is_none() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = shop.state(&id).await;
    assert_eq!((told.state, told.attempts), (State::Queued, 1));
    assert!(told.due.is_some_and(|due| due >= shop.clock.unix_millis() + 10_000));
    shop.clock.advance(Duration::from_secs(20));
    let told = shop.becomes(&id, State::Dead).await;
    assert_eq!((told.attempts, told.detail.as_deref()), (2, Some("the origin is away")));
    // Somebody has put it right.
    *shop.double.answer.lock() = Ok(());
    shop.jobs.retry(&id, None).await.unwrap();
    shop.becomes(&id, State::Succeeded).await;
    assert!(matches!(shop.jobs.retry(&id, None).await, Err(Error::State(_))));
}

#[tokio::test]
async fn what_finds_the_server_busy_is_put_off_and_does_not_count() {
    tokio::time::pause();
    let shop = shop();
    *shop.double.answer.lock() = Err(Failure::Busy);
    shop.double.permits.add_permits(1000);
    let id = shop.send("a", "a").await.unwrap();
    let mut seconds = 0;
    while shop.state(&id).await.due.is_none() && seconds < 1000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
    let told = shop.state(&id).await;
    assert_eq!((told.state, told.attempts, told.due.is_some()), (State::Queued, 0, true));
    *shop.double.answer.lock() = Ok(());
    shop.clock.advance(Duration::from_secs(30));
    shop.becomes(&id, State::Succeeded).await;
}

#[tokio::test]
async fn what_is_lasting_fails_at_once() {
    let shop = shop();
    *shop.double.answer.lock() = Err(Failure::Lasting("it is answered 404".to_owned()));
    shop.double.permits.add_permits(1);
    let id = shop.send("a", "a").await.unwrap();
    let told = shop.becomes(&id, State::Failed).await;
    assert_eq!((told.attempts, told.detail.as_deref()), (1, Some("it is answered 404")));
}

#[tokio::test]
async fn a_job_that_waits_or_runs_can_be_cancelled() {
    let shop = shop();
    let running = shop.send("a", "a").await.unwrap();
    shop.becomes(&running, State::Running).await;
    let waiting = shop.send("b", "a").await.unwrap();
    for id in [&waiting, &running] {
        assert_eq!(shop.jobs.cancel(id, Some("a")).await.unwrap().state, State::Cancelled);
        assert!(matches!(shop.jobs.cancel(id, None).await, Err(Error::State(_))));
    }
    let next = shop.send("c", "a").await.unwrap();
    // Not before the one that was cancelled has let go of its place.
    shop.until("the next is worked at", || shop.double.asked.lock().len() == 2).await;
    shop.double.permits.add_permits(1);
    shop.becomes(&next, State::Succeeded).await;
    assert_eq!(shop.double.asked.lock().join(" "), "/a.mp4/poster.webp /c.mp4/poster.webp");
}

#[tokio::test]
async fn a_stopped_server_gives_its_jobs_back() {
    let shop = shop();
    let id = shop.send("a", "a").await.unwrap();
    shop.becomes(&id, State::Running).await;
    assert!(shop.tasks.drain(Duration::from_secs(10)).await);
    let told = shop.state(&id).await;
    assert_eq!((told.state, told.attempts), (State::Queued, 0));
    let Shop { jobs, clock, dir, .. } = shop;
    drop(jobs);
    let next = shop_in(dir, clock);
    next.double.permits.add_permits(1);
    next.becomes(&id, State::Succeeded).await;
}
