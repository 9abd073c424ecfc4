//! Metric instruments, made only from definitions of the [`catalogue`], and their text exposition.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntGaugeVec, Opts, TextEncoder,
    process_collector::ProcessCollector,
};

pub mod catalogue;

pub use catalogue::{Def, Kind};
pub use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

/// `Content-Type` of [`Registry::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The instruments of one process (or of one server under test).
#[derive(Debug, Clone)]
pub struct Registry {
    inner: prometheus::Registry,
    gauges: Arc<Mutex<HashMap<&'static str, IntGaugeVec>>>,
    histograms: Arc<Mutex<HashMap<&'static str, HistogramVec>>>,
}

/// A definition was registered twice, or is itself malformed: a programming error found at start-up.
#[derive(Debug, thiserror::Error)]
#[error("metric {name}: {reason}")]
pub struct Error {
    pub name: &'static str,
    pub reason: String,
}

impl Registry {
    /// With process CPU, memory and file-descriptor metrics.
    pub fn new() -> Self {
        let inner = prometheus::Registry::new();
        // A second process collector cannot be registered on a registry made just now.
        let _ = inner.register(Box::new(ProcessCollector::for_self()));
        Self { inner, gauges: Arc::default(), histograms: Arc::default() }
    }

    pub fn counter(&self, def: &'static Def) -> Result<IntCounterVec, Error> {
        self.register(def, IntCounterVec::new(opts(def), def.labels))
    }

    /// The same one each time: several parts of the program may contribute, each under labels of its own.
    pub fn gauge(&self, def: &'static Def) -> Result<IntGaugeVec, Error> {
        let mut gauges = self.gauges.lock();
        if let Some(made) = gauges.get(def.name) {
            return Ok(made.clone());
        }
        let made = self.register(def, IntGaugeVec::new(opts(def), def.labels))?;
        gauges.insert(def.name, made.clone());
        Ok(made)
    }

    /// A gauge of fractions.
    pub fn ratio(&self, def: &'static Def) -> Result<GaugeVec, Error> {
        self.register(def, GaugeVec::new(opts(def), def.labels))
    }

    /// The same one each time.
    pub fn histogram(&self, def: &'static Def) -> Result<HistogramVec, Error> {
        let mut histograms = self.histograms.lock();
        if let Some(made) = histograms.get(def.name) {
            return Ok(made.clone());
        }
        let Kind::Histogram(buckets) = def.kind else {
            return Err(Error { name: def.name, reason: "is not defined as a histogram".to_owned() });
        };
        let opts = HistogramOpts::from(opts(def)).buckets(buckets.to_vec());
        let made = self.register(def, HistogramVec::new(opts, def.labels))?;
        histograms.insert(def.name, made.clone());
        Ok(made)
    }

    /// The exposition in Prometheus text format 0.0.4.
    pub fn encode(&self) -> String {
        let mut out = Vec::with_capacity(16 * 1024);
        match TextEncoder::new().encode(&self.inner.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(reason) => {
                tracing::error!("encoding metrics failed: {reason}");
                String::new()
            }
        }
    }

    fn register<T: prometheus::core::Collector + Clone + 'static>(
        &self,
        def: &'static Def,
        made: prometheus::Result<T>,
    ) -> Result<T, Error> {
        let failed = |reason: prometheus::Error| Error { name: def.name, reason: reason.to_string() };
        let made = made.map_err(failed)?;
        self.inner.register(Box::new(made.clone())).map_err(failed)?;
        Ok(made)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

fn opts(def: &Def) -> Opts {
    Opts::new(def.name, def.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for def in catalogue::ALL {
            let counter = matches!(def.kind, Kind::Counter);
            assert_eq!(counter, def.name.ends_with("_total"), "{}: only counters end in _total", def.name);
            assert!(def.help.ends_with('.'), "{}: help is a sentence", def.name);
            assert!(!def.labels.iter().any(|label| label.contains("url")), "{}: no URL labels", def.name);
        }
        let mut names: Vec<_> = catalogue::ALL.iter().map(|def| def.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), catalogue::ALL.len(), "names are unique");
    }

    #[test]
    fn several_parts_contribute_to_one_gauge() {
        let registry = Registry::new();
        for queue in ["media", "origin:a"] {
            registry.gauge(&catalogue::QUEUE_DEPTH).unwrap().with_label_values(&[queue]).set(7);
        }
        let text = registry.encode();
        assert!(text.contains("{queue=\"media\"} 7") && text.contains("{queue=\"origin:a\"} 7"), "{text}");
    }

    #[test]
    fn every_definition_can_be_registered() {
        let registry = Registry::new();
        for def in catalogue::ALL {
            match def.kind {
                Kind::Counter => registry.counter(def).map(drop),
                Kind::Gauge => registry.gauge(def).map(drop),
                Kind::Histogram(_) => registry.histogram(def).map(drop),
            }
            .unwrap();
        }
    }
}
