//! Selectors: from matchers and modifiers to samples.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
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
    model::{Labels, METRIC_NAME, Sample, is_stale},
    series::Matcher,
};

/// Samples and steps between two looks at the clock: well below a millisecond of reading, a few of sorting.
pub(super) const WORK_PER_CHECK: usize = 1 << 16;

/// So many short series together do not come to that.
const MOST_SERIES_PER_CHECK: usize = 16;

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
    read(evaluator, selector, &references, lookback, &|labels, samples| {
        let samples = &*samples;
        let mut after = Cursor::default();
        let newest_at = |reference: &UnixMillis| {
            let after = after.advance(samples, |sample| sample.at <= *reference);
            let sample = samples.get(after.checked_sub(1)?)?;
            let usable = sample.at > reference.saturating_sub(lookback) && !is_stale(sample.value);
            usable.then_some(*sample)
        };
        let found = references.iter().map(newest_at);
        let values = found.map(|sample| match (sample, yields) {
            (None, _) => ABSENT,
            (Some(sample), Yield::Value) => sample.value,
            (Some(sample), Yield::TimestampSeconds) => sample.at as f64 / 1000.0,
        });
        let column = Column { labels, values: values.collect() };
        Ok((!column.is_empty()).then_some(column))
    })
}

/// What `each` makes of the series of a selector, in the order in which they were found. It is given everything in
/// `(first reference − back, last reference]`, stale markers included, and may end the query by an error.
pub(super) fn read<T: Send>(
    evaluator: &Evaluator<'_>,
    selector: &VectorSelector,
    references: &[UnixMillis],
    back: i64,
    each: &(dyn Fn(Labels, &mut [Sample]) -> Result<Option<T>, Error> + Sync),
) -> Result<Vec<T>, Error> {
    let (Some(first), Some(last)) = (references.first(), references.last()) else { return Ok(Vec::new()) };
    let from = first.saturating_sub(back).saturating_add(1);
    let options = evaluator.options;
    let (most_samples, most_series) = (evaluator.samples_left(), options.max_series);
    let (samples_read, series_read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let made = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    evaluator.source.visit(&matchers(selector)?, from, *last, &|place, labels, samples| {
        let samples_read = samples_read.fetch_add(samples.len(), Ordering::Relaxed) + samples.len();
        let series_read = series_read.fetch_add(1, Ordering::Relaxed) + 1;
        let failure = if samples_read > most_samples {
            Some(Error::TooManySamples { limit: options.max_samples })
        } else if series_read > most_series {
            Some(Error::TooManySeries { limit: most_series })
        } else {
            let every = (WORK_PER_CHECK / (samples.len() + references.len())).clamp(1, MOST_SERIES_PER_CHECK);
            ((series_read - 1).is_multiple_of(every) && (options.expired)()).then_some(Error::Expired)
        };
        match failure.map_or_else(|| each(labels, samples), Err) {
            Ok(Some(result)) => made.lock().push((place, result)),
            Ok(None) => {}
            Err(failure) => {
                *failed.lock() = Some(failure);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    if let Some(failure) = failed.into_inner() {
        return Err(failure);
    }
    evaluator.charge(samples_read.into_inner())?;
    let mut made = made.into_inner();
    made.sort_unstable_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, result)| result).collect())
}

/// A place among samples that only moves on. As a rule it goes as far each time: samples come regularly, and so do steps.
#[derive(Default)]
pub(super) struct Cursor {
    place: usize,
    stride: usize,
}

impl Cursor {
    /// To the first place whose sample is not `before` any more, which holds of all after it as well.
    pub(super) fn advance(&mut self, samples: &[Sample], before: impl Fn(&Sample) -> bool) -> usize {
        let mut place = (self.place + self.stride).min(samples.len());
        while place > self.place && !before(&samples[place - 1]) {
            place -= 1;
        }
        while place < samples.len() && before(&samples[place]) {
            place += 1;
        }
        self.stride = place.saturating_sub(self.place);
        self.place = place;
        place
    }
}

pub(super) fn without_stale(samples: &mut [Sample]) -> &[Sample] {
    // Mostly there are none, and looking is quicker than keeping.
    if !samples.iter().fold(false, |any, sample| any | is_stale(sample.value)) {
        return samples;
    }
    let mut kept = 0;
    for at in 0..samples.len() {
        let sample = samples[at];
        if !is_stale(sample.value) {
            samples[kept] = sample;
            kept += 1;
        }
    }
    &samples[..kept]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;

    #[test]
    fn places_are_found_from_wherever_the_search_was() {
        let samples: Vec<_> = (0..40).map(|at| Sample { at, value: 0.0 }).collect();
        for stops in [vec![0, 0, 1, 2, 3], vec![8, 16, 24, 32, 40, 40], vec![39, 39, 40], vec![3, 30, 31, 40]]
        {
            let mut cursor = Cursor::default();
            for stop in stops.iter().copied() {
                let place = cursor.advance(&samples, |sample| sample.at < stop);
                assert_eq!(place, stop as usize, "{stops:?}");
            }
        }
        assert_eq!(Cursor::default().advance(&[], |_| true), 0);
    }

    #[test]
    fn stale_markers_are_left_out_wherever_they_are() {
        for stale in [vec![], vec![0], vec![4], vec![1, 2], vec![0, 1, 2, 3, 4]] {
            let value = |at| if stale.contains(&at) { STALE_NAN } else { 0.0 };
            let mut samples: Vec<_> = (0..5).map(|at| Sample { at, value: value(at) }).collect();
            let left = without_stale(&mut samples).iter().map(|sample| sample.at);
            assert!(left.eq((0..5).filter(|at| !stale.contains(at))), "{stale:?}");
        }
    }
}
