//! Selectors: from matchers and modifiers to samples.

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_kit::clock::UnixMillis;
use promql_parser::{
    label::{self, MatchOp},
    parser::{AtModifier, Offset, VectorSelector},
};

use super::{
    Error,
    eval::Evaluator,
    steps::Steps,
    value::{ABSENT, Column},
};
use crate::{
    model::{METRIC_NAME, Sample, is_stale},
    series::{Matcher, Selected},
};

/// What an instant selector yields for the sample it finds.
#[derive(Clone, Copy)]
enum Yield {
    Value,
    TimestampSeconds,
}

pub(super) fn instant(
    evaluator: &Evaluator<'_>,
    selector: &VectorSelector,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    newest(evaluator, selector, steps, Yield::Value)
}

/// For `timestamp(selector)`: the times of the samples themselves.
pub(super) fn timestamps(
    evaluator: &Evaluator<'_>,
    selector: &VectorSelector,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    newest(evaluator, selector, steps, Yield::TimestampSeconds)
}

/// The newest sample of each series in `(reference − lookback, reference]`, unless it is a stale marker.
fn newest(
    evaluator: &Evaluator<'_>,
    selector: &VectorSelector,
    steps: Steps,
    yields: Yield,
) -> Result<Vec<Column>, Error> {
    let references = references(evaluator, selector.at.as_ref(), selector.offset.as_ref(), steps);
    let lookback = evaluator.options.lookback_ms;
    let selected = load(evaluator, selector, &references, lookback)?;
    let mut columns = Vec::with_capacity(selected.len());
    for series in selected {
        evaluator.check_expired_sometimes()?;
        let mut after = 0;
        let newest_at = |reference: &UnixMillis| {
            // References ascend: the search goes on where it was.
            after += series.samples[after..].iter().take_while(|sample| sample.at <= *reference).count();
            let sample = series.samples.get(after.checked_sub(1)?)?;
            let usable = sample.at > reference.saturating_sub(lookback) && !is_stale(sample.value);
            usable.then_some(*sample)
        };
        let found = references.iter().map(newest_at);
        let values = found.map(|sample| match (sample, yields) {
            (None, _) => ABSENT,
            (Some(sample), Yield::Value) => sample.value,
            (Some(sample), Yield::TimestampSeconds) => sample.at as f64 / 1000.0,
        });
        let values: Vec<f64> = values.collect();
        let column = Column { labels: series.labels, values };
        if !column.is_empty() {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// Everything in `(first reference − back, last reference]`, stale markers included.
pub(super) fn load(
    evaluator: &Evaluator<'_>,
    selector: &VectorSelector,
    references: &[UnixMillis],
    back: i64,
) -> Result<Vec<Selected>, Error> {
    let (Some(first), Some(last)) = (references.first(), references.last()) else { return Ok(Vec::new()) };
    let from = first.saturating_sub(back).saturating_add(1);
    let limit = evaluator.samples_left();
    let selected = evaluator.source.select(&matchers(selector)?, from, *last, limit);
    let selected = selected.map_err(|error| match Error::from(error) {
        Error::TooManySamples { .. } => Error::TooManySamples { limit: evaluator.options.max_samples },
        other => other,
    })?;
    let (found, limit) = (selected.len(), evaluator.options.max_series);
    if found > limit {
        return Err(Error::TooManySeries { found, limit });
    }
    evaluator.charge(selected.iter().map(|series| series.samples.len()).sum())?;
    Ok(selected)
}

pub(super) fn without_stale(samples: &mut Vec<Sample>) {
    samples.retain(|sample| !is_stale(sample.value));
}

/// The time that each step looks at, ascending.
pub(super) fn references(
    evaluator: &Evaluator<'_>,
    at: Option<&AtModifier>,
    offset: Option<&Offset>,
    steps: Steps,
) -> Vec<UnixMillis> {
    let offset = offset.map_or(0, offset_ms);
    let fixed = at.map(|at| match at {
        AtModifier::Start => evaluator.start,
        AtModifier::End => evaluator.end,
        AtModifier::At(time) => system_millis(*time),
    });
    steps.iter().map(|step| fixed.unwrap_or(step).saturating_sub(offset)).collect()
}

fn offset_ms(offset: &Offset) -> i64 {
    match offset {
        Offset::Pos(by) => duration_ms(*by),
        Offset::Neg(by) => -duration_ms(*by),
    }
}

pub(super) fn duration_ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn system_millis(time: SystemTime) -> UnixMillis {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => duration_ms(after),
        Err(before) => -duration_ms(before.duration()),
    }
}

pub(super) fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, Error> {
    let name = selector.name.iter().map(|name| Ok(Matcher::equal(METRIC_NAME, name)));
    name.chain(selector.matchers.matchers.iter().map(matcher)).collect()
}

pub(super) fn matcher(written: &label::Matcher) -> Result<Matcher, Error> {
    Ok(match written.op {
        MatchOp::Equal => Matcher::equal(&written.name, &written.value),
        MatchOp::NotEqual => Matcher::not_equal(&written.name, &written.value),
        MatchOp::Re(_) => Matcher::regex(&written.name, &written.value)?,
        MatchOp::NotRe(_) => Matcher::not_regex(&written.name, &written.value)?,
    })
}
