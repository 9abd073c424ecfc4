//! Ranges of a source that lie close together, to be read in one go.

use std::ops::Range;

use bytes::Bytes;

/// What lies between is read with them and dropped, such as the sound between pictures: one read instead of hundreds, of
/// blocks that are wanted anyway.
const MAX_GAP_BYTES: u64 = 256 * 1024;

/// Ascending ranges, none empty, with small gaps between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch(Vec<Range<u64>>);

impl Stretch {
    pub fn start(&self) -> u64 {
        self.0.first().map_or(0, |range| range.start)
    }

    /// From the first to the last byte.
    pub fn covered(&self) -> Range<u64> {
        self.start()..self.0.last().map_or(0, |range| range.end)
    }

    pub fn has_gaps(&self) -> bool {
        self.0.len() > 1
    }

    /// Of bytes that stand at `start` of the source, those that are in the ranges.
    pub fn cut(&self, start: u64, bytes: &Bytes) -> Vec<Bytes> {
        let end = start + bytes.len() as u64;
        let first = self.0.partition_point(|range| range.end <= start);
        let touched = self.0.iter().skip(first).take_while(|range| range.start < end);
        touched
            // Both ends lie within the bytes.
            .map(|range| {
                bytes.slice((range.start.max(start) - start) as usize..(range.end.min(end) - start) as usize)
            })
            .collect()
    }
}

impl From<Range<u64>> for Stretch {
    fn from(range: Range<u64>) -> Self {
        Self(vec![range])
    }
}

pub(super) fn stretches(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for range in ranges {
        match stretches.last_mut() {
            Some(Stretch(last))
                if last
                    .last()
                    .is_some_and(|last| (last.end..=last.end + MAX_GAP_BYTES).contains(&range.start)) =>
            {
                last.push(range);
            }
            _ => stretches.push(range.into()),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_gaps_are_read_over_and_dropped() {
        let far = 20 + MAX_GAP_BYTES;
        let found =
            stretches([0..10, 12..20, far..far + 5, far + MAX_GAP_BYTES + 6..far + MAX_GAP_BYTES + 9, 3..4]);
        let ranges = |ranges: &[Range<u64>]| Stretch(ranges.to_vec());
        let one = |range: Range<u64>| Stretch(Vec::from([range]));
        let late = far + MAX_GAP_BYTES + 6;
        assert_eq!(found, [ranges(&[0..10, 12..20, far..far + 5]), one(late..late + 3), one(3..4)]);

        let stretch = ranges(&[10..13, 15..17]);
        assert_eq!(stretch.covered(), 10..17);
        let bytes = Bytes::from_static(b"abcdefg");
        assert_eq!(stretch.cut(10, &bytes), [Bytes::from("abc"), Bytes::from("fg")]);
        // However it comes in pieces.
        for size in 1..7 {
            let cut = (0..7)
                .step_by(size)
                .flat_map(|at| stretch.cut(10 + at as u64, &bytes.slice(at..7.min(at + size))));
            assert_eq!(cut.collect::<Vec<_>>().concat(), b"abcfg");
        }
    }
}
