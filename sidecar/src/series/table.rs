//! The series behind the store's lock: places, index, shared strings, accounting.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use millrace_kit::clock::UnixMillis;

use super::{
    Bounds, KEEP_AT_LEAST, Matcher,
    chunk::{Open, Sealed},
    index::{Index, Slot, decided},
    store::millis,
};
use crate::{
    model::{Label, Labels, Sample},
    scrape::{Appended, SeriesId},
};

/// When the byte bound is met, this share of the retention is given up at a time.
const TRIM_STEPS: i64 = 48;

/// Room for so many sealed chunks at a time: four hours, where a scrape comes every fifteen seconds.
const MORE_CHUNKS: usize = 4;

/// Estimate of what a series costs beside its labels and chunks: its place, with room for growth, and how it is found.
const SERIES_OVERHEAD: usize = size_of::<Entry>() + 16;

/// The same of a label: pointers to name and value, entry in the index.
const LABEL_OVERHEAD: usize = size_of::<Label>() + 8;

/// The same of a name or value, beside its text, however many series share it.
const SYMBOL_OVERHEAD: usize = 48;

#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: Vec<Entry>,
    free: Vec<Slot>,
    /// By the hash of the labels, which stand in the slot.
    by_labels: HashTable<Slot>,
    hasher: RandomState,
    index: Index,
    /// Every label name and value once.
    symbols: HashSet<Arc<str>>,
    pub(super) samples: usize,
    pub(super) bytes: usize,
    pub(super) refused_series: u64,
    pub(super) refused_samples: u64,
    /// Series that have gone: while it stays the same, a slot stands for the series it stood for.
    removed: u64,
}

/// What a search has found, in the order of the index.
pub(super) struct Found {
    pub(super) slots: Vec<Slot>,
    removed: u64,
}

/// A place in the table. Its generation changes when the series goes, so that an old [`SeriesId`] finds nothing.
#[derive(Default)]
pub(super) struct Entry {
    generation: u32,
    pub(super) series: Option<Series>,
}

pub(super) struct Series {
    pub(super) labels: Labels,
    /// Ascending.
    pub(super) sealed: Vec<Sealed>,
    /// After the sealed ones.
    pub(super) open: Option<Open>,
    /// Was empty at the last clean-up: interned, but nothing came.
    idle: bool,
}

impl Table {
    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.slots.iter().filter_map(|entry| entry.series.as_ref())
    }

    pub(super) fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Series> {
        self.find_all(matchers)
            .slots
            .into_iter()
            .filter_map(|slot| self.slots.get(slot as usize)?.series.as_ref())
    }

    pub(super) fn find_all(&self, matchers: &[Matcher]) -> Found {
        let mut slots = self.index.candidates(matchers);
        let undecided: Vec<_> =
            matchers.iter().filter(|matcher| !decided(matcher) && !matcher.matches_all()).collect();
        if !undecided.is_empty() {
            slots.retain(|slot| {
                let labels = labels_at(&self.slots, *slot);
                labels.is_some_and(|labels| satisfies(labels, undecided.iter().copied()))
            });
        }
        Found { slots, removed: self.removed }
    }

    /// A series that was found, perhaps under an earlier lock. None when it has gone.
    pub(super) fn found(&self, found: &Found, slot: Slot, matchers: &[Matcher]) -> Option<&Series> {
        let series = self.slots.get(slot as usize)?.series.as_ref()?;
        let same = found.removed == self.removed || satisfies(&series.labels, matchers);
        same.then_some(series)
    }

    /// Number of series.
    pub(super) fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesId> {
        let bears = |slot: &Slot| labels_at(&self.slots, *slot) == Some(labels);
        self.by_labels.find(self.hasher.hash_one(labels), bears).map(|slot| self.id(*slot))
    }

    pub(super) fn id(&self, slot: Slot) -> SeriesId {
        SeriesId(u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot))
    }

    /// Lets go of names and values that no series has any more, and of room that lists in the index have left over.
    pub(super) fn tidy(&mut self) {
        let bytes = &mut self.bytes;
        self.symbols.retain(|symbol| {
            // The index holds one too, but only while a series has it.
            let used = Arc::strong_count(symbol) > 1;
            *bytes -= if used { 0 } else { symbol_bytes(symbol) };
            used
        });
        self.index.shrink();
    }

    /// The same labels with strings shared between series.
    pub(super) fn shared(&mut self, labels: &Labels) -> Labels {
        let mut share = |text: &Arc<str>| match self.symbols.get(text) {
            Some(known) => known.clone(),
            None => {
                self.symbols.insert(text.clone());
                self.bytes += symbol_bytes(text);
                text.clone()
            }
        };
        labels.iter().map(|label| Label { name: share(&label.name), value: share(&label.value) }).collect()
    }

    pub(super) fn add(&mut self, labels: Labels) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Entry::default());
            (self.slots.len() - 1) as Slot
        });
        self.bytes += fixed_bytes(&labels);
        self.index.insert(&labels, slot);
        let hash = self.hasher.hash_one(&labels);
        self.slots[slot as usize].series =
            Some(Series { labels, sealed: Vec::new(), open: None, idle: false });
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |slot: &Slot| labels_at(slots, *slot).map_or(0, |labels| hasher.hash_one(labels));
        self.by_labels.insert_unique(hash, slot, rehash);
        slot
    }

    pub(super) fn restore(&mut self, labels: &Labels, mut chunks: Vec<Sealed>) {
        let labels = self.shared(labels);
        let slot = self.add(labels);
        let Some(series) = self.slots[slot as usize].series.as_mut() else { return };
        match chunks.pop().map(Open::resume) {
            Some(Ok(open)) => series.open = Some(open),
            Some(Err(full)) => chunks.push(full),
            None => {}
        }
        chunks.shrink_to_fit();
        series.sealed = chunks;
        self.samples += series.samples_held();
        self.bytes += series.chunk_bytes();
    }

    pub(super) fn append(&mut self, id: SeriesId, sample: Sample, appended: &mut Appended) {
        let (slot, generation) = parts(id);
        let entry = self.slots.get_mut(slot).filter(|entry| entry.generation == generation);
        let Some(series) = entry.and_then(|entry| entry.series.as_mut()) else {
            appended.unknown += 1;
            return;
        };
        match series.last() {
            Some(last) if last.at == sample.at && last == sample => {
                appended.duplicate += 1;
                return;
            }
            Some(last) if last.at >= sample.at => {
                appended.out_of_order += 1;
                return;
            }
            _ => {}
        }
        let change = series.push(sample);
        self.bytes = self.bytes.saturating_add_signed(change);
        self.samples += 1;
        appended.accepted += 1;
    }

    /// False when even the least history is too much.
    pub(super) fn make_room(&mut self, bounds: &Bounds, now: UnixMillis) -> bool {
        let retention = millis(bounds.retention);
        let last = now.saturating_sub(millis(KEEP_AT_LEAST));
        let mut cutoff = now.saturating_sub(retention);
        // A tenth of slack, so that the next append does not come here again.
        while self.bytes > bounds.max_bytes / 10 * 9 && cutoff < last {
            cutoff = cutoff.saturating_add((retention / TRIM_STEPS).max(1000)).min(last);
            self.drop_before(cutoff);
            // Names and values that nothing has any more count, too.
            self.tidy();
        }
        self.bytes <= bounds.max_bytes
    }

    /// Drops chunks that end before `cutoff`, and series that lose their last.
    pub(super) fn drop_before(&mut self, cutoff: UnixMillis) {
        for slot in 0..self.slots.len() {
            let Some(series) = self.slots[slot].series.as_mut() else { continue };
            if series.is_empty() {
                continue;
            }
            let (samples, bytes) = series.drop_before(cutoff);
            let emptied = series.is_empty();
            self.samples -= samples;
            self.bytes -= bytes;
            if emptied {
                self.remove(slot as Slot);
            }
        }
    }

    /// Between being interned and written a series has no chunks; it gets one clean-up's grace.
    pub(super) fn drop_idle(&mut self) {
        for slot in 0..self.slots.len() {
            let Some(series) = self.slots[slot].series.as_mut() else { continue };
            let empty = series.is_empty();
            if empty && series.idle {
                self.remove(slot as Slot);
            } else {
                series.idle = empty;
            }
        }
    }

    fn remove(&mut self, slot: Slot) {
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.removed += 1;
        if let Some(series) = entry.series.take() {
            self.bytes -= fixed_bytes(&series.labels);
            self.index.remove(&series.labels, slot);
            let hash = self.hasher.hash_one(&series.labels);
            if let Ok(found) = self.by_labels.find_entry(hash, |other| *other == slot) {
                found.remove();
            }
            self.free.push(slot);
        }
    }
}

impl Series {
    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.is_none()
    }

    pub(super) fn chunks(&self) -> usize {
        self.sealed.len() + usize::from(self.open.is_some())
    }

    pub(super) fn first_at(&self) -> Option<UnixMillis> {
        self.sealed.first().map(Sealed::first_at).or_else(|| self.open.as_ref().map(Open::first_at))
    }

    pub(super) fn last_at(&self) -> Option<UnixMillis> {
        self.open.as_ref().map(|open| open.last().at).or_else(|| self.sealed.last().map(Sealed::last_at))
    }

    /// Only of what is still written to: a sealed chunk alone, which a snapshot may leave, is in the past.
    fn last(&self) -> Option<Sample> {
        let sealed = || self.sealed.last().map(|chunk| Sample { at: chunk.last_at(), value: f64::NAN });
        self.open.as_ref().map(Open::last).or_else(sealed)
    }

    /// Later than all before. Returns by how much the bytes of the chunks change.
    fn push(&mut self, sample: Sample) -> isize {
        let before = self.open.as_ref().map_or(0, Open::memory);
        let mut sealed_bytes = 0;
        match &mut self.open {
            Some(open) if open.takes(sample.value) => open.push(sample),
            open => {
                if let Some(full) = open.replace(Open::new(sample)) {
                    let sealed = full.seal();
                    sealed_bytes = sealed.memory();
                    if self.sealed.len() == self.sealed.capacity() {
                        self.sealed.reserve_exact(MORE_CHUNKS);
                    }
                    self.sealed.push(sealed);
                }
            }
        }
        let after = sealed_bytes + self.open.as_ref().map_or(0, Open::memory);
        after as isize - before as isize
    }

    /// Returns samples and bytes that went.
    fn drop_before(&mut self, cutoff: UnixMillis) -> (usize, usize) {
        let old = self.sealed.partition_point(|chunk| chunk.last_at() < cutoff);
        let (mut samples, mut bytes) = (0, 0);
        for chunk in self.sealed.drain(..old) {
            samples += chunk.len();
            bytes += chunk.memory();
        }
        if self.sealed.is_empty()
            && let Some(open) = self.open.take_if(|open| open.last().at < cutoff)
        {
            samples += open.len();
            bytes += open.memory();
        }
        (samples, bytes)
    }

    fn samples_held(&self) -> usize {
        self.sealed.iter().map(Sealed::len).sum::<usize>() + self.open.as_ref().map_or(0, Open::len)
    }

    fn chunk_bytes(&self) -> usize {
        self.sealed.iter().map(Sealed::memory).sum::<usize>() + self.open.as_ref().map_or(0, Open::memory)
    }

    /// At most: of the chunks that overlap with the range.
    pub(super) fn samples_between(&self, from: UnixMillis, to: UnixMillis) -> usize {
        let sealed = self.sealed_between(from, to).iter().map(Sealed::len).sum::<usize>();
        sealed + self.open_between(from, to).map_or(0, Open::len)
    }

    fn sealed_between(&self, from: UnixMillis, to: UnixMillis) -> &[Sealed] {
        let first = self.sealed.partition_point(|chunk| chunk.last_at() < from);
        let after = self.sealed.partition_point(|chunk| chunk.first_at() <= to);
        self.sealed.get(first..after).unwrap_or_default()
    }

    fn open_between(&self, from: UnixMillis, to: UnixMillis) -> Option<&Open> {
        self.open.as_ref().filter(|open| open.first_at() <= to && open.last().at >= from)
    }

    /// Puts what it has between `from` and `to` behind what is in `samples` already.
    pub(super) fn read(&self, from: UnixMillis, to: UnixMillis, samples: &mut Vec<Sample>) {
        let start = samples.len();
        for chunk in self.sealed_between(from, to) {
            chunk.append_to(samples);
        }
        if let Some(open) = self.open_between(from, to) {
            samples.extend(open.samples());
        }
        let after = samples[start..].partition_point(|sample| sample.at <= to);
        samples.truncate(start + after);
        let first = samples[start..].partition_point(|sample| sample.at < from);
        samples.drain(start..start + first);
    }
}

/// Slot and generation.
fn parts(id: SeriesId) -> (usize, u32) {
    (id.0 as Slot as usize, (id.0 >> 32) as u32)
}

fn labels_at(slots: &[Entry], slot: Slot) -> Option<&Labels> {
    slots.get(slot as usize)?.series.as_ref().map(|series| &series.labels)
}

fn satisfies<'a>(labels: &Labels, matchers: impl IntoIterator<Item = &'a Matcher>) -> bool {
    matchers.into_iter().all(|matcher| matcher.matches(labels.get(&matcher.name)))
}

fn fixed_bytes(labels: &Labels) -> usize {
    labels.len() * LABEL_OVERHEAD + SERIES_OVERHEAD
}

fn symbol_bytes(symbol: &str) -> usize {
    symbol.len() + SYMBOL_OVERHEAD
}
