//! How many requests an origin gets at a time, and how many may wait for that.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Places {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Held until the answer's body is over.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(running: usize, waiting: usize) -> Self {
        let permits = |count: usize| count.min(Semaphore::MAX_PERMITS);
        Self {
            running: Arc::new(Semaphore::new(permits(running))),
            waiting: Semaphore::new(permits(waiting)),
        }
    }

    /// None: too many wait already.
    pub(super) async fn take(&self) -> Option<Place> {
        if let Ok(place) = self.running.clone().try_acquire_owned() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        self.running.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_and_fair() {
        let places = Places::new(1, 2);
        let first = places.take().await.unwrap();
        let (mut second, mut third) = (pin!(places.take()), pin!(places.take()));
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        assert!(places.take().await.is_none());
        drop(first);
        assert!(poll!(&mut third).is_pending());
        let second = second.await.unwrap();
        drop(second);
        assert!(third.await.is_some());
        assert!(places.take().await.is_some());
    }
}
