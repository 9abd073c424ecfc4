//! Range vectors: for each series and step, the samples in `(reference − range, reference]`.

use millrace_kit::clock::UnixMillis;
use promql_parser::parser::{Expr, SubqueryExpr};

use super::{
    Error, RangeSeries,
    eval::Evaluator,
    query::unwrapped,
    select::{self, duration_ms},
    steps::Steps,
    value::{ABSENT, Column},
};
use crate::{model::Sample, series::Selected};

pub(super) struct Windows {
    series: Vec<Selected>,
    /// The right end of each step's window.
    references: Vec<UnixMillis>,
    range_ms: i64,
    steps: Steps,
}

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

impl Windows {
    pub(super) fn of(evaluator: &Evaluator<'_>, expr: &Expr, steps: Steps) -> Result<Self, Error> {
        match unwrapped(expr) {
            Expr::MatrixSelector(matrix) => {
                let range_ms = duration_ms(matrix.range);
                let selector = &matrix.vs;
                let references =
                    select::references(evaluator, selector.at.as_ref(), selector.offset.as_ref(), steps);
                let mut series = select::load(evaluator, selector, &references, range_ms)?;
                series.iter_mut().for_each(|series| select::without_stale(&mut series.samples));
                Ok(Self { series, references, range_ms, steps })
            }
            Expr::Subquery(subquery) => Self::of_subquery(evaluator, subquery, steps),
            _ => Err(Error::Parse("expected a range vector".to_owned())),
        }
    }

    fn of_subquery(evaluator: &Evaluator<'_>, subquery: &SubqueryExpr, steps: Steps) -> Result<Self, Error> {
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
        let series = columns.into_iter().map(|column| {
            let RangeSeries { labels, samples } = column.into_series(inner);
            Selected { labels, samples }
        });
        Ok(Self { series: series.collect(), references, range_ms, steps })
    }

    /// Applies `function` to every window that holds a sample. Labels keep the metric name.
    pub(super) fn map(
        &self,
        evaluator: &Evaluator<'_>,
        function: &dyn Fn(Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Column>, Error> {
        let mut columns = Vec::with_capacity(self.series.len());
        for series in &self.series {
            let mut column = Column::absent(series.labels.clone(), self.steps);
            let (mut first, mut after) = (0, 0);
            for (step, to) in self.references.iter().copied().enumerate() {
                evaluator.check_expired_sometimes()?;
                let from = to.saturating_sub(self.range_ms);
                after += series.samples[after..].iter().take_while(|sample| sample.at <= to).count();
                first += series.samples[first..after].iter().take_while(|sample| sample.at <= from).count();
                let samples = &series.samples[first..after];
                if !samples.is_empty() {
                    let window = Window { samples, from, to, at: self.steps.at(step), step };
                    column.values[step] = function(window).unwrap_or(ABSENT);
                }
            }
            if !column.is_empty() {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// All samples of the (single) window.
    pub(super) fn whole(self) -> Vec<RangeSeries> {
        let series = self.series.into_iter().filter(|series| !series.samples.is_empty());
        series.map(|Selected { labels, samples }| RangeSeries { labels, samples }).collect()
    }
}
