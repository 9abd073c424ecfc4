//! One part of the memory tier: which entries it holds, and which of them go when there is no room.
//!
//! W-TinyLFU (Einziger, Friedman, Manes, TOS 2017) by the byte. What comes enters a window. What the window has no room for
//! has to be wanted more than what would have to go for it, else it goes itself; so a scan passes through the window and leaves
//! the rest alone. How the window is sized: [`super::climb`]. Blocks of a running fill do not compete before their readers
//! had time to come. `docs/decisions/0014-a-memory-tier-of-our-own.md` has the measurements.

use hashbrown::HashTable;

use super::{
    climb::Climber,
    lists::{Lists, Packed, Place},
    sketch::{MOST, Sketch},
};
use crate::cache::entry::EntryKey;

/// Blocks of running fills: this share of the capacity, and so many seconds, then they compete like others.
const PASSING_SHARE: usize = 3;
const PASSING_SECS: u32 = 10;
/// Of what is not window, in tenths.
const PROTECTED: usize = 8;
/// Requests after which all counts are halved: so many for each entry.
const SAMPLE: usize = 10;
const LEAST_SAMPLE: usize = 10_000;

pub struct Shard<V> {
    capacity: usize,
    index: HashTable<u32>,
    lists: Lists<V>,
    sketch: Sketch,
    climber: Climber,
    weight: usize,
    /// Counts halvings.
    epoch: u8,
    /// Requests since the last one.
    asked: usize,
}

/// Entries that are looked at when one has to go: of the oldest, the least wanted go first. More of them only for what needs
/// the room of many.
const FEWEST_VICTIMS: usize = 16;
const MOST_VICTIMS: usize = 128;

/// Values that are not held any more, to be dropped where nobody waits.
pub struct Gone<V> {
    pub evicted: Vec<V>,
    pub replaced: Option<V>,
}

impl<V> Default for Gone<V> {
    fn default() -> Self {
        Self { evicted: Vec::new(), replaced: None }
    }
}

/// Who may have to go: the least wanted first, of these the oldest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    count: u8,
    age: u8,
    at: u32,
}

/// Whether one that was asked for so often is worth so many others that were asked for so often in sum. Judged by the sum, large
/// objects would never come in, which is best for the share of requests that hit; judged by the mean, small ones would
/// go for them, which is best for the share of bytes. This stands between, at the sum by the number to the power of 3/4.
fn is_worth(wanted: u8, others: u64, number: usize) -> bool {
    // A shard has at most 2^32 entries: at most 15^4 * 2^96; the sum is cut off where it is too much in any case.
    u128::from(wanted).pow(4) * (number as u128).pow(3) > u128::from(others.min(u64::from(u32::MAX))).pow(4)
}

/// How an entry comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Asked for.
    Wanted,
    /// Part of a running fill; the time in seconds.
    Passing(u32),
    /// The same, of one that was promised a place. It does not compete until it is let go.
    Held,
}

impl<V: Clone> Shard<V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            index: HashTable::new(),
            lists: Lists::default(),
            sketch: Sketch::default(),
            climber: Climber::default(),
            weight: 0,
            epoch: 0,
            asked: 0,
        }
    }

    /// In force with what comes next.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    #[cfg(test)]
    pub fn weight_in(&self, place: Place) -> usize {
        self.lists.weight(place)
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn contains(&self, key: Packed) -> bool {
        self.find(key).is_some()
    }

    /// Without counting it as a request.
    pub fn look(&self, key: Packed) -> Option<V> {
        self.lists.node(self.find(key)?).value.clone()
    }

    pub fn get(&mut self, key: Packed) -> Option<V> {
        let at = self.find(key)?;
        self.count(at, 1);
        self.asked(true);
        let place = self.lists.node(at).place;
        match place {
            Place::Window | Place::Protected => self.lists.renew(at, place),
            Place::Probation => {
                self.lists.renew(at, Place::Protected);
                self.limit_protected();
            }
            Place::Passing | Place::Held => {}
        }
        self.lists.node(at).value.clone()
    }

    /// What has to go for it goes into `gone`, and if that is not worth it, it does itself.
    pub fn insert(&mut self, key: Packed, value: V, weight: usize, arrival: Arrival, gone: &mut Gone<V>) {
        if weight > self.capacity {
            gone.replaced = self.remove(key);
            gone.evicted.push(value);
            return;
        }
        // Less than the capacity.
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        match self.find(key) {
            Some(at) => {
                let node = self.lists.node_mut(at);
                gone.replaced = node.value.replace(value);
                self.weight = self.weight - node.weight as usize + weight as usize;
                self.lists.set_weight(at, weight);
                self.replaced(at, arrival);
            }
            None => self.take_in(key, value, weight, arrival),
        }
        self.fit(arrival, &mut gone.evicted);
    }

    /// What is held of these from now on only passes.
    pub fn let_go(&mut self, is_one: impl Fn(&EntryKey, &V) -> bool, now: u32) {
        let mut next = self.lists.oldest(Place::Held);
        while let Some(at) = next {
            next = self.lists.newer(at);
            let node = self.lists.node(at);
            if node.value.as_ref().is_some_and(|value| is_one(&node.key.into(), value)) {
                self.lists.renew(at, Place::Passing);
                self.lists.node_mut(at).since = now;
            }
        }
    }

    /// It counts as asked for at least so often.
    pub fn credit(&mut self, key: Packed, hits: u8) {
        if let Some(at) = self.find(key) {
            let known = self.count(at, 0);
            self.count(at, hits.min(MOST).saturating_sub(known));
        }
    }

    /// Shows the entries of so many nodes from `first` on. Where to go on, until there are no more.
    pub fn survey(
        &mut self,
        first: usize,
        most: usize,
        see: &mut impl FnMut(EntryKey, &V, u8),
    ) -> Option<usize> {
        let end = self.lists.len().min(first.saturating_add(most));
        for at in first..end {
            // Nodes are numbered in 32 bits.
            let at = at as u32;
            let count = self.count(at, 0);
            let node = self.lists.node(at);
            if let Some(value) = &node.value {
                see(node.key.into(), value, count);
            }
        }
        (end < self.lists.len()).then_some(end)
    }

    pub fn remove(&mut self, key: Packed) -> Option<V> {
        let at = self.find(key)?;
        self.take_out(at)
    }

    fn find(&self, key: Packed) -> Option<u32> {
        self.index.find(key.hash(), |at| self.lists.node(*at).key == key).copied()
    }

    fn take_in(&mut self, key: Packed, value: V, weight: u32, arrival: Arrival) {
        let place = match arrival {
            Arrival::Wanted => Place::Window,
            Arrival::Passing(_) => Place::Passing,
            Arrival::Held => Place::Held,
        };
        let Some(at) = self.lists.insert(key, value, weight, place) else { return };
        let hash = key.hash();
        let (known, epoch) = (self.sketch.count(hash), self.epoch);
        let node = self.lists.node_mut(at);
        (node.count, node.epoch) = (known, epoch);
        if let Arrival::Passing(now) = arrival {
            node.since = now;
        }
        self.weight += weight as usize;
        let lists = &self.lists;
        self.index.insert_unique(hash, at, |at| lists.node(*at).key.hash());
        self.sketch.fit(self.index.len());
        self.count(at, 1);
        self.asked(false);
    }

    /// What was held may be of another fill now, or of none.
    fn replaced(&mut self, at: u32, arrival: Arrival) {
        match (self.lists.node(at).place, arrival) {
            (Place::Held, Arrival::Wanted) => self.lists.renew(at, Place::Window),
            (Place::Held, Arrival::Passing(now)) => {
                self.lists.renew(at, Place::Passing);
                self.lists.node_mut(at).since = now;
            }
            _ => {}
        }
    }

    fn take_out(&mut self, at: u32) -> Option<V> {
        let node = self.lists.node(at);
        let (hash, weight) = (node.key.hash(), node.weight);
        if let Ok(found) = self.index.find_entry(hash, |found| *found == at) {
            found.remove();
        }
        self.weight -= weight as usize;
        self.lists.remove(at)
    }

    /// Adds to the requests for an entry, and says how many there were lately.
    fn count(&mut self, at: u32, more: u8) -> u8 {
        let epoch = self.epoch;
        let node = self.lists.node_mut(at);
        let halvings = epoch.wrapping_sub(node.epoch);
        node.count = (node.count.checked_shr(halvings.into()).unwrap_or(0) + more).min(MOST);
        node.epoch = epoch;
        node.count
    }

    fn asked(&mut self, hit: bool) {
        self.climber.note(hit);
        self.asked += 1;
        if self.asked >= LEAST_SAMPLE.max(SAMPLE * self.index.len()) {
            self.asked = 0;
            self.epoch = self.epoch.wrapping_add(1);
            self.sketch.halve();
            self.climber.sampled();
        }
    }

    fn limit_protected(&mut self) {
        let others = self.climber.window(self.capacity).max(self.lists.weight(Place::Window))
            + self.lists.weight(Place::Passing)
            + self.lists.weight(Place::Held);
        let most = self.capacity.saturating_sub(others) / 10 * PROTECTED;
        while self.lists.weight(Place::Protected) > most
            && let Some(oldest) = self.lists.oldest(Place::Protected)
        {
            self.lists.renew(oldest, Place::Probation);
        }
    }

    fn fit(&mut self, arrival: Arrival, gone: &mut Vec<V>) {
        let window = self.climber.window(self.capacity);
        while self.lists.weight(Place::Window) > window
            && let Some(oldest) = self.lists.oldest(Place::Window)
        {
            self.compete(oldest, gone);
        }
        while let Some(oldest) = self.lists.oldest(Place::Passing) {
            let late = match arrival {
                Arrival::Wanted | Arrival::Held => false,
                Arrival::Passing(now) => now.saturating_sub(self.lists.node(oldest).since) > PASSING_SECS,
            };
            if !late && self.lists.weight(Place::Passing) <= self.capacity / PASSING_SHARE {
                break;
            }
            self.compete(oldest, gone);
        }
        self.shrink(gone);
    }

    /// To its capacity. What only passes has less room then, too, lest all that is asked for goes before it.
    pub fn shrink(&mut self, gone: &mut Vec<V>) {
        while self.weight > self.capacity
            && self.lists.weight(Place::Passing) > self.capacity / PASSING_SHARE
            && let Some(oldest) = self.lists.oldest(Place::Passing)
        {
            self.evict(oldest, gone);
        }
        while self.weight > self.capacity
            && let Some(victim) = self.victim().or_else(|| {
                let window = self.lists.oldest(Place::Window);
                let passing = window.or_else(|| self.lists.oldest(Place::Passing));
                passing.or_else(|| self.lists.oldest(Place::Held))
            })
        {
            self.evict(victim, gone);
        }
    }

    /// Who would go first.
    fn victim(&self) -> Option<u32> {
        self.lists.oldest(Place::Probation).or_else(|| self.lists.oldest(Place::Protected))
    }

    /// Bytes that have to go for this one to be let in. The window has its room also when it does not fill it.
    fn lacks(&self, candidate: u32) -> usize {
        let place = |place| self.lists.weight(place);
        let held = [Place::Probation, Place::Protected, Place::Passing, Place::Held]
            .map(place)
            .iter()
            .sum::<usize>();
        let node = self.lists.node(candidate);
        let own = if node.place == Place::Window { node.weight as usize } else { 0 };
        (held + own + self.climber.window(self.capacity)).saturating_sub(self.capacity)
    }

    fn compete(&mut self, candidate: u32, gone: &mut Vec<V>) {
        let wanted = self.count(candidate, 0);
        let passed = self.lists.node(candidate).place == Place::Passing;
        let room = self.lacks(candidate);
        let mut victims = [Victim::default(); MOST_VICTIMS];
        let looked_at = if room > 0 && wanted > 0 { self.oldest(room, &mut victims) } else { 0 };
        let victims = &mut victims[..looked_at];
        victims.sort_unstable();
        let (mut freed, mut others, mut number) = (0_usize, 0, 0);
        for victim in victims.iter().take_while(|_| room > 0) {
            if freed >= room {
                break;
            }
            freed += self.lists.node(victim.at).weight as usize;
            others += u64::from(victim.count);
            number += 1;
        }
        if freed < room && looked_at < MOST_VICTIMS {
            // That were all.
            return self.evict(candidate, gone);
        }
        // Of many small ones only some are looked at; they stand for the rest.
        let more = |sum: u64| match freed {
            ..=0 => sum,
            freed => (u128::from(sum) * room.max(freed) as u128 / freed as u128) as u64,
        };
        if room > 0 && !is_worth(wanted, more(others), more(number as u64) as usize) {
            return self.evict(candidate, gone);
        }
        for victim in victims.iter().take(number) {
            self.evict(victim.at, gone);
        }
        if freed < room {
            // Where it is the last to go.
            self.lists.renew(candidate, Place::Protected);
        }
        while freed < room
            && let Some(next) = self.victim().filter(|next| *next != candidate)
        {
            freed += self.lists.node(next).weight as usize;
            self.evict(next, gone);
        }
        // What was asked for while it passed is not to be the first to go.
        let proven = passed && wanted > 1;
        self.lists.renew(candidate, if proven { Place::Protected } else { Place::Probation });
        self.limit_protected();
    }

    /// Those that were not asked for the longest, about twice as much as there has to be room for. How many there are.
    fn oldest(&mut self, room: usize, found: &mut [Victim; MOST_VICTIMS]) -> usize {
        let (mut number, mut weight) = (0, 0);
        let mut next = self.victim();
        while let Some(at) = next
            && number < MOST_VICTIMS
            && (number < FEWEST_VICTIMS || weight < 2 * room)
        {
            found[number] = Victim { count: self.count(at, 0), age: number as u8, at };
            number += 1;
            let node = self.lists.node(at);
            weight += node.weight as usize;
            next = self.lists.newer(at);
            if next.is_none() && node.place == Place::Probation {
                next = self.lists.oldest(Place::Protected);
            }
        }
        number
    }

    fn evict(&mut self, at: u32, gone: &mut Vec<V>) {
        let count = self.count(at, 0);
        self.sketch.raise(self.lists.node(at).key.hash(), count);
        gone.extend(self.take_out(at));
    }
}
