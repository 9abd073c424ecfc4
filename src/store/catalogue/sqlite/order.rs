//! The order in which requests for a key came. One that hangs on the disk while its client comes back with another must not
//! have its way after that one was told of.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::super::AssetKey;

/// As many keys as requests change at the moment.
#[derive(Default)]
pub struct Order {
    next: AtomicU64,
    keys: Mutex<HashMap<AssetKey, Entry>>,
}

#[derive(Default)]
struct Entry {
    /// The latest that has changed the key.
    done: u64,
    /// Requests that may still change it.
    under_way: usize,
}

/// A request's place in the order, until it is dropped.
pub struct Turn {
    order: Arc<Order>,
    key: AssetKey,
    number: u64,
}

impl Order {
    pub fn turn(self: &Arc<Self>, key: &AssetKey) -> Turn {
        let mut keys = self.keys.lock();
        keys.entry(key.clone()).or_default().under_way += 1;
        // Under the lock: whoever comes later has the higher number.
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        Turn { order: self.clone(), key: key.clone(), number }
    }
}

impl Turn {
    /// One that came later has changed the key already.
    pub(super) fn is_over(&self) -> bool {
        self.order.keys.lock().get(&self.key).is_some_and(|entry| entry.done > self.number)
    }

    pub(super) fn done(&self) {
        if let Some(entry) = self.order.keys.lock().get_mut(&self.key) {
            entry.done = entry.done.max(self.number);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut keys = self.order.keys.lock();
        if let Some(entry) = keys.get_mut(&self.key) {
            entry.under_way -= 1;
            if entry.under_way == 0 {
                keys.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_not_last() {
        let order = Arc::new(Order::default());
        let key = AssetKey::parse("a").unwrap();
        let (first, second, third) = (order.turn(&key), order.turn(&key), order.turn(&key));
        second.done();
        drop(second);
        assert!(first.is_over() && !third.is_over());
        assert!(!order.turn(&AssetKey::parse("b").unwrap()).is_over(), "another key");
        drop((first, third));
        assert!(order.keys.lock().is_empty(), "only keys of requests under way are known");
    }
}
