//! The table of series behind one lock, as others use it: interning, appending, selecting, forgetting.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use millrace_kit::clock::UnixMillis;
use parking_lot::RwLock;

use super::{
    Error, Matcher,
    chunk::Sealed,
    table::{Series, Table},
};
use crate::{
    model::{Labels, Sample},
    scrape::{Appended, SeriesId, Sink},
};

/// History that the byte bound never takes: alert rules look back this far.
pub const KEEP_AT_LEAST: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub retention: Duration,
    pub max_series: usize,
    pub max_bytes: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub series: usize,
    pub samples: usize,
    pub bytes: usize,
    pub refused_series: u64,
    pub refused_samples: u64,
    pub chunks: usize,
    /// Start of the oldest chunk.
    pub oldest: Option<UnixMillis>,
    pub newest: Option<UnixMillis>,
}

/// One series with its samples in a range, ascending.
#[derive(Debug, Clone)]
pub struct Selected {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

pub struct Store {
    bounds: Bounds,
    pub(super) table: RwLock<Table>,
}

impl Store {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, table: RwLock::new(Table::default()) }
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub fn stats(&self) -> Stats {
        let table = self.table.read();
        Stats {
            series: table.len(),
            samples: table.samples,
            bytes: table.bytes,
            refused_series: table.refused_series,
            refused_samples: table.refused_samples,
            chunks: table.series().map(Series::chunks).sum(),
            oldest: table.series().filter_map(Series::first_at).min(),
            newest: table.series().filter_map(Series::last_at).max(),
        }
    }

    /// Samples with `from <= at <= to` of the series that satisfy all matchers; series without any are left out.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMillis,
        to: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Selected>, Error> {
        let table = self.table.read();
        let mut selected = Vec::new();
        let mut total = 0;
        for series in table.matching(matchers) {
            let mut samples = Vec::new();
            series.read(from, to, &mut samples);
            total += samples.len();
            if total > limit {
                return Err(Error::TooManySamples { limit });
            }
            if !samples.is_empty() {
                selected.push(Selected { labels: series.labels.clone(), samples });
            }
        }
        Ok(selected)
    }

    /// Label sets with samples between `from` and `to`, judged by chunks.
    pub fn label_sets(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis) -> Vec<Labels> {
        let table = self.table.read();
        let alive = table.matching(matchers).filter(|series| series.samples_between(from, to) > 0);
        alive.map(|series| series.labels.clone()).collect()
    }

    pub fn label_names(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis) -> BTreeSet<Arc<str>> {
        let sets = self.label_sets(matchers, from, to);
        sets.iter().flat_map(Labels::iter).map(|label| label.name.clone()).collect()
    }

    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        from: UnixMillis,
        to: UnixMillis,
    ) -> BTreeSet<Arc<str>> {
        let sets = self.label_sets(matchers, from, to);
        sets.iter().filter_map(|labels| labels.find(name)).map(|label| label.value.clone()).collect()
    }

    /// Forgets what is older than the retention. To be called about once a minute.
    pub fn forget(&self, now: UnixMillis) {
        let mut table = self.table.write();
        table.drop_before(now.saturating_sub(millis(self.bounds.retention)));
        table.drop_idle();
        table.tidy();
    }

    /// Calls `each` for every series, holding the lock for a batch at a time.
    pub(super) fn for_each_series(
        &self,
        each: &mut dyn FnMut(&Series) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        const BATCH: usize = 256;
        let mut start = 0;
        loop {
            let table = self.table.read();
            let Some(batch) = table.slots.get(start..table.slots.len().min(start + BATCH)) else {
                return Ok(());
            };
            if batch.is_empty() {
                return Ok(());
            }
            for series in batch.iter().filter_map(|entry| entry.series.as_ref()) {
                each(series)?;
            }
            start += BATCH;
        }
    }

    /// Puts back a series from a snapshot, unless it exists already.
    pub(super) fn restore(&self, labels: &Labels, chunks: Vec<Sealed>) {
        let mut table = self.table.write();
        if table.find(labels).is_none() && table.len() < self.bounds.max_series {
            table.restore(labels, chunks);
        }
    }
}

impl Sink for Store {
    fn intern(&self, labels: &Labels) -> Option<SeriesId> {
        if let Some(id) = self.table.read().find(labels) {
            return Some(id);
        }
        let mut table = self.table.write();
        if let Some(id) = table.find(labels) {
            return Some(id);
        }
        if table.len() >= self.bounds.max_series {
            table.refused_series += 1;
            return None;
        }
        let labels = table.shared(labels);
        let slot = table.add(labels);
        Some(table.id(slot))
    }

    fn append(&self, samples: &[(SeriesId, Sample)]) -> Appended {
        let mut appended = Appended::default();
        let mut table = self.table.write();
        let full = table.bytes > self.bounds.max_bytes && {
            let newest = samples.iter().map(|(_, sample)| sample.at).max().unwrap_or(i64::MIN);
            !table.make_room(&self.bounds, newest)
        };
        if full {
            table.refused_samples += samples.len() as u64;
            appended.refused = samples.len();
            return appended;
        }
        for (id, sample) in samples {
            table.append(*id, *sample, &mut appended);
        }
        appended
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::METRIC_NAME;

    fn store(max_series: usize, max_bytes: usize) -> Store {
        Store::new(Bounds { retention: Duration::from_secs(3600), max_series, max_bytes })
    }

    fn labels(name: &str, job: &str) -> Labels {
        Labels::from_pairs([(METRIC_NAME, name), ("job", job)])
    }

    fn put(store: &Store, labels: &Labels, at: i64, value: f64) -> Appended {
        store.append(&[(store.intern(labels).unwrap(), Sample { at, value })])
    }

    fn found(store: &Store, matchers: &[Matcher]) -> Vec<String> {
        let mut sets: Vec<_> =
            store.label_sets(matchers, 0, i64::MAX).iter().map(Labels::to_string).collect();
        sets.sort();
        sets
    }

    #[test]
    fn matchers_find_present_and_absent_labels() {
        let store = store(100, 1 << 20);
        for (name, job) in [("up", "a"), ("up", "b"), ("down", "a"), ("up", "")] {
            put(&store, &labels(name, job), 1, 1.0);
        }
        let up = Matcher::equal(METRIC_NAME, "up");
        for (extra, expected) in [
            (Matcher::equal("job", "a"), vec!["up{job=\"a\"}"]),
            (Matcher::not_equal("job", "a"), vec!["up", "up{job=\"b\"}"]),
            (Matcher::regex("job", "a|b").unwrap(), vec!["up{job=\"a\"}", "up{job=\"b\"}"]),
            (Matcher::regex("job", "a|").unwrap(), vec!["up", "up{job=\"a\"}"]),
            (Matcher::not_regex("job", "a.*").unwrap(), vec!["up", "up{job=\"b\"}"]),
            (Matcher::equal("job", ""), vec!["up"]),
            (Matcher::equal("nothing", "x"), vec![]),
        ] {
            assert_eq!(found(&store, &[up.clone(), extra.clone()]), expected, "{extra}");
        }
        assert_eq!(found(&store, &[Matcher::not_equal("job", "zzz")]).len(), 4);
    }

    #[test]
    fn ranges_span_chunks() {
        let store = store(10, 1 << 20);
        for at in 0..1000 {
            put(&store, &labels("up", "a"), at, at as f64);
        }
        let selected = store.select(&[Matcher::equal("job", "a")], 235, 245, 100).unwrap();
        let times: Vec<_> = selected[0].samples.iter().map(|sample| sample.at).collect();
        assert_eq!(times, (235..=245).collect::<Vec<_>>());
        assert!(store.select(&[Matcher::equal("job", "a")], 0, 1000, 100).is_err());
    }

    #[test]
    fn time_only_moves_forward() {
        let store = store(10, 1 << 20);
        let up = labels("up", "a");
        assert_eq!(put(&store, &up, 10, 1.0).accepted, 1);
        assert_eq!(put(&store, &up, 10, 1.0).duplicate, 1);
        assert_eq!(put(&store, &up, 10, 2.0).out_of_order, 1);
        assert_eq!(put(&store, &up, 9, 2.0).out_of_order, 1);
    }

    #[test]
    fn series_bound_refuses_and_counts() {
        let store = store(1, 1 << 20);
        put(&store, &labels("up", "a"), 1, 1.0);
        assert_eq!(store.intern(&labels("up", "b")), None);
        assert_eq!(store.stats().refused_series, 1);
    }

    #[test]
    fn a_series_is_one_however_many_there_are() {
        let store = store(1000, 1 << 20);
        let all: Vec<_> = (0..500).map(|job| labels("up", &job.to_string())).collect();
        let ids: Vec<_> = all.iter().map(|labels| store.intern(labels)).collect();
        assert_eq!(all.iter().map(|labels| store.intern(labels)).collect::<Vec<_>>(), ids);
        assert_eq!(store.stats().series, 500);
    }

    #[test]
    fn retention_forgets_series_and_their_ids() {
        let store = store(10, 1 << 20);
        let (old, new) = (labels("up", "old"), labels("up", "new"));
        let old_id = store.intern(&old).unwrap();
        put(&store, &old, 1_000, 1.0);
        put(&store, &new, 3_700_000, 1.0);
        store.forget(3_700_000);
        assert_eq!(found(&store, &[]), ["up{job=\"new\"}"]);
        put(&store, &labels("up", "third"), 3_700_000, 1.0);
        let late = store.append(&[(old_id, Sample { at: 3_800_000, value: 1.0 })]);
        assert_eq!((late.unknown, late.accepted), (1, 0));
        // Nobody else has their names.
        drop((old, new));
        store.forget(i64::MAX);
        let stats = store.stats();
        assert_eq!((stats.series, stats.samples, stats.bytes), (0, 0, 0));
    }

    #[test]
    fn byte_bound_drops_the_oldest_first() {
        let store = store(10, 24 * 1024);
        let up = labels("up", "a");
        for at in 0..20_000i64 {
            // Random-looking values do not compress.
            let value = f64::from_bits((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
            put(&store, &up, at * 1000, value);
        }
        let stats = store.stats();
        assert!(stats.bytes <= 25 * 1024, "{stats:?}");
        assert_eq!(stats.refused_samples, 0);
        let kept = store.select(&[], 0, i64::MAX, 100_000).unwrap();
        assert_eq!(kept[0].samples.last().map(|sample| sample.at), Some(19_999_000));
        assert!(kept[0].samples[0].at > 17_000_000);
    }

    #[test]
    fn when_nothing_old_is_left_new_samples_are_refused() {
        let store = store(1000, 10 * 1024);
        for job in 0..500 {
            put(&store, &labels("up", &job.to_string()), 1000, 1.0);
        }
        let stats = store.stats();
        assert!(stats.refused_samples > 400, "{stats:?}");
        assert!(stats.bytes < 200 * 1024, "{stats:?}");
    }
}
