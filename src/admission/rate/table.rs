//! What is remembered of each key: a table of fixed size. Where it is full, the key is forgotten that owes least, which is
//! let in the sooner for it; who is over a limit stays.

use std::hash::BuildHasher;

use governor::{nanos::Nanos, state::StateStore};
use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

/// A key's places.
const WAYS: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// 0: free.
    key: u64,
    /// When it would owe nothing any more, in nanoseconds.
    due: u64,
}

/// Keys by their hash, which strangers cannot foresee.
pub struct Table {
    sets: Box<[Mutex<[Entry; WAYS]>]>,
    seed: DefaultHashBuilder,
}

impl Table {
    /// For about so many keys; sixteen bytes are taken for each right away.
    pub fn new(keys: usize) -> Self {
        let sets = (keys / WAYS).next_power_of_two();
        let sets = (0..sets).map(|_| Mutex::default()).collect();
        Self { sets, seed: DefaultHashBuilder::default() }
    }

    /// Never 0.
    pub fn key(&self, client: &impl std::hash::Hash) -> u64 {
        self.seed.hash_one(client) | 1
    }

    /// When this key would owe nothing any more.
    pub fn due(&self, key: u64) -> Option<u64> {
        self.set(key).lock().iter().find(|entry| entry.key == key).map(|entry| entry.due)
    }

    fn set(&self, key: u64) -> &Mutex<[Entry; WAYS]> {
        // The length is a power of two. The lowest bit says nothing.
        &self.sets[(key >> 1) as usize & (self.sets.len() - 1)]
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut set = self.set(*key).lock();
        let mut place = 0;
        for (at, entry) in set.iter().enumerate() {
            if entry.key == *key {
                place = at;
                break;
            }
            if entry.due < set[place].due {
                place = at;
            }
        }
        let entry = &mut set[place];
        let (outcome, due) = judge((entry.key == *key).then(|| entry.due.into()))?;
        *entry = Entry { key: *key, due: due.into() };
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &Table, key: u64, due: u64) {
        table.measure_and_replace(&key, |_| Ok::<_, ()>(((), due.into()))).unwrap();
    }

    /// Whoever has a thousand addresses does not make us forget those who are over their limit.
    #[test]
    fn who_owes_most_is_remembered() {
        let table = Table::new(64);
        let debtor = table.key(&"debtor");
        put(&table, debtor, 1_000_000);
        for stranger in 0..10_000 {
            put(&table, table.key(&stranger), stranger);
        }
        assert_eq!(table.due(debtor), Some(1_000_000));
        let held = table.sets.iter().map(|set| set.lock().iter().filter(|entry| entry.key != 0).count());
        assert_eq!(held.sum::<usize>(), 64);
    }
}
