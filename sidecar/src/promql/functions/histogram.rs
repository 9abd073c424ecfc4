//! `histogram_quantile` and `histogram_fraction` over classic buckets. For quantiles, buckets that are not monotonic are
//! repaired.

use std::collections::HashMap;

use crate::{
    model::Labels,
    promql::{
        Error,
        steps::Steps,
        value::{ABSENT, Column, is_absent, joined},
    },
};

const BUCKET: &str = "le";

/// Differences below this share are rounding, not a fault of the histogram.
const TOLERANCE: f64 = 1e-12;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    upper_bound: f64,
    /// Cumulative.
    count: f64,
}

pub(super) fn quantiles(phis: &[f64], columns: Vec<Column>, steps: Steps) -> Result<Vec<Column>, Error> {
    each_histogram(columns, steps, &|step, buckets| quantile(phis[step], buckets))
}

pub(super) fn fractions(
    lower: &[f64],
    upper: &[f64],
    columns: Vec<Column>,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    each_histogram(columns, steps, &|step, buckets| fraction(lower[step], upper[step], buckets))
}

/// Puts the buckets of one histogram together and applies `function` to those of each step, ascending.
fn each_histogram(
    columns: Vec<Column>,
    steps: Steps,
    function: &dyn Fn(usize, Vec<Bucket>) -> f64,
) -> Result<Vec<Column>, Error> {
    let mut histograms: Vec<(Labels, Vec<(f64, Column)>)> = Vec::new();
    // The name tells histograms apart, but is not part of the result.
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for column in columns {
        let Some(upper_bound) = bound(column.labels.get(BUCKET)) else { continue };
        let whose = column.labels.filter(|name| name != BUCKET);
        let place = *places.entry(whose.clone()).or_insert_with(|| {
            histograms.push((whose.without_metric_name(), Vec::new()));
            histograms.len() - 1
        });
        histograms[place].1.push((upper_bound, column));
    }
    let results = histograms.into_iter().map(|(labels, mut columns)| {
        columns.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let at_step = |step: usize| {
            let buckets = columns.iter().map(|(upper_bound, column)| Bucket {
                upper_bound: *upper_bound,
                count: column.values[step],
            });
            let buckets: Vec<_> = buckets.filter(|bucket| !is_absent(bucket.count)).collect();
            if buckets.is_empty() { ABSENT } else { function(step, buckets) }
        };
        Column { labels, values: (0..steps.count).map(at_step).collect() }
    });
    joined(results.collect())
}

fn bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

/// Of buckets in ascending order. The value lies within its bucket as if observations were spread evenly.
fn quantile(phi: f64, buckets: Vec<Bucket>) -> f64 {
    if phi.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&phi) {
        return f64::INFINITY.copysign(phi);
    }
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return f64::NAN;
    }
    let mut buckets = coalesced(buckets);
    make_monotonic(&mut buckets);
    let [.., before_last, last] = buckets.as_slice() else { return f64::NAN };
    let observations = last.count;
    if observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = phi * observations;
    let place = buckets[..buckets.len() - 1].partition_point(|bucket| bucket.count < rank);
    if place == buckets.len() - 1 {
        return before_last.upper_bound;
    }
    let bucket = buckets[place];
    if place == 0 {
        return match bucket.upper_bound <= 0.0 {
            true => bucket.upper_bound,
            false => bucket.upper_bound * (rank / bucket.count),
        };
    }
    let below = buckets[place - 1];
    let share = (rank - below.count) / (bucket.count - below.count);
    below.upper_bound + (bucket.upper_bound - below.upper_bound) * share
}

/// The share of observations between two bounds, as if those of a bucket were spread evenly.
fn fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return f64::NAN;
    }
    let buckets = coalesced(buckets);
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank(upper, &buckets, count) - rank(lower, &buckets, count)) / count
}

/// How many observations are below `value`.
fn rank(value: f64, buckets: &[Bucket], count: f64) -> f64 {
    let mut below = 0.0;
    // The first bucket has no lower bound: within it nothing is known, and the share becomes NaN.
    let mut from = f64::NEG_INFINITY;
    for bucket in buckets {
        if from >= value {
            return below;
        }
        if bucket.upper_bound > value {
            let share = (value - from) / (bucket.upper_bound - from);
            let rank = below + (bucket.count - below) * share;
            return if rank > count { count } else { rank };
        }
        (below, from) = (bucket.count, bucket.upper_bound);
    }
    count
}

/// Buckets of one bound (`1` and `1.0`) are one.
#[allow(clippy::float_cmp, reason = "bounds are equal or not")]
fn coalesced(buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut merged: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.upper_bound == bucket.upper_bound => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    merged
}

/// Rates of buckets that were not scraped at the same instant may decrease; a count is then raised to the one before.
fn make_monotonic(buckets: &mut [Bucket]) {
    let Some(mut before) = buckets.first().map(|bucket| bucket.count) else { return };
    for bucket in &mut buckets[1..] {
        if bucket.count < before || almost_equal(before, bucket.count) {
            bucket.count = before;
        }
        before = bucket.count;
    }
}

fn almost_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(phi: f64, buckets: &[(f64, f64)]) -> f64 {
        quantile(
            phi,
            buckets
                .iter()
                .map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count })
                .collect(),
        )
    }

    #[test]
    fn interpolates_within_the_bucket() {
        let buckets = [(0.1, 10.0), (0.2, 30.0), (1.0, 40.0), (f64::INFINITY, 40.0)];
        for (phi, expected) in [
            (0.0, 0.0),
            (0.25, 0.1),
            (0.125, 0.05),
            (0.5, 0.15),
            (1.0, 1.0),
            (-1.0, f64::NEG_INFINITY),
            (2.0, f64::INFINITY),
        ] {
            assert!((of(phi, &buckets) - expected).abs() < 1e-12 || of(phi, &buckets) == expected, "{phi}");
        }
    }

    #[test]
    fn beyond_the_last_finite_bucket_is_its_bound() {
        assert_eq!(of(0.9, &[(1.0, 5.0), (f64::INFINITY, 10.0)]), 1.0);
    }

    #[test]
    fn no_answer_without_data_or_infinite_bucket() {
        assert!(of(0.5, &[(1.0, 5.0)]).is_nan());
        assert!(of(0.5, &[(1.0, 0.0), (f64::INFINITY, 0.0)]).is_nan());
        assert!(of(0.5, &[(f64::INFINITY, 3.0)]).is_nan());
    }

    #[test]
    fn decreasing_buckets_are_repaired() {
        let broken = [(1.0, 10.0), (2.0, 8.0), (4.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(of(0.75, &broken), 3.0);
    }

    #[test]
    fn bounds_below_zero_are_not_interpolated_from_zero() {
        assert_eq!(of(0.1, &[(-1.0, 5.0), (0.0, 5.0), (f64::INFINITY, 5.0)]), -1.0);
    }
}
