//! One value at one time, and the bit pattern that marks the end of a series.

use millrace_kit::clock::UnixMillis;

/// Written when a series vanishes: a selector then finds nothing at once instead of after the lookback.
/// The pattern is Prometheus' own (`model/value`), distinct from the NaN that a target may expose.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// What every NaN of a target is stored as.
pub const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: UnixMillis,
    pub value: f64,
}

/// Compares bits: a computed NaN is never stale.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.value.to_bits() == other.value.to_bits()
    }
}
