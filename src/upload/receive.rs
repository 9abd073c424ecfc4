//! Bytes on their way from a client into a draft.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use super::{Body, Error, Uploads};
use crate::store::{AssetKey, Draft};

/// One of the places for uploads under way, as long as it is held.
pub struct Place {
    uploads: Uploads,
    _permit: OwnedSemaphorePermit,
}

/// How many bytes an upload may have, and which limit says so.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub most: u64,
    quota: Option<u64>,
    size: u64,
}

impl Room {
    pub fn check(&self, length: u64) -> Result<(), Error> {
        match self.quota {
            _ if length <= self.most => Ok(()),
            Some(quota) if length <= self.size => Err(Error::Quota(quota)),
            _ => Err(Error::TooLarge(self.size)),
        }
    }

    /// What is left of it behind so many bytes, and of a length that is known.
    pub fn behind(self, offset: u64, length: Option<u64>) -> Self {
        let within = |most: u64| most.saturating_sub(offset);
        Self { most: within(length.unwrap_or(self.most)), ..self }
    }
}

/// Whether a client keeps up a rate. Only its own time counts, not that of the disk.
struct Pace {
    least: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Over which the rate is taken.
    const WINDOW: Duration = Duration::from_secs(10);

    /// False: it was too slow.
    fn keeps_up(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < Self::WINDOW {
            return true;
        }
        let wanted = self.waited.as_millis() * u128::from(self.least) / 1000;
        let enough = u128::from(self.bytes) >= wanted;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

impl Uploads {
    pub(super) fn place(&self) -> Result<Place, Error> {
        let permit = self.inner.places.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        self.inner.instruments.active.inc();
        Ok(Place { uploads: self.clone(), _permit: permit })
    }

    /// Bytes of this owner that an asset of this key would take the place of. They do not count against it.
    pub(super) async fn replaced(&self, owner: &str, key: &AssetKey) -> Result<u64, Error> {
        if self.inner.limits.quota.is_none() {
            return Ok(0);
        }
        let there = self.inner.catalogue.find(key).await?;
        Ok(there.filter(|asset| asset.owner == owner).map_or(0, |asset| asset.length))
    }

    /// What one upload of this owner may have, `counted` bytes of which are counted as his already.
    pub(super) async fn room(&self, owner: &str, counted: u64) -> Result<Room, Error> {
        let (size, quota) = (self.inner.limits.size, self.inner.limits.quota);
        let left = match quota {
            Some(quota) => {
                let used = self.inner.catalogue.used_by(owner).await?.saturating_sub(counted);
                quota.saturating_sub(used)
            }
            None => u64::MAX,
        };
        Ok(Room { most: size.min(left), quota, size })
    }

    /// Appends all that comes, as far as there is room. What came before it broke off stays appended. `kept`: of bytes that are
    /// good one by one, how many cannot be taken back any more.
    pub(super) async fn receive(
        &self,
        body: &mut Body,
        draft: &mut dyn Draft,
        room: &Room,
        mut kept: Option<&mut u64>,
        mut see: impl FnMut(&Bytes) + Send,
    ) -> Result<u64, Error> {
        let stopping = self.inner.tasks.stopping();
        let limits = &self.inner.limits;
        let mut pace = Pace { least: limits.least_rate, waited: Duration::ZERO, bytes: 0 };
        let mut received = 0;
        loop {
            let asked = Instant::now();
            let next = tokio::select! {
                next = timeout(limits.idle, body.next()) => next,
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
            if !pace.keeps_up(asked.elapsed(), bytes.len() as u64) {
                return Err(Error::Slow(limits.least_rate));
            }
            received += bytes.len() as u64;
            if received > room.most {
                return Err(room.check(u64::MAX).err().unwrap_or(Error::TooLarge(limits.size)));
            }
            self.inner.instruments.bytes.inc_by(bytes.len() as u64);
            see(&bytes);
            draft.append(bytes).await?;
            if let Some(kept) = &mut kept
                && let Some(length) = draft.checkpoint().await?
            {
                **kept = length;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.uploads.inner.instruments.active.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dribbles_is_too_slow() {
        let second = Duration::from_secs(1);
        let mut pace = Pace { least: 100, waited: Duration::ZERO, bytes: 0 };
        // A burst makes up for silence within the window.
        assert!((0..9).all(|_| pace.keeps_up(second, 0)));
        assert!(pace.keeps_up(second, 1000));
        // But not for that of the next one.
        assert!((0..9).all(|_| pace.keeps_up(second, 99)));
        assert!(!pace.keeps_up(second, 99));
        let mut any = Pace { least: 0, waited: Duration::ZERO, bytes: 0 };
        assert!((0..100).all(|_| any.keeps_up(second, 0)));
        let mut fast = Pace { least: 1000, waited: Duration::ZERO, bytes: 0 };
        assert!((0..100_000).all(|_| fast.keeps_up(Duration::from_micros(1), 16)));
    }
}
