//! The tiers: foyer's hybrid cache, memory in front of disk, opened, watched and closed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FifoPicker, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode, S3FifoConfig, Spawner,
};
use millrace_kit::{
    metrics::{self, IntCounter, Registry, catalogue},
    tasks::Tasks,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Head, Incarnation, Key, KeySeed,
    entry::{Entry, EntryKey, HEAD},
    vary::VarySpec,
};

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
    /// The response varies: look again under the variant's key.
    Variants(VarySpec),
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
    /// Bytes handed to the disk tier and not yet written. Waiting here is what keeps a fast origin from flooding
    /// foyer's write queue, which drops what it cannot hold.
    disk_window: Option<DiskWindow>,
    counters: Counters,
    /// Of the directory.
    lock: Option<std::fs::File>,
}

struct DiskWindow {
    free: Arc<Semaphore>,
    written: mpsc::UnboundedSender<OwnedSemaphorePermit>,
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
/// Entries waiting for the disk, in bytes.
const WRITE_WINDOW: usize = 4 << 20;
/// foyer collects one such buffer while it writes another. Larger than the window, because entries are padded.
const WRITE_BUFFER: usize = 6 << 20;

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
        let Some(disk) = &config.disk else {
            let cache = memory.build().await?;
            let seed = KeySeed(fastrand::u64(..));
            let block_size = config.block_size;
            let store =
                Self { cache, seed, block_size, disk_capacity: 0, disk_window: None, counters, lock: None };
            return Ok(Arc::new(store));
        };
        let lock = lock_directory(&disk.dir)?;
        let seed = load_seed(&disk.dir)?;
        let segment =
            SEGMENT.min(disk.bytes / 64).max(2 * u64::from(config.block_size)).next_multiple_of(4096);
        check_space(disk)?;
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
        let disk_window = Some(DiskWindow::open(cache.clone(), tasks));
        let (block_size, disk_capacity) = (config.block_size, disk.bytes);
        Ok(Arc::new(Self { cache, seed, block_size, disk_capacity, disk_window, counters, lock: Some(lock) }))
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
        let has_disk = self.disk_window.is_some();
        let capacity = if has_disk { self.disk_capacity } else { self.cache.memory().capacity() as u64 };
        length.map_or(has_disk, |length| length <= capacity / 4)
    }

    /// What memory holds under `key`, without waiting.
    pub fn peek(&self, key: &Key) -> Option<Found> {
        let entry = self.cache.memory().get(&EntryKey { id: key.hash(), part: HEAD })?;
        self.counters.memory_hit.inc();
        found(entry.value(), key)
    }

    /// What any tier holds under `key`.
    pub async fn find(&self, key: &Key) -> Option<Found> {
        if let Some(found) = self.peek(key) {
            return Some(found);
        }
        self.counters.memory_miss.inc();
        found(&self.load(EntryKey { id: key.hash(), part: HEAD }).await?, key)
    }

    pub async fn block(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        let key = EntryKey { id: incarnation.0, part: index };
        let entry = match self.cache.memory().get(&key) {
            Some(entry) => {
                self.counters.memory_hit.inc();
                entry.value().clone()
            }
            None => {
                self.counters.memory_miss.inc();
                self.load(key).await?
            }
        };
        match entry {
            Entry::Block(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether the block is there, as far as the indexes know: reading it may still miss.
    pub fn has_block(&self, incarnation: Incarnation, index: u32) -> bool {
        self.cache.contains(&EntryKey { id: incarnation.0, part: index })
    }

    /// Takes a block out of the index that cannot be read.
    pub fn forget_block(&self, incarnation: Incarnation, index: u32) {
        self.cache.remove(&EntryKey { id: incarnation.0, part: index });
    }

    pub async fn put_head(&self, key: &Key, head: Arc<Head>) {
        self.put(EntryKey { id: key.hash(), part: HEAD }, Entry::Head(head)).await;
    }

    /// Records that responses under `key` vary by `spec`.
    pub async fn put_variants(&self, key: &Key, spec: VarySpec) {
        let entry = Entry::Variants((key.text().into(), spec).into());
        self.put(EntryKey { id: key.hash(), part: HEAD }, entry).await;
    }

    /// Waits while the disk is behind; never longer than [`DiskWindow::PATIENCE`].
    pub async fn put_block(&self, incarnation: Incarnation, index: u32, bytes: Bytes) {
        self.put(EntryKey { id: incarnation.0, part: index }, Entry::Block(bytes)).await;
    }

    /// Afterwards nothing is found under `key`, even after a restart.
    pub async fn remove_head(&self, key: &Key) {
        self.put(EntryKey { id: key.hash(), part: HEAD }, Entry::Gone).await;
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
            disk_healthy: self.disk_window.is_none() || self.counters.disk_error.get() == 0,
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

    async fn put(&self, key: EntryKey, entry: Entry) {
        let permit = match &self.disk_window {
            Some(window) => window.enter(entry.weight()).await,
            None => None,
        };
        self.cache.insert(key, entry);
        if let (Some(window), Some(permit)) = (&self.disk_window, permit) {
            // Fails only when the process is stopping.
            let _ = window.written.send(permit);
        }
    }

    async fn load(&self, key: EntryKey) -> Option<Entry> {
        self.disk_window.as_ref()?;
        match self.cache.get(&key).await {
            Ok(Some(entry)) => {
                self.counters.disk_hit.inc();
                Some(entry.value().clone())
            }
            Ok(None) => {
                self.counters.disk_miss.inc();
                None
            }
            Err(reason) => {
                self.counters.disk_error.inc();
                tracing::warn!("reading the disk tier: {reason}");
                None
            }
        }
    }
}

impl DiskWindow {
    /// A disk that takes longer than this is left behind: the block stays in memory only.
    const PATIENCE: Duration = Duration::from_secs(2);

    fn open(cache: Hybrid, tasks: &Tasks) -> Self {
        let free = Arc::new(Semaphore::new(WRITE_WINDOW));
        // Bounded by the permits in it.
        let (written, mut entered) = mpsc::unbounded_channel::<OwnedSemaphorePermit>();
        tasks.spawn_until_stop("disk-window", async move {
            while let Some(first) = entered.recv().await {
                let mut batch = vec![first];
                while let Ok(permit) = entered.try_recv() {
                    batch.push(permit);
                }
                let flushed = cache.storage().wait();
                if tokio::time::timeout(Self::PATIENCE, flushed).await.is_err() {
                    tracing::warn!("the disk tier has not written for {:?}", Self::PATIENCE);
                }
            }
        });
        Self { free, written }
    }

    async fn enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // On disk an entry takes whole pages, and a header.
        let bytes = bytes.next_multiple_of(4096) + 4096;
        let bytes = u32::try_from(bytes.min(WRITE_WINDOW)).unwrap_or(u32::MAX);
        let permit = self.free.clone().acquire_many_owned(bytes);
        tokio::time::timeout(Self::PATIENCE, permit).await.ok()?.ok()
    }
}

fn found(entry: &Entry, key: &Key) -> Option<Found> {
    match entry {
        Entry::Head(head) if *head.key == *key.text() => Some(Found::Head(head.clone())),
        Entry::Variants(variants) if *variants.0 == *key.text() => Some(Found::Variants(variants.1.clone())),
        _ => None,
    }
}

/// One server per directory.
fn lock_directory(dir: &Path) -> Result<std::fs::File, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = std::fs::File::create(dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The hash seed of this directory, made at first use. Without it nothing stored would be found again.
fn load_seed(dir: &Path) -> Result<KeySeed, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    let path = dir.join("seed");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() == 8 => {
            let mut seed = [0; 8];
            seed.copy_from_slice(&bytes);
            Ok(KeySeed(u64::from_le_bytes(seed)))
        }
        Ok(_) => new_seed(&path).map_err(failed),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => new_seed(&path).map_err(failed),
        Err(other) => Err(failed(other)),
    }
}

fn new_seed(path: &Path) -> std::io::Result<KeySeed> {
    let seed = fastrand::u64(..);
    let partial = path.with_extension("partial");
    std::fs::write(&partial, seed.to_le_bytes())?;
    std::fs::rename(partial, path)?;
    Ok(KeySeed(seed))
}

/// Bytes on disk that the tier in `dir` holds already.
pub fn disk_usage(dir: &Path) -> u64 {
    std::fs::read_dir(dir.join("blocks"))
        .into_iter()
        .flatten()
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&file) * 512)
        .sum()
}

/// foyer misbehaves on a full disk, so the tier must fit before it is opened.
fn check_space(disk: &DiskConfig) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::Directory { dir: disk.dir.clone(), source };
    let filesystem = rustix::fs::statvfs(&disk.dir).map_err(|reason| failed(reason.into()))?;
    let held = disk_usage(&disk.dir);
    let free = filesystem.f_bavail * filesystem.f_frsize + held;
    match free >= disk.bytes {
        true => Ok(()),
        false => Err(Error::NoSpace { dir: disk.dir.clone(), free, wanted: disk.bytes }),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::Content;

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
