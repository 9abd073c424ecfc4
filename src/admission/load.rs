//! How much is let in at a time: requests that take work, and connections of one client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::client::counted;

/// Places for requests. Those that are answered from memory at once need none.
#[derive(Debug)]
pub struct Load {
    most: usize,
    taken: AtomicUsize,
}

/// A place, until dropped.
#[derive(Debug)]
pub struct Place(Arc<Load>);

impl Load {
    /// `most`: 0 for no bound.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: if most == 0 { usize::MAX } else { most }, taken: AtomicUsize::new(0) })
    }

    /// None: all are taken.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        // Dropping the place gives it back.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections of each client. There are never more clients than connections, which are bounded.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a client, until dropped.
#[derive(Debug)]
pub struct Held(Option<(Arc<Connections>, IpAddr)>);

impl Held {
    /// What is not counted.
    pub fn uncounted() -> Self {
        Self(None)
    }
}

impl Connections {
    /// `most`: 0 for no bound.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// None: this client has as many as it may.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Held> {
        if self.most == 0 {
            return Some(Held::uncounted());
        }
        let client = counted(client);
        let mut held = self.held.lock();
        let count = held.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Held(Some((self.clone(), client))))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((connections, client)) = self.0.take() else { return };
        let mut held = connections.held.lock();
        if let Some(count) = held.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let load = Load::new(2);
        let (one, two) = (load.enter(), load.enter());
        assert!(one.is_some() && two.is_some() && load.enter().is_none());
        drop(one);
        assert!(load.enter().is_some());
        let unbounded = Load::new(0);
        assert!((0..1000).map(|_| unbounded.enter()).collect::<Vec<_>>().iter().all(Option::is_some));
    }

    #[test]
    fn clients_are_counted_apart_and_forgotten() {
        let connections = Connections::new(2);
        let enter = |text: &str| connections.enter(text.parse().unwrap());
        let held = [enter("192.0.2.1"), enter("::ffff:192.0.2.1"), enter("192.0.2.2")];
        assert!(held.iter().all(Option::is_some) && enter("192.0.2.1").is_none());
        drop(held);
        assert!(connections.held.lock().is_empty());
    }
}
