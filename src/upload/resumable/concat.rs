//! Partial uploads, put together to one asset.

use super::{Begin, Error, Kind, Progress, Uploads};
use crate::store::{
    BlobId,
    catalogue::{Turn, Upload},
};

/// More are refused.
const MAX_PARTS: usize = 1000;

impl Uploads {
    /// Puts the bytes of these together, in this order. They are gone afterwards.
    pub async fn concatenate(
        &self,
        begin: Begin,
        parts: Vec<BlobId>,
        admin: bool,
    ) -> Result<Progress, Error> {
        let place = self.place()?;
        let key = begin.metadata.key()?;
        let turn = self.inner.catalogue.turn(&key).await?;
        let uploads = self.clone();
        self.detached(async move {
            let _place = place;
            uploads.concatenate_now(begin, parts, admin, turn).await
        })
        .await
    }

    async fn concatenate_now(
        &self,
        begin: Begin,
        parts: Vec<BlobId>,
        admin: bool,
        turn: Turn,
    ) -> Result<Progress, Error> {
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(Error::Bad(format!("1 to {MAX_PARTS} partial uploads can be put together")));
        }
        let owner = (!admin).then_some(&*begin.owner);
        let mut holds = Vec::new();
        // In one order, so that two of these do not wait for each other.
        let mut sorted: Vec<_> = parts.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < parts.len() {
            return Err(Error::Bad("a partial upload stands there twice".to_owned()));
        }
        for id in sorted {
            holds.push(self.hold(id).await?);
        }
        let mut length = 0_u64;
        for id in &parts {
            let upload = self.upload(id, owner).await?;
            if upload.kind != Kind::Partial {
                return Err(Error::Kind);
            }
            let (upload, draft) = self.reopen(upload).await?;
            if upload.length != Some(draft.length()) {
                return Err(Error::Bad("a partial upload is not finished".to_owned()));
            }
            length = length.saturating_add(draft.length());
        }
        if length > self.inner.limits.size {
            return Err(Error::TooLarge(self.inner.limits.size));
        }
        let now = self.inner.clock.unix_millis();
        let upload = Upload {
            id: BlobId::random(),
            key: begin.metadata.key()?.to_string(),
            length: Some(length),
            received: length,
            metadata: begin.metadata.text().to_owned(),
            owner: begin.owner,
            kind: Kind::Final,
            parts: parts.clone(),
            checked: None,
            created: now,
            expires: now.saturating_add(self.lifetime()),
        };
        let mut whole = self.inner.blobs.draft(&upload.id, false).await?;
        // One is open at a time.
        for id in &parts {
            let mut draft = self.inner.blobs.reopen(id).await?.ok_or(Error::NoUpload)?;
            let mut at = 0;
            while at < draft.length() {
                let bytes = draft.read(at..draft.length()).await?;
                at += bytes.len() as u64;
                whole.append(bytes).await?;
            }
        }
        self.inner.catalogue.put_upload(upload.clone()).await?;
        self.finish(&upload, whole, turn).await?;
        for id in &parts {
            self.inner.catalogue.end_upload(id).await?;
            self.inner.blobs.discard(id).await?;
            // Where it has had to become one to be read.
            self.inner.blobs.remove(id).await?;
        }
        drop(holds);
        Ok(Progress { upload, offset: length })
    }
}
