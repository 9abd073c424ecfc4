//! A piece of an upload: appended where the durable bytes end, and durable itself when it is told of.

use std::time::Duration;

use aws_lc_rs::digest::Context;

use super::{
    super::{Body, receive::Room},
    Checksum, Error, Hold, Kind, Progress, Uploads,
};
use crate::store::{AssetKey, BlobId, Draft, Error as StoreError, catalogue::Upload};
use tokio::time::timeout;

/// Who is to give way to another request saves what has come within this time, or leaves it: the other one waits for twice as long,
/// and a bucket may not answer for minutes.
const YIELDING: Duration = Duration::from_secs(5);

/// Bytes as a client announces them.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where they belong.
    pub offset: u64,
    /// Of the whole upload, if it was not known when that began.
    pub length: Option<u64>,
    /// Its own, if it says.
    pub bytes: Option<u64>,
    pub checksum: Option<Checksum>,
    /// Who sends it; None: somebody who may write to all uploads.
    pub owner: Option<String>,
}

impl Uploads {
    /// Takes a piece. With the last one, the upload becomes an asset.
    pub async fn append(&self, id: &BlobId, piece: Piece, body: Body) -> Result<Progress, Error> {
        let place = self.place()?;
        let (uploads, id) = (self.clone(), id.clone());
        // What has come is kept, so it is not dropped with its connection.
        self.detached(async move {
            let _place = place;
            uploads.append_now(&id, piece, body).await
        })
        .await
    }

    async fn append_now(&self, id: &BlobId, piece: Piece, body: Body) -> Result<Progress, Error> {
        let hold = self.hold(id).await?;
        let mut upload = self.upload(id, piece.owner.as_deref()).await?;
        // Before any of its bytes is taken. A partial one changes no asset.
        let turn = match upload.kind {
            Kind::Whole => Some(self.inner.catalogue.turn(&AssetKey::parse(&upload.key)?).await?),
            _ => None,
        };
        let at_end = upload.length == Some(piece.offset);
        match upload.kind {
            Kind::Done if at_end => return Ok(Progress { offset: piece.offset, upload }),
            Kind::Done => return Err(Error::Offset(upload.length.unwrap_or_default())),
            Kind::Final => return Err(Error::Kind),
            Kind::Whole | Kind::Partial => {}
        }
        let mut draft;
        (upload, draft) = self.reopen(upload).await?;
        if draft.length() != piece.offset {
            return Err(Error::Offset(draft.length()));
        }
        let replaced = match upload.kind {
            Kind::Whole => self.replaced(&upload.owner, &AssetKey::parse(&upload.key)?).await?,
            _ => 0,
        };
        let counted = upload.length.unwrap_or(upload.received).saturating_add(replaced);
        let room = self.room(&upload.owner, counted).await?;
        match (upload.length, piece.length) {
            (None, Some(length)) if length >= piece.offset => {
                room.check(length)?;
                upload.length = Some(length);
            }
            (known, said) if said.is_none() || known == said => {}
            _ => return Err(Error::Bad("Upload-Length is not what it was".to_owned())),
        }
        let room = room.behind(piece.offset, upload.length);
        // Told before the bytes are sent, if possible.
        room.check(piece.bytes.unwrap_or(0))?;
        self.inner.blobs.check_room(piece.bytes.unwrap_or(0)).await?;
        let taken = self.take(&hold, &mut upload, &mut *draft, &piece, (body, room)).await;
        if hold.is_lost() {
            return Err(Error::Locked);
        }
        if let Err(Error::Store(StoreError::Lost)) = &taken {
            self.end(id).await?;
            return Err(StoreError::Lost.into());
        }
        upload.received = draft.length();
        upload.expires = self.inner.clock.unix_millis().saturating_add(self.lifetime());
        self.inner.catalogue.put_upload(upload.clone()).await?;
        taken?;
        let offset = draft.length();
        if let Some(turn) = turn
            && upload.length == Some(offset)
        {
            self.finish(&upload, draft, turn).await?;
        }
        Ok(Progress { upload, offset })
    }

    /// Appends what comes, and makes it durable. What breaks off is kept, unless it has to be checked as a whole.
    async fn take(
        &self,
        hold: &Hold,
        upload: &mut Upload,
        draft: &mut dyn Draft,
        piece: &Piece,
        (mut body, room): (Body, Room),
    ) -> Result<(), Error> {
        let mut sum: Option<Context> = piece.checksum.as_ref().map(Checksum::begin);
        if sum.is_some() && !self.inner.blobs.is_shared() {
            upload.checked = Some(piece.offset);
            self.inner.catalogue.put_upload(upload.clone()).await?;
        }
        let mut kept = piece.offset;
        let keeping = piece.checksum.is_none().then_some(&mut kept);
        let received = tokio::select! {
            received = self.receive(&mut body, draft, &room, keeping, |bytes| {
                if let Some(sum) = &mut sum {
                    sum.update(bytes);
                }
            }) => received.map(drop),
            () = hold.stop.cancelled() => Err(Error::Locked),
        };
        if hold.is_lost() {
            return Err(Error::Locked);
        }
        let checked = match (&piece.checksum, sum) {
            (Some(checksum), Some(sum)) if received.is_ok() => match checksum.is_met(sum) {
                true => Ok(()),
                false => Err(Error::Checksum),
            },
            _ => received,
        };
        let taken_back = match &checked {
            Ok(()) => false,
            // What a failing disk has of it nobody knows.
            Err(Error::TooLarge(_) | Error::Quota(_) | Error::Store(_)) => true,
            Err(_) => piece.checksum.is_some(),
        };
        let synced = match (taken_back, &checked) {
            (true, _) => Ok(()),
            (false, Err(Error::Locked)) if self.inner.blobs.is_shared() => {
                match timeout(YIELDING, draft.sync()).await {
                    Ok(synced) => synced,
                    // Nobody was told of these bytes. They count in the row, where nobody relies on them.
                    Err(_) => return Err(Error::Locked),
                }
            }
            (false, _) => draft.sync().await,
        };
        if taken_back || synced.is_err() {
            // Should this fail too, it is done when the draft is opened again. Where nothing survives but what was synced, what has
            // come unsaid is good all the same, and what lies below it may not be cut any more.
            upload.checked = (!self.inner.blobs.is_shared()).then_some(kept);
            draft.truncate(kept).await?;
        }
        upload.checked = None;
        checked.and(synced.map_err(Error::from))
    }
}
