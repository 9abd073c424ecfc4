//! Values during and after evaluation.

use std::collections::HashMap;

use millrace_kit::clock::UnixMillis;

use super::{Error, steps::Steps};
use crate::model::{Labels, STALE_NAN, Sample, is_stale};

/// Stands in a column where the series has no value. No computation yields this bit pattern, and selectors never let
/// a stale marker through.
pub(super) const ABSENT: f64 = STALE_NAN;

pub(super) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// One series over all steps.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) labels: Labels,
    /// One per step, possibly [`ABSENT`].
    pub(super) values: Vec<f64>,
}

#[derive(Debug, Clone)]
pub(super) enum Evaluated {
    /// One per step.
    Scalar(Vec<f64>),
    Vector(Vec<Column>),
    Text(String),
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar(Sample),
    Text(UnixMillis, String),
    Vector(Vec<VectorSample>),
    Matrix(Vec<RangeSeries>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub sample: Sample,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

impl Column {
    pub(super) fn absent(labels: Labels, steps: Steps) -> Self {
        Self { labels, values: vec![ABSENT; steps.count] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }

    /// Applies `change` to the values that are there.
    pub(super) fn map(mut self, change: impl Fn(f64) -> f64) -> Self {
        for value in self.values.iter_mut().filter(|value| !is_absent(**value)) {
            *value = change(*value);
        }
        self
    }

    pub(super) fn into_series(self, steps: Steps) -> RangeSeries {
        let samples = steps.iter().zip(self.values).filter(|(_, value)| !is_absent(*value));
        RangeSeries {
            labels: self.labels,
            samples: samples.map(|(at, value)| Sample { at, value }).collect(),
        }
    }
}

/// Drops empty columns and joins those that have come to bear the same labels. Two values at one step are an error.
pub(super) fn joined(columns: Vec<Column>) -> Result<Vec<Column>, Error> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut joined: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns.into_iter().filter(|column| !column.is_empty()) {
        match places.get(&column.labels) {
            None => {
                places.insert(column.labels.clone(), joined.len());
                joined.push(column);
            }
            Some(place) => {
                for (into, value) in joined[*place].values.iter_mut().zip(column.values) {
                    if is_absent(*into) {
                        *into = value;
                    } else if !is_absent(value) {
                        return Err(same_labels());
                    }
                }
            }
        }
    }
    Ok(joined)
}

/// As [`joined`], where Prometheus refuses equal labels even at different steps.
pub(super) fn distinct(columns: Vec<Column>) -> Result<Vec<Column>, Error> {
    let columns: Vec<_> = columns.into_iter().filter(|column| !column.is_empty()).collect();
    let mut seen = std::collections::HashSet::with_capacity(columns.len());
    match columns.iter().all(|column| seen.insert(&column.labels)) {
        true => Ok(columns),
        false => Err(same_labels()),
    }
}

fn same_labels() -> Error {
    Error::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// A number as Prometheus prints it (Go's `'f', -1`): the shortest digits that read back the same, no exponent.
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_like_go() {
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }

    #[test]
    fn columns_join_where_they_do_not_collide() {
        let column = |values: &[f64]| Column { labels: Labels::empty(), values: values.to_vec() };
        let both = joined(vec![column(&[1.0, ABSENT]), column(&[ABSENT, 2.0])]).unwrap();
        assert_eq!(both[0].values, [1.0, 2.0]);
        assert!(joined(vec![column(&[1.0]), column(&[2.0])]).is_err());
        assert!(distinct(vec![column(&[1.0, ABSENT]), column(&[ABSENT, 2.0])]).is_err());
    }
}
