//! Runs scripts in the format of Prometheus' own suite (`promqltest`): `load`, `clear`, `eval instant`, `eval range`
//! and `eval_fail`. The scripts lie in `tests/promql/`; their expectations were computed by hand and confirmed with
//! `promtool test rules` of Prometheus 3.5.

use std::time::Duration;

use crate::{
    model::{Labels, METRIC_NAME, STALE_NAN, Sample},
    promql::{Options, Query, Value},
    scrape::{Sink, parse},
    series::{Bounds, Store},
};

/// Relative difference up to which values are equal, as in Prometheus' suite.
const TOLERANCE: f64 = 1e-9;

type Series = (Labels, Vec<Option<f64>>);

struct Script<'a> {
    name: &'a str,
    lines: std::iter::Peekable<std::iter::Enumerate<std::str::Lines<'a>>>,
    store: Store,
    evaluated: usize,
}

/// Panics at the first line that does not hold; returns the number of evaluations.
fn run(name: &str, text: &str) -> usize {
    let mut script =
        Script { name, lines: text.lines().enumerate().peekable(), store: store(), evaluated: 0 };
    while let Some((index, line)) = script.lines.next() {
        let line = line.trim();
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" | "#" => {}
            "clear" => script.store = store(),
            "load" => script.load(duration_ms(rest)),
            "eval" | "eval_fail" => script.eval(index + 1, rest, command == "eval_fail"),
            _ if command.starts_with('#') => {}
            _ => panic!("{name}:{}: unknown command {command}", index + 1),
        }
    }
    script.evaluated
}

impl<'a> Script<'a> {
    fn block(&mut self) -> Vec<&'a str> {
        let mut block = Vec::new();
        while let Some((_, line)) = self.lines.next_if(|(_, line)| line.starts_with([' ', '\t'])) {
            block.push(line.trim());
        }
        block.retain(|line| !line.is_empty() && !line.starts_with('#'));
        block
    }

    fn load(&mut self, step: i64) {
        for line in self.block() {
            let (labels, values) = series(line);
            let id = self.store.intern(&labels).unwrap();
            let samples: Vec<_> = values
                .into_iter()
                .enumerate()
                .filter_map(|(index, value)| Some((id, Sample { at: index as i64 * step, value: value? })))
                .collect();
            self.store.append(&samples);
        }
    }

    fn eval(&mut self, line: usize, rest: &str, fails: bool) {
        self.evaluated += 1;
        let place = format!("{}:{line}: {rest}", self.name);
        let expected = self.block();
        let options = Options { subquery_step_ms: 60_000, ..Options::default() };
        let instant = rest.strip_prefix("instant at ");
        let found = match instant {
            Some(rest) => {
                let (at, expr) = rest.split_once(' ').unwrap();
                let query = Query::parse(expr);
                query.and_then(|query| query.instant(&self.store, duration_ms(at), &options))
            }
            None => {
                let words: Vec<&str> = rest.splitn(8, ' ').collect();
                let ["range", "from", start, "to", end, "step", step, expr] = words[..] else {
                    panic!("{place}: not understood")
                };
                let query = Query::parse(expr);
                let (start, end, step) = (duration_ms(start), duration_ms(end), duration_ms(step));
                let series = query.and_then(|query| query.range(&self.store, start, end, step, &options));
                let rows = series.map(|series| {
                    series.into_iter().map(|series| {
                        let mut values = vec![None; ((end - start) / step + 1) as usize];
                        for sample in &series.samples {
                            values[((sample.at - start) / step) as usize] = Some(sample.value);
                        }
                        (series.labels, values)
                    })
                });
                return compare(&place, rows.map(Iterator::collect), &expected, fails, false);
            }
        };
        let ordered = expected.first() == Some(&"expect ordered");
        let expected = if ordered { &expected[1..] } else { &expected[..] };
        let rows = found.map(|value| match value {
            Value::Scalar(sample) => vec![(Labels::empty(), vec![Some(sample.value)])],
            Value::Vector(samples) => {
                samples.into_iter().map(|found| (found.labels, vec![Some(found.sample.value)])).collect()
            }
            Value::Matrix(series) => series
                .into_iter()
                .map(|series| {
                    (series.labels, series.samples.iter().map(|sample| Some(sample.value)).collect())
                })
                .collect(),
            Value::Text(..) => panic!("{place}: a string"),
        });
        compare(&place, rows, expected, fails, ordered);
    }
}

fn compare(
    place: &str,
    found: Result<Vec<Series>, crate::promql::Error>,
    expected: &[&str],
    fails: bool,
    ordered: bool,
) {
    if fails {
        let error = found.expect_err(place).to_string();
        if let Some(wanted) = expected.first().and_then(|line| line.strip_prefix("expected_fail_message ")) {
            assert!(error.contains(wanted), "{place}: {error}");
        }
        return;
    }
    let mut found = found.unwrap_or_else(|error| panic!("{place}: {error}"));
    let scalar = |line: &&str| !line.contains('{') && line.parse::<f64>().is_ok();
    let mut expected: Vec<Series> = expected
        .iter()
        .map(|line| match scalar(line) {
            true => (Labels::empty(), vec![line.parse().ok()]),
            false => series(line),
        })
        .collect();
    if !ordered {
        found.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|((labels, values), (wanted_labels, wanted))| {
            labels == wanted_labels
                && values.len() == wanted.len()
                && values.iter().zip(wanted).all(|(value, wanted)| match (value, wanted) {
                    (Some(value), Some(wanted)) => almost_equal(*value, *wanted),
                    (None, None) => true,
                    _ => false,
                })
        });
    assert!(same, "{place}\n   found: {found:?}\nexpected: {expected:?}");
}

fn almost_equal(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * (a.abs() + b.abs())
}

/// `name{labels} values…` in the expanding notation.
fn series(line: &str) -> Series {
    let split = match line.find('{') {
        Some(brace) => brace + line[brace..].find("} ").map_or(line.len() - brace, |end| end + 1),
        None => line.find(' ').unwrap(),
    };
    let (text, values) = line.split_at(split);
    let labels = match text {
        "{}" => Labels::empty(),
        _ => {
            // The parser wants a name; series of results may have none.
            let named = if text.starts_with('{') { format!("noname{text}") } else { text.to_owned() };
            let line = format!("{named} 0");
            let mut parser =
                parse::Parser::new(line.as_bytes(), parse::Format::Text, parse::Limits::default()).unwrap();
            let labels = parser.next().unwrap().unwrap().series.labels();
            if labels.get(METRIC_NAME) == "noname" { labels.without_metric_name() } else { labels }
        }
    };
    (labels, values.split_whitespace().flat_map(expand).collect())
}

/// `1`, `_`, `stale`, `_x3`, `5x3` (four times), `1+2x3`, `10-2x3`.
fn expand(word: &str) -> Vec<Option<f64>> {
    let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("not a number: {text}"));
    let (start, times) = match word.split_once('x') {
        None if word == "_" => return vec![None],
        None if word == "stale" => return vec![Some(STALE_NAN)],
        None => return vec![Some(number(word))],
        Some((start, times)) => (start, times.parse::<usize>().unwrap()),
    };
    if start == "_" {
        return vec![None; times];
    }
    let sign =
        start.char_indices().skip(1).find(|(at, c)| matches!(c, '+' | '-') && !start[..*at].ends_with('e'));
    let (first, step) = match sign {
        Some((at, _)) => (number(&start[..at]), number(&start[at..])),
        None => (number(start), 0.0),
    };
    (0..=times).map(|index| Some(first + step * index as f64)).collect()
}

/// `0`, `90` (seconds), `1m30s`, `500ms`.
fn duration_ms(text: &str) -> i64 {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return (seconds * 1000.0) as i64;
    }
    let mut total = 0;
    let mut digits = String::new();
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'm' if chars.next_if_eq(&'s').is_some() => 1,
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => panic!("unknown unit in {text}"),
        };
        total += digits.parse::<i64>().unwrap() * unit;
        digits.clear();
    }
    total
}

fn store() -> Store {
    Store::new(Bounds { retention: Duration::from_secs(10 * 86_400), max_series: 10_000, max_bytes: 1 << 28 })
}

macro_rules! scripts {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let file = concat!(stringify!($name), ".test");
            let text = include_str!(concat!("../../tests/promql/", stringify!($name), ".test"));
            assert!(run(file, text) > 0);
        })*
    };
}

scripts!(aggregation, functions, histograms, matching, operators, rates, selectors, subqueries);
