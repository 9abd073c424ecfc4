//! What is found by key: heads, and what leads to variants. Unlike blocks they change, so each change is one step that
//! nothing can come between, and an old head that is slow to come from disk never covers a newer one.

use std::sync::Arc;

use foyer::Load;
use parking_lot::Mutex;

use super::{Found, Store};
use crate::cache::{
    Content, Head, Incarnation, Key, Variants,
    entry::{Entry, EntryKey, HEAD},
    purge::Standing,
    vary::VarySpec,
};

/// Locks for keys; several keys share one.
pub struct Stripes(Box<[Stripe]>);

#[derive(Default)]
struct Stripe {
    /// Counts changes. Locked while one is made.
    changes: Mutex<u64>,
    /// Held while a head comes from disk, so that a crowd reads it once.
    loading: tokio::sync::Mutex<()>,
}

const STRIPES: u128 = 256;

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Stripe::default()).collect())
    }
}

impl Stripes {
    fn of(&self, key: EntryKey) -> &Stripe {
        // Less than the number of stripes.
        &self.0[(key.id % STRIPES) as usize]
    }
}

impl Store {
    /// What memory holds under `key`, without waiting and without counting.
    pub fn peek(&self, key: &Key) -> Option<Found> {
        self.found(self.cache.memory().get(&head_key(key))?.value(), key)
    }

    /// Counts a hit on what [`Self::peek`] has found.
    pub fn count_hit(&self) {
        self.counters.memory_hit.inc();
    }

    /// What any tier holds under `key`.
    pub async fn find(&self, key: &Key) -> Option<Found> {
        let at = head_key(key);
        if let Some(entry) = self.cache.memory().get(&at) {
            self.counters.memory_hit.inc();
            return self.found(entry.value(), key);
        }
        self.counters.memory_miss.inc();
        self.disk_window.as_ref()?;
        if !self.cache.storage().may_contains(&at) {
            self.counters.disk_miss.inc();
            return None;
        }
        let stripe = self.stripes.of(at);
        let _loading = stripe.loading.lock().await;
        let before = {
            let changes = stripe.changes.lock();
            if let Some(entry) = self.cache.memory().get(&at) {
                return self.found(entry.value(), key);
            }
            *changes
        };
        let entry = self.read(async {
            Ok(match self.cache.storage().load(&at).await? {
                Load::Entry { value, .. } => Some(value),
                Load::Piece { piece, .. } => Some(piece.value().clone()),
                Load::Miss | Load::Throttled => None,
            })
        });
        let entry = entry.await?;
        let changes = stripe.changes.lock();
        if let Some(newer) = self.cache.memory().get(&at) {
            return self.found(newer.value(), key);
        }
        if *changes != before {
            // Replaced while it was read, and what replaced it is not in memory any more.
            return None;
        }
        self.insert_in_memory(at, entry.clone());
        self.found(&entry, key)
    }

    pub async fn put_head(&self, key: &Key, head: Arc<Head>) {
        self.put_head_while(key, head, || true).await;
    }

    /// Puts the head unless `still` says no; nothing comes between the question and the change.
    pub async fn put_head_while(&self, key: &Key, head: Arc<Head>, still: impl FnOnce() -> bool) {
        let weight = head.weight();
        self.change(key, weight, |_| still().then_some(Entry::Head(head))).await;
    }

    /// Puts `to` in the place of the head of this incarnation, or nothing, if that is what is there.
    pub async fn replace_head(&self, key: &Key, incarnation: Incarnation, to: Option<Arc<Head>>) {
        // From disk into memory, where it can be compared.
        self.find(key).await;
        let weight = to.as_ref().map_or(0, |head| head.weight());
        self.change(key, weight, |current| match current {
            Some(Entry::Head(head)) if head.incarnation() == Some(incarnation) => {
                Some(to.map_or(Entry::Gone, Entry::Head))
            }
            _ => None,
        })
        .await;
    }

    /// Afterwards nothing is found under `key`, even after a restart.
    pub async fn remove_head(&self, key: &Key) {
        self.change(key, 0, |_| Some(Entry::Gone)).await;
    }

    /// The variants under `key` that differ by `spec`: those that are there, or else new ones, which are recorded if
    /// `still` says so.
    pub async fn variants(&self, key: &Key, spec: &VarySpec, still: impl FnOnce() -> bool) -> Arc<Variants> {
        self.find(key).await;
        let mut variants = Arc::new(Variants::new(key, spec.clone()));
        self.change(key, 0, |current| match current {
            Some(Entry::Variants(known)) if known.spec == *spec && *known.key == *key.text() => {
                variants = known.clone();
                None
            }
            _ => still().then(|| Entry::Variants(variants.clone())),
        })
        .await;
        variants
    }

    /// What there is to see of an entry: nothing that has been purged, and nothing of another key.
    fn found(&self, entry: &Entry, key: &Key) -> Option<Found> {
        match entry {
            Entry::Head(head) if *head.key == *key.text() => match self.purges.judge(head) {
                Standing::Current => Some(Found::Head(head.clone())),
                Standing::Outdated => Some(Found::Outdated(head.clone())),
                Standing::Hidden => None,
            },
            Entry::Variants(variants) if *variants.key == *key.text() => {
                Some(Found::Variants(variants.clone()))
            }
            _ => None,
        }
    }

    /// One step: from what memory holds under the key to what `change` says, if anything. On disk, what is there is
    /// replaced in any case, and taken away when the disk does not keep up. `weight` is about what it will weigh.
    async fn change(&self, key: &Key, weight: usize, change: impl FnOnce(Option<&Entry>) -> Option<Entry>) {
        let at = head_key(key);
        let permit = match &self.disk_window {
            Some(window) => window.enter(weight).await,
            None => None,
        };
        let mut changes = self.stripes.of(at).changes.lock();
        let current = self.cache.memory().get(&at);
        let Some(entry) = change(current.as_deref()) else { return };
        *changes += 1;
        match (&self.disk_window, permit) {
            (None, _) => {
                self.cache.insert(at, entry);
            }
            (Some(window), Some(permit)) => {
                self.cache.insert(at, entry);
                window.entered(permit);
            }
            (Some(_), None) => {
                self.cache.remove(&at);
                self.insert_in_memory(at, entry);
            }
        }
    }
}

pub(super) fn head_key(key: &Key) -> EntryKey {
    EntryKey { id: key.hash(), part: HEAD }
}

impl Head {
    fn incarnation(&self) -> Option<Incarnation> {
        match self.content {
            Content::Inline(_) => None,
            Content::Blocks { incarnation, .. } => Some(incarnation),
        }
    }
}
