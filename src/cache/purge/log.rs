//! The durable log: a purge is acknowledged when it stands here.
//!
//! A header, then frames, each with its length and checksum: first a snapshot of the books, then the purges since. Purges
//! that wait at the same time share a frame and a write to the disk.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_kit::clock::UnixMillis;
use parking_lot::RwLock;
use tokio::{runtime::Handle, sync::Mutex};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    KeySeed, Mark, Purge,
    moments::Moments,
    stamps::Stamps,
    words::{Words, put},
};

/// What is in force, and what of it waits to be written down.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub stamps: Stamps,
    /// When the latest came; those of before a start are known to the day.
    pub moments: Moments,
    /// Records, in the order of their sequence numbers.
    pending: Vec<u8>,
}

pub(super) struct Log {
    tail: Arc<Mutex<Tail>>,
    runtime: Handle,
}

/// Where the log is written on.
struct Tail {
    path: PathBuf,
    seed: KeySeed,
    file: File,
    /// Bytes of the snapshot, and bytes written since.
    snapshot: usize,
    grown: usize,
    /// Purges up to this stand in the log.
    committed: u64,
    /// Purges up to this have been tried, with this failure.
    failed: u64,
    failure: String,
    /// What stands at the end of the file is not known: it is written anew next time.
    broken: bool,
}

const MAGIC: &[u8; 8] = b"MRPURGE1";
/// Length and checksum of a frame.
const FRAME: usize = 16;
/// A log that has grown by more than this, and by more than its snapshot, is written anew.
const GROWTH: usize = 1 << 20;
/// Each start begins a new round of sequence numbers, above all that the run before can have given away: those too that
/// it did not get to write down, because objects may have been born under them.
const ROUND: u64 = 1_000_000_000;

const SNAPSHOT: u64 = 1;
const PURGE: u64 = 2;

const SOFT: u64 = 1;
const ALL: u64 = 2;
const TAGGED: u64 = 4;

impl Books {
    pub fn enter(&mut self, purge: &Purge, now: UnixMillis, durable: bool) -> u64 {
        let sequence = self.stamps.enter(purge, now);
        self.moments.note(now, sequence);
        if durable {
            let flag = |set, flag| if set { flag } else { 0 };
            let flags = flag(purge.soft, SOFT) | flag(purge.all, ALL) | flag(purge.tagged, TAGGED);
            let head = [PURGE, sequence, now.cast_unsigned(), flags, purge.marks.len() as u64];
            put(&mut self.pending, &head);
            purge.marks.iter().for_each(|mark| put(&mut self.pending, &[mark.0]));
        }
        sequence
    }

    /// What a frame says. None: nothing that we have written.
    fn replay(&mut self, frame: &[u8]) -> Option<()> {
        let mut words = Words(frame);
        while !words.is_empty() {
            match words.take()? {
                [SNAPSHOT] => self.stamps = Stamps::decode(&mut words)?,
                [PURGE] => {
                    let [sequence, time, flags, count] = words.take()?;
                    let marks = (0..count).map(|_| words.take().map(|[mark]| Mark(mark)));
                    let marks = marks.collect::<Option<_>>()?;
                    let is = |flag| flags & flag != 0;
                    let purge = Purge { soft: is(SOFT), all: is(ALL), tagged: is(TAGGED), marks };
                    self.stamps.replay(&purge, sequence, time.cast_signed());
                }
                _ => return None,
            }
        }
        Some(())
    }
}

impl Log {
    /// None when there is none for this seed, or it is damaged where it was whole once.
    pub fn open(dir: &Path, seed: KeySeed, runtime: &Handle) -> io::Result<Option<(Self, Books)>> {
        let path = dir.join("purge.log");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(other),
        };
        let Some(mut books) = read(&bytes, seed) else {
            tracing::warn!(
                "the purge log is damaged or of another cache: what is stored is not used any more"
            );
            return Ok(None);
        };
        let next = (books.stamps.latest() / ROUND + 1) * ROUND;
        books.stamps.begin_after(next);
        // Written anew: what stands behind a torn end would not be found.
        Self::write_first(path, seed, books, runtime).map(Some)
    }

    pub fn create(dir: &Path, seed: KeySeed, runtime: &Handle) -> io::Result<(Self, Books)> {
        Self::write_first(dir.join("purge.log"), seed, Books::default(), runtime)
    }

    fn write_first(
        path: PathBuf,
        seed: KeySeed,
        books: Books,
        runtime: &Handle,
    ) -> io::Result<(Self, Books)> {
        let first = snapshot(&books.stamps);
        let file = write_anew(&path, seed, &first)?;
        let (snapshot, grown, committed, failed) = (first.len(), 0, books.stamps.latest(), 0);
        let (failure, broken) = (String::new(), false);
        let tail = Tail { path, seed, file, snapshot, grown, committed, failed, failure, broken };
        Ok((Self { tail: Arc::new(Mutex::new(tail)), runtime: runtime.clone() }, books))
    }

    /// Returns when the purge stands on disk, or cannot be brought there.
    pub async fn commit(&self, sequence: u64, books: &Arc<RwLock<Books>>) -> Result<(), String> {
        // Whoever gets here writes for all that wait by then.
        let mut tail = self.tail.clone().lock_owned().await;
        if tail.committed >= sequence {
            return Ok(());
        }
        if tail.failed >= sequence {
            return Err(tail.failure.clone());
        }
        let books = books.clone();
        // The lock goes along: when the client leaves, writing goes on, and nobody else writes meanwhile.
        let writing = self.runtime.spawn_blocking(move || tail.commit(&books));
        writing.await.unwrap_or_else(|stopped| Err(stopped.to_string()))
    }

    /// A new log with all that is on the books, in the place of whatever is there.
    pub async fn write_down(&self, books: &Arc<RwLock<Books>>) -> Result<(), String> {
        let mut tail = self.tail.clone().lock_owned().await;
        tail.broken = true;
        let books = books.clone();
        let writing = self.runtime.spawn_blocking(move || tail.commit(&books));
        writing.await.unwrap_or_else(|stopped| Err(stopped.to_string()))
    }
}

impl Tail {
    fn commit(&mut self, books: &RwLock<Books>) -> Result<(), String> {
        let anew = self.broken || self.grown > GROWTH.max(self.snapshot);
        let (tried, result) = if anew {
            books.write().pending.clear();
            // What comes in between stands in the snapshot, and once more behind it, which changes nothing.
            let (snapshot, tried) = {
                let books = books.read();
                (snapshot(&books.stamps), books.stamps.latest())
            };
            let written = write_anew(&self.path, self.seed, &snapshot).map(|file| {
                (self.file, self.snapshot, self.grown) = (file, snapshot.len(), 0);
            });
            (tried, written)
        } else {
            let (pending, tried) = {
                let mut books = books.write();
                (std::mem::take(&mut books.pending), books.stamps.latest())
            };
            let frame = framed(&pending);
            self.grown += frame.len();
            (tried, self.file.write_all(&frame).and_then(|()| self.file.sync_data()))
        };
        self.broken = result.is_err();
        match result {
            Ok(()) => {
                self.committed = tried;
                Ok(())
            }
            Err(error) => {
                tracing::error!("writing the purge log: {error}");
                self.failed = tried;
                self.failure = error.to_string();
                Err(self.failure.clone())
            }
        }
    }
}

fn snapshot(stamps: &Stamps) -> Vec<u8> {
    let mut payload = Vec::new();
    put(&mut payload, &[SNAPSHOT]);
    stamps.encode(&mut payload);
    framed(&payload)
}

/// A log with nothing but a snapshot, in the place of what was there.
fn write_anew(path: &Path, seed: KeySeed, snapshot: &[u8]) -> io::Result<File> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(MAGIC)?;
    file.write_all(&seed.0.to_le_bytes())?;
    file.write_all(snapshot)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME + payload.len());
    put(&mut frame, &[payload.len() as u64, xxh3_64(payload)]);
    frame.extend_from_slice(payload);
    frame
}

/// All that stands in a log. A frame that the last run did not get to write is nothing; one with others behind it had
/// been written, and is a loss.
fn read(bytes: &[u8], seed: KeySeed) -> Option<Books> {
    let mut rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&seed.0.to_le_bytes())?;
    let mut books = Books::default();
    let mut first = true;
    while !rest.is_empty() {
        let mut words = Words(rest);
        let frame = words.take().and_then(|[length, checksum]| {
            let (frame, behind) = words.0.split_at_checked(usize::try_from(length).ok()?)?;
            Some((frame, behind, checksum))
        });
        match frame {
            Some((frame, behind, checksum)) if !frame.is_empty() && xxh3_64(frame) == checksum => {
                books.replay(frame)?;
                rest = behind;
            }
            // Torn: it reaches to the end or beyond, or nothing has come of it but its place.
            _ if !first && (frame.is_none_or(|(_, behind, _)| behind.is_empty()) || is_blank(rest)) => break,
            _ => return None,
        }
        first = false;
    }
    (!first).then_some(books)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
