//! PromQL over float samples, with the semantics of Prometheus 3: left-open ranges, a lookback of five minutes,
//! staleness markers, extrapolation. Pure: the same query over the same data at the same time gives the same answer;
//! the clock, if any, is in [`Options::expired`].
//!
//! An expression is evaluated for all steps of a range at once: a [`value::Column`] per series, one value per step. An
//! instant query is a range of one step.

use std::sync::atomic::AtomicUsize;

use millrace_kit::clock::UnixMillis;

use crate::series::{Matcher, Store, Visitor};

mod aggregate;
mod binary;
mod error;
mod eval;
mod functions;
mod matching;
mod query;
mod select;
mod steps;
mod sum;
mod value;
mod windows;

pub use error::Error;
pub use query::{MAX_DEPTH, MAX_QUERY_BYTES, Query, parse_duration, parse_metric, parse_selector};
pub use value::{RangeSeries, Value, VectorSample, format_value};

/// Where samples come from.
pub trait Source: Sync {
    /// Calls `each` for every series that satisfies the matchers and has samples with `from <= at <= to`, ascending; with the
    /// place of the series among all. Perhaps from several threads at once, and in any order.
    fn visit(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis, each: &Visitor<'_>);
}

impl Source for Store {
    fn visit(&self, matchers: &[Matcher], from: UnixMillis, to: UnixMillis, each: &Visitor<'_>) {
        Store::visit(self, matchers, from, to, each);
    }
}

#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How old the newest sample of a series may be to count as its value.
    pub lookback_ms: i64,
    /// Step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Samples that a query may load and produce.
    pub max_samples: usize,
    /// Series that a selector may find.
    pub max_series: usize,
    /// Told how many samples a query has loaded and produced.
    pub spent: Option<&'a AtomicUsize>,
    /// Asked now and then; true ends the query.
    pub expired: &'a (dyn Fn() -> bool + Sync),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 15 * 1000,
            max_samples: 20_000_000,
            max_series: usize::MAX,
            spent: None,
            expired: &|| false,
        }
    }
}

#[cfg(test)]
mod conformance;
