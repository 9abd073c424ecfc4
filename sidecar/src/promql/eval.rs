//! Walks the expression and dispatches to what evaluates each kind of node. Counts samples against the query's bound.

use std::{cell::Cell, sync::atomic::Ordering};

use millrace_kit::clock::UnixMillis;
use promql_parser::parser::{Expr, UnaryExpr};

use super::{
    Error, Options, RangeSeries, Source, aggregate, binary, functions, select,
    steps::Steps,
    value::{Column, Evaluated, distinct},
    windows::Windows,
};

pub(super) struct Evaluator<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) options: &'a Options<'a>,
    /// Of the whole query: what `@ start()` and `@ end()` mean, also within subqueries.
    pub(super) start: UnixMillis,
    pub(super) end: UnixMillis,
    samples_left: Cell<usize>,
    checks: Cell<u32>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(source: &'a dyn Source, options: &'a Options<'a>, steps: Steps) -> Self {
        Self {
            source,
            options,
            start: steps.start,
            end: steps.end(),
            samples_left: Cell::new(options.max_samples),
            checks: Cell::new(0),
        }
    }

    pub(super) fn eval(&self, expr: &Expr, steps: Steps) -> Result<Evaluated, Error> {
        self.check_expired()?;
        let evaluated = match expr {
            Expr::Paren(paren) => self.eval(&paren.expr, steps)?,
            Expr::NumberLiteral(number) => {
                self.charge(steps.count)?;
                Evaluated::Scalar(vec![number.val; steps.count])
            }
            Expr::StringLiteral(text) => Evaluated::Text(text.val.clone()),
            Expr::VectorSelector(selector) => Evaluated::Vector(select::instant(self, selector, steps)?),
            Expr::Unary(node) => self.negated(node, steps)?,
            Expr::Binary(node) => binary::eval(self, node, steps)?,
            Expr::Aggregate(node) => Evaluated::Vector(aggregate::eval(self, node, steps)?),
            Expr::Call(call) => functions::eval(self, call, steps)?,
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                return Err(Error::Parse("unexpected range vector, expected an instant vector".to_owned()));
            }
            Expr::Extension(_) => return Err(Error::Unsupported("extension nodes".to_owned())),
        };
        if let Evaluated::Vector(columns) = &evaluated {
            self.charge(columns.len().saturating_mul(steps.count))?;
        }
        Ok(evaluated)
    }

    pub(super) fn vector(&self, expr: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        match self.eval(expr, steps)? {
            Evaluated::Vector(columns) => Ok(columns),
            _ => Err(Error::Parse("expected an instant vector".to_owned())),
        }
    }

    pub(super) fn scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, Error> {
        match self.eval(expr, steps)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(Error::Parse("expected a scalar".to_owned())),
        }
    }

    pub(super) fn text(&self, expr: &Expr) -> Result<String, Error> {
        match expr {
            Expr::Paren(paren) => self.text(&paren.expr),
            Expr::StringLiteral(text) => Ok(text.val.clone()),
            _ => Err(Error::Parse("expected a string".to_owned())),
        }
    }

    /// The samples of a range selector or subquery at one time.
    pub(super) fn range_vector(&self, expr: &Expr, steps: Steps) -> Result<Vec<RangeSeries>, Error> {
        let windows = Windows::of(self, expr, steps)?;
        let mut series = windows.whole()?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    pub(super) fn charge(&self, samples: usize) -> Result<(), Error> {
        let left = self.samples_left.get().checked_sub(samples);
        self.samples_left.set(left.ok_or(Error::TooManySamples { limit: self.options.max_samples })?);
        if let Some(spent) = self.options.spent {
            spent.fetch_add(samples, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn samples_left(&self) -> usize {
        self.samples_left.get()
    }

    pub(super) fn check_expired(&self) -> Result<(), Error> {
        if (self.options.expired)() { Err(Error::Expired) } else { Ok(()) }
    }

    /// For inner loops: asks only every so often.
    pub(super) fn check_expired_sometimes(&self) -> Result<(), Error> {
        let checks = self.checks.get().wrapping_add(1);
        self.checks.set(checks);
        if checks.is_multiple_of(256) { self.check_expired() } else { Ok(()) }
    }

    fn negated(&self, node: &UnaryExpr, steps: Steps) -> Result<Evaluated, Error> {
        Ok(match self.eval(&node.expr, steps)? {
            Evaluated::Scalar(values) => Evaluated::Scalar(values.into_iter().map(|value| -value).collect()),
            Evaluated::Vector(columns) => {
                let negated = columns.into_iter().map(|column| {
                    let labels = column.labels.without_metric_name();
                    Column { labels, ..column }.map(|value| -value)
                });
                Evaluated::Vector(distinct(negated.collect())?)
            }
            Evaluated::Text(_) => return Err(Error::Parse("a string has no negative".to_owned())),
        })
    }
}
