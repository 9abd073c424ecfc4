//! Reads many series one after the other, each into a buffer that is used again, so that a day of thousands of them is never
//! in memory at once; by several threads when that pays.

use std::{
    num::NonZero,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use millrace_kit::clock::UnixMillis;

use super::{Matcher, Store};
use crate::{
    model::{Labels, Sample},
    scrape::SeriesId,
};

/// Told a series, its place among those that were found, and its samples, which it may change.
pub type Visitor<'a> = dyn Fn(usize, &Labels, &mut Vec<Sample>) -> ControlFlow<()> + Sync + 'a;

/// Series that a thread takes at a time.
const BATCH: usize = 32;

/// Fewer samples are read sooner than a thread starts.
const SAMPLES_PER_THREAD: usize = 500_000;

const MAX_THREADS: usize = 4;

impl Store {
    /// Series, by their ids, and about how many samples they have in the range.
    fn found(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis) -> (Vec<SeriesId>, usize) {
        let table = self.table.read();
        let mut samples = 0;
        let overlapping = table.matching(matchers).filter(|(_, series)| {
            let overlapping = series.samples_between(from, to);
            samples += overlapping;
            overlapping > 0
        });
        let found = overlapping.map(|(slot, _)| table.id(slot)).collect();
        (found, samples)
    }

    fn visit_batch(
        &self,
        start: usize,
        batch: &[SeriesId],
        from: UnixMillis,
        to: UnixMillis,
        buffer: &mut Vec<Sample>,
        each: &Visitor<'_>,
    ) -> ControlFlow<()> {
        for (place, id) in (start..).zip(batch) {
            let labels = {
                let table = self.table.read();
                let Some(series) = table.get(*id) else { continue };
                series.read(from, to, buffer);
                series.labels.clone()
            };
            if !buffer.is_empty() {
                each(place, &labels, buffer)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Calls `each` with the samples between `from` and `to` of every series that satisfies the matchers and has any. The
    /// order is not that of the places when there is more than one thread.
    pub fn visit(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis, each: &Visitor<'_>) {
        let (found, samples) = self.found(matchers, from, to);
        let next = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let work = || {
            let mut buffer = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let start = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(rest) = found.get(start..).filter(|rest| !rest.is_empty()) else { break };
                let batch = &rest[..rest.len().min(BATCH)];
                if self.visit_batch(start, batch, from, to, &mut buffer, each).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let helpers = (samples / SAMPLES_PER_THREAD).min(cores - 1).min(found.len() / BATCH);
        if helpers == 0 {
            return work();
        }
        thread::scope(|scope| {
            // One that cannot be started is not missed: the others do its work.
            let start = || thread::Builder::new().name("read".to_owned()).spawn_scoped(scope, work).is_ok();
            let _ = (0..helpers).all(|_| start());
            work();
        });
    }
}
