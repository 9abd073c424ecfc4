//! Blocks on their way from the disk: a crowd reads each of them once.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::cache::entry::EntryKey;

type Read = OnceCell<Option<Bytes>>;

/// As many entries as there are blocks that somebody waits for.
#[derive(Default)]
pub struct Loading(Mutex<HashMap<EntryKey, Weak<Read>>>);

/// Takes its entry away when it is the last one.
struct Waiting<'a> {
    all: &'a Loading,
    key: EntryKey,
    /// Some until the end.
    read: Option<Arc<Read>>,
}

impl Loading {
    /// What `load` brings, or what the one brings that was first. When that one gives up, another takes its place.
    pub async fn shared<F: Future<Output = Option<Bytes>>>(
        &self,
        key: EntryKey,
        load: impl FnOnce() -> F,
    ) -> Option<Bytes> {
        let waiting = self.join(key);
        waiting.read.as_ref()?.get_or_init(load).await.clone()
    }

    fn join(&self, key: EntryKey) -> Waiting<'_> {
        let mut all = self.0.lock();
        let running = all.get(&key).and_then(Weak::upgrade);
        let read = running.unwrap_or_else(|| {
            let read = Arc::<Read>::default();
            all.insert(key, Arc::downgrade(&read));
            read
        });
        Waiting { all: self, key, read: Some(read) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        // Let go while nobody can join or leave, so that one of all is the last.
        drop(self.read.take());
        if all.get(&self.key).is_some_and(|read| read.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures_util::{future::join_all, poll};
    use tokio::sync::Notify;

    use super::*;

    const KEY: EntryKey = EntryKey { id: 1, part: 2 };

    #[tokio::test]
    async fn a_crowd_reads_once_and_nothing_is_left() {
        let (loading, reads, gate) = (Loading::default(), AtomicU32::new(0), Notify::new());
        let load = || async {
            reads.fetch_add(1, Ordering::Relaxed);
            gate.notified().await;
            Some(Bytes::from_static(b"x"))
        };
        {
            // The first to come does not wait for the end.
            let mut first = pin!(loading.shared(KEY, load));
            assert!(poll!(&mut first).is_pending());
        }
        assert!(loading.0.lock().is_empty());
        let crowd = join_all((0..20).map(|_| loading.shared(KEY, load)));
        // When all have come.
        let (all, ()) = tokio::join!(crowd, async { gate.notify_one() });
        assert!(all.iter().all(|read| read.as_deref() == Some(b"x")));
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        assert!(loading.0.lock().is_empty());
    }
}
