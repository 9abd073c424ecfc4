//! Places promised to running fills: what they have brought does not compete before they end. Together they are at most a quarter
//! of what the tier has when they are promised, so that there is something left to compete for. Whatever is lent afterwards, the tier
//! does not become smaller than what it has promised.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::Memory;
use crate::cache::Incarnation;

/// What is promised, as a part of the capacity.
const SHARE: u64 = 4;
/// What is promised takes so much more: keys, and shards that have a block more than others.
const OVERHEAD: u64 = 4;

#[derive(Default)]
pub struct Holds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    /// Bytes, and transfers that bring them.
    of: HashMap<Incarnation, (u64, usize)>,
}

impl Holds {
    /// `capacity`: of the tier, for now.
    pub fn enter(&self, of: Incarnation, bytes: u64, capacity: usize) -> bool {
        let mut state = self.state.lock();
        if let Some((_, transfers)) = state.of.get_mut(&of) {
            *transfers += 1;
            return true;
        }
        if bytes > (capacity as u64 / SHARE).saturating_sub(state.bytes) {
            return false;
        }
        state.bytes += bytes;
        state.of.insert(of, (bytes, 1));
        true
    }

    /// Bytes without which the promises could not be kept.
    pub fn needs(&self) -> usize {
        // At most a part of the capacity.
        let bytes = self.state.lock().bytes as usize;
        bytes + bytes / OVERHEAD as usize
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
        let holds = Holds::default();
        let [a, b, c] = [(); 3].map(|()| Incarnation::new());
        let enter = |of, bytes| holds.enter(of, bytes, 400);
        assert!(enter(a, 60) && !enter(b, 41) && enter(b, 40) && enter(a, 60));
        assert!(!enter(c, 1) && !holds.enter(c, 1, 300), "the tier may have less by now");
        assert_eq!(holds.needs(), 125);
        assert!(!holds.leave(a) && holds.has(a), "another transfer brings it");
        assert!(holds.leave(a) && !holds.has(a) && enter(c, 60));
    }
}
