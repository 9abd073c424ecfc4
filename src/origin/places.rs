//! How many requests an origin gets at a time, and how many may wait for that.
//!
//! A place is held until the body is over. Whoever holds one and only waits for its readers learns when somebody
//! else could use it, and may give it back: slow viewers do not fill an origin's places.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub struct Places {
    most_running: usize,
    most_waiting: usize,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// One more waits.
    wanted: Notify,
}

/// Held until the answer's body is over.
pub type Place = OwnedSemaphorePermit;

/// How much is asked of an origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
}

impl Places {
    pub fn new(running: usize, waiting: usize) -> Self {
        let permits = |count: usize| count.min(Semaphore::MAX_PERMITS);
        let (most_running, most_waiting) = (permits(running), permits(waiting));
        Self {
            most_running,
            most_waiting,
            running: Arc::new(Semaphore::new(most_running)),
            waiting: Semaphore::new(most_waiting),
            wanted: Notify::new(),
        }
    }

    /// None: too many wait already.
    pub async fn take(&self) -> Option<Place> {
        if let Ok(place) = self.running.clone().try_acquire_owned() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        self.wanted.notify_one();
        self.running.clone().acquire_owned().await.ok()
    }

    /// Ready when somebody waits for a place. Of those who wait for this as many are told as there are requests waiting.
    pub async fn wanted(&self) {
        loop {
            let told = self.wanted.notified();
            if self.load().waiting > 0 {
                return;
            }
            told.await;
        }
    }

    pub fn load(&self) -> Load {
        Load {
            running: self.most_running - self.running.available_permits(),
            waiting: self.most_waiting - self.waiting.available_permits(),
        }
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
        assert_eq!(places.load(), Load { running: 1, waiting: 2 });
        drop(first);
        assert!(poll!(&mut third).is_pending());
        let second = second.await.unwrap();
        drop(second);
        assert!(third.await.is_some());
        assert_eq!(places.load(), Load::default());
        assert!(places.take().await.is_some());
    }

    #[tokio::test]
    async fn whoever_could_give_a_place_back_is_told() {
        let places = Places::new(1, 2);
        let _first = places.take().await.unwrap();
        let (mut one, mut other) = (pin!(places.wanted()), pin!(places.wanted()));
        assert!(poll!(&mut one).is_pending() && poll!(&mut other).is_pending());
        {
            let mut waiting = pin!(places.take());
            assert!(poll!(&mut waiting).is_pending());
            assert!(poll!(&mut one).is_ready() && poll!(&mut other).is_pending(), "one for one");
            let mut late = pin!(places.wanted());
            assert!(poll!(&mut late).is_ready(), "somebody waits already");
        }
        // The one who waited has left.
        assert!(poll!(&mut other).is_pending());
        assert!(poll!(pin!(places.wanted())).is_pending());
    }
}
