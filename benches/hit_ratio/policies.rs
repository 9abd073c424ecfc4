//! Reference simulations of eviction policies, by the byte: what the papers say, without a thought for speed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

pub trait Policy {
    /// Whether it was there. It is afterwards, if the policy wants it.
    fn access(&mut self, key: u64, weight: usize) -> bool;
}

macro_rules! sized {
    ($($policy:ident),*) => {
        $(impl $policy {
            pub fn of(capacity: usize) -> Box<dyn Policy> {
                Box::new(Self { capacity, ..Self::default() })
            }
        })*
    };
}

sized!(Lru, Sieve, S3Fifo, TinyLfu);

/// Keys in the order of their last use.
#[derive(Default)]
pub struct Recency {
    places: HashMap<u64, (u64, usize)>,
    order: BTreeMap<u64, u64>,
    next: u64,
    weight: usize,
}

impl Recency {
    fn insert(&mut self, key: u64, weight: usize) {
        self.next += 1;
        self.places.insert(key, (self.next, weight));
        self.order.insert(self.next, key);
        self.weight += weight;
    }

    fn remove(&mut self, key: u64) -> Option<usize> {
        let (place, weight) = self.places.remove(&key)?;
        self.order.remove(&place);
        self.weight -= weight;
        Some(weight)
    }

    fn touch(&mut self, key: u64) -> bool {
        let weight = self.remove(key);
        weight.map(|weight| self.insert(key, weight)).is_some()
    }

    fn oldest(&self) -> Option<u64> {
        self.order.first_key_value().map(|(_, key)| *key)
    }

    fn pop(&mut self) -> Option<(u64, usize)> {
        let key = self.oldest()?;
        Some((key, self.remove(key)?))
    }
}

#[derive(Default)]
pub struct Lru {
    capacity: usize,
    keys: Recency,
}

impl Policy for Lru {
    fn access(&mut self, key: u64, weight: usize) -> bool {
        if self.keys.touch(key) {
            return true;
        }
        self.keys.insert(key, weight);
        while self.keys.weight > self.capacity {
            self.keys.pop();
        }
        false
    }
}

/// Zhang et al., NSDI 2024.
#[derive(Default)]
pub struct Sieve {
    capacity: usize,
    keys: Recency,
    visited: HashSet<u64>,
    hand: u64,
}

impl Policy for Sieve {
    fn access(&mut self, key: u64, weight: usize) -> bool {
        if self.keys.places.contains_key(&key) {
            self.visited.insert(key);
            return true;
        }
        while self.keys.weight + weight > self.capacity {
            let at = self.keys.order.range(self.hand..).next().or(self.keys.order.first_key_value());
            let Some((place, key)) = at.map(|(place, key)| (*place, *key)) else { break };
            self.hand = place + 1;
            if !self.visited.remove(&key) {
                self.keys.remove(key);
            }
        }
        self.keys.insert(key, weight);
        false
    }
}

/// Yang et al., SOSP 2023: a small queue of 10 %, a ghost queue as long as the main one.
#[derive(Default)]
pub struct S3Fifo {
    capacity: usize,
    held: HashMap<u64, (usize, u8)>,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    ghosts: VecDeque<(u64, usize)>,
    ghost: HashSet<u64>,
    weights: [usize; 3],
}

impl S3Fifo {
    fn evict(&mut self) {
        if self.weights[0] * 10 > self.capacity || self.main.is_empty() {
            while let Some(key) = self.small.pop_front() {
                let Some((weight, frequency)) = self.held.get(&key).copied() else { continue };
                self.weights[0] -= weight;
                if frequency > 1 {
                    self.weights[1] += weight;
                    self.held.insert(key, (weight, 0));
                    self.main.push_back(key);
                    continue;
                }
                self.held.remove(&key);
                self.ghost.insert(key);
                self.ghosts.push_back((key, weight));
                self.weights[2] += weight;
                while self.weights[2] * 10 > self.capacity * 9 {
                    let Some((key, weight)) = self.ghosts.pop_front() else { break };
                    self.ghost.remove(&key);
                    self.weights[2] -= weight;
                }
                return;
            }
        }
        while let Some(key) = self.main.pop_front() {
            let Some((weight, frequency)) = self.held.get(&key).copied() else { continue };
            if frequency == 0 {
                self.held.remove(&key);
                self.weights[1] -= weight;
                return;
            }
            self.held.insert(key, (weight, frequency - 1));
            self.main.push_back(key);
        }
    }
}

impl Policy for S3Fifo {
    fn access(&mut self, key: u64, weight: usize) -> bool {
        if let Some((_, frequency)) = self.held.get_mut(&key) {
            *frequency = (*frequency + 1).min(3);
            return true;
        }
        while self.weights[0] + self.weights[1] + weight > self.capacity && !self.held.is_empty() {
            self.evict();
        }
        self.held.insert(key, (weight, 0));
        if self.ghost.remove(&key) {
            self.main.push_back(key);
            self.weights[1] += weight;
        } else {
            self.small.push_back(key);
            self.weights[0] += weight;
        }
        false
    }
}

/// Einziger et al., TOS 2017: a window of 1 %, four fifths of the rest protected; counted exactly, halved every so often.
#[derive(Default)]
pub struct TinyLfu {
    capacity: usize,
    window: Recency,
    probation: Recency,
    protected: Recency,
    counts: HashMap<u64, u32>,
    since: usize,
}

impl TinyLfu {
    fn count(&self, key: u64) -> u32 {
        self.counts.get(&key).copied().unwrap_or(0)
    }

    fn remember(&mut self, key: u64) {
        let count = self.counts.entry(key).or_default();
        *count = (*count + 1).min(15);
        self.since += 1;
        let held = self.window.places.len() + self.probation.places.len() + self.protected.places.len();
        if self.since > 10 * held.max(1000) {
            self.since = 0;
            self.counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
    }

    fn admit(&mut self, key: u64, weight: usize) {
        let room = self.capacity - self.capacity / 100;
        while self.probation.weight + self.protected.weight + weight > room {
            let victim = self.probation.oldest().or_else(|| self.protected.oldest());
            let Some(victim) = victim else { return };
            if self.count(key) <= self.count(victim) {
                return;
            }
            self.probation.remove(victim).or_else(|| self.protected.remove(victim));
        }
        self.probation.insert(key, weight);
    }
}

impl Policy for TinyLfu {
    fn access(&mut self, key: u64, weight: usize) -> bool {
        self.remember(key);
        if self.window.touch(key) || self.protected.touch(key) {
            return true;
        }
        if let Some(weight) = self.probation.remove(key) {
            self.protected.insert(key, weight);
            while self.protected.weight > self.capacity / 5 * 4 {
                let Some((key, weight)) = self.protected.pop() else { break };
                self.probation.insert(key, weight);
            }
            return true;
        }
        self.window.insert(key, weight);
        while self.window.weight > self.capacity / 100 {
            let Some((key, weight)) = self.window.pop() else { break };
            self.admit(key, weight);
        }
        false
    }
}
