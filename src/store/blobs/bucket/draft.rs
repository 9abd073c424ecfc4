//! A draft as an upload in parts. A part is gathered while the one before it is on its way; what is less than a part waits in memory,
//! and at a sync in the draft's own object.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use sha2::{Digest, Sha256};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    super::{HEAD, Published},
    BlobId, Draft, Error, Result, Shared, State, blob, draft,
    requests::Completed,
    state::Failures,
};

/// A crash costs no more of an upload than so many parts, each of which is sent but once.
const CHECKPOINT_PARTS: u64 = 4;
/// An upload that S3 does not know may be about to become an object: by a server that has died since, or does not know yet that it
/// has lost the right to write to it. So long is looked for it.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];

/// Whether S3 knows an upload is asked so often, and between questions that come to nothing.
const ASKED: usize = 3;
const BETWEEN: Duration = Duration::from_millis(100);

pub(super) struct BucketDraft {
    shared: Arc<Shared>,
    id: BlobId,
    lasting: bool,
    /// Bytes of a part; the draft's own, whatever settings say by now.
    part: u64,
    upload: Option<String>,
    /// Parts that are stored.
    parts: Vec<String>,
    /// Of these parts.
    hash: Sha256,
    sending: Option<JoinHandle<Result<Option<(String, Sha256)>>>>,
    /// Bytes behind the parts, and behind the one that is being sent.
    tail: BytesMut,
    length: u64,
    head: Vec<u8>,
    /// What is saved of it, and has to be removed with it.
    saved: bool,
    /// Of what is saved: nobody else must have gone on with it.
    tag: Option<String>,
    /// How long it was when it was saved.
    durable: u64,
    failed: Option<Error>,
    failures: Failures,
    /// Its object is there.
    whole: bool,
}

impl BucketDraft {
    pub fn new(shared: Arc<Shared>, id: BlobId, state: State, lasting: bool) -> Self {
        let (length, hash, head) = (state.length(), state.hash(), state.head());
        let State { part, upload, parts, tail, tag, failures, .. } = state;
        Self {
            shared,
            id,
            lasting,
            part,
            upload,
            parts,
            hash,
            sending: None,
            tail: BytesMut::from(tail),
            length,
            head,
            saved: false,
            tag,
            durable: length,
            failed: None,
            failures,
            whole: false,
        }
    }

    pub fn reopened(shared: Arc<Shared>, id: BlobId, state: State) -> Self {
        let mut draft = Self::new(shared, id, state, true);
        draft.saved = true;
        draft
    }

    /// Waits for the part that is on its way.
    async fn sent(&mut self) -> Result<()> {
        if let Some(sending) = &mut self.sending {
            let sent = sending.await;
            self.sending = None;
            let stopped =
                |error: tokio::task::JoinError| Error::Io { what: "sending", detail: error.to_string() };
            match sent.map_err(stopped).flatten() {
                Ok(Some((tag, hash))) => {
                    self.parts.push(tag);
                    self.hash = hash;
                }
                Ok(None) => self.failed = Some(self.unknown().await),
                Err(error) => {
                    let gone = matches!(error, Error::Unavailable(_)) && self.is_unknown().await;
                    self.failed = Some(if gone { self.unknown().await } else { error });
                }
            }
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Sends the first part of what waits. Nothing is lost when this is dropped on its way.
    async fn send(&mut self, part: usize) -> Result<()> {
        self.sent().await?;
        let key = blob(&self.id);
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let upload = self.shared.begin(&key).await?;
                self.upload = Some(upload.clone());
                // Before there is a part, so that whoever clears up knows of it.
                if let Err(error) = self.note_upload().await {
                    self.upload = None;
                    if let Err(left) = self.shared.abort(&key, &upload).await {
                        tracing::warn!("an upload in parts that nobody knows of: {left}");
                    }
                    return Err(error);
                }
                upload
            }
        };
        let bytes = self.tail.split_to(part).freeze();
        let (shared, number, mut hash) = (self.shared.clone(), self.parts.len() + 1, self.hash.clone());
        self.sending = Some(self.shared.runtime.spawn(async move {
            let hashed = bytes.clone();
            let hashing = tokio::task::spawn_blocking(move || {
                hash.update(&hashed);
                hash
            });
            let Some(tag) = shared.part(&key, &upload, number, bytes).await? else { return Ok(None) };
            let stopped =
                |error: tokio::task::JoinError| Error::Io { what: "hashing", detail: error.to_string() };
            Ok(Some((tag, hashing.await.map_err(stopped)?)))
        }));
        Ok(())
    }

    /// Whether S3 says so, beyond doubt.
    async fn is_unknown(&self) -> bool {
        let Some(upload) = &self.upload else { return false };
        // A connection that ends with a refusal may take the question with it.
        for _ in 0..ASKED {
            if let Ok(known) = self.shared.knows(&blob(&self.id), upload).await {
                return !known;
            }
            sleep(BETWEEN).await;
        }
        false
    }

    /// What it means that S3 will not hear of the upload: it is lost if we may still write, as parts want the same right.
    async fn unknown(&mut self) -> Error {
        // Without a part there is nothing to be lost: another one is begun the next time.
        let lost = match self.parts.is_empty() {
            true => {
                self.upload = None;
                Error::Unavailable("S3 does not know an upload that it has begun".to_owned())
            }
            false => Error::Lost,
        };
        self.note_upload().await.err().unwrap_or(lost)
    }

    /// Saves the upload's name, and how often it has failed, beside what is durable already.
    async fn note_upload(&mut self) -> Result<()> {
        let mut state = match self.saved {
            true => match self.shared.get(&draft(&self.id)).await? {
                Some(saved) => State::read(saved)?,
                None => return Err(Error::Lost),
            },
            false => State::new(self.part),
        };
        state.upload.clone_from(&self.upload);
        state.failures = self.failures;
        self.put(&state).await
    }

    /// Makes all that has come durable. What fills a part goes as one: all else of it is sent and read again with every piece.
    pub async fn save(&mut self) -> Result<()> {
        let part = usize::try_from(self.part).unwrap_or(usize::MAX);
        while self.tail.len() >= part {
            self.send(part).await?;
        }
        self.sent().await?;
        let mut state = State::new(self.part);
        state.upload.clone_from(&self.upload);
        state.parts.clone_from(&self.parts);
        state.tail = Bytes::copy_from_slice(&self.tail);
        state.set_hash(&self.hash);
        state.set_head(&self.head);
        self.put(&state).await?;
        self.durable = self.length;
        Ok(())
    }

    async fn put(&mut self, state: &State) -> Result<()> {
        self.tag = self.shared.replace(&draft(&self.id), state.write()?, self.tag.take()).await?;
        self.saved = true;
        Ok(())
    }

    /// Its object, with all bytes. May be done again.
    async fn make_whole(&mut self) -> Result<[u8; 32]> {
        self.sent().await?;
        let sha256: [u8; 32] = self.hash.clone().chain_update(&self.tail).finalize().into();
        if self.whole {
            return Ok(sha256);
        }
        let (key, tail) = (blob(&self.id), Bytes::copy_from_slice(&self.tail));
        match self.upload.clone() {
            None => self.shared.put(&key, tail, Some(STANDARD.encode(sha256))).await?,
            Some(upload) => {
                let mut parts = self.parts.clone();
                let done = match tail.is_empty() {
                    true => self.shared.complete(&key, &upload, &parts).await,
                    false => match self.shared.part(&key, &upload, parts.len() + 1, tail).await {
                        Ok(Some(tag)) => {
                            parts.push(tag);
                            self.shared.complete(&key, &upload, &parts).await
                        }
                        Ok(None) => Ok(Completed::Unknown),
                        Err(Error::Unavailable(_)) if self.is_unknown().await => Ok(Completed::Unknown),
                        Err(error) => Err(error),
                    },
                };
                self.completed(done).await?;
            }
        }
        self.whole = true;
        Ok(sha256)
    }
}

impl BucketDraft {
    /// Whether its object is there in the end: somebody who died since, or an answer that got lost, may have done it.
    async fn completed(&mut self, done: Result<Completed>) -> Result<()> {
        let (looks, failed) = match done {
            Ok(Completed::Whole) => return Ok(()),
            Ok(Completed::Unknown) => (&LOOKS[..], None),
            Ok(Completed::Failed(error)) => (&LOOKS[..1], Some((error, true))),
            Err(error) => (&LOOKS[..1], Some((error, false))),
        };
        for look in looks {
            sleep(*look).await;
            if self.shared.length(&blob(&self.id)).await? == Some(self.length) {
                return Ok(());
            }
        }
        let Some((error, is_its_own)) = failed else {
            return Err(if self.lasting { self.unknown().await } else { Error::Lost });
        };
        if self.lasting && is_its_own {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            self.failures.add(now);
            // Else it would be tried for ever, whoever asks.
            self.note_upload().await?;
            if self.failures.are_final(now) {
                tracing::warn!("an upload is given up that S3 cannot put together: {error}");
                return Err(Error::Lost);
            }
        }
        Err(error)
    }
}

impl Draft for BucketDraft {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let room = HEAD.saturating_sub(self.head.len());
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.length += bytes.len() as u64;
            self.tail.extend_from_slice(&bytes);
            let part = usize::try_from(self.part).unwrap_or(usize::MAX);
            // The last part may be shorter, but there has to be one.
            while self.tail.len() > part {
                if let Err(error) = self.send(part).await {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn sync(&mut self) -> BoxFuture<'_, Result<()>> {
        self.save().boxed()
    }

    fn checkpoint(&mut self) -> BoxFuture<'_, Result<Option<u64>>> {
        async {
            if self.length.saturating_sub(self.durable) < CHECKPOINT_PARTS.saturating_mul(self.part) {
                return Ok(None);
            }
            self.save().await?;
            Ok(Some(self.durable))
        }
        .boxed()
    }

    /// Back to what was saved, or to within its last bytes.
    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            let _ = self.sent().await;
            if self.length == length && self.failed.is_none() {
                return Ok(());
            }
            let saved = self.shared.get(&draft(&self.id)).await?.ok_or(Error::Lost)?;
            let mut state = State::read(saved)?;
            let parts = state.part.saturating_mul(state.parts.len() as u64);
            let kept = length.checked_sub(parts).and_then(|kept| usize::try_from(kept).ok());
            let Some(kept) = kept.filter(|kept| *kept <= state.tail.len()) else {
                let detail = "its parts cannot be cut".to_owned();
                return Err(Error::Io { what: "truncating a draft", detail });
            };
            state.tail.truncate(kept);
            let (shared, id) = (self.shared.clone(), self.id.clone());
            let mut before = std::mem::replace(self, Self::reopened(shared, id, state));
            // It is gone on with.
            (before.lasting, self.lasting) = (true, before.lasting);
            self.head.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            self.save().await
        }
        .boxed()
    }

    fn head(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        async { Ok(Bytes::copy_from_slice(&self.head)) }.boxed()
    }

    /// Parts can be read when they have become an object, behind which nothing can be appended.
    fn read(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            self.make_whole().await?;
            let end = range.end.min(range.start.saturating_add(self.part));
            self.shared.read(&blob(&self.id), range.start..end).await
        }
        .boxed()
    }

    fn publish(mut self: Box<Self>) -> BoxFuture<'static, Result<Published>> {
        async move {
            if self.lasting && self.length != self.durable {
                // It may have to be taken back.
                self.save().await?;
            }
            let sha256 = self.make_whole().await?;
            if !self.lasting && self.saved {
                self.shared.delete(&draft(&self.id)).await?;
                self.saved = false;
            }
            Ok(Published { length: self.length, sha256 })
        }
        .boxed()
    }
}

impl Drop for BucketDraft {
    /// One that is not to last goes at once.
    fn drop(&mut self) {
        // What is on its way has not been told of; whoever goes on sends it again.
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        if self.lasting || self.whole || !self.saved {
            return;
        }
        let (shared, id, upload) = (self.shared.clone(), self.id.clone(), self.upload.take());
        self.shared.runtime.spawn(async move {
            let gone = async {
                if let Some(upload) = upload {
                    shared.abort(&blob(&id), &upload).await?;
                }
                shared.delete(&draft(&id)).await
            };
            // What is left the sweep finds.
            if let Err(error) = gone.await {
                tracing::warn!("an upload that was given up: {error}");
            }
        });
    }
}
