//! The times at which an expression is evaluated.

use millrace_kit::clock::UnixMillis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) start: UnixMillis,
    /// Milliseconds, positive.
    pub(super) step: i64,
    pub(super) count: usize,
}

impl Steps {
    pub(super) fn instant(at: UnixMillis) -> Self {
        Self { start: at, step: 1, count: 1 }
    }

    /// Both ends included.
    pub(super) fn range(start: UnixMillis, end: UnixMillis, step: i64) -> Self {
        let span = end.saturating_sub(start);
        let count = if span < 0 { 0 } else { (span / step.max(1)) as usize + 1 };
        Self { start, step: step.max(1), count }
    }

    /// Of a subquery: multiples of `step` after `from` up to `to`.
    pub(super) fn aligned(from: UnixMillis, to: UnixMillis, step: i64) -> Self {
        let step = step.max(1);
        let mut start = from / step * step;
        if start <= from {
            start += step;
        }
        Self::range(start, to, step)
    }

    pub(super) fn at(self, index: usize) -> UnixMillis {
        self.start.saturating_add(self.step.saturating_mul(index as i64))
    }

    pub(super) fn end(self) -> UnixMillis {
        self.at(self.count.saturating_sub(1))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = UnixMillis> {
        (0..self.count).map(move |index| self.at(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(Steps::range(0, 30, 10).iter().collect::<Vec<_>>(), [0, 10, 20, 30]);
        assert_eq!(Steps::range(0, 29, 10).iter().collect::<Vec<_>>(), [0, 10, 20]);
        assert_eq!(Steps::range(1, 0, 10).count, 0);
    }

    #[test]
    fn subquery_steps_are_multiples_and_left_open() {
        assert_eq!(Steps::aligned(7, 31, 10).iter().collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(Steps::aligned(10, 30, 10).iter().collect::<Vec<_>>(), [20, 30]);
        assert_eq!(Steps::aligned(-25, 5, 10).iter().collect::<Vec<_>>(), [-20, -10, 0]);
    }
}
