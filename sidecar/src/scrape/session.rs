//! What one target exposed from scrape to scrape: attaches the target's labels, marks series that vanish as stale,
//! adds the series about the scrape itself. Takes a scrape whole or not at all.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use millrace_kit::clock::UnixMillis;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Appended, Described, Error, Fetched, SeriesId, Settings, Sink, metadata,
    parse::{Format, Parser},
};
use crate::{
    discovery::Target,
    model::{Labels, METRIC_NAME, STALE_NAN, Sample},
    relabel,
};

/// Put before a label of the target's own that clashes with one attached here.
const EXPORTED: &str = "exported_";

/// How one scrape went.
#[derive(Debug, Clone)]
pub struct Report {
    pub at: UnixMillis,
    pub duration: Duration,
    /// None when it went well.
    pub error: Option<String>,
    pub samples: usize,
    /// Of these, after relabelling.
    pub samples_kept: usize,
    pub series_added: usize,
    pub appended: Appended,
    /// Of the target's metrics.
    pub described: Arc<Described>,
}

pub struct Session {
    target: Arc<Target>,
    limits: Settings,
    /// Hash of the series text of the last scrapes → what it stands for. At 128 bits no two texts of a target have the same by
    /// chance; one that makes them have it confuses only its own series.
    known: HashMap<u128, Known, BuildHasherDefault<AsIs>>,
    /// Counts scrapes, so that series of the last one can be told apart.
    round: u64,
    described: Arc<Described>,
}

/// For keys that are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

struct Known {
    /// None when the sink had no room.
    id: Option<SeriesId>,
    /// By a rule of the target.
    dropped: bool,
    seen: u64,
    /// A series that brings its own timestamps is not ended by us.
    own_time: bool,
    /// Has a sample that a stale marker must follow.
    written: bool,
}

/// Samples of one exposition, before they are handed on.
struct Scraped {
    batch: Vec<(SeriesId, Sample)>,
    samples: usize,
    /// Of these, after relabelling.
    kept: usize,
    added: usize,
    duplicates: usize,
    refused: usize,
}

impl Session {
    pub fn new(target: Arc<Target>, limits: Settings) -> Self {
        Self { target, limits, known: HashMap::default(), round: 0, described: Arc::default() }
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// `at` is the time of all samples that bring none.
    pub fn record(
        &mut self,
        sink: &dyn Sink,
        at: UnixMillis,
        fetched: Result<Fetched, Error>,
        duration: Duration,
    ) -> Report {
        self.round += 1;
        let scraped = fetched.and_then(|fetched| self.read(sink, at, &fetched));
        let mut report = Report {
            at,
            duration,
            error: None,
            samples: 0,
            samples_kept: 0,
            series_added: 0,
            appended: Appended::default(),
            described: self.described.clone(),
        };
        let mut batch = match scraped {
            Ok(scraped) => {
                report.samples = scraped.samples;
                report.samples_kept = scraped.kept;
                report.series_added = scraped.added;
                report.described = self.described.clone();
                report.appended.duplicate = scraped.duplicates;
                report.appended.refused = scraped.refused;
                scraped.batch
            }
            Err(error) => {
                report.error = Some(error.to_string());
                // Nothing of this round counts as seen.
                self.round += 1;
                Vec::new()
            }
        };
        self.end_vanished(at, &mut batch);
        self.add_synthetic(sink, &report, &mut batch);
        let appended = sink.append(&batch);
        if appended.unknown > 0 {
            self.known.clear();
        }
        report.appended.accepted = appended.accepted;
        report.appended.duplicate += appended.duplicate;
        report.appended.out_of_order = appended.out_of_order;
        report.appended.unknown = appended.unknown;
        report.appended.refused += appended.refused;
        report
    }

    /// The target is no more: ends all its series.
    pub fn end(&mut self, sink: &dyn Sink, at: UnixMillis) {
        self.round += 1;
        let mut batch = Vec::new();
        self.end_vanished(at, &mut batch);
        for name in SYNTHETIC {
            let id = sink.intern(&self.target.labels.with(METRIC_NAME, name));
            batch.extend(id.map(|id| (id, Sample { at, value: STALE_NAN })));
        }
        sink.append(&batch);
    }

    fn read(&mut self, sink: &dyn Sink, at: UnixMillis, fetched: &Fetched) -> Result<Scraped, Error> {
        let mut scraped =
            Scraped { batch: Vec::new(), samples: 0, kept: 0, added: 0, duplicates: 0, refused: 0 };
        let parser = Parser::new(&fetched.body, fetched.format, self.limits.limits)?;
        for exposed in parser {
            let exposed = exposed?;
            scraped.samples += 1;
            if scraped.samples > self.limits.max_samples {
                return Err(Error::TooManySamples(self.limits.max_samples));
            }
            let text = xxh3_128(exposed.series.text().as_bytes());
            if !self.known.contains_key(&text) {
                let attached = self.attach(&exposed.labels());
                let kept = relabel::apply(&self.target.metric_relabel, attached);
                let kept = kept.filter(|labels| !labels.metric_name().is_empty());
                let id = kept.as_ref().and_then(|labels| sink.intern(labels));
                let dropped = kept.is_none();
                scraped.added += usize::from(!dropped);
                self.known.insert(text, Known { id, dropped, seen: 0, own_time: false, written: false });
            }
            let Some(known) = self.known.get_mut(&text) else { continue };
            if std::mem::replace(&mut known.seen, self.round) == self.round {
                scraped.duplicates += 1;
                continue;
            }
            if known.dropped {
                continue;
            }
            scraped.kept += 1;
            known.own_time = exposed.at.is_some();
            match known.id {
                Some(id) => {
                    scraped.batch.push((id, Sample { at: exposed.at.unwrap_or(at), value: exposed.value }))
                }
                None => scraped.refused += 1,
            }
        }
        if scraped.added > 0 {
            self.described = Arc::new(metadata::read(&fetched.body, fetched.format));
        }
        Ok(scraped)
    }

    fn attach(&self, exposed: &Labels) -> Labels {
        let mut labels = exposed.to_builder();
        for attached in self.target.labels.iter() {
            let own = exposed.get(&attached.name);
            if !own.is_empty() {
                let mut name = format!("{EXPORTED}{}", attached.name);
                while !exposed.get(&name).is_empty() {
                    name.insert_str(0, EXPORTED);
                }
                labels.set(&name, own);
            }
            labels.set_shared(attached.name.clone(), attached.value.clone());
        }
        labels.build()
    }

    /// Stale markers for what was there before and is not now.
    fn end_vanished(&mut self, at: UnixMillis, batch: &mut Vec<(SeriesId, Sample)>) {
        let round = self.round;
        self.known.retain(|_, known| {
            let vanished = known.seen != round;
            if let Some(id) = known.id.filter(|_| vanished && known.written && !known.own_time) {
                batch.push((id, Sample { at, value: STALE_NAN }));
            }
            known.written = true;
            // A series that found no room is tried again.
            !vanished && (known.id.is_some() || known.dropped)
        });
    }

    fn add_synthetic(&self, sink: &dyn Sink, report: &Report, batch: &mut Vec<(SeriesId, Sample)>) {
        let values = [
            f64::from(u8::from(report.error.is_none())),
            report.duration.as_secs_f64(),
            report.samples as f64,
            report.samples_kept as f64,
            report.series_added as f64,
        ];
        for (name, value) in SYNTHETIC.into_iter().zip(values) {
            let id = sink.intern(&self.target.labels.with(METRIC_NAME, name));
            batch.extend(id.map(|id| (id, Sample { at: report.at, value })));
        }
    }
}

const SYNTHETIC: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

impl Fetched {
    /// An exposition that did not come over HTTP.
    pub fn text(body: impl Into<bytes::Bytes>) -> Self {
        Self { body: body.into(), format: Format::Text }
    }
}

#[cfg(test)]
mod tests;
