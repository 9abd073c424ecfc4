//! Looks after the disk tier: switches it off when it fails, on again when it has been repaired, and tells it what it has
//! missed.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    Error, Store, directory,
    disk::{Disk, blocking, files},
};
use crate::cache::entry::Entry;

/// How often to look when nothing rings.
const INTERVAL: Duration = Duration::from_secs(1);
/// Every so many looks, whether anything can be written at all.
const TRIAL: u32 = 8;
/// A disk that has not written for so long is given up.
const STUCK: Duration = Duration::from_secs(30);
/// Time between attempts to switch it on again: at first, and at most.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LAST_ATTEMPT: Duration = Duration::from_secs(5);
/// A disk that takes longer to answer is as good as none.
const ANSWER: Duration = Duration::from_secs(10);

/// Ends with the store.
pub async fn look_after(store: Weak<Store>) {
    let mut wait = FIRST_ATTEMPT;
    let mut next = Instant::now();
    let mut said = String::new();
    let mut looks = 0_u32;
    while let Some(bell) = store.upgrade().and_then(|store| Some(store.disk.as_ref()?.bell.clone())) {
        let _ = timeout(INTERVAL, bell.notified()).await;
        let Some(store) = store.upgrade() else { break };
        let Some(disk) = &store.disk else { break };
        let _care = store.care.lock().await;
        if store.closed.load(Ordering::Acquire) {
            break;
        }
        looks = looks.wrapping_add(1);
        if let Some(reason) = failure(&store, disk, looks.is_multiple_of(TRIAL)).await {
            switch_off(&store, disk, &reason).await;
            (wait, next) = (FIRST_ATTEMPT, Instant::now() + FIRST_ATTEMPT);
        }
        if disk.tier().is_some() {
            store.pay_debts(disk).await;
        } else if Instant::now() >= next {
            match store.switch_on_again(disk).await {
                Ok(()) => {
                    tracing::info!("the disk tier is on again, and empty");
                    store.round.fetch_add(1, Ordering::Relaxed);
                }
                Err(reason) => {
                    let reason = reason.to_string();
                    if reason != said {
                        tracing::warn!("the disk tier stays off: {reason}");
                        said = reason;
                    }
                    wait = (wait * 2).min(LAST_ATTEMPT);
                    next = Instant::now() + wait;
                }
            }
        }
        disk.show();
    }
}

async fn failure(store: &Arc<Store>, disk: &Disk, try_writing: bool) -> Option<String> {
    let tier = disk.tier()?;
    if let Some(reason) = tier.alarm.reason() {
        return Some(reason.to_owned());
    }
    if tier.window.stuck_for() > STUCK {
        return Some(format!("it has not written for {STUCK:?}"));
    }
    let looking = store.clone();
    let look = blocking(&store.tasks, move || {
        let Some(disk) = &looking.disk else { return Ok(true) };
        if try_writing {
            disk.try_writing()?;
        }
        disk.is_held()
    });
    match timeout(ANSWER, look).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) => Some("its directory was removed".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("nothing within {ANSWER:?}")),
    }
}

async fn switch_off(store: &Store, disk: &Disk, reason: &str) {
    if disk.switch_off().is_none() {
        return;
    }
    disk.show();
    tracing::error!("the disk tier is off, going on in memory: {reason}");
    // What changes from now on it would not know, should we be killed before it is on again.
    let dir = disk.config.dir.clone();
    let cleared = timeout(ANSWER, blocking(&store.tasks, move || files::clear(&dir))).await;
    if !matches!(cleared, Ok(Ok(()))) {
        tracing::warn!("what it holds could not be discarded: {cleared:?}");
    }
}

impl Store {
    /// Empty, because it has missed what changed meanwhile.
    async fn switch_on_again(self: &Arc<Self>, disk: &Disk) -> Result<(), Error> {
        let store = self.clone();
        let prepare = blocking(&self.tasks, move || {
            let Some(disk) = &store.disk else { return Ok(()) };
            let prepare = || {
                if !disk.is_held().unwrap_or(false) {
                    disk.lock()?;
                }
                files::clear(&disk.config.dir)
                    .map_err(|source| Error::Directory { dir: disk.config.dir.clone(), source })?;
                directory::check_space(&disk.config)?;
                directory::save_seed(&disk.config.dir, store.seed)
            };
            prepare().map_err(std::io::Error::other)
        });
        let failed = |source| Error::Directory { dir: disk.config.dir.clone(), source };
        timeout(ANSWER, prepare).await.map_err(|late| failed(late.into()))?.map_err(failed)?;
        self.purges.write_down().await.map_err(|reason| failed(std::io::Error::other(reason)))?;
        disk.switch_on(&self.tasks).await
    }

    /// Brings what was stored in memory only while the disk did not keep up.
    async fn pay_debts(&self, disk: &Disk) {
        let mut debts = disk.debts().into_iter();
        while let Some(key) = debts.next() {
            let weight = self.memory.look(&key).map_or(0, |entry| entry.weight());
            let Some(place) = disk.enter(weight).await else {
                std::iter::once(key).chain(debts).for_each(|key| disk.still_owe(key));
                return;
            };
            let _changes = self.stripes.of(key).changes.lock();
            disk.write(key, self.memory.look(&key).unwrap_or(Entry::Gone), place);
        }
    }
}
