//! Peak and average bit rates of a rendition (RFC 8216 §4.3.4.2), computed from its segments as they are delivered.

use super::fmp4;
use super::segments::Segment;
use super::track::Track;

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bitrate {
    pub(super) peak: u64,
    pub(super) average: u64,
}

/// `longest` is the longest segment in seconds, as playlists declare it (EXT-X-TARGETDURATION).
pub(super) fn of(track: &Track, segments: &[Segment], longest: u64) -> Bitrate {
    let scale = f64::from(track.timescale);
    let parts: Vec<(f64, f64)> = segments
        .iter()
        .map(|s| (fmp4::segment_len(track, s) as f64 * 8.0, s.duration() as f64 / scale))
        .collect();
    let bits: f64 = parts.iter().map(|part| part.0).sum();
    let seconds: f64 = parts.iter().map(|part| part.1).sum();
    let average = rate(bits, seconds);
    Bitrate { peak: peak(&parts, longest as f64).unwrap_or(average).max(average), average }
}

/// The highest rate of contiguous segments that last between half and one and a half target durations together; a
/// shorter one (the last) does not count by itself.
fn peak(parts: &[(f64, f64)], target: f64) -> Option<u64> {
    let mut peak = None;
    for start in 0..parts.len() {
        let (mut bits, mut seconds) = (0.0, 0.0);
        // At 100 ms a segment at the least, and a target that is at least the longest: bounded.
        for part in parts.iter().skip(start).take(MAX_WINDOW) {
            bits += part.0;
            seconds += part.1;
            if seconds > target * 1.5 {
                break;
            }
            if seconds >= target * 0.5 {
                peak = peak.max(Some(rate(bits, seconds)));
            }
        }
    }
    peak
}

/// Segments looked at together.
const MAX_WINDOW: usize = 64;

fn rate(bits: f64, seconds: f64) -> u64 {
    // Saturates; a duration of 0 gives the rate over a millisecond.
    (bits / seconds.max(0.001)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_tail_does_not_set_the_peak() {
        let parts = [(6000.0, 6.0), (12000.0, 6.0), (9000.0, 0.1)];
        // The tail counts together with its neighbour: 21000 bits in 6.1 seconds.
        assert_eq!(peak(&parts, 6.0), Some(3443));
        assert_eq!(peak(&parts[..2], 6.0), Some(2000));
        assert_eq!(peak(&parts[2..], 6.0), None);
    }
}
