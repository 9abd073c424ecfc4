//! Endless reproducible content: each byte is a function of seed and offset, so any range of a body of any size can be
//! made and checked without keeping it.

use std::ops::Range;

const WORD: u64 = 8;

/// SplitMix64's finaliser over the word's number.
fn word(seed: u64, number: u64) -> [u8; 8] {
    let mut x =
        number.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).to_le_bytes()
}

pub(crate) fn pattern_byte(seed: u64, offset: u64) -> u8 {
    word(seed, offset / WORD)[(offset % WORD) as usize]
}

pub(super) fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    let lead = ((WORD - offset % WORD) % WORD).min(buffer.len() as u64) as usize;
    let (head, words) = buffer.split_at_mut(lead);
    for (at, byte) in head.iter_mut().enumerate() {
        *byte = pattern_byte(seed, offset + at as u64);
    }
    let first = (offset + lead as u64) / WORD;
    for (number, chunk) in (first..).zip(words.chunks_mut(WORD as usize)) {
        chunk.copy_from_slice(&word(seed, number)[..chunk.len()]);
    }
}

pub(crate) fn pattern_bytes(seed: u64, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    fill(seed, range.start, &mut bytes);
    bytes
}

/// Offset within the body of the first byte that is not the pattern's; `bytes` begins at `offset`.
pub(crate) fn first_mismatch(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let expected = pattern_bytes(seed, offset..offset + bytes.len() as u64);
    if expected == bytes {
        return None;
    }
    expected.iter().zip(bytes).position(|(a, b)| a != b).map(|at| offset + at as u64)
}

#[test]
fn ranges_of_a_pattern_agree_with_its_bytes() {
    for range in [0..0, 0..1, 3..5, 0..8, 7..9, 5..40, 1_000_001..1_000_100, u64::MAX - 20..u64::MAX - 1] {
        let bytes = pattern_bytes(9, range.clone());
        let singly: Vec<u8> = range.clone().map(|offset| pattern_byte(9, offset)).collect();
        assert_eq!(bytes, singly, "{range:?}");
    }
    assert_eq!(first_mismatch(9, 100, &pattern_bytes(9, 100..200)), None);
    let mut bytes = pattern_bytes(9, 100..200);
    bytes[42] ^= 1;
    assert_eq!(first_mismatch(9, 100, &bytes), Some(142));
    assert_ne!(pattern_bytes(1, 0..64), pattern_bytes(2, 0..64));
}
