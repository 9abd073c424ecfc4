//! The tiers: memory in front of disk (foyer's engine, behind a switch), opened, asked and closed.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use millrace_kit::{
    metrics::{self, IntCounter, Registry, catalogue},
    tasks::Tasks,
};

use super::{
    Head, Incarnation, KeySeed, Variants,
    entry::{Entry, EntryKey},
    purge::{OpenError, Purges},
};

mod admission;
mod caretaker;
mod directory;
mod disk;
mod handover;
mod heads;
mod hottest;
mod inspect;
mod lender;
mod loading;
mod memory;
mod pins;
#[cfg(test)]
mod tests;

pub use directory::disk_usage;
pub use handover::{Adoption, Offer};
pub use hottest::Hot;
pub use inspect::{Blocks, Held, Tiers};
pub use lender::{Lender, Loan};
pub use pins::Pin;

use admission::Admission;
use disk::{Disk, State, space};
use heads::Stripes;
use loading::Loading;
use memory::{Hold, Memory};
use pins::Pins;

#[derive(Debug, Clone)]
pub struct Config {
    pub memory_bytes: usize,
    /// None: memory only.
    pub disk: Option<DiskConfig>,
    /// Bytes of a block; objects up to this length are stored inline with their head.
    pub block_size: u32,
}

#[derive(Debug, Clone)]
pub struct DiskConfig {
    pub dir: PathBuf,
    pub bytes: u64,
    /// Bytes written per second in the long run; 0: no bound.
    pub write_rate: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cache directory {dir}: {source}")]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("cache directory {dir} is in use by another server")]
    InUse { dir: PathBuf },
    #[error("cache directory {dir} has {free} bytes free, {wanted} are configured for the disk tier")]
    NoSpace { dir: PathBuf, free: u64, wanted: u64 },
    #[error("opening the cache failed: {0}")]
    Engine(#[from] foyer::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

/// What a key leads to.
#[derive(Debug, Clone)]
pub enum Found {
    Head(Arc<Head>),
    /// Purged softly: as good as stale, whatever its lifetime.
    Outdated(Arc<Head>),
    /// The response varies: look again under the variant's key.
    Variants(Arc<Variants>),
}

/// Figures for operators.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct TierStats {
    pub memory_bytes: u64,
    pub memory_capacity_bytes: u64,
    pub memory_entries: u64,
    pub disk_capacity_bytes: u64,
    pub disk_written_bytes: u64,
    pub disk_read_bytes: u64,
    /// `on`, `behind` or `off`; `none` when there is none.
    pub disk_state: &'static str,
}

pub struct Store {
    memory: Arc<Memory>,
    loading: Loading,
    pins: Arc<Pins>,
    lender: Arc<Lender>,
    disk: Option<Arc<Disk>>,
    admission: Admission,
    seed: KeySeed,
    block_size: u32,
    stripes: Stripes,
    purges: Purges,
    counters: Counters,
    tasks: Tasks,
    /// Counts up when what was refused by the disk may be tried again.
    round: AtomicU32,
    closed: AtomicBool,
    /// Held while the disk tier is switched.
    care: tokio::sync::Mutex<()>,
}

/// A fill's bytes are kept, as long as this lives.
pub struct Kept {
    _hold: Option<Hold>,
}

struct Counters {
    memory_hit: IntCounter,
    memory_miss: IntCounter,
}

impl Store {
    pub async fn open(config: &Config, registry: &Registry, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let requests = registry.counter(&catalogue::CACHE_TIER_REQUESTS)?;
        let count = |result| requests.with_label_values(&["memory", result]);
        let counters = Counters { memory_hit: count("hit"), memory_miss: count("miss") };
        let evictions = registry.counter(&catalogue::CACHE_EVICTIONS)?.with_label_values(&["memory"]);
        let lender = Lender::new(config.memory_bytes);
        let memory = Arc::new(Memory::new(lender.clone(), evictions));
        let rate = config.disk.as_ref().map_or(0, |disk| disk.write_rate);
        let admission = Admission::new(rate, registry)?;
        let (seed, purges, disk) = match &config.disk {
            None => (KeySeed(fastrand::u64(..)), Purges::in_memory(registry)?, None),
            Some(settings) => {
                let disk = Disk::new(settings.clone(), config.block_size, registry, &requests)?;
                disk.lock()?;
                directory::check_space(settings)?;
                let (seed, purges) = open_books(&settings.dir, registry, tasks)?;
                disk.switch_on(tasks).await?;
                (seed, purges, Some(Arc::new(disk)))
            }
        };
        let store = Arc::new(Self {
            memory,
            loading: Loading::default(),
            pins: Pins::new(&lender, config.block_size),
            lender,
            disk,
            admission,
            seed,
            block_size: config.block_size,
            stripes: Stripes::default(),
            purges,
            counters,
            tasks: tasks.clone(),
            round: AtomicU32::new(1),
            closed: AtomicBool::new(false),
            care: tokio::sync::Mutex::default(),
        });
        if store.disk.is_some() {
            // Not one of the tasks that a drain waits for. It ends with the store.
            tasks.runtime().spawn(caretaker::look_after(Arc::downgrade(&store)));
        }
        Ok(store)
    }

    pub fn purges(&self) -> &Purges {
        &self.purges
    }

    /// Memory for what is beside the tier, which has less of it, if need be.
    pub fn lend(&self, bytes: usize) -> Loan {
        self.lent(self.lender.lend(bytes))
    }

    /// The same for a connection, see [`Lender::lend_connection`].
    pub fn lend_connection(&self, bytes: usize) -> Loan {
        self.lent(self.lender.lend_connection(bytes))
    }

    fn lent(&self, loan: Loan) -> Loan {
        if self.lender.changed() {
            self.memory.trim();
        }
        loan
    }

    /// What is taken beside the memory tier.
    pub fn lender(&self) -> &Arc<Lender> {
        &self.lender
    }

    pub fn seed(&self) -> KeySeed {
        self.seed
    }

    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Whether an object of this length can be counted on to be there when its last byte comes. Without a disk tier,
    /// what memory drops is lost.
    pub fn keeps(&self, length: Option<u64>) -> bool {
        length.map_or(self.has_disk(), |length| length <= self.longest_kept())
    }

    /// Bytes of the longest object that can be counted on like that.
    pub fn longest_kept(&self) -> u64 {
        let disk = self.disk.as_ref().filter(|_| self.has_disk());
        disk.map_or(self.memory.capacity() as u64, |disk| disk.config.bytes) / 4
    }

    /// The same of an object that is about to come, for as long as its fill runs: of what stays in memory only, places are promised
    /// to as much as there is room for. None: what comes may be gone before the last of it.
    /// `replaceable`: what is lost can be fetched again.
    pub fn keep(&self, incarnation: Incarnation, length: Option<u64>, replaceable: bool) -> Option<Kept> {
        if !self.keeps(length) {
            return None;
        }
        if length.is_some_and(|length| length <= u64::from(self.block_size)) {
            // Held by its transfer until it is stored as one entry.
            return Some(Kept { _hold: None });
        }
        // Longer ones are written at once, if there is a disk.
        let in_memory = length.filter(|length| !self.has_disk() || !self.is_large(*length));
        let hold = in_memory.and_then(|length| self.memory.hold(incarnation, length));
        let sure = hold.is_some() || self.has_disk() || replaceable;
        sure.then_some(Kept { _hold: hold })
    }

    /// Longer than what memory can be counted on to keep until it is asked for again.
    fn is_large(&self, length: u64) -> bool {
        length > self.memory.capacity() as u64 / 64
    }

    fn has_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.state() == State::On && self.admission.has_budget())
    }

    pub async fn block(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        let key = EntryKey { id: incarnation.0, part: index };
        if let Some(entry) = self.memory.get(&key) {
            self.counters.memory_hit.inc();
            return entry.block();
        }
        self.counters.memory_miss.inc();
        self.load_block(key).await
    }

    /// What memory holds of a block that its reader has had before: one that takes it in pieces has asked for it once.
    pub fn block_again(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        self.memory.look(&EntryKey { id: incarnation.0, part: index })?.block()
    }

    /// The same from disk, where memory has let it go.
    pub async fn reload_block(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        self.load_block(EntryKey { id: incarnation.0, part: index }).await
    }

    async fn load_block(&self, key: EntryKey) -> Option<Bytes> {
        let disk = self.disk.clone()?;
        let memory = self.memory.clone();
        let load = async move {
            let entry = disk.load(&key).await?;
            memory.insert(key, entry.clone());
            entry.block()
        };
        // On the threads that read.
        let runtime = self.tasks.runtime();
        self.loading.shared(key, || async { runtime.spawn(load).await.ok().flatten() }).await
    }

    /// For a reader of blocks, as long as it reads.
    pub fn pin(&self) -> Pin {
        self.pins.enter()
    }

    /// Whether the block is there, as far as the indexes know: reading it may still miss.
    pub fn has_block(&self, incarnation: Incarnation, index: u32) -> bool {
        let key = EntryKey { id: incarnation.0, part: index };
        self.memory.contains(&key) || self.disk.as_ref().is_some_and(|disk| disk.may_contain(&key))
    }

    /// Takes a block out of the index that cannot be read.
    pub fn forget_block(&self, incarnation: Incarnation, index: u32) {
        let key = EntryKey { id: incarnation.0, part: index };
        self.memory.remove(&key);
        if let Some(disk) = &self.disk {
            disk.forget(&key);
        }
    }

    /// Waits while the disk is behind, for a bounded time.
    pub async fn put_block(&self, incarnation: Incarnation, index: u32, bytes: Bytes) {
        let key = EntryKey { id: incarnation.0, part: index };
        let entry = Entry::Block(bytes.into());
        self.memory.pass(key, entry.clone(), incarnation);
        self.put_block_on_disk(incarnation, key, entry).await;
    }

    async fn put_block_on_disk(&self, incarnation: Incarnation, key: EntryKey, entry: Entry) {
        let Some(disk) = &self.disk else { return };
        if !self.admission.admits_blocks(incarnation) {
            return;
        }
        let weight = entry.weight();
        match disk.enter(weight).await {
            Some(place) => {
                self.admission.spend(space(weight));
                disk.write(key, entry, place);
            }
            None => self.admission.missed(),
        }
    }

    pub fn stats(&self) -> TierStats {
        // What was lent for objects that are sent no more; at the latest when somebody looks.
        self.lender.sweep();
        let disk = self.disk.as_deref();
        let [read, written, _] = disk.map_or([0; 3], Disk::traffic);
        if let Some(disk) = disk {
            disk.show();
        }
        let (bytes, entries) = self.memory.usage();
        TierStats {
            memory_bytes: bytes as u64,
            memory_capacity_bytes: self.memory.capacity() as u64,
            memory_entries: entries as u64,
            disk_capacity_bytes: disk.map_or(0, |disk| disk.config.bytes),
            disk_written_bytes: written,
            disk_read_bytes: read,
            disk_state: disk.map_or("none", |disk| disk.state().as_str()),
        }
    }

    /// Waits for writes in progress. The directory is free for another server afterwards, whoever still holds on to
    /// this store.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _care = self.care.lock().await;
        let Some(disk) = &self.disk else { return };
        if let Some(tier) = disk.tier() {
            tier.close().await;
        }
        disk.unlock();
    }
}

/// The seed of a directory and its purges. What is stored there is found only if both belong together.
fn open_books(dir: &Path, registry: &Registry, tasks: &Tasks) -> Result<(KeySeed, Purges), Error> {
    let failed = |error| match error {
        OpenError::Log(source) => Error::Directory { dir: dir.to_owned(), source },
        OpenError::Metrics(error) => Error::Metrics(error),
    };
    let seed = directory::load_seed(dir)?;
    if let Some(purges) = Purges::open(dir, seed, registry, tasks).map_err(failed)? {
        return Ok((seed, purges));
    }
    let seed = directory::new_seed(dir)?;
    Ok((seed, Purges::create(dir, seed, registry, tasks).map_err(failed)?))
}
