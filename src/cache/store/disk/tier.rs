//! foyer's engine, opened on a directory. One that has failed is not repaired but replaced by another.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use foyer::{
    BlockEngineConfig, Device, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, HybridCacheProperties, Location, PsyncIoEngineConfig, RecoverMode, Spawner,
};
use millrace_kit::tasks::Tasks;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    files,
    oldest::{Evictions, Oldest},
    window::Window,
};
use crate::cache::{
    entry::{Entry, EntryKey},
    store::{DiskConfig, Error},
};

/// Only its disk half is used; what is in memory outlives it.
pub type Engine = HybridCache<EntryKey, Entry>;

/// foyer's unit of disk space and eviction. At least several objects' blocks, at most 1/64 of the tier.
const SEGMENT: u64 = 32 << 20;
/// foyer collects one such buffer while it writes another. Larger than the [`Window`], because entries are padded.
const WRITE_BUFFER: usize = 6 << 20;

/// Where the first failure is left, and who is woken to look at it.
#[derive(Debug, Default, Clone)]
pub struct Alarm {
    reason: Arc<OnceLock<String>>,
    bell: Arc<Notify>,
}

impl Alarm {
    pub fn new(bell: Arc<Notify>) -> Self {
        Self { reason: Arc::default(), bell }
    }

    pub fn raise(&self, reason: impl Into<String>) {
        let _ = self.reason.set(reason.into());
        self.bell.notify_one();
    }

    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

pub struct Tier {
    engine: Engine,
    device: Arc<dyn Device>,
    pub window: Window,
    pub alarm: Alarm,
    pub evictions: Arc<Evictions>,
    pub segment: u64,
    /// Counts what was taken out of the index.
    removals: Arc<AtomicU64>,
}

impl Tier {
    /// On what an earlier run has left, as far as it can be used.
    pub async fn open(
        config: &DiskConfig,
        block_size: u32,
        tasks: &Tasks,
        bell: Arc<Notify>,
    ) -> Result<Self, Error> {
        let segment = SEGMENT.min(config.bytes / 64).max(2 * u64::from(block_size)).next_multiple_of(4096);
        let failed = |source| Error::Directory { dir: config.dir.clone(), source };
        let (dir, capacity) = (config.dir.clone(), config.bytes);
        let before =
            blocking(tasks, move || files::inspect(&dir, segment, capacity)).await.map_err(failed)?;
        let evictions = Arc::<Evictions>::default();
        let blank = before.iter().filter(|sequence| sequence.is_none()).count();
        evictions.full.store(blank <= 1, Ordering::Relaxed);
        let device = FsDeviceBuilder::new(files::folder(&config.dir))
            .with_capacity(usize::try_from(config.bytes).unwrap_or(usize::MAX))
            .build()?;
        let engine = BlockEngineConfig::new(device.clone())
            .with_block_size(usize::try_from(segment).unwrap_or(usize::MAX))
            .with_buffer_pool_size(WRITE_BUFFER.max(2 * block_size as usize))
            .with_submit_queue_size_threshold(4 * WRITE_BUFFER)
            .with_eviction_pickers(vec![Box::new(Oldest::new(before, evictions.clone()))]);
        let engine = HybridCacheBuilder::new()
            .with_name("millrace")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            // Nothing is ever put there.
            .memory(1 << 20)
            .storage()
            .with_spawner(Spawner::from(tasks.runtime().clone()))
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await?;
        let dir = config.dir.clone();
        blocking(tasks, move || files::allocate(&dir, segment)).await.map_err(|source| {
            match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Error::NoSpace { dir: config.dir.clone(), free: 0, wanted: config.bytes }
                }
                _ => failed(source),
            }
        })?;
        let (alarm, removals) = (Alarm::new(bell), Arc::<AtomicU64>::default());
        let window = Window::open(engine.clone(), alarm.clone(), removals.clone(), tasks);
        Ok(Self { engine, device, window, alarm, evictions, segment, removals })
    }

    /// Takes what has a place in the window. What it replaces is not found any more, even if writing fails.
    pub fn write(&self, key: EntryKey, entry: Entry, place: OwnedSemaphorePermit) {
        if self.may_contain(&key) {
            self.engine.storage().delete(&key);
        }
        let on_disk = HybridCacheProperties::default().with_location(Location::OnDisk);
        let entry = self.engine.memory().insert_with_properties(key, entry, on_disk);
        self.engine.storage().enqueue(entry.piece(), true);
        self.window.entered(key, place);
    }

    pub fn may_contain(&self, key: &EntryKey) -> bool {
        self.engine.storage().may_contains(key)
    }

    /// Out of the index: until a restart, unless something else takes its place.
    pub fn forget(&self, key: &EntryKey) {
        self.removals.fetch_add(1, Ordering::Relaxed);
        self.engine.storage().delete(key);
    }

    pub async fn load(&self, key: &EntryKey) -> foyer::Result<Option<Entry>> {
        Ok(match self.engine.storage().load(key).await? {
            foyer::Load::Entry { value, .. } => Some(value),
            foyer::Load::Piece { piece, .. } => Some(piece.value().clone()),
            foyer::Load::Miss | foyer::Load::Throttled => None,
        })
    }

    /// Bytes read and written.
    pub fn traffic(&self) -> (u64, u64) {
        let statistics = self.device.statistics();
        (statistics.disk_read_bytes() as u64, statistics.disk_write_bytes() as u64)
    }

    /// Waits for writes in progress.
    pub async fn close(&self) {
        if let Err(reason) = self.engine.close().await {
            tracing::warn!("closing the disk tier: {reason}");
        }
    }
}

/// Where waiting for a disk holds nobody up.
pub async fn blocking<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tasks.runtime().spawn_blocking(work).await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)))
}
