//! What is worth writing to the disk. While the tier has room, everything; when it has to evict, what is asked for a second
//! time; and never more than the budget in the long run. Whatever is refused is in memory all the same.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use millrace_kit::metrics::{self, IntCounter, Registry, catalogue};
use parking_lot::Mutex;

use super::Incarnation;

pub struct Admission {
    /// Bytes per second; 0: no end.
    rate: u64,
    state: Mutex<State>,
    admitted: IntCounter,
    again: IntCounter,
    once: IntCounter,
    budget: IntCounter,
    behind: IntCounter,
}

struct State {
    /// Below zero new objects wait for better times; what has been begun goes on.
    budget: f64,
    filled: Instant,
    seen: Seen,
    refused: Refused,
}

/// Why an object comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It has been fetched.
    Fetched,
    /// It was found in memory, so it is wanted a second time.
    Found,
}

impl Admission {
    pub fn new(rate: u64, registry: &Registry) -> Result<Self, metrics::Error> {
        let results = registry.counter(&catalogue::CACHE_DISK_ADMISSIONS)?;
        let count = |result| results.with_label_values(&[result]);
        let state = State {
            budget: rate as f64,
            filled: Instant::now(),
            seen: Seen::default(),
            refused: Refused::default(),
        };
        Ok(Self {
            rate,
            state: state.into(),
            admitted: count("admitted"),
            again: count("second_request"),
            once: count("first_request"),
            budget: count("over_budget"),
            behind: count("behind"),
        })
    }

    /// Whether an object is to be written. `evicts`: what is on disk would have to make room.
    pub fn admits(&self, key: u128, occasion: Occasion, evicts: bool) -> bool {
        let mut state = self.state.lock();
        let seen = occasion == Occasion::Found || state.seen.again(key);
        let (admitted, counter) = match (seen, evicts) {
            _ if !state.has_budget(self.rate) => (false, &self.budget),
            (false, true) => (false, &self.once),
            (false, false) => (true, &self.admitted),
            (true, _) => (true, &self.again),
        };
        counter.inc();
        admitted
    }

    /// Whether there is something left to spend.
    pub fn has_budget(&self) -> bool {
        self.state.lock().has_budget(self.rate)
    }

    pub fn spend(&self, bytes: u32) {
        if self.rate > 0 {
            self.state.lock().budget -= f64::from(bytes);
        }
    }

    /// The disk did not take what was admitted.
    pub fn missed(&self) {
        self.behind.inc();
    }

    /// Blocks follow their head.
    pub fn refuse_blocks(&self, of: Incarnation) {
        self.state.lock().refused.insert(of);
    }

    pub fn admit_blocks(&self, of: Incarnation) {
        self.state.lock().refused.remove(of);
    }

    pub fn admits_blocks(&self, of: Incarnation) -> bool {
        !self.state.lock().refused.of.contains_key(&of)
    }
}

impl State {
    /// A second's worth can be saved up.
    fn has_budget(&mut self, rate: u64) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * rate as f64;
        (self.budget, self.filled) = ((self.budget + earned).min(rate as f64), now);
        rate == 0 || self.budget > 0.0
    }
}

/// Remembers the last half to one million keys, in two Bloom filters of 1 MiB that take turns. One of 400 new keys
/// passes for an old one.
struct Seen {
    current: Vec<u64>,
    before: Vec<u64>,
    count: u32,
}

const BITS: u64 = 1 << 23;
const KEYS: u32 = 1 << 19;
const PROBES: u32 = 4;

impl Default for Seen {
    fn default() -> Self {
        Self { current: vec![0; BITS as usize / 64], before: vec![0; BITS as usize / 64], count: 0 }
    }
}

impl Seen {
    /// Whether the key was here before; now it was.
    fn again(&mut self, key: u128) -> bool {
        // The key is a hash already; its parts are as good as several.
        let probes = (0..PROBES).map(|probe| {
            let bit = (key >> (24 * probe)) as u64 % BITS;
            ((bit / 64) as usize, 1 << (bit % 64))
        });
        let [mut now, mut before] = [true, true];
        for (word, bit) in probes {
            now &= self.current[word] & bit != 0;
            before &= self.before[word] & bit != 0;
            self.current[word] |= bit;
        }
        self.count += u32::from(!now);
        if self.count >= KEYS {
            std::mem::swap(&mut self.current, &mut self.before);
            self.current.fill(0);
            self.count = 0;
        }
        now || before
    }
}

/// Objects whose blocks stay in memory: the last ones.
#[derive(Default)]
struct Refused {
    of: HashMap<Incarnation, u64>,
    order: VecDeque<(Incarnation, u64)>,
    next: u64,
}

const REFUSED: usize = 1 << 14;

impl Refused {
    fn insert(&mut self, of: Incarnation) {
        self.next += 1;
        self.of.insert(of, self.next);
        self.order.push_back((of, self.next));
        if self.order.len() > REFUSED
            && let Some((oldest, number)) = self.order.pop_front()
            && self.of.get(&oldest) == Some(&number)
        {
            self.of.remove(&oldest);
        }
    }

    fn remove(&mut self, of: Incarnation) {
        self.of.remove(&of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(rate: u64) -> Admission {
        Admission::new(rate, &Registry::new()).unwrap()
    }

    #[test]
    fn a_full_disk_takes_what_comes_twice() {
        let admission = admission(0);
        let key = |n: u64| xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes());
        assert!(admission.admits(key(0), Occasion::Fetched, false), "there is room");
        assert!(admission.admits(key(0), Occasion::Fetched, true), "seen before");
        let passed = (1..=100_000).filter(|n| admission.admits(key(*n), Occasion::Fetched, true)).count();
        assert!(passed < 100, "{passed} of 100,000 new keys passed for old ones");
        assert!((1..=100_000).all(|n| admission.admits(key(n), Occasion::Fetched, true)));
        assert!(admission.admits(key(200_000), Occasion::Found, true));
        (300_000..1_500_000).for_each(|n| _ = admission.admits(key(n), Occasion::Fetched, true));
        assert!(!admission.admits(key(1), Occasion::Fetched, true), "too long ago");
    }

    #[test]
    fn what_is_spent_has_to_be_earned() {
        let admission = admission(1000);
        assert!(admission.admits(1, Occasion::Fetched, false));
        admission.spend(1_000_000);
        assert!(!admission.has_budget());
        assert!(!admission.admits(2, Occasion::Found, false));
        admission.state.lock().filled -= std::time::Duration::from_secs(1000);
        assert!(admission.admits(2, Occasion::Found, false));
    }

    #[test]
    fn only_so_many_refused_objects_are_remembered() {
        let admission = admission(0);
        let objects: Vec<_> = (0..REFUSED + 2).map(|_| Incarnation::new()).collect();
        objects.iter().for_each(|object| admission.refuse_blocks(*object));
        assert!(admission.admits_blocks(objects[1]) && !admission.admits_blocks(objects[2]));
        admission.admit_blocks(objects[2]);
        assert!(admission.admits_blocks(objects[2]));
    }
}
