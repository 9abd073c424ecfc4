//! Reads many series one after the other, each into a buffer that is used again, so that a day of thousands of them is never
//! in memory at once; by several threads when that pays.

use std::{
    num::NonZero,
    ops::ControlFlow,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use millrace_kit::clock::UnixMillis;

use super::{
    Matcher, Store,
    table::{Found, Table},
};
use crate::model::{Labels, Sample};

/// Told a series, its place among those that were found, and its samples, which it may change. The store is locked meanwhile:
/// it must not be asked anything.
pub type Visitor<'a> = dyn Fn(usize, &Labels, &mut Vec<Sample>) -> ControlFlow<()> + Sync + 'a;

/// Series that a thread takes at a time, under one lock: of a day, about a millisecond.
const BATCH: usize = 32;

/// Fewer samples are read sooner than a thread starts.
const SAMPLES_PER_THREAD: usize = 500_000;

const MAX_THREADS: usize = 4;

/// Series that are looked at to tell how much there is to read.
const PROBES: usize = 16;

/// Finding it out reads files.
static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// What is looked for.
struct Search<'a> {
    matchers: &'a [Matcher],
    from: UnixMillis,
    to: UnixMillis,
    found: Found,
}

impl Search<'_> {
    /// About how many samples there are.
    fn samples(&self, table: &Table) -> usize {
        let slots = &self.found.slots;
        let probed = slots.iter().step_by(slots.len().div_ceil(PROBES).max(1));
        let series = probed.clone().filter_map(|slot| table.found(&self.found, *slot, self.matchers));
        let samples: usize = series.map(|series| series.samples_between(self.from, self.to)).sum();
        samples * slots.len() / probed.count().max(1)
    }
}

impl Store {
    fn visit_batch(
        &self,
        search: &Search<'_>,
        start: usize,
        buffer: &mut Vec<Sample>,
        each: &Visitor<'_>,
    ) -> ControlFlow<()> {
        let table = self.table.read();
        for (place, slot) in search.found.slots.iter().enumerate().skip(start).take(BATCH) {
            let Some(series) = table.found(&search.found, *slot, search.matchers) else { continue };
            series.read(search.from, search.to, buffer);
            if !buffer.is_empty() {
                each(place, &series.labels, buffer)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Calls `each` with the samples between `from` and `to` of every series that satisfies the matchers and has any. The
    /// order is not that of the places when there is more than one thread.
    pub fn visit(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis, each: &Visitor<'_>) {
        let (search, samples) = {
            let table = self.table.read();
            let search = Search { matchers, from, to, found: table.find_all(matchers) };
            let samples = search.samples(&table);
            (search, samples)
        };
        let count = search.found.slots.len();
        let next = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let work = || {
            let mut buffer = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let start = next.fetch_add(BATCH, Ordering::Relaxed);
                if start >= count {
                    break;
                }
                if self.visit_batch(&search, start, &mut buffer, each).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
        };
        let cores = (*CORES).min(MAX_THREADS);
        let helpers = (samples / SAMPLES_PER_THREAD).min(cores - 1).min(count / BATCH);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;
    use crate::{
        model::METRIC_NAME,
        scrape::Sink,
        series::{Bounds, store::millis},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn store() -> Store {
        Store::new(Bounds { retention: HOUR, max_series: 10_000, max_bytes: 64 << 20 })
    }

    fn put(store: &Store, name: &str, n: usize, at: i64) {
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("n", &n.to_string())]);
        store.append(&[(store.intern(&labels).unwrap(), Sample { at, value: n as f64 })]);
    }

    /// Values that `visit` comes by, in order of place.
    fn visited(store: &Store, matchers: &[Matcher]) -> Vec<(usize, f64)> {
        let seen = Mutex::new(Vec::new());
        store.visit(matchers, 0, i64::MAX, &|place, _, samples| {
            seen.lock().extend(samples.iter().map(|sample| (place, sample.value)));
            ControlFlow::Continue(())
        });
        let mut seen = seen.into_inner();
        seen.sort_by_key(|(place, _)| *place);
        seen
    }

    #[test]
    fn every_series_that_satisfies_is_visited_once_and_none_else() {
        let store = store();
        for n in 0..100 {
            put(&store, if n % 2 == 0 { "even" } else { "odd" }, n, 1);
        }
        let even = [
            Matcher::equal(METRIC_NAME, "even"),
            Matcher::not_equal("n", "50"),
            Matcher::not_equal("no", "x"),
        ];
        let expected = (0..100).step_by(2).filter(|n| *n != 50).map(|n| n as f64);
        let seen = visited(&store, &even);
        assert_eq!(seen.iter().map(|(_, value)| *value).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(seen.iter().map(|(place, _)| *place).collect::<Vec<_>>(), (0..49).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_that_another_series_has_taken_over_is_not_confused() {
        let store = store();
        for n in 0..BATCH + 2 {
            put(&store, "old", n, 1);
        }
        let search = Search {
            matchers: &[Matcher::equal(METRIC_NAME, "old")],
            from: 0,
            to: i64::MAX,
            found: store.table.read().find_all(&[Matcher::equal(METRIC_NAME, "old")]),
        };
        // All go but the one with news, and others come into their places.
        put(&store, "old", 0, millis(HOUR));
        store.forget(millis(HOUR) + 2);
        for n in 0..BATCH {
            put(&store, "new", 1000 + n, millis(HOUR));
        }
        let seen = AtomicUsize::new(0);
        for start in [0, BATCH] {
            let _ = store.visit_batch(&search, start, &mut Vec::new(), &|_, labels, _| {
                assert_eq!(labels.metric_name(), "old");
                seen.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            });
        }
        assert_eq!(seen.into_inner(), 1);
    }
}
