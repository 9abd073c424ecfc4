//! A draft as a file: bytes are gathered, and written and hashed on the blocking pool while the next ones come.

use std::{fs::File, io::IoSlice, num::NonZeroU64, ops::Range, os::unix::fs::FileExt, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use rustix::fs::{Advice, fadvise};
use tokio::task::{JoinError, JoinHandle};

use super::{
    BlobId, Draft, Error, HEAD, Published, Result,
    directory::{CHUNK, Places, blocking},
};

/// Written at a time; as much waits while it is.
const BATCH: usize = 1 << 20;
/// Hashed and then written, while the processor still has it at hand.
const AT_HAND: usize = 128 << 10;
/// The system is told to begin to write so much out, so that a sync at the end has less to wait for.
const WRITE_OUT: u64 = 8 << 20;

pub(super) struct FileDraft {
    file: Arc<DraftFile>,
    lasting: bool,
    length: u64,
    /// Of all that is written; None: of some bytes it was not made.
    hash: Option<Context>,
    head: BytesMut,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    writing: Option<JoinHandle<Result<Option<Context>>>>,
    /// Something could not be written: what would come behind it must not be, or there would be a hole.
    failed: Option<Error>,
}

/// The file of a draft, made when it is wanted first: a short asset costs one visit of the blocking pool.
struct DraftFile {
    places: Arc<Places>,
    id: BlobId,
    state: Mutex<State>,
}

enum State {
    Unmade,
    Made(Arc<File>),
    /// Its draft is gone, or it is a blob: there is nothing more to be made, nor to be removed.
    Over,
}

impl DraftFile {
    /// Blocks.
    fn open(&self) -> Result<Arc<File>> {
        let mut state = self.state.lock();
        match &*state {
            State::Made(file) => Ok(file.clone()),
            State::Unmade => {
                let file = Arc::new(self.places.make(&self.id)?);
                *state = State::Made(file.clone());
                Ok(file)
            }
            State::Over => Err(Error::Io { what: "writing a draft", detail: "it is over".to_owned() }),
        }
    }

    /// Blocks.
    fn publish(&self, file: &File) -> Result<()> {
        self.places.publish(&self.id, file)?;
        *self.state.lock() = State::Over;
        Ok(())
    }
}

impl FileDraft {
    /// Goes when it is dropped.
    pub(super) fn passing(places: Arc<Places>, id: BlobId) -> Self {
        Self::of(places, id, State::Unmade, false)
    }

    /// Stays until it is discarded; so much is there.
    pub(super) fn lasting(places: Arc<Places>, id: BlobId, file: File, length: u64) -> Self {
        let mut draft = Self::of(places, id, State::Made(Arc::new(file)), true);
        draft.length = length;
        draft.hash = draft.hash.take().filter(|_| length == 0);
        draft
    }

    fn of(places: Arc<Places>, id: BlobId, state: State, lasting: bool) -> Self {
        Self {
            file: Arc::new(DraftFile { places, id, state: Mutex::new(state) }),
            lasting,
            length: 0,
            hash: Some(Context::new(&SHA256)),
            head: BytesMut::new(),
            gathered: Vec::new(),
            gathered_bytes: 0,
            writing: None,
            failed: None,
        }
    }

    /// What is gathered, and where it belongs.
    fn take_gathered(&mut self) -> (Vec<Bytes>, u64) {
        let at = self.length - self.gathered_bytes as u64;
        self.gathered_bytes = 0;
        (std::mem::take(&mut self.gathered), at)
    }

    /// Waits for what is being written.
    async fn written(&mut self) -> Result<()> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            match written.unwrap_or_else(|error| Err(stopped(&error))) {
                Ok(hash) => self.hash = hash,
                Err(error) => self.failed = Some(error),
            }
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Hands over what is gathered, when what came before is written.
    async fn flush(&mut self) -> Result<()> {
        self.written().await?;
        if self.gathered.is_empty() {
            return Ok(());
        }
        let (bytes, at) = self.take_gathered();
        let (file, mut hash) = (self.file.clone(), self.hash.take());
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let file = file.open()?;
            let end = write_hashed(&file, &bytes, at, hash.as_mut()).map_err(Error::io("writing a draft"))?;
            if at / WRITE_OUT < end / WRITE_OUT {
                let from = at / WRITE_OUT * WRITE_OUT;
                // Pages that are wanted no longer are written; those that are not written yet are not dropped.
                let _ = fadvise(&*file, from, NonZeroU64::new(end - from), Advice::DontNeed);
            }
            Ok(hash)
        }));
        Ok(())
    }
}

fn stopped(error: &JoinError) -> Error {
    Error::Io { what: "writing", detail: error.to_string() }
}

/// Where it ends.
fn write_hashed(
    file: &File,
    mut pieces: &[Bytes],
    mut at: u64,
    mut hash: Option<&mut Context>,
) -> std::io::Result<u64> {
    while !pieces.is_empty() {
        let mut length = 0;
        let at_hand = pieces.iter().take_while(|piece| {
            let has_room = length < AT_HAND;
            length += if has_room { piece.len() } else { 0 };
            has_room
        });
        let (now, later) = pieces.split_at(at_hand.count());
        if let Some(hash) = &mut hash {
            now.iter().for_each(|piece| hash.update(piece));
        }
        write_all(file, now, at)?;
        at += length as u64;
        pieces = later;
    }
    Ok(at)
}

/// Gathered pieces with few system calls.
fn write_all(file: &File, pieces: &[Bytes], mut at: u64) -> std::io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while left.iter().any(|slice| !slice.is_empty()) {
        match rustix::io::pwritev(file, left, at) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Draft for FileDraft {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            if self.length == self.head.len() as u64 {
                let room = HEAD - self.head.len();
                self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            self.length += bytes.len() as u64;
            self.gathered_bytes += bytes.len();
            self.gathered.push(bytes);
            // Many small pieces weigh more than their bytes.
            if self.gathered_bytes >= BATCH || self.gathered.len() >= 512 {
                self.flush().await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn sync(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.flush().await?;
            self.written().await?;
            let file = self.file.clone();
            let synced =
                blocking(move || file.open()?.sync_data().map_err(Error::io("syncing a draft"))).await;
            // The system tells of it once; the next time it would seem to be well.
            self.failed = synced.as_ref().err().cloned();
            synced
        }
        .boxed()
    }

    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            // What failed to be written is taken back too.
            let _ = self.flush().await;
            let _ = self.written().await;
            self.gathered.clear();
            self.gathered_bytes = 0;
            let (file, failed) = (self.file.clone(), self.failed.clone());
            let work = move || {
                let file = file.open()?;
                let there = file.metadata().map_err(Error::io("truncating a draft"))?.len();
                if let Some(error) = failed.filter(|_| there < length) {
                    return Err(error);
                }
                file.set_len(length).and_then(|()| file.sync_all()).map_err(Error::io("truncating a draft"))
            };
            blocking(work).await?;
            self.length = length;
            self.hash = (length == 0).then(|| Context::new(&SHA256));
            self.head.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            Ok(())
        }
        .boxed()
    }

    fn head(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let wanted = usize::try_from(self.length).unwrap_or(usize::MAX).min(HEAD);
            if self.head.len() >= wanted {
                return Ok(Bytes::copy_from_slice(&self.head[..wanted]));
            }
            self.flush().await?;
            self.written().await?;
            let file = self.file.clone();
            let work = move || {
                let file = file.open()?;
                let mut head = vec![0; wanted];
                file.read_exact_at(&mut head, 0).map_err(Error::io("reading a draft"))?;
                Ok(Bytes::from(head))
            };
            blocking(work).await
        }
        .boxed()
    }

    fn read(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            self.flush().await?;
            self.written().await?;
            let file = self.file.clone();
            let work = move || {
                let file = file.open()?;
                let mut bytes = vec![0; (range.end - range.start).min(CHUNK) as usize];
                file.read_exact_at(&mut bytes, range.start).map_err(Error::io("reading a draft"))?;
                Ok(Bytes::from(bytes))
            };
            blocking(work).await
        }
        .boxed()
    }

    fn publish(mut self: Box<Self>) -> BoxFuture<'static, Result<Published>> {
        async move {
            self.written().await?;
            let (bytes, at) = self.take_gathered();
            let (place, length, mut hash) = (self.file.clone(), self.length, self.hash.take());
            let lasting = self.lasting;
            let work = move || {
                let file = place.open()?;
                write_hashed(&file, &bytes, at, hash.as_mut()).map_err(Error::io("writing a draft"))?;
                let hash = match hash {
                    Some(hash) => hash,
                    None => hash_all(&file, length)?,
                };
                if lasting {
                    // Should its row not follow, it is gone on with from its length.
                    file.sync_all().map_err(Error::io("syncing a draft"))?;
                }
                let published = place.publish(&file);
                if published.is_err() && !lasting {
                    // A disk that has no room for all of it has none for a part that nobody finds.
                    let _ = std::fs::remove_file(place.places.blob(&place.id));
                }
                published?;
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(hash.finish().as_ref());
                Ok(Published { length, sha256 })
            };
            blocking(work).await
        }
        .boxed()
    }
}

fn hash_all(file: &File, length: u64) -> Result<Context> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; BATCH];
    let mut at = 0;
    while at < length {
        let count = usize::try_from(length - at).unwrap_or(BATCH).min(BATCH);
        file.read_exact_at(&mut buffer[..count], at).map_err(Error::io("reading a draft"))?;
        hash.update(&buffer[..count]);
        at += count as u64;
    }
    Ok(hash)
}

impl Drop for FileDraft {
    /// One that is not to last goes at once.
    fn drop(&mut self) {
        if self.lasting {
            return;
        }
        let DraftFile { places, id, state } = &*self.file;
        // What is still being written must not come back.
        if let State::Made(_) = std::mem::replace(&mut *state.lock(), State::Over) {
            let _ = std::fs::remove_file(places.draft(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_written_behind_what_could_not_be() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("draft");
        std::fs::write(&path, b"durable").unwrap();
        let places = Arc::new(Places { root: root.path().to_owned() });
        let unwritable = File::open(&path).unwrap();
        let mut draft = FileDraft::lasting(places, BlobId::random(), unwritable, 7);
        let batch = Bytes::from(vec![b'x'; BATCH]);
        draft.append(batch.clone()).await.unwrap();
        assert!(draft.append(batch.clone()).await.is_err(), "that of the first batch");
        // The disk is well again.
        let good = File::options().read(true).write(true).open(&path).unwrap();
        *draft.file.state.lock() = State::Made(Arc::new(good));
        assert!(draft.append(batch).await.is_err() && draft.sync().await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"durable");
        draft.truncate(7).await.unwrap();
        assert!(draft.truncate(8).await.is_err(), "there would be a hole");
        assert!(draft.sync().await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"durable");
    }
}
