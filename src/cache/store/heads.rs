//! What is found by key: heads, and what leads to variants. Unlike blocks they change, so each change is one step that
//! nothing can come between, and an old head that is slow to come from disk never covers a newer one.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::Mutex;

use super::{
    Found, Memory, Store,
    admission::Occasion,
    disk::{Disk, space},
};
use crate::cache::{
    Content, Head, Incarnation, Key, Variants,
    entry::{Entry, EntryKey, HEAD},
    purge::Standing,
    vary::VarySpec,
};

/// Locks for keys; several keys share one.
pub struct Stripes(Box<[Stripe]>);

#[derive(Default)]
pub struct Stripe {
    /// Counts changes. Locked while one is made.
    pub changes: Mutex<u64>,
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
    pub fn of(&self, key: EntryKey) -> &Stripe {
        // Less than the number of stripes.
        &self.0[(key.id % STRIPES) as usize]
    }
}

impl Store {
    /// What memory holds under `key`, without waiting and without counting.
    pub fn peek(&self, key: &Key) -> Option<Found> {
        let at = head_key(key);
        let entry = self.memory.get(&at)?;
        let found = self.found(&entry, key)?;
        self.bring_to_disk(at, &entry);
        Some(found)
    }

    /// Counts a hit on what [`Self::peek`] has found.
    pub fn count_hit(&self) {
        self.counters.memory_hit.inc();
    }

    /// What any tier holds under `key`.
    pub async fn find(&self, key: &Key) -> Option<Found> {
        let at = head_key(key);
        if let Some(entry) = self.memory.get(&at) {
            self.counters.memory_hit.inc();
            return self.found(&entry, key);
        }
        self.counters.memory_miss.inc();
        let disk = self.disk.as_ref()?;
        let stripe = self.stripes.of(at);
        let _loading = match disk.may_contain(&at) {
            true => Some(stripe.loading.lock().await),
            false => None,
        };
        let before = {
            let changes = stripe.changes.lock();
            if let Some(entry) = self.memory.look(&at) {
                return self.found(&entry, key);
            }
            *changes
        };
        let entry = disk.load(&at).await?;
        let changes = stripe.changes.lock();
        if let Some(newer) = self.memory.look(&at) {
            return self.found(&newer, key);
        }
        if *changes != before {
            // Replaced while it was read, and what replaced it is not in memory any more.
            return None;
        }
        entry.tried(self.round.load(Ordering::Relaxed));
        self.memory.insert(at, entry.clone());
        self.found(&entry, key)
    }

    /// The same of what is seldom stored: that no tier holds it is no miss.
    pub async fn find_rare(&self, key: &Key) -> Option<Found> {
        let at = head_key(key);
        if let Some(entry) = self.memory.get(&at) {
            self.counters.memory_hit.inc();
            return self.found(&entry, key);
        }
        match self.disk.as_ref().is_some_and(|disk| disk.may_contain(&at)) {
            true => self.find(key).await,
            false => None,
        }
    }

    pub async fn put_head(&self, key: &Key, head: Arc<Head>) {
        self.put_head_while(key, head, || true).await;
    }

    /// Puts the head unless `still` says no; nothing comes between the question and the change.
    pub async fn put_head_while(&self, key: &Key, head: Arc<Head>, still: impl FnOnce() -> bool) {
        let write = self.admits(&head, key.hash(), Occasion::Fetched).then(|| head.weight());
        if let (None, Some(incarnation)) = (write, head.incarnation()) {
            self.admission.refuse_blocks(incarnation);
        }
        self.change(key, write, |_| still().then_some(Entry::Head(head))).await;
    }

    /// Puts `to` in the place of the head of this incarnation, or nothing, if that is what is there.
    pub async fn replace_head(&self, key: &Key, incarnation: Incarnation, to: Option<Arc<Head>>) {
        // From disk into memory, where it can be compared.
        self.find(key).await;
        self.change(key, None, |current| match current {
            Some(Entry::Head(head)) if head.incarnation() == Some(incarnation) => {
                Some(to.map_or(Entry::Gone, Entry::Head))
            }
            _ => None,
        })
        .await;
    }

    /// Puts `to` in the place of `from`, if that is what is there and is to be seen. Whether it did.
    pub async fn exchange_head(&self, key: &Key, from: &Arc<Head>, to: Arc<Head>) -> bool {
        let write = self.admits(&to, key.hash(), Occasion::Found).then(|| to.weight());
        let mut exchanged = false;
        self.change(key, write, |current| match current {
            Some(Entry::Head(head))
                if Arc::ptr_eq(head, from) && self.purges.judge(head) == Standing::Current =>
            {
                exchanged = true;
                Some(Entry::Head(to))
            }
            _ => None,
        })
        .await;
        exchanged
    }

    /// Afterwards nothing is found under `key`, even after a restart.
    pub async fn remove_head(&self, key: &Key) {
        self.change(key, None, |_| Some(Entry::Gone)).await;
    }

    /// The variants under `key` that differ by `spec`: those that are there, or else new ones, which are recorded if
    /// `still` says so.
    pub async fn variants(&self, key: &Key, spec: &VarySpec, still: impl FnOnce() -> bool) -> Arc<Variants> {
        self.find(key).await;
        let mut variants = Arc::new(Variants::new(key, spec.clone()));
        self.change(key, Some(0), |current| match current {
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
    /// replaced in any case, and taken away when the disk does not keep up; `write` is about what a new entry weighs that
    /// is to be written also where there is none.
    pub(super) async fn change(
        &self,
        key: &Key,
        write: Option<usize>,
        change: impl FnOnce(Option<&Entry>) -> Option<Entry>,
    ) {
        let at = head_key(key);
        let place = match &self.disk {
            Some(disk) if write.is_some() || disk.may_contain(&at) => disk.enter(write.unwrap_or(0)).await,
            _ => None,
        };
        let mut changes = self.stripes.of(at).changes.lock();
        let current = self.memory.look(&at);
        let Some(entry) = change(current.as_ref()) else { return };
        *changes += 1;
        if place.is_some() {
            entry.tried(self.round.load(Ordering::Relaxed));
        }
        match entry.incarnation() {
            // Its blocks are on their way.
            Some(incarnation) => self.memory.pass(at, entry.clone(), incarnation),
            None => self.memory.insert(at, entry.clone()),
        }
        match (&self.disk, place) {
            (Some(disk), Some(place)) => {
                self.admission.spend(space(entry.weight()));
                disk.write(at, entry, place);
            }
            (Some(disk), None) => {
                if write.is_some() {
                    self.admission.missed();
                }
                disk.owe(at);
            }
            (None, _) => {}
        }
    }

    /// Large objects are admitted at once: memory would not keep them for a second request.
    pub(super) fn admits(&self, head: &Head, key: u128, occasion: Occasion) -> bool {
        let Some(disk) = &self.disk else { return false };
        self.admission.admits(key, occasion, disk.is_full() && !self.is_large(head.length))
    }

    /// A head that is found in memory only is wanted a second time: it is written now, and what there is of its blocks.
    fn bring_to_disk(&self, at: EntryKey, entry: &Entry) {
        let (Some(disk), Entry::Head(head)) = (&self.disk, entry) else { return };
        if !head.on_disk.try_in(self.round.load(Ordering::Relaxed)) || disk.may_contain(&at) {
            return;
        }
        let weight = entry.weight();
        if !self.admits(head, at.id, Occasion::Found) {
            return;
        }
        let Some(place) = disk.try_enter(weight) else { return self.admission.missed() };
        let _changes = self.stripes.of(at).changes.lock();
        let Some(current) = self.memory.look(&at) else { return };
        if !matches!(&current, Entry::Head(current) if Arc::ptr_eq(current, head)) {
            return;
        }
        self.admission.spend(space(weight));
        disk.write(at, current, place);
        if let Content::Blocks { incarnation, block_size } = head.content {
            self.admission.admit_blocks(incarnation);
            let blocks = u32::try_from(head.length.div_ceil(u64::from(block_size))).unwrap_or(0);
            self.tasks.runtime().spawn(bring_blocks(self.memory.clone(), disk.clone(), incarnation, blocks));
        }
    }
}

/// As far as memory still holds them.
async fn bring_blocks(memory: Arc<Memory>, disk: Arc<Disk>, incarnation: Incarnation, blocks: u32) {
    for index in 0..blocks {
        let key = EntryKey { id: incarnation.0, part: index };
        let Some(entry) = memory.look(&key) else { continue };
        let Some(place) = disk.enter(entry.weight()).await else { return };
        disk.write(key, entry, place);
    }
}

pub(super) fn head_key(key: &Key) -> EntryKey {
    EntryKey { id: key.hash(), part: HEAD }
}

impl Head {
    pub(in crate::cache) fn incarnation(&self) -> Option<Incarnation> {
        match self.content {
            Content::Inline(_) => None,
            Content::Blocks { incarnation, .. } => Some(incarnation),
        }
    }
}
