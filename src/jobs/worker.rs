//! Those who do the jobs, a fixed number. Each takes the next one, keeps its lease, and says how it ended.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::{
    Jobs,
    library::Failure,
    queue::{Ending, Job},
    run::{Made, Workshop},
    work::Work,
};

/// An attempt whose server has not been heard of for so long is anybody's.
const LEASE: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two looks at the queue when nobody says that there is something new.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before the second attempt; before each further one, four times as long.
const BACK_OFF: Duration = Duration::from_secs(10);
const MOST_BACK_OFF: Duration = Duration::from_secs(3600);
/// What was put off because there was too much to do comes again soon.
const BUSY: Duration = Duration::from_secs(30);
/// Before another look at a queue that cannot be read.
const TROUBLE: Duration = Duration::from_secs(5);
/// Between two looks for what others have left behind.
const TIDYING: Duration = Duration::from_secs(15);

/// How an attempt came to its end.
enum Ended {
    Made(Made),
    Failed(Failure),
    Cancelled,
    Stopping,
}

impl Jobs {
    /// Begins the work, for as long as the server runs.
    pub fn start(&self, workshop: Workshop) {
        let workshop = Arc::new(workshop);
        for _ in 0..self.inner.config.workers {
            let (jobs, workshop) = (self.clone(), workshop.clone());
            self.inner.tasks.spawn("jobs", async move { jobs.work(&workshop).await });
        }
        let jobs = self.clone();
        self.inner.tasks.spawn_until_stop("jobs in order", async move {
            loop {
                jobs.tidy().await;
                sleep(TIDYING).await;
            }
        });
    }

    async fn work(&self, workshop: &Workshop) {
        let stopping = self.inner.tasks.stopping();
        while !stopping.is_cancelled() {
            let (now, held_until) = (self.now(), Instant::now() + LEASE);
            // Of this attempt alone: one that came too late must not be taken for the next.
            let lease = format!("{} {}", self.inner.worker, super::random());
            let claimed = self.inner.queue.claim(&lease, now, now + millis(LEASE)).await;
            match claimed {
                Ok(Some(job)) => self.attempt(workshop, job, &lease, held_until).await,
                Ok(None) => {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = self.inner.added.notified() => {}
                        () = sleep(PATIENCE) => {}
                    }
                }
                Err(error) => {
                    tracing::error!("{error}");
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = sleep(TROUBLE) => {}
                    }
                }
            }
        }
    }

    async fn attempt(&self, workshop: &Workshop, job: Job, lease: &str, held_until: Instant) {
        let inner = &self.inner;
        let begun = self.now();
        let waited = (begun - job.due.max(job.created)).max(0) as f64 / 1000.0;
        inner.instruments.wait.with_label_values(&[&job.preset]).observe(waited);
        inner.instruments.running.inc();
        self.count_waiting().await;
        let entry = inner.live.enter(&job.id);
        inner.live.changed();
        let ended = {
            let run = async {
                let work = serde_json::from_str::<Work>(&job.work)
                    .map_err(|wrong| Failure::Lasting(format!("it cannot be read any more: {wrong}")))?;
                workshop.run(&job.id, &job.owner, &work, &entry).await
            };
            let stopping = inner.tasks.stopping();
            tokio::select! {
                // A job that brings its codec to its knees must not take the worker with it.
                ran = AssertUnwindSafe(run).catch_unwind() => match ran {
                    Ok(Ok(made)) => Ended::Made(made),
                    Ok(Err(failure)) => Ended::Failed(failure),
                    Err(_) => Ended::Failed(Failure::Passing("it went wrong in an unforeseen way".to_owned())),
                },
                () = entry.cancelled.cancelled() => Ended::Cancelled,
                () = self.hold(&job.id, lease, held_until) => Ended::Cancelled,
                () = stopping.cancelled() => Ended::Stopping,
            }
        };
        self.end(&job, lease, ended, begun).await;
        drop(entry);
        inner.instruments.running.dec();
        self.count_waiting().await;
        inner.live.changed();
    }

    /// Until the lease is lost, or over.
    async fn hold(&self, id: &str, lease: &str, mut held_until: Instant) {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let renewal = async {
                beats.tick().await;
                // From before the queue is asked, which may take a while.
                let (until, held_until) = (self.now() + millis(LEASE), Instant::now() + LEASE);
                let progress = self.inner.live.progress(id).unwrap_or(0.0);
                (self.inner.queue.renew(id, lease, until, progress).await, held_until)
            };
            match timeout_at(held_until, renewal).await {
                Ok((Ok(true), renewed)) => held_until = renewed,
                Ok((Ok(false), _)) => return,
                Ok((Err(error), _)) => tracing::warn!("a job's lease could not be renewed: {error}"),
                // By now another server may have it.
                Err(_) => {
                    tracing::warn!(id, "a job is given up: its lease is over");
                    return;
                }
            }
        }
    }

    async fn end(&self, job: &Job, lease: &str, ended: Ended, begun: i64) {
        let (inner, now) = (&self.inner, self.now());
        let (word, ending) = match ended {
            // Its row says so already.
            Ended::Cancelled => ("cancelled", None),
            Ended::Stopping => ("released", Some(Ending::Released { due: now })),
            // Viewers come first, however often; meanwhile others have their turn.
            Ended::Failed(Failure::Busy) => ("released", Some(Ending::Released { due: now + millis(BUSY) })),
            Ended::Made(made) => match serde_json::to_string(&made) {
                Ok(result) => ("succeeded", Some(Ending::Succeeded { result })),
                Err(error) => ("failed", Some(Ending::Failed { detail: error.to_string() })),
            },
            Ended::Failed(Failure::Lasting(detail)) => ("failed", Some(Ending::Failed { detail })),
            Ended::Failed(failure) => {
                let detail = failure.to_string();
                match job.attempts >= inner.config.attempts {
                    true => ("dead", Some(Ending::Dead { detail })),
                    false => {
                        let due = now + millis(back_off(job.attempts));
                        ("retried", Some(Ending::Again { due, detail }))
                    }
                }
            }
        };
        match &ending {
            Some(Ending::Failed { detail } | Ending::Dead { detail } | Ending::Again { detail, .. }) => {
                tracing::warn!(
                    id = job.id,
                    preset = job.preset,
                    attempt = job.attempts,
                    word,
                    "a job: {detail}"
                );
            }
            _ => tracing::info!(id = job.id, preset = job.preset, word, "a job has ended"),
        }
        if let Some(ending) = ending {
            match inner.queue.end(&job.id, lease, ending, now).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(id = job.id, "a job ended that was somebody else's by then"),
                // It is tried again when its lease is over.
                Err(error) => tracing::error!(id = job.id, "{error}"),
            }
        }
        let took = (now - begun).max(0) as f64 / 1000.0;
        inner.instruments.run.with_label_values(&[&job.preset]).observe(took);
        inner.instruments.ended.with_label_values(&[&job.preset, word]).inc();
    }

    /// Takes up what others have left behind, and forgets what is long over.
    pub(super) async fn tidy(&self) {
        let (inner, now) = (&self.inner, self.now());
        match inner.queue.reclaim(now, inner.config.attempts).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "jobs are taken up again");
                inner.added.notify_waiters();
                inner.live.changed();
            }
            Err(error) => tracing::warn!("{error}"),
        }
        if let Err(error) = inner.queue.prune(now - millis(inner.config.keep), super::MAX_FINISHED).await {
            tracing::warn!("{error}");
        }
        self.count_waiting().await;
    }
}

/// With something of chance, so that what failed together does not come again together.
fn back_off(attempts: u32) -> Duration {
    let base = BACK_OFF.saturating_mul(4_u32.saturating_pow(attempts.saturating_sub(1))).min(MOST_BACK_OFF);
    base.mul_f64(1.0 + fastrand::f64() / 4.0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_waits_longer() {
        for (attempts, least) in [(1, 10), (2, 40), (3, 160), (9, 3600), (u32::MAX, 3600)] {
            let after = back_off(attempts);
            let least = Duration::from_secs(least);
            assert!(after >= least && after <= least.mul_f64(1.25), "{attempts}: {after:?}");
        }
    }
}
