//! Keys whose latest answer was not for everybody. Waiting for another request's answer would be in vain there, so for a
//! while each request asks for itself, and at once; as soon as an answer may be stored, they share fills again.

use std::{collections::HashMap, hash::Hash};

use http::StatusCode;
use millrace_kit::clock::UnixMillis;

use crate::cache::storable::Refusal;

/// How long a key is remembered after its latest answer that was not stored.
const KEPT: i64 = 60_000;
/// Keys, about 5 MiB. When there are more, all are forgotten, which costs each one wait.
const MAX_KEYS: usize = 64 << 10;

/// The keys, each with the time until which it is remembered.
pub struct Unshared<K>(HashMap<K, UnixMillis>);

impl<K> Default for Unshared<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Unshared<K> {
    pub fn has(&mut self, key: &K, now: UnixMillis) -> bool {
        match self.0.get(key) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.0.remove(key);
                false
            }
            None => false,
        }
    }

    pub fn enter(&mut self, key: K, now: UnixMillis) {
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            self.0.retain(|_, until| *until > now);
            if self.0.len() >= MAX_KEYS {
                self.0.clear();
            }
        }
        self.0.insert(key, now.saturating_add(KEPT));
    }

    pub fn leave(&mut self, key: &K) {
        self.0.remove(key);
    }
}

/// Whether the next answer will probably not be stored either. An origin in trouble is not asked by everybody at once, and
/// a request that forbids storing says nothing about others.
pub fn is_lasting(status: StatusCode, refusal: Refusal) -> bool {
    let trouble = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    // A part that leaves out what its client has is of that client's condition.
    let of_the_request = refusal == Refusal::RequestNoStore
        || (status, refusal) == (StatusCode::PARTIAL_CONTENT, Refusal::Status);
    !trouble && !of_the_request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_a_while() {
        let mut keys = Unshared::default();
        keys.enter(1, 0);
        assert!(keys.has(&1, KEPT - 1) && !keys.has(&2, 0));
        assert!(!keys.has(&1, KEPT) && keys.0.is_empty());
        keys.enter(1, 0);
        keys.leave(&1);
        assert!(!keys.has(&1, 0));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut keys = Unshared::default();
        for key in 0..MAX_KEYS {
            keys.enter(key, if key < 10 { 0 } else { KEPT });
        }
        keys.enter(MAX_KEYS, KEPT);
        assert_eq!(keys.0.len(), MAX_KEYS - 10 + 1, "first the old ones go");
        for key in 0..=10 {
            keys.enter(key, KEPT);
        }
        assert!(keys.0.len() <= MAX_KEYS && keys.has(&10, KEPT));
    }

    #[test]
    fn trouble_is_shared() {
        for (status, refusal, expected) in [
            (200, Refusal::Private, true),
            (200, Refusal::TooLarge, true),
            (404, Refusal::NothingToReuse, true),
            (503, Refusal::NothingToReuse, false),
            (500, Refusal::Private, false),
            (429, Refusal::NothingToReuse, false),
            (200, Refusal::RequestNoStore, false),
        ] {
            assert_eq!(is_lasting(StatusCode::from_u16(status).unwrap(), refusal), expected, "{status}");
        }
    }
}
