//! Uploads that go on over several requests (tus 1.0): begun, continued from what is durable, put together, given up.

use http::HeaderMap;
use tokio::sync::oneshot;

use super::{AssetKey, Body, Condition, Digests, Error, Uploads, commit::Ready, digest::Checker, sniff};
pub use crate::store::catalogue::{Kind, Upload};
use crate::store::{self, BlobId, Draft, catalogue::Turn};

mod checksum;
mod concat;
mod hold;
mod metadata;
mod piece;

pub use checksum::Checksum;
pub use hold::Holders;
pub use metadata::Metadata;
pub use piece::Piece;

use hold::Hold;

/// What is to be begun.
#[derive(Debug, Clone)]
pub struct Begin {
    /// None: not known yet.
    pub length: Option<u64>,
    /// Of its first bytes, if the client says.
    pub bytes: Option<u64>,
    pub metadata: Metadata,
    /// One of those that will be put together.
    pub partial: bool,
    pub owner: String,
}

/// Which unfinished uploads are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// All: what the catalogue knows of them may be older than their bytes.
    Whatever,
    /// Those of which the catalogue says that all their bytes are there.
    Complete,
}

/// How far an upload has come.
#[derive(Debug, Clone)]
pub struct Progress {
    pub upload: Upload,
    /// Bytes that are durable.
    pub offset: u64,
}

impl Uploads {
    /// Begins an upload, with its first bytes if there are any.
    pub async fn begin(
        &self,
        begin: Begin,
        body: Option<(Option<Checksum>, Body)>,
    ) -> Result<Progress, Error> {
        let Begin { length, bytes, metadata, partial, owner } = begin;
        if length.is_some_and(|length| length > self.inner.limits.size) {
            return Err(Error::TooLarge(self.inner.limits.size));
        }
        let key = match partial {
            true => String::new(),
            false => {
                let (key, types) = (metadata.key()?, self.inner.limits.types);
                sniff::foresee(metadata.get("filetype"), key.extension(), types).map_err(Error::Type)?;
                key.to_string()
            }
        };
        let now = self.inner.clock.unix_millis();
        let upload = Upload {
            id: BlobId::random(),
            key,
            length,
            received: 0,
            metadata: metadata.text().to_owned(),
            owner,
            kind: if partial { Kind::Partial } else { Kind::Whole },
            parts: Vec::new(),
            checked: None,
            created: now,
            expires: now.saturating_add(self.lifetime()),
        };
        let id = upload.id.clone();
        let begun = self.inner.catalogue.begin_upload(upload.clone(), self.bounds()).await?;
        begun.map_err(|refused| self.refused(refused))?;
        if let Err(error) = self.inner.blobs.draft(&id, true).await {
            self.inner.catalogue.end_upload(&id).await?;
            return Err(error.into());
        }
        let owner = upload.owner.clone();
        match body {
            Some((checksum, body)) => {
                let piece = Piece { offset: 0, length: None, bytes, checksum, owner: Some(owner) };
                let appended = self.append(&id, piece, body).await;
                if let Err(Error::TooLarge(_) | Error::Quota(_) | Error::Store(store::Error::Full)) =
                    &appended
                {
                    // Its client never hears of a name to go on with.
                    self.end(&id).await?;
                }
                appended
            }
            None if length == Some(0) => {
                let (length, bytes, checksum) = (None, None, None);
                let piece = Piece { offset: 0, length, bytes, checksum, owner: Some(owner) };
                self.append(&id, piece, Box::pin(futures_util::stream::empty())).await
            }
            None => Ok(Progress { upload, offset: 0 }),
        }
    }

    /// How far it has come. Whoever is still writing to it is stopped.
    pub async fn progress(&self, id: &BlobId, owner: Option<&str>) -> Result<Progress, Error> {
        let (uploads, id, owner) = (self.clone(), id.clone(), owner.map(str::to_owned));
        // What it finishes must not lose its hold with its connection.
        self.detached(async move { uploads.progress_now(&id, owner.as_deref()).await }).await
    }

    async fn progress_now(&self, id: &BlobId, owner: Option<&str>) -> Result<Progress, Error> {
        let _hold = self.hold(id).await?;
        let upload = self.upload(id, owner).await?;
        match (upload.kind, upload.length) {
            (Kind::Done, Some(offset)) => return Ok(Progress { upload, offset }),
            // It did not live to see its end.
            (Kind::Final, _) => return Err(Error::NoUpload),
            _ => {}
        }
        let (upload, draft) = self.reopen(upload).await?;
        let offset = draft.length();
        // Its client would take it for an asset.
        if upload.kind == Kind::Whole && upload.length == Some(offset) {
            let turn = self.inner.catalogue.turn(&AssetKey::parse(&upload.key)?).await?;
            self.finish(&upload, draft, turn).await?;
        }
        Ok(Progress { upload, offset })
    }

    /// Gives it up, with all its bytes.
    pub async fn give_up(&self, id: &BlobId, owner: Option<&str>) -> Result<(), Error> {
        let (uploads, id, owner) = (self.clone(), id.clone(), owner.map(str::to_owned));
        self.detached(async move { uploads.give_up_now(&id, owner.as_deref()).await }).await
    }

    async fn give_up_now(&self, id: &BlobId, owner: Option<&str>) -> Result<(), Error> {
        let _hold = self.hold(id).await?;
        self.upload(id, owner).await?;
        self.end(id).await
    }

    /// An upload of this owner; None: of anybody.
    async fn upload(&self, id: &BlobId, owner: Option<&str>) -> Result<Upload, Error> {
        let upload = self.inner.catalogue.upload(id).await?.ok_or(Error::NoUpload)?;
        if owner.is_some_and(|owner| owner != upload.owner) {
            return Err(Error::NoUpload);
        }
        match upload.expires <= self.inner.clock.unix_millis() {
            true => Err(Error::Expired),
            false => Ok(upload),
        }
    }

    /// Its bytes, without those that nobody has checked.
    async fn reopen(&self, mut upload: Upload) -> Result<(Upload, Box<dyn Draft>), Error> {
        let (blobs, id) = (&self.inner.blobs, &upload.id);
        let mut draft = blobs.reopen(id).await?;
        // The catalogue failed when all else was done; it is tried again from its bytes.
        if draft.is_none()
            && upload.kind == Kind::Whole
            && blobs.open(id).await?.is_some()
            && !self.inner.catalogue.has_blob(id).await?
        {
            blobs.take_back(id).await?;
            draft = blobs.reopen(id).await?;
        }
        let mut draft = draft.ok_or(Error::NoUpload)?;
        if let Some(checked) = upload.checked.take() {
            if draft.length() > checked {
                draft.truncate(checked).await?;
            }
            self.inner.catalogue.put_upload(upload.clone()).await?;
        }
        Ok((upload, draft))
    }

    /// Makes an asset of an upload that has all its bytes. One that cannot become one is given up.
    async fn finish(&self, upload: &Upload, draft: Box<dyn Draft>, turn: Turn) -> Result<(), Error> {
        let metadata = Metadata::parse(&upload.metadata)?;
        let ready = Ready {
            key: AssetKey::parse(&upload.key)?,
            blob: upload.id.clone(),
            draft,
            declared: metadata.get("filetype").map(str::to_owned),
            tags: Vec::new(),
            owner: upload.owner.clone(),
            condition: Condition::default(),
            checker: Checker::new(Digests::of(&HeaderMap::new())?),
            turn,
            ends: true,
        };
        let finished = match self.commit(ready).await {
            // By a server that had lost the right to write to it, or was about to.
            Ok(_) | Err(Error::Finished) => Ok(()),
            Err(error) => Err(error),
        };
        if finished.as_ref().is_err_and(Error::is_final) {
            self.end(&upload.id).await?;
        }
        self.count("tus", &finished);
        finished
    }

    /// Nobody goes on with it.
    async fn end(&self, id: &BlobId) -> Result<(), Error> {
        self.inner.catalogue.end_upload(id).await?;
        Ok(self.inner.blobs.discard(id).await?)
    }

    /// Of those that have all their bytes nobody may ever send another one. `noted`: only those of which the catalogue says so.
    pub(super) async fn finish_complete(&self, noted: Noted) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let uploads = self.inner.catalogue.unfinished_uploads(&after).await?;
            let Some(last) = uploads.last() else { return Ok(()) };
            after = last.id.to_string();
            for upload in uploads {
                if noted == Noted::Complete && upload.length != Some(upload.received) {
                    continue;
                }
                let Some(_hold) = self.hold_if_free(&upload.id).await? else { continue };
                if let Err(error) = self.finish_one(upload).await {
                    tracing::warn!("an upload that was complete became no asset: {error}");
                }
            }
        }
    }

    async fn finish_one(&self, upload: Upload) -> Result<(), Error> {
        // As it is now that it is held.
        let upload = self.inner.catalogue.upload(&upload.id).await?;
        let Some(upload) = upload.filter(|upload| upload.kind == Kind::Whole) else { return Ok(()) };
        let key = AssetKey::parse(&upload.key)?;
        let turn = self.inner.catalogue.turn(&key).await?;
        let Ok((upload, draft)) = self.reopen(upload).await else { return Ok(()) };
        match upload.length == Some(draft.length()) {
            true => self.finish(&upload, draft, turn).await,
            false => Ok(()),
        }
    }

    fn lifetime(&self) -> i64 {
        i64::try_from(self.inner.limits.expiry.as_millis()).unwrap_or(i64::MAX)
    }

    /// Runs this to its end, whoever is waiting for it.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (told, result) = oneshot::channel();
        self.inner.tasks.spawn("upload", async move {
            let _ = told.send(work.await);
        });
        result.await.map_err(|_| Error::Stopping)?
    }
}
