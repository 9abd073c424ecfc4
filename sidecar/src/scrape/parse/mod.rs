//! Reads a metrics exposition: Prometheus text 0.0.4 and what most exporters use of OpenMetrics 1.0.
//!
//! A sample's series stays the raw text (`name{labels}`), so that a caller who has seen the text before need not look
//! into it again; [`Series::labels`] takes it apart. Metadata, exemplars and native histograms are passed over.

use std::borrow::Cow;

use thiserror::Error;

mod cursor;
mod number;
mod series;

use cursor::Cursor;
pub use series::Series;

use crate::model::{Labels, number::open_metrics};

/// What one exposition may hold. The size of the whole is bounded by whoever fetched it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub labels: usize,
    pub name_bytes: usize,
    pub value_bytes: usize,
    /// Bytes of one sample line.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { labels: 64, name_bytes: 256, value_bytes: 4096, line_bytes: 64 * 1024 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    /// Timestamps are in seconds; `# EOF` ends it.
    OpenMetrics,
}

impl Format {
    /// By media type. As in Prometheus 3, what does not say that it is a format of metrics is not read.
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            return Some(Self::OpenMetrics);
        }
        media_type.eq_ignore_ascii_case("text/plain").then_some(Self::Text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    pub line: usize,
    pub problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("not UTF-8")]
    Encoding,
    #[error("expected a metric name")]
    Name,
    #[error("expected a label name")]
    LabelName,
    #[error("expected `=` and a quoted label value")]
    LabelValue,
    #[error("expected `,` or `}}` after a label")]
    LabelSeparator,
    #[error("label given twice")]
    LabelTwice,
    #[error("metric name given twice")]
    NameTwice,
    #[error("expected a value")]
    Value,
    #[error("expected a timestamp")]
    Timestamp,
    #[error("unexpected text after the sample")]
    Trailing,
    /// Cut off, perhaps: what is missing must not be taken for gone.
    #[error("the end is not marked with `# EOF`")]
    NoEnd,
    #[error("text after `# EOF`")]
    AfterEnd,
    #[error("more labels than allowed")]
    TooManyLabels,
    #[error("name longer than allowed")]
    NameTooLong,
    #[error("label value longer than allowed")]
    ValueTooLong,
    #[error("line longer than allowed")]
    LineTooLong,
    #[error("unknown type of metric")]
    Type,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposed<'a> {
    pub series: Series<'a>,
    /// The label that holds a number.
    number_label: Option<&'static str>,
    pub value: f64,
    /// Milliseconds, when the target states a time of its own.
    pub at: Option<i64>,
}

/// Iterates over the samples. After an error it is finished: a scrape is taken whole or not at all.
pub struct Parser<'a> {
    cursor: Cursor<'a>,
    format: Format,
    limits: Limits,
    finished: bool,
    /// Of the samples that come.
    typed: Option<Typed<'a>>,
    /// Of the labels of one sample.
    names: Vec<Cow<'a, str>>,
}

impl<'a> Parser<'a> {
    pub fn new(body: &'a [u8], format: Format, limits: Limits) -> Result<Self, Error> {
        let text = std::str::from_utf8(body)
            .map_err(|bad| Error { line: line_of(body, bad.valid_up_to()), problem: Problem::Encoding })?;
        Ok(Self {
            cursor: Cursor::new(text),
            format,
            limits,
            finished: false,
            typed: None,
            names: Vec::new(),
        })
    }

    fn sample(&mut self) -> Result<Option<Exposed<'a>>, Problem> {
        let cursor = &mut self.cursor;
        loop {
            cursor.skip_blanks();
            match cursor.peek() {
                None if self.format == Format::OpenMetrics && cursor.position() > 0 => {
                    return Err(Problem::NoEnd);
                }
                None => return Ok(None),
                Some(b'\n' | b'\r') => cursor.advance(),
                Some(b'#') => {
                    let comment = cursor.rest_of_line();
                    if let Some(typed) = declared(comment)? {
                        self.typed = Some(typed);
                    }
                    if self.format == Format::OpenMetrics && comment.trim_end() == "# EOF" {
                        cursor.end_line();
                        let nothing_follows = cursor.peek().is_none();
                        return if nothing_follows { Ok(None) } else { Err(Problem::AfterEnd) };
                    }
                }
                Some(_) => break,
            }
        }
        let start = cursor.position();
        let series = series::scan(cursor, &self.limits, &mut self.names)?;
        cursor.skip_blanks();
        let value = number::value(cursor.token()).ok_or(Problem::Value)?;
        cursor.skip_blanks();
        let at = match cursor.peek() {
            None | Some(b'\n' | b'\r' | b'#') => None,
            Some(_) => {
                let stamp = number::timestamp(cursor.token(), self.format);
                Some(stamp.ok_or(Problem::Timestamp)?)
            }
        };
        cursor.skip_blanks();
        if self.format == Format::OpenMetrics && cursor.peek() == Some(b'#') {
            cursor.rest_of_line();
        }
        if cursor.position() - start > self.limits.line_bytes {
            return Err(Problem::LineTooLong);
        }
        match cursor.end_line() {
            true => Ok(Some(Exposed { series, number_label: self.number_label(series.text()), value, at })),
            false => Err(Problem::Trailing),
        }
    }
}

/// What a `# TYPE` line says of the samples that follow.
#[derive(Debug, Clone, Copy)]
struct Typed<'a> {
    metric: &'a str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Histogram,
    Summary,
    Other,
}

/// None for comments of other kinds.
fn declared(comment: &str) -> Result<Option<Typed<'_>>, Problem> {
    let Some(rest) =
        comment.strip_prefix('#').map(str::trim_start).and_then(|rest| rest.strip_prefix("TYPE"))
    else {
        return Ok(None);
    };
    if !rest.starts_with([' ', '\t']) {
        return Ok(None);
    }
    let (metric, kind) = rest.trim().rsplit_once([' ', '\t']).ok_or(Problem::Type)?;
    let kind = match kind {
        "histogram" | "gaugehistogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        "counter" | "gauge" | "untyped" | "unknown" | "info" | "stateset" => Kind::Other,
        _ => return Err(Problem::Type),
    };
    Ok(Some(Typed { metric: metric.trim(), kind }))
}

impl Parser<'_> {
    /// `le` of buckets and `quantile` of summaries are numbers: however they are written, they mean the same series.
    fn number_label(&self, series: &str) -> Option<&'static str> {
        let typed = self.typed?;
        let rest = series.strip_prefix(typed.metric)?;
        match typed.kind {
            Kind::Histogram => rest.strip_prefix("_bucket")?.trim_start().starts_with('{').then_some("le"),
            Kind::Summary => rest.trim_start().starts_with('{').then_some("quantile"),
            Kind::Other => None,
        }
    }
}

impl Exposed<'_> {
    /// Those of the series, with the number of a bucket or quantile in its normal form, as Prometheus 3 keeps it.
    pub fn labels(&self) -> Labels {
        let labels = self.series.labels();
        let Some(name) = self.number_label else { return labels };
        match labels.get(name).parse::<f64>() {
            Ok(bound) => labels.with(name, &open_metrics(bound)),
            Err(_) => labels,
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Exposed<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        match self.sample() {
            Ok(Some(sample)) => Some(Ok(sample)),
            Ok(None) => {
                self.finished = true;
                None
            }
            Err(problem) => {
                self.finished = true;
                let line = line_of(self.cursor.text().as_bytes(), self.cursor.position());
                Some(Err(Error { line, problem }))
            }
        }
    }
}

fn line_of(text: &[u8], position: usize) -> usize {
    let before = text.get(..position).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
