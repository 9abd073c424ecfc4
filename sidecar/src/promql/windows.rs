//! Range vectors: for each series and step, the samples in `(reference − range, reference]`.

use millrace_kit::clock::UnixMillis;
use promql_parser::parser::{Expr, SubqueryExpr, VectorSelector};

use super::{
    Error, RangeSeries,
    eval::Evaluator,
    query::unwrapped,
    select::{self, Cursor, duration_ms},
    steps::Steps,
    value::{ABSENT, Column, distinct},
};
use crate::model::{Labels, Sample};

pub(super) struct Windows<'a> {
    evaluator: &'a Evaluator<'a>,
    subject: Subject<'a>,
    frame: Frame,
}

/// Where the windows lie.
struct Frame {
    /// The right end of each step's window.
    references: Vec<UnixMillis>,
    range_ms: i64,
    steps: Steps,
}

enum Subject<'a> {
    /// Read one series at a time: a day of thousands is much.
    Selector(&'a VectorSelector),
    Computed(Vec<RangeSeries>),
}

type Function<'a> = dyn Fn(Window<'_>) -> Option<f64> + Sync + 'a;

/// One window, as functions see it.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    /// Not empty, ascending, without stale markers.
    pub(super) samples: &'a [Sample],
    /// Left end, exclusive.
    pub(super) from: UnixMillis,
    /// Right end, inclusive.
    pub(super) to: UnixMillis,
    /// The time of the step itself, which modifiers do not move.
    pub(super) at: UnixMillis,
    pub(super) step: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn of(evaluator: &'a Evaluator<'a>, expr: &'a Expr, steps: Steps) -> Result<Self, Error> {
        match unwrapped(expr) {
            Expr::MatrixSelector(matrix) => {
                let selector = &matrix.vs;
                let references =
                    select::references(evaluator, selector.at.as_ref(), selector.offset.as_ref(), steps);
                let frame = Frame { references, range_ms: duration_ms(matrix.range), steps };
                Ok(Self { evaluator, subject: Subject::Selector(selector), frame })
            }
            Expr::Subquery(subquery) => Self::of_subquery(evaluator, subquery, steps),
            _ => Err(Error::Parse("expected a range vector".to_owned())),
        }
    }

    fn of_subquery(
        evaluator: &'a Evaluator<'a>,
        subquery: &SubqueryExpr,
        steps: Steps,
    ) -> Result<Self, Error> {
        let references = select::references(evaluator, subquery.at.as_ref(), subquery.offset.as_ref(), steps);
        let range_ms = duration_ms(subquery.range);
        let step = subquery.step.map_or(evaluator.options.subquery_step_ms, duration_ms);
        let (first, last) =
            (references.first().copied().unwrap_or(0), references.last().copied().unwrap_or(-1));
        let inner = Steps::aligned(first.saturating_sub(range_ms), last, step);
        evaluator.charge(inner.count)?;
        let columns = match inner.count {
            0 => Vec::new(),
            _ => evaluator.vector(&subquery.expr, inner)?,
        };
        let series = columns.into_iter().map(|column| column.into_series(inner)).collect();
        let frame = Frame { references, range_ms, steps };
        Ok(Self { evaluator, subject: Subject::Computed(series), frame })
    }

    /// Applies `function` to every window that holds a sample. Labels keep the metric name.
    pub(super) fn map(&self, function: &Function<'_>) -> Result<Vec<Column>, Error> {
        let (frame, expired) = (&self.frame, self.evaluator.options.expired);
        match &self.subject {
            Subject::Selector(selector) => self.read(selector, &|labels, samples| {
                frame.column(labels, select::without_stale(samples), function, expired)
            }),
            Subject::Computed(series) => {
                let mut columns = Vec::with_capacity(series.len());
                for RangeSeries { labels, samples } in series {
                    self.evaluator.check_expired()?;
                    columns.extend(frame.column(labels.clone(), samples, function, expired)?);
                }
                Ok(columns)
            }
        }
    }

    /// The same as an answer: no two columns bear the same labels, which Prometheus refuses.
    pub(super) fn answer(&self, function: &Function<'_>, keeps_name: bool) -> Result<Vec<Column>, Error> {
        let mut columns = self.map(function)?;
        // Series differ; those of one name differ without it, too.
        let differ =
            matches!(&self.subject, Subject::Selector(selector) if keeps_name || selector.name.is_some());
        if !keeps_name {
            columns.iter_mut().for_each(|column| column.labels = column.labels.without_metric_name());
        }
        if differ { Ok(columns) } else { distinct(columns) }
    }

    fn read<T: Send>(
        &self,
        selector: &VectorSelector,
        each: &(dyn Fn(Labels, &mut [Sample]) -> Result<Option<T>, Error> + Sync),
    ) -> Result<Vec<T>, Error> {
        select::read(self.evaluator, selector, &self.frame.references, self.frame.range_ms, each)
    }

    /// All samples of the (single) window.
    pub(super) fn whole(self) -> Result<Vec<RangeSeries>, Error> {
        let mut series = match self.subject {
            Subject::Selector(selector) => self.read(selector, &|labels, samples| {
                Ok(Some(RangeSeries { labels, samples: select::without_stale(samples).to_vec() }))
            })?,
            Subject::Computed(series) => series,
        };
        series.retain(|series| !series.samples.is_empty());
        Ok(series)
    }
}

impl Frame {
    /// One series can be the work of seconds, such as a day of samples sorted at each step of a day.
    fn column(
        &self,
        labels: Labels,
        samples: &[Sample],
        function: &Function<'_>,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Column>, Error> {
        let mut column = Column::absent(labels, self.steps);
        let (mut first, mut after) = (Cursor::default(), Cursor::default());
        let mut unchecked = 0;
        for (step, to) in self.references.iter().copied().enumerate() {
            let from = to.saturating_sub(self.range_ms);
            let after = after.advance(samples, |sample| sample.at <= to);
            let first = first.advance(&samples[..after], |sample| sample.at <= from);
            let samples = &samples[first..after];
            if !samples.is_empty() {
                unchecked += samples.len();
                if unchecked >= select::WORK_PER_CHECK {
                    unchecked = 0;
                    if expired() {
                        return Err(Error::Expired);
                    }
                }
                let window = Window { samples, from, to, at: self.steps.at(step), step };
                column.values[step] = function(window).unwrap_or(ABSENT);
            }
        }
        Ok((!column.is_empty()).then_some(column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_takes_too_long_is_given_up() {
        let samples: Vec<_> = (0..2000).map(|at| Sample { at, value: 0.0 }).collect();
        let steps = Steps::range(0, 1999, 1);
        let frame = Frame { references: steps.iter().collect(), range_ms: 2000, steps };
        let column = |expired: &(dyn Fn() -> bool + Sync)| {
            frame.column(Labels::empty(), &samples, &|_| Some(1.0), expired)
        };
        assert!(column(&|| false).unwrap().is_some());
        assert_eq!(column(&|| true).unwrap_err(), Error::Expired);
    }
}
