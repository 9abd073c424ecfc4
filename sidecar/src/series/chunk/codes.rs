//! How numbers are written into bits: changes of changes by classes, floats by XOR with their predecessor.

use super::super::bits::{Reader, Writer};

/// Prefix codes of the delta of delta of times: number of ones before the zero → payload bits. Millisecond jitter fits the
/// first, a missed scrape the second.
pub(super) const DELTA_CLASSES: [u8; 4] = [0, 10, 18, 64];

/// The same for the delta of delta of whole numbers: from counters that hardly move to bytes of a busy server.
pub(super) const STEP_CLASSES: [u8; 8] = [0, 4, 8, 11, 14, 18, 26, 64];

/// The bits that differ between a float and the one before, without the zeros around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    leading: u8,
    trailing: u8,
}

/// As a whole number that is the same float again, bit by bit: not −0, no NaN, nothing beyond 2⁵³.
pub(super) fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    let same = (whole as f64).to_bits() == value.to_bits();
    (same && whole.unsigned_abs() < 1 << 53).then_some(whole)
}

/// The number of the class in ones, a zero, which the last class can do without, and as many bits as the class has.
pub(super) fn write_classed(bits: &mut Writer, change: i64, classes: &[u8]) {
    let fits = |width: u8| match width {
        0 => change == 0,
        64 => true,
        _ => (-(1i64 << (width - 1))..1i64 << (width - 1)).contains(&change),
    };
    let last = classes.len() - 1;
    let class = classes.iter().position(|width| fits(*width)).unwrap_or(last);
    bits.push((1 << class) - 1, class as u8);
    if class < last {
        bits.push_bit(false);
    }
    bits.push(change as u64, classes[class]);
}

pub(super) fn read_classed(bits: &mut Reader<'_>, classes: &[u8]) -> Option<i64> {
    let class = bits.pull_ones((classes.len() - 1) as u8)?;
    let width = classes[usize::from(class)];
    if width == 0 {
        return Some(0);
    }
    let raw = bits.pull(width)?;
    // Sign-extend.
    let shift = 64 - u32::from(width);
    Some(((raw << shift) as i64) >> shift)
}

/// `0`: same value. `10`: meaningful bits in the window of before. `11`: a new window (5 bits leading zeros, 6 bits
/// length − 1).
pub(super) fn write_xor(bits: &mut Writer, xor: u64, window: Option<Window>) -> Option<Window> {
    if xor == 0 {
        bits.push_bit(false);
        return window;
    }
    bits.push_bit(true);
    let leading = (xor.leading_zeros() as u8).min(31);
    let trailing = xor.trailing_zeros() as u8;
    if let Some(window) = window.filter(|window| leading >= window.leading && trailing >= window.trailing) {
        bits.push_bit(false);
        bits.push(xor >> window.trailing, 64 - window.leading - window.trailing);
        return Some(window);
    }
    let length = 64 - leading - trailing;
    bits.push_bit(true);
    bits.push(u64::from(leading), 5);
    bits.push(u64::from(length - 1), 6);
    bits.push(xor >> trailing, length);
    Some(Window { leading, trailing })
}

pub(super) fn read_xor(bits: &mut Reader<'_>, window: &mut Option<Window>) -> Option<u64> {
    if !bits.pull_bit()? {
        return Some(0);
    }
    if bits.pull_bit()? {
        let leading = bits.pull(5)? as u8;
        let length = bits.pull(6)? as u8 + 1;
        let trailing = 64u8.checked_sub(leading + length)?;
        *window = Some(Window { leading, trailing });
    }
    let Window { leading, trailing } = (*window)?;
    Some(bits.pull(64 - leading - trailing)? << trailing)
}
