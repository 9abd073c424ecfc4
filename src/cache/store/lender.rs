//! What serving takes beside the memory tier: connections, requests, blocks on their way, what readers hold. Up to a part of the memory
//! that costs the tier nothing; what is beyond that is the tier's to give, down to a rest of it; and when most of that is used up, too,
//! nothing long is begun, and at last nothing at all.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::cache::Head;

/// What may be lent before the tier has less, and what the tier has at least, as parts of the memory.
const FREE: usize = 8;
const LEAST: usize = 4;
/// However small the memory is, so much may be lent before the tier has less, and before nothing at all is begun.
const LEAST_FREE: usize = 32 << 20;
const LEAST_LENT: usize = 288 << 20;
/// Of what may be lent, what is beyond these parts is not for what takes much, and not for what can wait.
const FOR_ALL: (usize, usize) = (7, 8);
const FOR_THE_IMPATIENT: (usize, usize) = (5, 8);
/// Of what may be lent, what connections take counts up to this part.
const FOR_CONNECTIONS: usize = 4;
/// The tier is made less in steps.
const STEP: usize = 4 << 20;
/// What is held inline and shorter than this is not looked after when the tier lets it go.
const LONG: usize = 64 << 10;

pub struct Lender {
    memory: usize,
    /// With what connections take.
    lent: AtomicUsize,
    connections: AtomicUsize,
    /// What the tier was told last.
    told: AtomicUsize,
    /// Objects that the tier has let go while they were being sent, and their bytes.
    outliving: Mutex<Vec<(Weak<Head>, usize)>>,
}

/// Bytes that are accounted for, until dropped.
pub struct Loan {
    lender: Arc<Lender>,
    bytes: usize,
    to_connection: bool,
}

impl Lender {
    pub fn new(memory: usize) -> Arc<Self> {
        Arc::new(Self {
            memory,
            lent: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            told: AtomicUsize::new(memory),
            outliving: Mutex::default(),
        })
    }

    /// Of the tier, as it is configured.
    pub fn size(&self) -> usize {
        self.memory
    }

    pub fn lend(self: &Arc<Self>, bytes: usize) -> Loan {
        self.lent.fetch_add(bytes, Ordering::Relaxed);
        Loan { lender: self.clone(), bytes, to_connection: false }
    }

    /// For a connection, as long as it is there. What idle ones take the tier does without; they are no reason to refuse what others ask for.
    pub fn lend_connection(self: &Arc<Self>, bytes: usize) -> Loan {
        self.connections.fetch_add(bytes, Ordering::Relaxed);
        self.lent.fetch_add(bytes, Ordering::Relaxed);
        Loan { lender: self.clone(), bytes, to_connection: true }
    }

    /// Bytes that are lent.
    pub fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// Whether who can wait should, rather than take more.
    pub fn is_scarce(&self) -> bool {
        self.is_beyond(FOR_THE_IMPATIENT)
    }

    /// Whether nothing should be begun that takes much.
    pub fn is_used_up(&self) -> bool {
        self.is_beyond(FOR_ALL)
    }

    /// Whether nothing at all should be begun.
    pub fn is_overdrawn(&self) -> bool {
        self.is_beyond((1, 1))
    }

    fn is_beyond(&self, (part, whole): (usize, usize)) -> bool {
        let all = self.memory.max(LEAST_LENT);
        let most = all / whole * part;
        let is_lent = || {
            let connections = self.connections.load(Ordering::Relaxed);
            self.lent().saturating_sub(connections) + connections.min(all / FOR_CONNECTIONS) > most
        };
        is_lent() && {
            self.sweep();
            is_lent()
        }
    }

    /// Bytes for the tier.
    pub fn left(&self) -> usize {
        let beyond = self.lent().saturating_sub((self.memory / FREE).max(LEAST_FREE));
        self.memory.saturating_sub(beyond).max(self.memory / LEAST)
    }

    /// The same, when that has changed by much since it was last asked.
    pub fn changed(&self) -> bool {
        let (left, told) = (self.left(), self.told.load(Ordering::Relaxed));
        let far = left.abs_diff(told) >= STEP;
        far && self.told.compare_exchange(told, left, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The tier has let go of it. Somebody may still be sending it.
    pub fn let_go(&self, head: Arc<Head>) {
        let bytes = head.weight();
        if bytes < LONG || Arc::strong_count(&head) < 2 {
            return;
        }
        self.lent.fetch_add(bytes, Ordering::Relaxed);
        let mut outliving = self.outliving.lock();
        if outliving.len() == outliving.capacity() {
            self.keep_held(&mut outliving);
        }
        outliving.push((Arc::downgrade(&head), bytes));
    }

    /// Takes back what is no longer sent.
    pub fn sweep(&self) {
        self.keep_held(&mut self.outliving.lock());
    }

    fn keep_held(&self, outliving: &mut Vec<(Weak<Head>, usize)>) {
        outliving.retain(|(head, bytes)| {
            let is_held = head.strong_count() > 0;
            if !is_held {
                self.lent.fetch_sub(*bytes, Ordering::Relaxed);
            }
            is_held
        });
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lender.lent.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.to_connection {
            self.lender.connections.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::Content;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_tier_gives_what_is_lent_beyond_a_part_and_keeps_a_rest() {
        let lender = Lender::new(400 * MIB);
        for (lent, left, beyond) in [
            (0, 400, 0),
            (50, 400, 0),
            (251, 199, 1),
            (350, 100, 1),
            (351, 100, 2),
            (400, 100, 2),
            (401, 100, 3),
        ] {
            let loan = lender.lend(lent * MIB);
            let is_beyond = [lender.is_scarce(), lender.is_used_up(), lender.is_overdrawn()];
            assert_eq!(
                (lender.left(), is_beyond),
                (left * MIB, [beyond > 0, beyond > 1, beyond > 2]),
                "{lent}"
            );
            assert_eq!((lender.changed(), lender.changed()), (left < 400, false), "{lent}");
            drop(loan);
            lender.changed();
        }
        assert_eq!(lender.left(), 400 * MIB);
        assert!(
            !Lender::new(MIB).lend(LEAST_LENT).lender.is_overdrawn(),
            "a small memory is no reason to refuse"
        );
    }

    #[test]
    fn connections_alone_are_no_reason_to_refuse() {
        let lender = Lender::new(400 * MIB);
        let idle = lender.lend_connection(1000 * MIB);
        assert_eq!((lender.is_scarce(), lender.left()), (false, 100 * MIB));
        let others = lender.lend(200 * MIB);
        assert_eq!((lender.is_scarce(), lender.is_used_up()), (true, false));
        drop(idle);
        assert_eq!((lender.is_scarce(), lender.lent()), (false, 200 * MIB));
        drop(others);
    }

    #[test]
    fn what_is_sent_counts_until_it_is_gone() {
        let lender = Lender::new(0);
        let head = |length| {
            let content = Content::Inline(Bytes::from(vec![0; length]));
            Arc::new(Head::new("/a", StatusCode::OK, &HeaderMap::new(), (0, 0), length as u64, content))
        };
        lender.let_go(head(LEAST_LENT));
        let (long, short) = (head(LEAST_LENT), head(10));
        lender.let_go(short.clone());
        assert!(!lender.is_overdrawn(), "nobody sends it, or it is short");
        let body = long.inline().unwrap();
        lender.let_go(long);
        assert!(lender.is_overdrawn());
        drop(body);
        assert!(!lender.is_overdrawn());
    }
}
