//! Whole numbers at regular times: the interval once, the changes in blocks, each with the smallest change and as many bits
//! as the others are above it. No prefix codes, so that a reader does not have to guess where the next one begins.

use super::super::bits::{Reader, Writer};
use crate::model::Sample;

/// Changes with a width of their own: a burst widens only its block.
const BLOCK: usize = 30;

/// Bits of the lengths in front of numbers.
const LENGTH: u8 = 6;

/// Lengths that the reader takes at once.
const WIDEST: u8 = 56;

/// None when the times are not regular. All values are whole numbers below 2⁵³.
pub(super) fn pack(samples: &[Sample]) -> Option<Vec<u8>> {
    let [first, second, ..] = samples else { return None };
    let interval = u32::try_from(second.at.checked_sub(first.at)?).ok()?;
    let regular = samples.windows(2).all(|pair| pair[1].at.checked_sub(pair[0].at) == Some(interval.into()));
    if !regular {
        return None;
    }
    let mut bits = Writer::default();
    bits.push(interval.into(), 32);
    bits.push(first.value as i64 as u64, 64);
    let changes: Vec<i64> =
        samples.windows(2).map(|pair| pair[1].value as i64 - pair[0].value as i64).collect();
    for block in changes.chunks(BLOCK) {
        let (least, most) = (block.iter().min()?, block.iter().max()?);
        let width = length((most - least) as u64);
        let folded = (least << 1 ^ least >> 63) as u64;
        bits.push(width.into(), LENGTH);
        bits.push(length(folded).into(), LENGTH);
        bits.push(folded, length(folded));
        block.iter().for_each(|change| bits.push((change - least) as u64, width));
    }
    Some(bits.into_bytes())
}

/// None when the bytes are not such a chunk; what was read until then is in `samples`.
pub(super) fn unpack(first_at: i64, count: u16, bytes: &[u8], samples: &mut Vec<Sample>) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let interval = reader.pull(32)? as i64;
    let (mut at, mut value) = (first_at, reader.pull(64)? as i64);
    samples.push(Sample { at, value: value as f64 });
    let mut left = usize::from(count).checked_sub(1)?;
    let mut numbers = [0; BLOCK];
    while left > 0 {
        let width = reader.pull(LENGTH)? as u8;
        let length = reader.pull(LENGTH)? as u8;
        let folded = reader.pull(length)?;
        let least = (folded >> 1) as i64 ^ -((folded & 1) as i64);
        let block = &mut numbers[..left.min(BLOCK)];
        if width > WIDEST {
            return None;
        }
        reader.fill(width, block)?;
        samples.extend(block.iter().map(|above| {
            at = at.wrapping_add(interval);
            value = value.wrapping_add(least).wrapping_add(*above as i64);
            Sample { at, value: value as f64 }
        }));
        left -= block.len();
    }
    Some(())
}

fn length(number: u64) -> u8 {
    (u64::BITS - number.leading_zeros()) as u8
}
