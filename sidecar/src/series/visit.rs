//! Reads many series, a few at a time into a buffer that is used again, so that a day of thousands of them is never in memory
//! at once; by several threads when that pays.

use std::{
    mem,
    num::NonZero,
    ops::{ControlFlow, Range},
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

/// Told the place of a series among those that were found, its labels, and its samples, which it may change. The store is not
/// locked meanwhile: what a visitor computes of a day can take seconds, and a writer that waits keeps new readers out.
pub type Visitor<'a> = dyn Fn(usize, Labels, &mut [Sample]) -> ControlFlow<()> + Sync + 'a;

/// Series that a thread takes at a time. When they are short, all are read under one lock.
const BATCH: usize = 32;

/// With so many samples read, the lock is given back: of a day, a series has more.
const SAMPLES_PER_LOCK: usize = 2048;

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

/// What was read under one lock.
#[derive(Default)]
struct Held {
    /// Place, labels, number of samples.
    series: Vec<(usize, Labels, usize)>,
    samples: Vec<Sample>,
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
    /// Takes as many of `places` as go under one lock.
    fn read_some(&self, search: &Search<'_>, places: &mut Range<usize>, held: &mut Held) {
        held.series.clear();
        held.samples.clear();
        let table = self.table.read();
        for place in places {
            let slot = search.found.slots[place];
            let Some(series) = table.found(&search.found, slot, search.matchers) else { continue };
            let before = held.samples.len();
            series.read(search.from, search.to, &mut held.samples);
            let count = held.samples.len() - before;
            if count > 0 {
                held.series.push((place, series.labels.clone(), count));
            }
            if held.samples.len() >= SAMPLES_PER_LOCK {
                break;
            }
        }
    }

    fn visit_batch(
        &self,
        search: &Search<'_>,
        start: usize,
        held: &mut Held,
        each: &Visitor<'_>,
    ) -> ControlFlow<()> {
        let mut places = start..search.found.slots.len().min(start + BATCH);
        while !places.is_empty() {
            self.read_some(search, &mut places, held);
            let mut rest = held.samples.as_mut_slice();
            for (place, labels, count) in held.series.drain(..) {
                let (samples, others) = mem::take(&mut rest).split_at_mut(count);
                rest = others;
                each(place, labels, samples)?;
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
            let mut held = Held::default();
            while !stopped.load(Ordering::Relaxed) {
                let start = next.fetch_add(BATCH, Ordering::Relaxed);
                if start >= count {
                    break;
                }
                if self.visit_batch(&search, start, &mut held, each).is_break() {
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
    fn long_series_come_whole_and_apart() {
        let store = store();
        // Several go under one lock, but not all.
        let length = SAMPLES_PER_LOCK as i64 / 2 - 1;
        for n in 0..5 {
            (0..length).for_each(|at| put(&store, "long", n, at));
        }
        let seen = Mutex::new(Vec::new());
        store.visit(&[Matcher::equal(METRIC_NAME, "long")], 1, length - 2, &|place, labels, samples| {
            assert!(samples.iter().map(|sample| sample.at).eq(1..length - 1));
            assert!(samples.iter().all(|sample| sample.value.to_string() == labels.get("n")));
            seen.lock().push(place);
            ControlFlow::Continue(())
        });
        assert_eq!(seen.into_inner(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_store_is_not_locked_while_a_visitor_works() {
        let store = store();
        for n in 0..3 {
            put(&store, "some", n, 1);
        }
        let seen = AtomicUsize::new(0);
        store.visit(&[Matcher::equal(METRIC_NAME, "some")], 0, i64::MAX, &|_, _, _| {
            assert!(store.table.try_write().is_some());
            seen.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        assert_eq!(seen.into_inner(), 3);
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
            let _ = store.visit_batch(&search, start, &mut Held::default(), &|_, labels, _| {
                assert_eq!(labels.metric_name(), "old");
                seen.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            });
        }
        assert_eq!(seen.into_inner(), 1);
    }
}
