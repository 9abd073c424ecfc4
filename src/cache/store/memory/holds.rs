//! Places promised to running fills: what they have brought does not compete before they end. Together they are at most a quarter
//! of the memory, so that there is something left to compete for.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::Memory;
use crate::cache::Incarnation;

/// What is promised, as a part of the capacity.
const SHARE: u64 = 4;

pub struct Holds {
    most: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    /// Bytes, and transfers that bring them.
    of: HashMap<Incarnation, (u64, usize)>,
}

impl Holds {
    pub fn new(capacity: usize) -> Self {
        Self { most: capacity as u64 / SHARE, state: Mutex::default() }
    }

    pub fn enter(&self, of: Incarnation, bytes: u64) -> bool {
        let mut state = self.state.lock();
        if let Some((_, transfers)) = state.of.get_mut(&of) {
            *transfers += 1;
            return true;
        }
        if bytes > self.most - state.bytes {
            return false;
        }
        state.bytes += bytes;
        state.of.insert(of, (bytes, 1));
        true
    }

    pub fn has(&self, of: Incarnation) -> bool {
        self.state.lock().of.contains_key(&of)
    }

    /// Whether that was the last transfer.
    pub fn leave(&self, of: Incarnation) -> bool {
        let mut state = self.state.lock();
        let Some((bytes, transfers)) = state.of.get_mut(&of) else { return false };
        *transfers -= 1;
        if *transfers > 0 {
            return false;
        }
        let bytes = *bytes;
        state.bytes -= bytes;
        state.of.remove(&of);
        true
    }
}

/// A promise, as long as it lives.
pub struct Hold {
    memory: Arc<Memory>,
    of: Incarnation,
}

impl Hold {
    pub(super) fn new(memory: Arc<Memory>, of: Incarnation) -> Self {
        Self { memory, of }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.memory.let_go(self.of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_promised_than_there_is() {
        let holds = Holds::new(400);
        let [a, b, c] = [(); 3].map(|()| Incarnation::new());
        assert!(holds.enter(a, 60) && !holds.enter(b, 41) && holds.enter(b, 40) && holds.enter(a, 60));
        assert!(!holds.enter(c, 1));
        assert!(!holds.leave(a) && holds.has(a), "another transfer brings it");
        assert!(holds.leave(a) && !holds.has(a) && holds.enter(c, 60));
    }
}
