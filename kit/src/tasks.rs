//! Supervised background tasks: each has a name, its panic is logged, and drain waits for it up to a deadline.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, error, info_span};

/// Spawns onto one runtime, from whichever thread; clones share the same set of tasks.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Must be called within the runtime that shall run the tasks.
    pub fn new() -> Self {
        Self { runtime: Handle::current(), tracker: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    /// Work that must finish even if whoever asked for it is gone. Drain waits for it.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.tracker.spawn_on(task.instrument(info_span!("task", name)), &self.runtime);
        let watched = async move {
            if let Err(failure) = running.await
                && failure.is_panic()
            {
                error!(task = name, "task panicked: {failure}");
            }
        };
        self.runtime.spawn(watched)
    }

    /// Work without an end of its own: dropped when drain begins.
    pub fn spawn_until_stop<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn(name, async move {
            stopping.run_until_cancelled(task).await;
        })
    }

    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Number of tasks that have not finished.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Cancelled when drain begins.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tells every task to stop and waits for them. False when some were still running at the deadline.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_finite_tasks_and_drops_endless_ones() {
        let tasks = Tasks::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        tasks.spawn("finite", async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let _ = done.send(());
        });
        tasks.spawn_until_stop("endless", std::future::pending());
        assert!(tasks.drain(Duration::from_secs(5)).await);
        finished.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn drain_gives_up_at_its_deadline() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        assert!(!tasks.drain(Duration::from_secs(5)).await);
        assert_eq!(tasks.running(), 1);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        let tasks = Tasks::new();
        tasks.spawn("bad", async { panic!("on purpose") }).await.unwrap();
        tasks.spawn("good", async {}).await.unwrap();
        assert_eq!(tasks.running(), 0);
    }
}
