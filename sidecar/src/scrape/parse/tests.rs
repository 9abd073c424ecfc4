//! Tests of `parse`.

use proptest::prelude::*;

use super::*;
use crate::model::{METRIC_NAME, NORMAL_NAN};

fn parse(text: &str, format: Format) -> Result<Vec<(String, u64, Option<i64>)>, Error> {
    Parser::new(text.as_bytes(), format, Limits::default())?
        .map(|sample| {
            let sample = sample?;
            Ok((sample.series.labels().to_string(), sample.value.to_bits(), sample.at))
        })
        .collect()
}

#[test]
fn legal_lines() {
    let nan = NORMAL_NAN;
    for (text, series, value, at) in [
        ("up 1\n", "up", 1.0, None),
        ("up 1", "up", 1.0, None),
        ("up 1\r\n", "up", 1.0, None),
        ("  up\t1  \n", "up", 1.0, None),
        ("# HELP up x\n# TYPE up gauge\n# anything\n#\n\nup 1\n", "up", 1.0, None),
        ("a:b:c{} 2.5e-3\n", "a:b:c", 0.0025, None),
        ("a {x=\"1\"} 3 1700000000123\n", "a{x=\"1\"}", 3.0, Some(1_700_000_000_123)),
        ("a{ x = \"1\" , y=\"2\" , } -3\n", "a{x=\"1\", y=\"2\"}", -3.0, None),
        ("a{x=\"com,ma}{=\"} 1\n", "a{x=\"com,ma}{=\"}", 1.0, None),
        ("a{x=\"q\\\"b\\\\n\\nl\\t\"} 1\n", "a{x=\"q\\\"b\\\\n\\nl\\\\t\"}", 1.0, None),
        ("a{x=\"\"} 1\n", "a", 1.0, None),
        ("a{le=\"+Inf\"} NaN\n", "a{le=\"+Inf\"}", nan, None),
        ("a +Inf\n", "a", f64::INFINITY, None),
        ("a -inf\n", "a", f64::NEG_INFINITY, None),
        ("{\"dotted.name\",\"label.x\"=\"1\"} 1\n", "dotted.name{label.x=\"1\"}", 1.0, None),
        ("a{x=\"grün\"} 1 -5\n", "a{x=\"grün\"}", 1.0, Some(-5)),
    ] {
        let found = parse(text, Format::Text);
        assert_eq!(found, Ok(vec![(series.to_owned(), value.to_bits(), at)]), "{text:?}");
    }
}

#[test]
fn illegal_lines_name_their_place() {
    for (text, line, problem) in [
        ("up 1\n9up 1\n", 2, Problem::Name),
        ("up\n", 1, Problem::Value),
        ("up one\n", 1, Problem::Value),
        ("up 1_000\n", 1, Problem::Value),
        ("up 1e999\n", 1, Problem::Value),
        ("up 1 2 3\n", 1, Problem::Trailing),
        ("up 1 2.5\n", 1, Problem::Timestamp),
        ("\n\nup 1 #\n", 3, Problem::Trailing),
        ("a{x=\"1\" 1\n", 1, Problem::LabelName),
        ("a{x=\"1\"y=\"2\"} 1\n", 1, Problem::LabelSeparator),
        ("a{x=\"1\n", 1, Problem::LabelValue),
        ("a{x=1} 1\n", 1, Problem::LabelValue),
        ("a{=\"1\"} 1\n", 1, Problem::LabelName),
        ("a{x=\"1\",,} 1\n", 1, Problem::LabelName),
        ("a{x=\"1\",x=\"2\"} 1\n", 1, Problem::LabelTwice),
        ("a{\"b\"} 1\n", 1, Problem::NameTwice),
        ("{x=\"1\"} 1\n", 1, Problem::Name),
    ] {
        assert_eq!(parse(text, Format::Text), Err(Error { line, problem }), "{text:?}");
    }
    let latin = Parser::new(b"ok 1\na{x=\"\xff\"} 1\n", Format::Text, Limits::default());
    assert_eq!(latin.err(), Some(Error { line: 2, problem: Problem::Encoding }));
}

#[test]
fn open_metrics_seconds_exemplars_and_end() {
    let text =
        "# TYPE a counter\na_total{x=\"1\"} 5 1700000000.5 # {trace_id=\"ab\"} 0.5 1700000000\n# EOF\n";
    let format = Format::of("application/openmetrics-text; version=1.0.0").unwrap();
    let found = parse(text, format).unwrap();
    for (text, problem) in [("a_total 1\n", Problem::NoEnd), ("# EOF\na 1\n", Problem::AfterEnd)] {
        assert_eq!(parse(text, format).map_err(|error| error.problem), Err(problem), "{text}");
    }
    assert_eq!(Format::of("text/html"), None);
    assert_eq!(found, [("a_total{x=\"1\"}".to_owned(), 5f64.to_bits(), Some(1_700_000_000_500))]);
}

#[test]
fn limits_hold() {
    let limits = Limits { labels: 1, name_bytes: 3, value_bytes: 3, line_bytes: 20 };
    for (text, problem) in [
        ("a{b=\"1\",c=\"2\"} 1\n", Problem::TooManyLabels),
        ("abcd 1\n", Problem::NameTooLong),
        ("a{b=\"1234\"} 1\n", Problem::ValueTooLong),
        ("a                    1\n", Problem::LineTooLong),
    ] {
        let mut parser = Parser::new(text.as_bytes(), Format::Text, limits).unwrap();
        assert_eq!(parser.next(), Some(Err(Error { line: 1, problem })), "{text:?}");
        assert_eq!(parser.next(), None);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        name in "[a-z_:][a-z0-9_:]{0,8}",
        labels in proptest::collection::btree_map("[a-z_][a-z0-9]{0,5}", "\\PC{1,12}|[\\\\\"\n,}{=]{1,5}", 0..5),
        value in any::<f64>(),
        at in proptest::option::of(any::<i64>()),
    ) {
        let pairs: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let stamp = at.map_or(String::new(), |at| format!(" {at}"));
        let line = format!("{name}{{{}}} {value:?}{stamp}", pairs.join(","));
        let mut parser = Parser::new(line.as_bytes(), Format::Text, Limits::default()).unwrap();
        let sample = parser.next().unwrap().unwrap();
        let read = sample.series.labels();
        prop_assert_eq!(read.get(METRIC_NAME), name);
        for (name, value) in &labels {
            prop_assert_eq!(read.get(name), value);
        }
        prop_assert_eq!(read.len(), labels.len() + 1);
        prop_assert!(sample.value == value || value.is_nan() && sample.value.is_nan());
        prop_assert_eq!(sample.at, at);
    }

    #[test]
    fn garbage_never_panics_and_always_ends(text in "[a-z{}\"\\\\=, 0-9#\n\r\t+.\\PC]{0,80}") {
        let samples = Parser::new(text.as_bytes(), Format::Text, Limits::default()).unwrap();
        prop_assert!(samples.count() <= text.len());
    }
}
