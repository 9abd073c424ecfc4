//! Blobs as files of a local directory: `drafts/` and, by the first two digits of their names, `blobs/`, in one file system. All
//! file work runs on the blocking pool.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use rustix::fs::{FlockOperation, flock, statvfs};

use super::{BlobId, Blobs, Content, Draft, Error, Result, draft::FileDraft, read_on};

/// The most that is read at a time.
pub(super) const CHUNK: u64 = 256 << 10;

/// Whoever announces so many bytes is told at once if there is no room for them.
const LONG: u64 = 1 << 20;

/// Held by one server at a time.
pub struct Directory {
    places: Arc<Places>,
    lock: File,
}

/// Where files are.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) root: PathBuf,
}

struct FileContent {
    file: Arc<File>,
    length: u64,
}

impl Directory {
    /// Makes the directory if need be. Blocks.
    pub fn open(root: &Path) -> Result<Self> {
        let places = Places { root: root.to_owned() };
        let make =
            |dir: PathBuf| fs::create_dir_all(dir).map_err(Error::io("making the store's directories"));
        make(places.drafts())?;
        make(places.blobs())?;
        for shard in 0..=u8::MAX {
            make(places.blobs().join(format!("{shard:02x}")))?;
        }
        let lock = File::create(root.join("lock")).map_err(Error::io("locking the store"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::InUse(root.display().to_string()));
        }
        // Once for all shards: who publishes has nothing to ask of those who publish beside it. Whatever a server made that has died
        // since is in it, too.
        sync_directory(&places.blobs())?;
        sync_directory(root)?;
        Ok(Self { places: Arc::new(places), lock })
    }
}

impl Places {
    fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn draft(&self, id: &BlobId) -> PathBuf {
        self.drafts().join(id.as_str())
    }

    pub(super) fn blob(&self, id: &BlobId) -> PathBuf {
        self.blobs().join(id.shard()).join(id.as_str())
    }

    /// Gives a draft its place among the blobs, and makes both durable, bytes and name. Blocks.
    ///
    /// The name comes first: then one commit of the file system's journal has all of it, and the directory's sync finds little
    /// left to do. No row names it yet, so nobody finds half of it; what a crash leaves is swept.
    pub(super) fn publish(&self, id: &BlobId, file: &File) -> Result<()> {
        let failed = Error::io("publishing a blob");
        let place = self.blob(id);
        let shard = self.blobs().join(id.shard());
        fs::rename(self.draft(id), place).map_err(failed)?;
        file.sync_all().map_err(Error::io("syncing a blob"))?;
        sync_directory(&shard)
    }

    /// A new file for a draft. Blocks.
    pub(super) fn make(&self, id: &BlobId) -> Result<File> {
        let file = File::options().read(true).write(true).create_new(true).open(self.draft(id));
        file.map_err(Error::io("making a draft"))
    }
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("syncing a directory of the store"))
}

/// Runs file work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let stopped = |error: tokio::task::JoinError| Error::Io { what: "file work", detail: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

impl Blobs for Directory {
    fn is_shared(&self) -> bool {
        false
    }

    fn close(&self) {
        // It goes with the process in any case.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }

    fn check_room(&self, bytes: u64) -> BoxFuture<'_, Result<()>> {
        // Of shorter ones it is heard soon enough.
        if bytes < LONG {
            return ready(Ok(())).boxed();
        }
        let places = self.places.clone();
        let work = move || {
            // A file system that does not say has room, until it has not.
            let Ok(found) = statvfs(&places.root) else { return Ok(()) };
            match found.f_blocks > 0 && found.f_bavail.saturating_mul(found.f_frsize) < bytes {
                true => Err(Error::Full),
                false => Ok(()),
            }
        };
        blocking(work).boxed()
    }

    fn draft<'a>(&'a self, id: &'a BlobId, lasting: bool) -> BoxFuture<'a, Result<Box<dyn Draft>>> {
        let (places, id) = (self.places.clone(), id.clone());
        if !lasting {
            // Its file is made with its first bytes.
            return ready(Ok(Box::new(FileDraft::passing(places, id)) as Box<dyn Draft>)).boxed();
        }
        let work = move || {
            let file = places.make(&id)?;
            sync_directory(&places.drafts())?;
            Ok(Box::new(FileDraft::lasting(places, id, file, 0)) as Box<dyn Draft>)
        };
        blocking(work).boxed()
    }

    fn reopen<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Box<dyn Draft>>>> {
        let (places, id) = (self.places.clone(), id.clone());
        let work = move || {
            let failed = Error::io("opening a draft");
            let file = match File::options().read(true).write(true).open(places.draft(&id)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            // What a server wrote that has died since may be in the page cache alone.
            file.sync_all().map_err(&failed)?;
            let length = file.metadata().map_err(failed)?.len();
            Ok(Some(Box::new(FileDraft::lasting(places, id, file, length)) as Box<dyn Draft>))
        };
        blocking(work).boxed()
    }

    fn discard<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        let path = self.places.draft(id);
        blocking(move || remove(&path)).boxed()
    }

    fn open<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<Option<Arc<dyn Content>>>> {
        let path = self.places.blob(id);
        let work = move || {
            let failed = Error::io("opening a blob");
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let length = file.metadata().map_err(failed)?.len();
            Ok(Some(Arc::new(FileContent { file: Arc::new(file), length }) as Arc<dyn Content>))
        };
        blocking(work).boxed()
    }

    fn remove<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        let path = self.places.blob(id);
        blocking(move || remove(&path)).boxed()
    }

    fn take_back<'a>(&'a self, id: &'a BlobId) -> BoxFuture<'a, Result<()>> {
        let (places, id) = (self.places.clone(), id.clone());
        let work = move || {
            let moved = fs::rename(places.blob(&id), places.draft(&id));
            moved.map_err(Error::io("taking back a blob"))?;
            sync_directory(&places.drafts())
        };
        blocking(work).boxed()
    }

    fn idle_drafts(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        let places = self.places.clone();
        blocking(move || old_files(&places.drafts(), least)).boxed()
    }

    fn idle_blobs(&self, least: Duration) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        let places = self.places.clone();
        let work = move || {
            let mut idle = Vec::new();
            for shard in fs::read_dir(places.blobs()).map_err(Error::io("listing blobs"))?.flatten() {
                idle.append(&mut old_files(&shard.path(), least)?);
            }
            Ok(idle)
        };
        blocking(work).boxed()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing from the store")(error))
        }
        _ => Ok(()),
    }
}

/// Files with names of ours that were changed no later than so long ago. Of the future counts as now.
fn old_files(dir: &Path, least: Duration) -> Result<Vec<BlobId>> {
    let now = SystemTime::now();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("listing the store"))?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(BlobId::parse) else { continue };
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| now.duration_since(changed).ok()).unwrap_or_default();
        if age >= least {
            found.push(id);
        }
    }
    Ok(found)
}

impl Content for FileContent {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let file = self.file.clone();
        let work = move || {
            let length = (range.end - range.start).min(CHUNK) as usize;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start).map_err(Error::io("reading a blob"))?;
            Ok(Bytes::from(bytes))
        };
        blocking(work).boxed()
    }

    fn stream(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        read_on(self, range)
    }
}
