//! The disk tier behind a switch: on while the disk does what is asked of it, off when it fails, and on again with a new,
//! empty engine when it has been repaired.

use std::{
    collections::HashSet,
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use foyer::ErrorKind;
use millrace_kit::{
    metrics::{self, IntCounter, IntCounterVec, IntGauge, Registry, catalogue},
    tasks::Tasks,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{DiskConfig, Error, directory};
use crate::cache::entry::{Entry, EntryKey};

pub mod files;
mod oldest;
mod tier;
mod window;

pub use tier::{Tier, blocking};
pub use window::space;

/// A disk that takes longer than this to read an entry does not have it.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// So many failed reads in a row switch it off.
const READ_FAILURES: u32 = 8;
/// Changes that a disk that does not keep up has not been told of. With more of them it is given up.
const DEBTS: usize = 1 << 16;

pub struct Disk {
    pub config: DiskConfig,
    pub block_size: u32,
    tier: ArcSwapOption<Tier>,
    lock: Mutex<Option<File>>,
    /// Rung when somebody should look after it.
    pub bell: Arc<Notify>,
    /// Keys that hold something else by now than the disk says.
    debts: Mutex<HashSet<EntryKey>>,
    failures: AtomicU32,
    /// Bytes read and written, and blocks evicted, by engines before this one.
    past: [AtomicU64; 3],
    counters: Counters,
}

struct Counters {
    hit: IntCounter,
    miss: IntCounter,
    error: IntCounter,
    corrupt: IntCounter,
    /// Read, written, evicted.
    bytes: [IntCounter; 3],
    state: [(State, IntGauge); 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    On,
    /// It does not keep up: what is stored meanwhile is in memory only.
    Behind,
    Off,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Behind => "behind",
            Self::Off => "off",
        }
    }
}

/// A place in the window of the tier that was on when it was asked for.
pub struct Place(Arc<Tier>, OwnedSemaphorePermit);

impl Disk {
    /// Off, and not locked yet.
    pub fn new(
        config: DiskConfig,
        block_size: u32,
        registry: &Registry,
        requests: &IntCounterVec,
    ) -> Result<Self, metrics::Error> {
        let count = |result| requests.with_label_values(&["disk", result]);
        let bytes = registry.counter(&catalogue::CACHE_DISK_BYTES)?;
        let states = registry.gauge(&catalogue::CACHE_DISK_STATE)?;
        let counters = Counters {
            hit: count("hit"),
            miss: count("miss"),
            error: count("error"),
            corrupt: count("corrupt"),
            bytes: ["read", "written", "evicted"].map(|operation| bytes.with_label_values(&[operation])),
            state: [State::On, State::Behind, State::Off]
                .map(|state| (state, states.with_label_values(&[state.as_str()]))),
        };
        let (tier, lock, bell, debts) = Default::default();
        let (failures, past) = Default::default();
        Ok(Self { config, block_size, tier, lock, bell, debts, failures, past, counters })
    }

    pub fn lock(&self) -> Result<(), Error> {
        *self.lock.lock() = Some(directory::lock(&self.config.dir)?);
        Ok(())
    }

    /// Whether the directory is still the one that is locked.
    pub fn is_held(&self) -> std::io::Result<bool> {
        self.lock.lock().as_ref().map_or(Ok(false), |lock| directory::is_held(&self.config.dir, lock))
    }

    /// Fails where nothing can be written, also when there is nothing to write.
    pub fn try_writing(&self) -> std::io::Result<()> {
        self.lock.lock().as_ref().map_or(Ok(()), |lock| lock.write_all_at(b"\n", 0))
    }

    pub fn unlock(&self) {
        if let Some(lock) = self.lock.lock().take()
            && let Err(reason) = lock.unlock()
        {
            tracing::warn!("releasing the cache directory: {reason}");
        }
    }

    pub async fn switch_on(&self, tasks: &Tasks) -> Result<(), Error> {
        let tier = Tier::open(&self.config, self.block_size, tasks, self.bell.clone()).await?;
        self.debts.lock().clear();
        self.failures.store(0, Ordering::Relaxed);
        self.tier.store(Some(Arc::new(tier)));
        Ok(())
    }

    /// The tier that was on, if one was.
    pub fn switch_off(&self) -> Option<Arc<Tier>> {
        let tier = self.tier.swap(None)?;
        let (read, written) = tier.traffic();
        let evicted = tier.evictions.blocks.load(Ordering::Relaxed) * tier.segment;
        for (past, more) in self.past.iter().zip([read, written, evicted]) {
            past.fetch_add(more, Ordering::Relaxed);
        }
        Some(tier)
    }

    pub fn tier(&self) -> Option<Arc<Tier>> {
        self.tier.load_full()
    }

    pub fn state(&self) -> State {
        match &*self.tier.load() {
            None => State::Off,
            Some(tier) if tier.window.is_stuck() => State::Behind,
            Some(_) => State::On,
        }
    }

    /// Brings the metrics up to date.
    pub fn show(&self) {
        for (counter, sum) in self.counters.bytes.iter().zip(self.traffic()) {
            counter.inc_by(sum.saturating_sub(counter.get()));
        }
        let now = self.state();
        self.counters.state.iter().for_each(|(state, gauge)| gauge.set(i64::from(*state == now)));
    }

    /// Bytes read, written and evicted since the start.
    pub fn traffic(&self) -> [u64; 3] {
        let mut sums = self.past.each_ref().map(|past| past.load(Ordering::Relaxed));
        if let Some(tier) = &*self.tier.load() {
            let (read, written) = tier.traffic();
            let evicted = tier.evictions.blocks.load(Ordering::Relaxed) * tier.segment;
            for (sum, more) in sums.iter_mut().zip([read, written, evicted]) {
                *sum += more;
            }
        }
        sums
    }

    /// Room was needed, so that what comes costs what is there.
    pub fn is_full(&self) -> bool {
        self.tier.load().as_ref().is_some_and(|tier| tier.evictions.full.load(Ordering::Relaxed))
    }

    pub fn may_contain(&self, key: &EntryKey) -> bool {
        self.tier.load().as_ref().is_some_and(|tier| tier.may_contain(key))
    }

    /// A place for an entry of so many bytes, as soon as there is one; None when the disk does not keep up or is off.
    pub async fn enter(&self, bytes: usize) -> Option<Place> {
        let tier = self.tier()?;
        let permit = tier.window.enter(bytes).await?;
        Some(Place(tier, permit))
    }

    /// A place, if there is one now.
    pub fn try_enter(&self, bytes: usize) -> Option<Place> {
        let tier = self.tier()?;
        let permit = tier.window.try_enter(bytes)?;
        Some(Place(tier, permit))
    }

    pub fn write(&self, key: EntryKey, entry: Entry, Place(tier, permit): Place) {
        tier.write(key, entry, permit);
    }

    pub fn forget(&self, key: &EntryKey) {
        if let Some(tier) = self.tier() {
            tier.forget(key);
        }
    }

    /// `key` holds something else now that has no place on the disk. It is told when it keeps up again, lest the old
    /// entry comes back after a restart.
    pub fn owe(&self, key: EntryKey) {
        let Some(tier) = self.tier() else { return };
        if !tier.may_contain(&key) {
            return;
        }
        tier.forget(&key);
        let mut debts = self.debts.lock();
        debts.insert(key);
        if debts.len() > DEBTS {
            tier.alarm.raise("it has not kept up for too long");
        }
    }

    pub fn debts(&self) -> Vec<EntryKey> {
        self.debts.lock().drain().collect()
    }

    pub fn still_owe(&self, key: EntryKey) {
        self.debts.lock().insert(key);
    }

    /// What the disk has to say, within time.
    pub async fn load(&self, key: &EntryKey) -> Option<Entry> {
        let tier = self.tier()?;
        if !tier.may_contain(key) {
            self.counters.miss.inc();
            return None;
        }
        let evicted = tier.evictions.blocks.load(Ordering::Relaxed);
        let reason = match tokio::time::timeout(READ_PATIENCE, tier.load(key)).await {
            Ok(Ok(Some(entry))) => {
                self.counters.hit.inc();
                self.failures.store(0, Ordering::Relaxed);
                return Some(entry);
            }
            // foyer says the same of what is damaged and of what has been evicted just now.
            Ok(Ok(None)) if tier.evictions.blocks.load(Ordering::Relaxed) != evicted => {
                self.counters.miss.inc();
                return None;
            }
            Ok(Ok(None)) => {
                self.counters.corrupt.inc();
                return None;
            }
            Ok(Err(error)) if error.kind() != ErrorKind::Io => {
                tracing::warn!("an entry of the disk tier cannot be read: {error}");
                self.counters.corrupt.inc();
                tier.forget(key);
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing within {READ_PATIENCE:?}"),
        };
        self.counters.error.inc();
        tracing::warn!("reading the disk tier: {reason}");
        // Whatever it was, it is fetched again and written elsewhere.
        tier.forget(key);
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= READ_FAILURES {
            tier.alarm.raise(format!("reading from it failed: {reason}"));
        }
        None
    }
}
