//! What is going on at this moment, and who is to hear of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::run::Watcher;

/// Attempts of this server.
pub struct Live {
    running: Mutex<HashMap<String, Attempt>>,
    next: AtomicU64,
    /// Counts up with each change of any job.
    changes: watch::Sender<u64>,
}

struct Attempt {
    /// Whose entry it is: a job that is tried again may still have one from before.
    serial: u64,
    progress: f64,
    cancel: CancellationToken,
    storing: bool,
}

/// An attempt's entry, as long as it is held.
pub struct Entry {
    live: Arc<Live>,
    id: String,
    serial: u64,
    pub cancelled: CancellationToken,
}

/// Progress is told in steps of this.
const STEP: f64 = 0.005;

impl Live {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), next: AtomicU64::new(0), changes: watch::Sender::new(0) })
    }

    pub fn enter(self: &Arc<Self>, id: &str) -> Entry {
        let cancelled = CancellationToken::new();
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        let attempt = Attempt { serial, progress: 0.0, cancel: cancelled.clone(), storing: false };
        self.running.lock().insert(id.to_owned(), attempt);
        Entry { live: self.clone(), id: id.to_owned(), serial, cancelled }
    }

    pub fn progress(&self, id: &str) -> Option<f64> {
        self.running.lock().get(id).map(|attempt| attempt.progress)
    }

    /// Stops an attempt. False: its assets are being put in place already.
    pub fn cancel(&self, id: &str) -> bool {
        let running = self.running.lock();
        let Some(attempt) = running.get(id) else { return true };
        if attempt.storing {
            return false;
        }
        attempt.cancel.cancel();
        true
    }

    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Entry {
    /// None: another attempt has taken its place.
    fn own<'a>(&self, running: &'a mut HashMap<String, Attempt>) -> Option<&'a mut Attempt> {
        running.get_mut(&self.id).filter(|attempt| attempt.serial == self.serial)
    }
}

impl Watcher for Entry {
    fn progress(&self, done: f64) {
        let done = done.clamp(0.0, 1.0);
        {
            let mut running = self.live.running.lock();
            let Some(attempt) = self.own(&mut running) else { return };
            let further = done >= attempt.progress + STEP || done >= 1.0 && attempt.progress < 1.0;
            // Nor what is no number.
            if !further {
                return;
            }
            attempt.progress = done;
        }
        self.live.changed();
    }

    fn storing(&self) -> bool {
        let mut running = self.live.running.lock();
        let Some(attempt) = self.own(&mut running) else { return false };
        attempt.storing = !attempt.cancel.is_cancelled();
        attempt.storing
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.live.running.lock();
        if self.own(&mut running).is_some() {
            running.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_stored_is_not_cancelled_and_the_other_way_round() {
        let live = Live::new();
        let (one, other) = (live.enter("1"), live.enter("2"));
        assert!(live.cancel("1") && one.cancelled.is_cancelled() && !one.storing());
        assert!(other.storing() && !live.cancel("2") && !other.cancelled.is_cancelled());
        drop(other);
        assert!(live.cancel("2"), "it has ended");
    }

    #[test]
    fn an_attempt_leaves_the_entry_of_the_next_one_alone() {
        let live = Live::new();
        let (old, new) = (live.enter("1"), live.enter("1"));
        old.progress(0.5);
        assert!(!old.storing());
        drop(old);
        assert_eq!(live.progress("1"), Some(0.0));
        assert!(live.cancel("1") && new.cancelled.is_cancelled());
    }

    #[test]
    fn progress_is_told_in_steps_and_never_goes_back() {
        let live = Live::new();
        let entry = live.enter("1");
        let changes = live.changes();
        for done in [0.001, 0.002, 0.3, 0.1, 0.301, f64::NAN, 2.0] {
            entry.progress(done);
        }
        assert_eq!((live.progress("1"), *changes.borrow()), (Some(1.0), 2));
    }
}
