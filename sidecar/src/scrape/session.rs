//! What one target exposed from scrape to scrape: attaches the target's labels, marks series that vanish as stale,
//! adds the series about the scrape itself. Takes a scrape whole or not at all.

use std::{sync::Arc, time::Duration};

use millrace_kit::clock::UnixMillis;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Appended, Described, Error, Fetched, SeriesId, Settings, Sink,
    known::{Known, StandsFor},
    metadata,
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
    known: Known,
    described: Arc<Described>,
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
        Self { target, limits, known: Known::default(), described: Arc::default() }
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
        self.known.begin();
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
                self.known.begin();
                Vec::new()
            }
        };
        self.known.end_vanished(at, &mut batch);
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
        self.known.begin();
        let mut batch = Vec::new();
        self.known.end_vanished(at, &mut batch);
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
            let hash = xxh3_128(exposed.series.text().as_bytes());
            let place = match self.known.find(hash) {
                Some(place) => place,
                None => {
                    let attached = self.attach(&exposed.labels());
                    let kept = relabel::apply(&self.target.metric_relabel, attached);
                    let kept = kept.filter(|labels| !labels.metric_name().is_empty());
                    scraped.added += usize::from(kept.is_some());
                    let stands_for = match kept {
                        None => StandsFor::Dropped,
                        Some(labels) => sink.intern(&labels).map_or(StandsFor::Refused, StandsFor::Series),
                    };
                    self.known.add(hash, stands_for)
                }
            };
            let Some(stands_for) = self.known.see(place, exposed.at.is_some()) else {
                scraped.duplicates += 1;
                continue;
            };
            scraped.kept += usize::from(stands_for != StandsFor::Dropped);
            match stands_for {
                StandsFor::Series(id) => {
                    scraped.batch.push((id, Sample { at: exposed.at.unwrap_or(at), value: exposed.value }));
                }
                StandsFor::Refused => scraped.refused += 1,
                StandsFor::Dropped => {}
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
