//! The tiers: foyer's hybrid cache, memory in front of disk, opened, watched and closed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FifoPicker, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, HybridCacheProperties, Location, PsyncIoEngineConfig, RecoverMode, S3FifoConfig,
    Spawner,
};
use millrace_kit::{
    metrics::{self, IntCounter, Registry, catalogue},
    tasks::Tasks,
};
use parking_lot::Mutex;

use super::{
    Head, Incarnation, KeySeed, Variants,
    entry::{Entry, EntryKey},
    purge::{OpenError, Purges},
};

mod directory;
mod heads;
mod inspect;
mod window;

pub use directory::disk_usage;
pub use inspect::{Blocks, Held, Tiers};

use heads::Stripes;
use window::Window;

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
#[derive(Debug, Clone, serde::Serialize)]
pub struct TierStats {
    pub memory_bytes: u64,
    pub memory_capacity_bytes: u64,
    pub memory_entries: u64,
    pub disk_capacity_bytes: u64,
    pub disk_written_bytes: u64,
    pub disk_read_bytes: u64,
    pub disk_healthy: bool,
}

type Hybrid = HybridCache<EntryKey, Entry>;

pub struct Store {
    cache: Hybrid,
    seed: KeySeed,
    block_size: u32,
    disk_capacity: u64,
    disk_window: Option<Window>,
    stripes: Stripes,
    purges: Purges,
    counters: Counters,
    disk_failed: Mutex<Option<Instant>>,
    /// Of the directory.
    lock: Option<std::fs::File>,
}

struct Counters {
    memory_hit: IntCounter,
    memory_miss: IntCounter,
    disk_hit: IntCounter,
    disk_miss: IntCounter,
    disk_error: IntCounter,
}

/// foyer's unit of disk space and eviction. At least several objects' blocks, at most 1/64 of the tier.
const SEGMENT: u64 = 32 << 20;
/// foyer collects one such buffer while it writes another. Larger than the [`Window`], because entries are padded.
const WRITE_BUFFER: usize = 6 << 20;
/// A disk that takes longer than this to read an entry does not have it.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// A disk that failed is called healthy again when it has not failed for so long.
const RECOVERY: Duration = Duration::from_secs(60);

impl Store {
    pub async fn open(config: &Config, registry: &Registry, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let tiers = registry.counter(&catalogue::CACHE_TIER_REQUESTS)?;
        let count = |tier, result| tiers.with_label_values(&[tier, result]);
        let counters = Counters {
            memory_hit: count("memory", "hit"),
            memory_miss: count("memory", "miss"),
            disk_hit: count("disk", "hit"),
            disk_miss: count("disk", "miss"),
            disk_error: count("disk", "error"),
        };
        let shards = (config.memory_bytes >> 25).next_power_of_two().clamp(1, 64);
        let memory = HybridCacheBuilder::new()
            .with_name("millrace")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .memory(config.memory_bytes)
            .with_shards(shards)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_, entry: &Entry| entry.weight())
            .storage()
            .with_spawner(Spawner::from(tasks.runtime().clone()));
        let store = |cache, seed, purges, disk_window, lock| {
            Arc::new(Self {
                cache,
                seed,
                block_size: config.block_size,
                disk_capacity: config.disk.as_ref().map_or(0, |disk| disk.bytes),
                disk_window,
                stripes: Stripes::default(),
                purges,
                counters,
                disk_failed: Mutex::default(),
                lock,
            })
        };
        let Some(disk) = &config.disk else {
            let purges = Purges::in_memory(registry)?;
            return Ok(store(memory.build().await?, KeySeed(fastrand::u64(..)), purges, None, None));
        };
        let lock = directory::lock(&disk.dir)?;
        directory::check_space(disk)?;
        let (seed, purges) = open_books(&disk.dir, registry, tasks)?;
        let segment =
            SEGMENT.min(disk.bytes / 64).max(2 * u64::from(config.block_size)).next_multiple_of(4096);
        let capacity = usize::try_from(disk.bytes).unwrap_or(usize::MAX);
        let device = FsDeviceBuilder::new(disk.dir.join("blocks")).with_capacity(capacity).build()?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(usize::try_from(segment).unwrap_or(usize::MAX))
            .with_buffer_pool_size(WRITE_BUFFER.max(2 * config.block_size as usize))
            .with_submit_queue_size_threshold(4 * WRITE_BUFFER)
            // Oldest first only: an entry must not outlive the newer one that replaced it.
            .with_eviction_pickers(vec![Box::<FifoPicker>::default()]);
        let cache = memory
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await?;
        let window = Window::open(cache.clone(), tasks);
        Ok(store(cache, seed, purges, Some(window), Some(lock)))
    }

    pub fn purges(&self) -> &Purges {
        &self.purges
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
        let memory = || self.cache.memory().capacity() as u64;
        (if self.has_disk() { self.disk_capacity } else { memory() }) / 4
    }

    fn has_disk(&self) -> bool {
        self.disk_window.as_ref().is_some_and(|window| !window.is_stuck())
    }

    pub async fn block(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        let key = EntryKey { id: incarnation.0, part: index };
        if let Some(entry) = self.cache.memory().get(&key) {
            self.counters.memory_hit.inc();
            return entry.value().block();
        }
        self.counters.memory_miss.inc();
        self.disk_window.as_ref()?;
        let read = async { Ok(self.cache.get(&key).await?.and_then(|entry| entry.value().block())) };
        self.read(read).await
    }

    /// Whether the block is there, as far as the indexes know: reading it may still miss.
    pub fn has_block(&self, incarnation: Incarnation, index: u32) -> bool {
        self.cache.contains(&EntryKey { id: incarnation.0, part: index })
    }

    /// Takes a block out of the index that cannot be read.
    pub fn forget_block(&self, incarnation: Incarnation, index: u32) {
        self.cache.remove(&EntryKey { id: incarnation.0, part: index });
    }

    /// Waits while the disk is behind; never longer than [`window::PATIENCE`].
    pub async fn put_block(&self, incarnation: Incarnation, index: u32, bytes: Bytes) {
        let (key, entry) = (EntryKey { id: incarnation.0, part: index }, Entry::Block(bytes));
        match &self.disk_window {
            None => {
                self.cache.insert(key, entry);
            }
            Some(window) => match window.enter(entry.weight()).await {
                Some(permit) => {
                    self.cache.insert(key, entry);
                    window.entered(permit);
                }
                None => self.insert_in_memory(key, entry),
            },
        }
    }

    pub fn stats(&self) -> TierStats {
        let memory = self.cache.memory();
        let disk = self.cache.statistics();
        TierStats {
            memory_bytes: memory.usage() as u64,
            memory_capacity_bytes: memory.capacity() as u64,
            memory_entries: memory.entries() as u64,
            disk_capacity_bytes: self.disk_capacity,
            disk_written_bytes: disk.disk_write_bytes() as u64,
            disk_read_bytes: disk.disk_read_bytes() as u64,
            disk_healthy: self.disk_is_healthy(),
        }
    }

    /// Waits for writes in progress. The directory is free for another server afterwards, whoever still holds on to
    /// this store.
    pub async fn close(&self) {
        if let Err(reason) = self.cache.close().await {
            tracing::warn!("closing the cache: {reason}");
        }
        if let Some(lock) = &self.lock
            && let Err(reason) = lock.unlock()
        {
            tracing::warn!("releasing the cache directory: {reason}");
        }
    }

    fn insert_in_memory(&self, key: EntryKey, entry: Entry) {
        let in_memory = HybridCacheProperties::default().with_location(Location::InMem);
        self.cache.insert_with_properties(key, entry, in_memory);
    }

    /// What the disk tier has to say, within time.
    async fn read<T>(&self, reading: impl Future<Output = foyer::Result<Option<T>>>) -> Option<T> {
        let reason = match tokio::time::timeout(READ_PATIENCE, reading).await {
            Ok(Ok(Some(found))) => {
                self.counters.disk_hit.inc();
                return Some(found);
            }
            Ok(Ok(None)) => {
                self.counters.disk_miss.inc();
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing within {READ_PATIENCE:?}"),
        };
        self.counters.disk_error.inc();
        *self.disk_failed.lock() = Some(Instant::now());
        tracing::warn!("reading the disk tier: {reason}");
        None
    }

    fn disk_is_healthy(&self) -> bool {
        let stuck = self.disk_window.as_ref().is_some_and(Window::is_stuck);
        !stuck && self.disk_failed.lock().is_none_or(|failed| failed.elapsed() > RECOVERY)
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::{Content, Key, vary::VarySpec};

    const BLOCK: u32 = 64 << 10;

    async fn open(dir: &Path) -> Result<Arc<Store>, Error> {
        let disk = Some(DiskConfig { dir: dir.to_owned(), bytes: 64 << 20 });
        let config = Config { memory_bytes: 2 << 20, disk, block_size: BLOCK };
        Store::open(&config, &Registry::new(), &Tasks::new()).await
    }

    fn head(key: &Key) -> Arc<Head> {
        let content = Content::Inline(Bytes::from_static(b"hello"));
        Head::new(key.text(), StatusCode::OK, &HeaderMap::new(), (0, 0), 5, content).into()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restart_keeps_heads_and_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        let key = Key::new("/a", store.seed());
        let incarnation = Incarnation::new();
        store.put_head(&key, head(&key)).await;
        // More than memory holds, so that part of it is on disk only even before the restart.
        for index in 0..100 {
            store.put_block(incarnation, index, vec![index as u8; BLOCK as usize].into()).await;
        }
        store.close().await;
        drop(store);
        let store = open(dir.path()).await.unwrap();
        let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
        assert_eq!(*found, *head(&key));
        for index in 0..100 {
            let block =
                store.block(incarnation, index).await.unwrap_or_else(|| panic!("block {index} is lost"));
            assert!(block.len() == BLOCK as usize && block.iter().all(|byte| *byte == index as u8));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn removed_heads_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        let key = Key::new("/a", store.seed());
        store.put_head(&key, head(&key)).await;
        assert!(store.find(&key).await.is_some());
        store.remove_head(&key).await;
        assert!(store.find(&key).await.is_none());
        store.close().await;
        drop(store);
        assert!(open(dir.path()).await.unwrap().find(&key).await.is_none(), "came back after a restart");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_head_is_replaced_only_in_its_own_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        let key = Key::new("/a", store.seed());
        let [mine, other] = [Incarnation::new(), Incarnation::new()];
        let content = Content::Blocks { incarnation: mine, block_size: BLOCK };
        store.put_head(&key, head(&key).with_content(5, content).into()).await;
        store.replace_head(&key, other, None).await;
        assert!(store.find(&key).await.is_some());
        store.replace_head(&key, mine, Some(head(&key))).await;
        let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
        assert_eq!(*found, *head(&key));
        store.put_head_while(&key, head(&key).with_content(9, found.content.clone()).into(), || false).await;
        let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
        assert_eq!(found.length, 5);
    }

    /// Variants keep what their keys have in common as long as nothing has come between.
    #[tokio::test(flavor = "multi_thread")]
    async fn variants_are_found_until_they_are_outdated() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        let key = Key::new("/a", store.seed());
        let spec = VarySpec::from_names(vec!["accept".into()]);
        let first = store.variants(&key, &spec, || true).await;
        assert_eq!(store.variants(&key, &spec, || true).await, first);
        let by_more = VarySpec::from_names(vec!["accept".into(), "x".into()]);
        assert_ne!(store.variants(&key, &by_more, || false).await.spec, spec);
        assert_eq!(store.variants(&key, &spec, || true).await, first);
        store.remove_head(&key).await;
        assert_ne!(store.variants(&key, &spec, || true).await, first);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_second_server_on_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).await.unwrap();
        assert!(matches!(open(dir.path()).await, Err(Error::InUse { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_tier_that_cannot_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskConfig { dir: dir.path().to_owned(), bytes: 1 << 60 };
        let config = Config { memory_bytes: 2 << 20, disk: Some(disk), block_size: BLOCK };
        let opened = Store::open(&config, &Registry::new(), &Tasks::new()).await;
        assert!(matches!(opened, Err(Error::NoSpace { .. })));
    }
}
