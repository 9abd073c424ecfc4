//! How often keys that are not held were asked for lately: a count-min sketch of four-bit counters, four to a key, all
//! of them in one cache line.

/// A cache line: 128 counters.
#[derive(Clone)]
#[repr(align(64))]
struct Line([u64; 8]);

pub struct Sketch {
    /// A power of two of them.
    lines: Vec<Line>,
}

/// The most that a counter says.
pub const MOST: u8 = 15;
/// Sixteen counters for each key.
const KEYS_PER_LINE: usize = 8;
const FEWEST_LINES: usize = 16;

impl Default for Sketch {
    fn default() -> Self {
        Self { lines: vec![Line([0; 8]); FEWEST_LINES] }
    }
}

/// Word and shift of the counters of a key.
fn places(hash: u64) -> [(usize, u32); 4] {
    // The bits that choose the line are the low ones.
    let bits = (hash >> 32) as u32;
    std::array::from_fn(|n| {
        let own = bits >> (5 * n);
        (2 * n + (own & 1) as usize, ((own >> 1) & 15) * 4)
    })
}

impl Sketch {
    /// Makes room for so many keys; what is counted stays.
    pub fn fit(&mut self, keys: usize) {
        while keys > self.lines.len() * KEYS_PER_LINE {
            // One more bit of the hash chooses the line, and either half has counted the keys of both.
            self.lines.extend_from_within(..);
        }
    }

    fn line(&self, hash: u64) -> usize {
        hash as usize & (self.lines.len() - 1)
    }

    pub fn count(&self, hash: u64) -> u8 {
        let Line(words) = &self.lines[self.line(hash)];
        let counts = places(hash).map(|(word, shift)| (words[word] >> shift) as u8 & MOST);
        counts.into_iter().min().unwrap_or(0)
    }

    /// The key was asked for at least so often.
    pub fn raise(&mut self, hash: u64, count: u8) {
        let at = self.line(hash);
        let Line(words) = &mut self.lines[at];
        let count = u64::from(count.min(MOST));
        for (word, shift) in places(hash) {
            let had = (words[word] >> shift) & u64::from(MOST);
            if had < count {
                words[word] += (count - had) << shift;
            }
        }
    }

    /// What was long ago counts half.
    pub fn halve(&mut self) {
        for Line(words) in &mut self.lines {
            words.iter_mut().for_each(|word| *word = (*word >> 1) & 0x7777_7777_7777_7777);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
    }

    #[test]
    fn counts_are_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::default();
        sketch.fit(10_000);
        (0..10_000).for_each(|n| sketch.raise(hash(n), (n % 5) as u8));
        let too_high = (0..10_000).filter(|n| {
            let (count, real) = (sketch.count(hash(*n)), (n % 5) as u8);
            assert!(count >= real);
            count > real
        });
        assert!(too_high.count() < 500);
        assert!((10_000..20_000).filter(|n| sketch.count(hash(*n)) > 0).count() < 1_000);
    }

    #[test]
    fn growing_keeps_counts_and_time_halves_them() {
        let mut sketch = Sketch::default();
        (0..50).for_each(|n| sketch.raise(hash(n), 12));
        sketch.fit(10_000);
        assert!((0..50).all(|n| sketch.count(hash(n)) == 12));
        sketch.raise(hash(1), 200);
        sketch.halve();
        assert_eq!([0, 1].map(|n| sketch.count(hash(n))), [6, 7]);
    }
}
