//! Bytes on their way from a client into a draft.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{Body, Error, Uploads};
use crate::store::Draft;

/// One of the places for uploads under way, as long as it is held.
pub struct Place {
    uploads: Uploads,
    _permit: OwnedSemaphorePermit,
}

impl Uploads {
    pub(super) fn place(&self) -> Result<Place, Error> {
        let permit = self.inner.places.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        self.inner.instruments.active.inc();
        Ok(Place { uploads: self.clone(), _permit: permit })
    }

    /// Appends all that comes, at most so many bytes. What came before it broke off stays appended.
    pub(super) async fn receive(
        &self,
        body: &mut Body,
        draft: &mut dyn Draft,
        most: u64,
        mut see: impl FnMut(&Bytes) + Send,
    ) -> Result<u64, Error> {
        let stopping = self.inner.tasks.stopping();
        let mut received = 0;
        loop {
            let next = tokio::select! {
                next = timeout(self.inner.limits.idle, body.next()) => next,
                () = stopping.cancelled() => return Err(Error::Stopping),
            };
            let bytes = match next {
                Err(_) => return Err(Error::Stalled),
                Ok(None) => return Ok(received),
                Ok(Some(Err(error))) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Error::Stalled);
                }
                Ok(Some(Err(_))) => return Err(Error::Short),
                Ok(Some(Ok(bytes))) => bytes,
            };
            received += bytes.len() as u64;
            if received > most {
                return Err(Error::TooLarge(self.inner.limits.size));
            }
            self.inner.instruments.bytes.inc_by(bytes.len() as u64);
            see(&bytes);
            draft.append(bytes).await?;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.uploads.inner.instruments.active.dec();
    }
}
