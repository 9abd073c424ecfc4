//! What one target exposed from scrape to scrape: attaches the target's labels, marks series that vanish as stale,
//! adds the series about the scrape itself. Takes a scrape whole or not at all.

use std::{collections::HashMap, sync::Arc, time::Duration};

use millrace_kit::clock::UnixMillis;

use super::{
    Appended, Error, Fetched, SeriesId, Settings, Sink,
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
}

pub struct Session {
    target: Arc<Target>,
    limits: Settings,
    /// Series text of the last scrapes → what it stands for.
    known: HashMap<Box<str>, Known>,
    /// Counts scrapes, so that series of the last one can be told apart.
    round: u64,
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
        Self { target, limits, known: HashMap::new(), round: 0 }
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
        };
        let mut batch = match scraped {
            Ok(scraped) => {
                report.samples = scraped.samples;
                report.samples_kept = scraped.kept;
                report.series_added = scraped.added;
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
            let text = exposed.series.text();
            if !self.known.contains_key(text) {
                let attached = self.attach(&exposed.labels());
                let kept = relabel::apply(&self.target.metric_relabel, attached);
                let kept = kept.filter(|labels| !labels.metric_name().is_empty());
                let id = kept.as_ref().and_then(|labels| sink.intern(labels));
                let dropped = kept.is_none();
                scraped.added += usize::from(!dropped);
                self.known
                    .insert(text.into(), Known { id, dropped, seen: 0, own_time: false, written: false });
            }
            let Some(known) = self.known.get_mut(text) else { continue };
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
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::{discovery, model::is_stale, scrape::parse::Limits};

    /// Remembers everything, as text.
    #[derive(Default)]
    struct Memory {
        series: Mutex<Vec<Labels>>,
        samples: Mutex<Vec<String>>,
        room: Option<usize>,
    }

    impl Sink for Memory {
        fn intern(&self, labels: &Labels) -> Option<SeriesId> {
            let mut series = self.series.lock();
            let place = series.iter().position(|known| known == labels);
            if place.is_none() && self.room.is_some_and(|room| series.len() >= room) {
                return None;
            }
            Some(SeriesId(place.unwrap_or_else(|| {
                series.push(labels.clone());
                series.len() - 1
            }) as u64))
        }

        fn append(&self, samples: &[(SeriesId, Sample)]) -> Appended {
            let series = self.series.lock();
            for (id, Sample { at, value }) in samples {
                let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
                self.samples.lock().push(format!("{} {value} {at}", series[id.0 as usize]));
            }
            Appended { accepted: samples.len(), ..Appended::default() }
        }
    }

    impl Memory {
        fn take(&self) -> Vec<String> {
            let all = std::mem::take(&mut *self.samples.lock());
            all.into_iter().filter(|line| !line.starts_with("scrape_")).collect()
        }
    }

    fn session() -> Session {
        let target = Target::new(&discovery::Config {
            url: "http://h:1".to_owned(),
            job: "j".to_owned(),
            ..Default::default()
        });
        let limits = Settings {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            max_body_bytes: 1 << 20,
            max_samples: 5,
            limits: Limits::default(),
        };
        Session::new(Arc::new(target.unwrap()), limits)
    }

    fn scrape(session: &mut Session, sink: &Memory, at: i64, body: &str) -> Report {
        session.record(sink, at, Ok(Fetched::text(body.to_owned())), Duration::from_millis(5))
    }

    const UP: &str = r#"up{instance="h:1", job="j"}"#;

    #[test]
    fn labels_of_the_target_are_attached_and_win() {
        let (mut session, sink) = (session(), Memory::default());
        scrape(&mut session, &sink, 1, "a{job=\"mine\",x=\"1\"} 2\n");
        assert_eq!(
            sink.take(),
            [r#"a{exported_job="mine", instance="h:1", job="j", x="1"} 2 1"#.to_owned(), format!("{UP} 1 1"),]
        );
    }

    #[test]
    fn vanished_series_are_ended_once() {
        let (mut session, sink) = (session(), Memory::default());
        let first = scrape(&mut session, &sink, 1, "a 1\nb 1\n");
        assert_eq!((first.samples, first.series_added), (2, 2));
        sink.take();
        let second = scrape(&mut session, &sink, 2, "a 2\n");
        assert_eq!((second.samples, second.series_added), (1, 0));
        let lines = sink.take();
        assert!(lines[1].starts_with("b{") && lines[1].ends_with("stale 2"), "{lines:?}");
        scrape(&mut session, &sink, 3, "a 3\n");
        assert_eq!(sink.take().len(), 2);
    }

    #[test]
    fn a_failed_scrape_ends_everything_and_says_why() {
        let (mut session, sink) = (session(), Memory::default());
        scrape(&mut session, &sink, 1, "a 1\n");
        sink.take();
        let report = session.record(&sink, 2, Err(Error::Status(503)), Duration::ZERO);
        assert_eq!(report.error.as_deref(), Some("answered 503"));
        let lines = sink.take();
        assert!(lines[0].starts_with("a{") && lines[0].ends_with("stale 2"), "{lines:?}");
        assert_eq!(lines[1], format!("{UP} 0 2"));
        let back = scrape(&mut session, &sink, 3, "a 1\n");
        assert_eq!(back.series_added, 1);
    }

    #[test]
    fn a_malformed_or_too_large_scrape_counts_as_failed() {
        for body in ["a 1\nb one\n", "a 1\nb 1\nc 1\nd 1\ne 1\nf 1\n"] {
            let (mut session, sink) = (session(), Memory::default());
            scrape(&mut session, &sink, 1, "a 1\n");
            sink.take();
            let report = scrape(&mut session, &sink, 2, body);
            assert!(report.error.is_some());
            let lines = sink.take();
            assert!(lines.contains(&format!("{UP} 0 2")), "{lines:?}");
            assert!(lines.iter().any(|line| line.ends_with("stale 2")), "{lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with("b{")), "{lines:?}");
        }
    }

    #[test]
    fn duplicates_keep_the_first() {
        let (mut session, sink) = (session(), Memory::default());
        let report = scrape(&mut session, &sink, 1, "a 1\na 2\n");
        assert_eq!(report.appended.duplicate, 1);
        assert!(sink.take()[0].ends_with(" 1 1"));
    }

    #[test]
    fn series_with_their_own_time_are_not_ended() {
        let (mut session, sink) = (session(), Memory::default());
        scrape(&mut session, &sink, 10, "a 1 5\n");
        assert!(sink.take()[0].ends_with(" 1 5"));
        scrape(&mut session, &sink, 20, "");
        assert_eq!(sink.take(), [format!("{UP} 1 20")]);
    }

    #[test]
    fn a_series_without_room_is_counted_and_tried_again() {
        let (mut session, sink) = (session(), Memory { room: Some(4), ..Memory::default() });
        scrape(&mut session, &sink, 1, "");
        for at in [2, 3] {
            assert_eq!(scrape(&mut session, &sink, at, "a 1\n").appended.refused, 1);
        }
    }

    #[test]
    fn the_end_of_a_target_ends_up_too() {
        let (mut session, sink) = (session(), Memory::default());
        scrape(&mut session, &sink, 1, "a 1\n");
        sink.take();
        session.end(&sink, 2);
        let lines = sink.take();
        assert!(lines.contains(&format!("{UP} stale 2")), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn series_are_relabelled_or_dropped() {
        let rules = "metric_relabel = [{source_labels = ['__name__'], regex = 'noisy_.*', action = 'drop'}, \
                     {source_labels = ['path'], target_label = 'path', replacement = ''}]";
        let config: discovery::Config =
            toml::from_str(&format!("url = 'http://h:1'\njob = 'j'\n{rules}")).unwrap();
        let (mut session, sink) = (session(), Memory::default());
        session.target = Arc::new(Target::new(&config).unwrap());
        let body = "noisy_a 1\nb{path=\"/x\"} 2\n";
        let report = scrape(&mut session, &sink, 1, body);
        assert_eq!((report.samples, report.samples_kept, report.series_added), (2, 1, 1));
        assert_eq!(sink.take()[0], r#"b{instance="h:1", job="j"} 2 1"#);
        assert_eq!(scrape(&mut session, &sink, 2, body).series_added, 0);
    }
}
