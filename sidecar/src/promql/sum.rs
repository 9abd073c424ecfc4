//! Compensated summation (Kahan, in Neumaier's form) and the mean that cannot overflow, as Prometheus computes them.

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> f64 {
        let mut sum = Self::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum.total()
    }

    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.compensation }
    }
}

/// Sums while the sum is finite, then goes on with the running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    count: f64,
    sum: Sum,
    incremental: bool,
}

impl Mean {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> f64 {
        let mut mean = Self::default();
        values.into_iter().for_each(|value| mean.add(value));
        mean.value()
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut sum = self.sum;
            sum.add(value);
            if sum.sum.is_finite() || self.count == 1.0 {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.compensation /= self.count - 1.0;
        }
        let mean = self.sum.sum;
        if mean.is_infinite() && (mean == value || value.is_finite()) {
            return;
        }
        let share = (self.count - 1.0) / self.count;
        let mut next = Sum { sum: share * mean, compensation: share * self.sum.compensation };
        next.add(value / self.count);
        self.sum = next;
    }

    pub(super) fn value(self) -> f64 {
        match (self.incremental, self.sum.sum.is_infinite()) {
            (true, _) => self.sum.total(),
            (false, true) => self.sum.sum,
            (false, false) => self.sum.sum / self.count + self.sum.compensation / self.count,
        }
    }
}

/// Population variance by Welford's method.
pub(super) fn variance(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

/// The φ-quantile by linear interpolation; NaN sorts first. Outside of [0, 1] it is infinite.
pub(super) fn quantile(phi: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&phi) {
        return f64::INFINITY.copysign(phi);
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let last = values.len() - 1;
    let rank = phi * last as f64;
    let lower = rank.floor() as usize;
    let weight = rank - rank.floor();
    values[lower.min(last)] * (1.0 - weight) + values[(lower + 1).min(last)] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_are_not_lost() {
        assert_eq!(Sum::of([1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(Mean::of([1.0, 1e100, 1.0, -1e100]), 0.5);
    }

    #[test]
    fn the_mean_of_huge_values_is_finite() {
        assert!(Mean::of([f64::MAX, f64::MAX, f64::MAX]) / f64::MAX > 1.0 - 1e-12);
        assert_eq!(Mean::of([f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(Mean::of([f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!(Mean::of([1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        for (phi, expected) in [
            (0.0, 1.0),
            (0.5, 2.5),
            (0.75, 3.25),
            (1.0, 4.0),
            (-0.1, f64::NEG_INFINITY),
            (1.1, f64::INFINITY),
        ] {
            assert_eq!(quantile(phi, vec![4.0, 2.0, 1.0, 3.0]), expected, "{phi}");
        }
    }

    #[test]
    fn variance_of_a_population() {
        assert_eq!(variance([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
    }
}
