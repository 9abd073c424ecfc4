//! The series behind the store's lock: places, index, shared strings, accounting.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use millrace_kit::clock::UnixMillis;

use super::{
    Bounds, KEEP_AT_LEAST, Matcher,
    chunk::Chunk,
    index::{Index, Slot},
    store::millis,
};
use crate::{
    model::{Label, Labels, Sample},
    scrape::{Appended, SeriesId},
};

/// When the byte bound is met, this share of the retention is given up at a time.
const TRIM_STEPS: i64 = 48;

/// Estimate of what a label costs beside its text: index entries, pointers.
const LABEL_OVERHEAD: usize = 48;

#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: Vec<Entry>,
    free: Vec<Slot>,
    pub(super) by_labels: HashMap<Labels, Slot>,
    index: Index,
    /// Every label name and value once.
    pub(super) symbols: HashSet<Arc<str>>,
    pub(super) samples: usize,
    pub(super) bytes: usize,
    pub(super) refused_series: u64,
    pub(super) refused_samples: u64,
}

/// A place in the table. Its generation changes when the series goes, so that an old [`SeriesId`] finds nothing.
#[derive(Default)]
pub(super) struct Entry {
    generation: u32,
    pub(super) series: Option<Series>,
}

pub(super) struct Series {
    pub(super) labels: Labels,
    /// Ascending; the last is still written to.
    pub(super) chunks: VecDeque<Chunk>,
    /// Was empty at the last clean-up: interned, but nothing came.
    idle: bool,
}

impl Table {
    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.slots.iter().filter_map(|entry| entry.series.as_ref())
    }

    pub(super) fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Series> {
        let slots = self.index.candidates(matchers).into_iter();
        slots
            .filter_map(|slot| self.slots.get(slot as usize)?.series.as_ref())
            .filter(|series| matchers.iter().all(|matcher| matcher.matches(series.labels.get(&matcher.name))))
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesId> {
        self.by_labels.get(labels).map(|slot| self.id(*slot))
    }

    pub(super) fn id(&self, slot: Slot) -> SeriesId {
        SeriesId(u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot))
    }

    /// The same labels with strings shared between series.
    pub(super) fn shared(&mut self, labels: &Labels) -> Labels {
        let mut share = |text: &Arc<str>| match self.symbols.get(text) {
            Some(known) => known.clone(),
            None => {
                self.symbols.insert(text.clone());
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
        self.bytes += label_bytes(&labels);
        self.index.insert(&labels, slot);
        self.by_labels.insert(labels.clone(), slot);
        self.slots[slot as usize].series = Some(Series { labels, chunks: VecDeque::new(), idle: false });
        slot
    }

    pub(super) fn append(&mut self, id: SeriesId, sample: Sample, appended: &mut Appended) {
        let entry = self.slots.get_mut((id.0 & u64::from(Slot::MAX)) as usize);
        let entry = entry.filter(|entry| u64::from(entry.generation) == id.0 >> 32);
        let Some(series) = entry.and_then(|entry| entry.series.as_mut()) else {
            appended.unknown += 1;
            return;
        };
        match series.chunks.back_mut() {
            Some(head) if head.last_at() == sample.at && head.last() == sample => appended.duplicate += 1,
            Some(head) if head.last_at() >= sample.at => appended.out_of_order += 1,
            Some(head) if head.takes(sample.value) => {
                let before = head.memory();
                head.push(sample);
                self.bytes = self.bytes + head.memory() - before;
                self.samples += 1;
                appended.accepted += 1;
            }
            _ => {
                let chunk = Chunk::new(sample);
                self.bytes += chunk.memory();
                self.samples += 1;
                series.chunks.push_back(chunk);
                appended.accepted += 1;
            }
        }
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
        }
        self.bytes <= bounds.max_bytes
    }

    /// Drops chunks that end before `cutoff`, and series that lose their last.
    pub(super) fn drop_before(&mut self, cutoff: UnixMillis) {
        for slot in 0..self.slots.len() {
            let Some(series) = self.slots[slot].series.as_mut() else { continue };
            let had = !series.chunks.is_empty();
            while series.chunks.front().is_some_and(|chunk| chunk.last_at() < cutoff) {
                if let Some(chunk) = series.chunks.pop_front() {
                    self.samples -= chunk.len();
                    self.bytes -= chunk.memory();
                }
            }
            let emptied = had && series.chunks.is_empty();
            if emptied {
                self.remove(slot as Slot);
            }
        }
    }

    /// Between being interned and written a series has no chunks; it gets one clean-up's grace.
    pub(super) fn drop_idle(&mut self) {
        for slot in 0..self.slots.len() {
            let Some(series) = self.slots[slot].series.as_mut() else { continue };
            let empty = series.chunks.is_empty();
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
        if let Some(series) = entry.series.take() {
            self.bytes -= label_bytes(&series.labels);
            self.index.remove(&series.labels, slot);
            self.by_labels.remove(&series.labels);
            self.free.push(slot);
        }
    }
}

impl Series {
    pub(super) fn overlaps(&self, from: UnixMillis, to: UnixMillis) -> bool {
        self.chunks.iter().any(|chunk| chunk.last_at() >= from && chunk.first_at() <= to)
    }

    pub(super) fn samples(&self, from: UnixMillis, to: UnixMillis) -> Vec<Sample> {
        let first = self.chunks.partition_point(|chunk| chunk.last_at() < from);
        let chunks = || self.chunks.iter().skip(first).take_while(|chunk| chunk.first_at() <= to);
        let mut samples = Vec::with_capacity(chunks().map(Chunk::len).sum());
        for chunk in chunks() {
            if chunk.first_at() >= from && chunk.last_at() <= to {
                samples.extend(chunk.iter());
            } else {
                samples.extend(chunk.iter().filter(|sample| (from..=to).contains(&sample.at)));
            }
        }
        samples
    }
}

fn label_bytes(labels: &Labels) -> usize {
    labels.iter().map(|label| label.name.len() + label.value.len() + LABEL_OVERHEAD).sum()
}
