//! What has been made of some versions of some sources, kept in memory while it is used: made once for everybody who
//! asks, bounded by weight, the least recently used let go first.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

pub struct Slots<T> {
    /// Bytes; what is made last stays, whatever it weighs.
    capacity: usize,
    slots: Mutex<State<T>>,
}

struct State<T> {
    slots: HashMap<String, Slot<T>>,
    /// Counts up with each use.
    uses: u64,
    weight: usize,
}

struct Slot<T> {
    cell: Arc<OnceCell<Arc<T>>>,
    used: u64,
    /// 0 until it is made.
    weight: usize,
}

/// A slot's own weight, roughly.
const OVERHEAD: usize = 512;

impl<T> Slots<T> {
    pub fn new(capacity: usize) -> Self {
        let state = State { slots: HashMap::new(), uses: 0, weight: 0 };
        Self { capacity, slots: Mutex::new(state) }
    }

    /// What belongs to `version`: made by the first who asks, while the others wait. A failure is not kept.
    pub async fn get_or_make<E>(
        &self,
        version: String,
        weigh: impl Fn(&T) -> usize,
        make: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let making = self.enter(version);
        let made = making.cell.get_or_try_init(async || make().await.map(Arc::new)).await?;
        let mut state = self.slots.lock();
        state.weigh(&making.version, &making.cell, making.version.len() + weigh(made) + OVERHEAD);
        state.shrink(self.capacity, &making.version);
        Ok(made.clone())
    }

    /// What has been made already; looking does not count as use.
    pub fn get(&self, version: &str) -> Option<Arc<T>> {
        self.slots.lock().slots.get(version).and_then(|slot| slot.cell.get().cloned())
    }

    fn enter(&self, version: String) -> Making<'_, T> {
        let cell = self.slots.lock().cell(&version);
        Making { slots: self, version, cell }
    }
}

/// Somebody who makes it, or waits for it. The last one takes away a slot in which nothing was made, also when it was not
/// waited for to its end: it would stay without weight.
struct Making<'s, T> {
    slots: &'s Slots<T>,
    version: String,
    cell: Arc<OnceCell<Arc<T>>>,
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        if self.cell.initialized() {
            return;
        }
        let mut state = self.slots.slots.lock();
        let ours = state.slots.get(&self.version).is_some_and(|slot| Arc::ptr_eq(&slot.cell, &self.cell));
        // This one's and the slot's. Who enters or leaves holds the lock.
        if ours && Arc::strong_count(&self.cell) <= 2 {
            state.remove(&self.version);
        }
    }
}

impl<T> State<T> {
    fn cell(&mut self, version: &str) -> Arc<OnceCell<Arc<T>>> {
        self.uses += 1;
        let slot = self.slots.entry(version.to_owned()).or_insert_with(|| Slot {
            cell: Arc::default(),
            used: 0,
            weight: 0,
        });
        slot.used = self.uses;
        slot.cell.clone()
    }

    fn weigh(&mut self, version: &str, cell: &Arc<OnceCell<Arc<T>>>, weight: usize) {
        if let Some(slot) = self.slots.get_mut(version)
            && slot.weight == 0
            && Arc::ptr_eq(&slot.cell, cell)
        {
            slot.weight = weight;
            self.weight += weight;
        }
    }

    /// Lets go of what was made and is used least, but not of `kept`.
    fn shrink(&mut self, capacity: usize, kept: &str) {
        while self.weight > capacity {
            let made = self.slots.iter().filter(|(version, slot)| slot.weight > 0 && *version != kept);
            let Some(oldest) = made.min_by_key(|(_, slot)| slot.used).map(|(version, _)| version.clone())
            else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, version: &str) {
        if let Some(slot) = self.slots.remove(version) {
            self.weight -= slot.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::poll;

    use super::*;

    async fn make(slots: &Slots<usize>, version: &str, value: usize) -> usize {
        let made =
            slots.get_or_make(version.to_owned(), |weight| *weight, async || Ok::<_, Infallible>(value));
        *made.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_used_least_goes_first() {
        let slots = Slots::new(3 * 1000 + 4 * OVERHEAD);
        for version in ["a", "b", "c"] {
            assert_eq!(make(&slots, version, 1000).await, 1000);
        }
        assert_eq!(make(&slots, "a", 1).await, 1000, "kept");
        assert_eq!((slots.get("c").as_deref(), slots.get("d")), (Some(&1000), None));
        assert_eq!(make(&slots, "d", 1000).await, 1000);
        assert_eq!(make(&slots, "b", 2).await, 2, "made again");
        assert_eq!(make(&slots, "a", 3).await, 1000, "used meanwhile");
        // Larger than everything together, and still of use.
        assert_eq!(make(&slots, "huge", 1_000_000).await, 1_000_000);
        assert_eq!(make(&slots, "huge", 4).await, 1_000_000);
        assert_eq!(slots.slots.lock().slots.len(), 1);
    }

    /// As when a client leaves, and with it goes the work for it.
    #[tokio::test]
    async fn what_is_abandoned_leaves_nothing_behind() {
        let slots = Slots::<usize>::new(10_000);
        let unfinished = || {
            let made = slots.get_or_make(
                "a".to_owned(),
                |_| 1,
                async || std::future::pending::<Result<usize, Infallible>>().await,
            );
            Box::pin(made)
        };
        let (mut first, mut second) = (unfinished(), unfinished());
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(slots.slots.lock().slots.len(), 1, "another still makes it");
        drop(second);
        assert!(slots.slots.lock().slots.is_empty());
        assert_eq!(make(&slots, "a", 5).await, 5);
    }

    #[tokio::test]
    async fn a_failure_is_tried_again() {
        let slots = Slots::new(10_000);
        let failed = slots.get_or_make("a".to_owned(), |_| 1, async || Err::<usize, _>("no"));
        assert_eq!(failed.await, Err("no"));
        assert!(slots.slots.lock().slots.is_empty());
        assert_eq!(make(&slots, "a", 5).await, 5);
    }
}
