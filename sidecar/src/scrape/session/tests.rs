//! Tests of `session`.

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
