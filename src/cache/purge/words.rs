//! The log's alphabet: 64-bit words, little-endian.

pub(super) fn put(into: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        into.extend_from_slice(&word.to_le_bytes());
    }
}

/// What is left to read.
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl Words<'_> {
    pub fn take<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let (first, rest) = self.0.split_first_chunk()?;
            *word = u64::from_le_bytes(*first);
            self.0 = rest;
        }
        Some(words)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
