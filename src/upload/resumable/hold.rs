//! One writer for each upload. Who comes later stops the one before: a client that lost its connection comes back long
//! before the server knows that it is gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{super::Error, BlobId, Uploads};
use crate::store::catalogue::Lease;

/// Whoever writes stops within this time, unless the disk hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who writes to which upload; as many as there are requests.
#[derive(Default)]
pub struct Holders(Mutex<HashMap<BlobId, Entry>>);

#[derive(Clone, Default)]
struct Entry {
    turn: Arc<Turn<()>>,
    stop: CancellationToken,
    /// Requests that hold it or wait for it.
    interested: usize,
}

/// The right to write, until it is dropped.
pub struct Hold {
    holders: Arc<Holders>,
    id: BlobId,
    /// Somebody else wants it.
    pub stop: CancellationToken,
    /// Among all servers.
    lease: Option<Lease>,
    /// Among requests here; given back after the lease.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Hold {
    /// Another server may be writing by now.
    pub(super) fn is_lost(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_lost)
    }
}

impl Uploads {
    pub(super) async fn hold(&self, id: &BlobId) -> Result<Hold, Error> {
        let holders = self.inner.holders.clone();
        let (turn, stop) = {
            let mut entries = holders.0.lock();
            let entry = entries.entry(id.clone()).or_default();
            entry.stop.cancel();
            entry.stop = CancellationToken::new();
            entry.interested += 1;
            (entry.turn.clone(), entry.stop.clone())
        };
        let mut hold = Hold { holders, id: id.clone(), stop: stop.clone(), lease: None, turn: None };
        hold.turn = Some(timeout(PATIENCE, turn.lock_owned()).await.map_err(|_| Error::Locked)?);
        let lease = self.inner.catalogue.lease(id, stop, PATIENCE).await?;
        hold.lease = Some(lease.ok_or(Error::Locked)?);
        Ok(hold)
    }

    /// Without stopping anybody. None: a request holds it or waits for it.
    pub(in super::super) async fn hold_if_free(&self, id: &BlobId) -> Result<Option<Hold>, Error> {
        let Some(mut hold) = self.hold_here(id) else { return Ok(None) };
        hold.lease = self.inner.catalogue.lease(id, hold.stop.clone(), Duration::ZERO).await?;
        Ok(hold.lease.is_some().then_some(hold))
    }

    fn hold_here(&self, id: &BlobId) -> Option<Hold> {
        let holders = self.inner.holders.clone();
        let mut entries = holders.0.lock();
        if entries.contains_key(id) {
            return None;
        }
        let entry = Entry { interested: 1, ..Entry::default() };
        let turn = Some(entry.turn.clone().try_lock_owned().ok()?);
        let stop = entry.stop.clone();
        entries.insert(id.clone(), entry);
        drop(entries);
        Some(Hold { holders, id: id.clone(), stop, lease: None, turn })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.lease = None;
        self.turn = None;
        let mut entries = self.holders.0.lock();
        if let Some(entry) = entries.get_mut(&self.id) {
            entry.interested -= 1;
            if entry.interested == 0 {
                entries.remove(&self.id);
            }
        }
    }
}
