//! The data of the differential test: fifty minutes of counters with resets, gauges, gaps, stale markers, histograms,
//! NaN and infinities. Deterministic, so that recorded answers stay valid.

use millrace_sidecar::model::{Labels, METRIC_NAME, NORMAL_NAN, STALE_NAN, Sample};

use crate::harness::START;

pub const MINUTES: i64 = 50;
const STEP: i64 = 15_000;
const COUNT: i64 = MINUTES * 60_000 / STEP;

pub type Series = (Labels, Vec<Sample>);

/// Numerical Recipes' generator; only repeatable, not good.
struct Dice(u64);

impl Dice {
    /// Below `bound`.
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0xffff_ffff;
        (self.0 >> 8) % bound
    }
}

pub fn all() -> Vec<Series> {
    let mut series = counters();
    series.extend(gauges());
    series.extend(histograms());
    series.extend(gaps());
    series.extend(specials());
    series.extend(information());
    series
}

/// One sample per step and a few milliseconds of jitter; `None` leaves a gap.
fn make(pairs: &[(&str, &str)], seed: u64, mut value: impl FnMut(i64, &mut Dice) -> Option<f64>) -> Series {
    let mut dice = Dice(seed);
    let sample = |index: i64| {
        let jitter = dice.roll(700) as i64;
        Some(Sample { at: START + index * STEP + jitter, value: value(index, &mut dice)? })
    };
    (Labels::from_pairs(pairs.iter().copied()), (0..COUNT).filter_map(sample).collect())
}

fn counters() -> Vec<Series> {
    let mut all = Vec::new();
    let mut seed = 1;
    for job in ["api", "edge"] {
        for instance in ["a:1", "b:1"] {
            for code in ["200", "404", "500"] {
                seed += 7;
                let pairs =
                    [(METRIC_NAME, "requests_total"), ("job", job), ("instance", instance), ("code", code)];
                let mut total = (seed * 13 % 50) as f64;
                all.push(make(&pairs, seed, |index, dice| {
                    total += dice.roll(40 + seed) as f64 * if code == "200" { 1.0 } else { 0.25 };
                    if index == 60 + seed as i64 || index == 121 && job == "edge" {
                        total = dice.roll(9) as f64;
                    }
                    Some(total)
                }));
            }
        }
    }
    all
}

fn gauges() -> Vec<Series> {
    let mut all = Vec::new();
    for (seed, instance, base) in [(3, "a:1", 1.5e9), (5, "b:1", 2.25e8), (9, "c:1", -7.125)] {
        let pairs = [(METRIC_NAME, "memory_bytes"), ("job", "api"), ("instance", instance)];
        all.push(make(&pairs, seed, |index, dice| {
            Some(base + (index as f64 / 9.0).sin() * base / 3.0 + dice.roll(1000) as f64 / 7.0)
        }));
    }
    for (seed, zone) in [(11, "north"), (12, "south")] {
        let pairs = [(METRIC_NAME, "temperature"), ("zone", zone)];
        all.push(make(&pairs, seed, |index, dice| {
            Some(((index % 40) as f64 - 20.0) / 4.0 + dice.roll(10) as f64 / 10.0)
        }));
    }
    let pairs = [(METRIC_NAME, "constant"), ("zone", "north")];
    all.push(make(&pairs, 13, |_, _| Some(42.5)));
    // Unix seconds, for the calendar functions.
    let pairs = [(METRIC_NAME, "expiry_seconds"), ("zone", "north")];
    all.push(make(&pairs, 14, |index, _| Some(1.7e9 + index as f64 * 1_234_567.0)));
    all
}

fn histograms() -> Vec<Series> {
    const BOUNDS: [&str; 6] = ["0.05", "0.1", "0.5", "1", "2.5", "+Inf"];
    let mut all = Vec::new();
    for (seed, job) in [(21, "api"), (22, "edge")] {
        for (place, le) in BOUNDS.iter().enumerate() {
            let pairs = [(METRIC_NAME, "latency_seconds_bucket"), ("job", job), ("le", le)];
            let mut total = 0.0;
            // The same dice for every bucket: counts stay cumulative.
            all.push(make(&pairs, seed, |_, dice| {
                total += dice.roll(20) as f64 * (place + 1) as f64;
                Some(total)
            }));
        }
        for (suffix, factor) in [("latency_seconds_count", 6.0), ("latency_seconds_sum", 2.3)] {
            let mut total = 0.0;
            all.push(make(&[(METRIC_NAME, suffix), ("job", job)], seed, |_, dice| {
                total += dice.roll(20) as f64 * factor;
                Some(total)
            }));
        }
    }
    // Not monotonic, negative bounds, no +Inf.
    for (name, buckets) in [
        ("broken_bucket", [("1", 10.0), ("2", 8.0), ("4", 20.0), ("+Inf", 20.000_000_000_001)]),
        ("negative_bucket", [("-2", 3.0), ("-1", 5.0), ("1", 9.0), ("+Inf", 10.0)]),
        ("endless_bucket", [("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0)]),
        ("empty_bucket", [("1", 0.0), ("2", 0.0), ("3", 0.0), ("+Inf", 0.0)]),
    ] {
        for (le, count) in buckets {
            let pairs = [(METRIC_NAME, name), ("le", le)];
            all.push(make(&pairs, 31, |index, _| Some(count * (1 + index) as f64)));
        }
    }
    all
}

fn gaps() -> Vec<Series> {
    vec![
        // Silent for longer than the lookback.
        make(&[(METRIC_NAME, "gappy"), ("kind", "silent")], 41, |index, _| {
            (!(80..125).contains(&index)).then_some(index as f64)
        }),
        // Ended by a stale marker and back again.
        make(&[(METRIC_NAME, "gappy"), ("kind", "stale")], 42, |index, _| match index {
            90 => Some(STALE_NAN),
            91..130 => None,
            _ => Some(index as f64 * 1.5),
        }),
        make(&[(METRIC_NAME, "gappy"), ("kind", "late")], 43, |index, _| (index > 100).then_some(7.0)),
        // Once in four minutes: one sample in most windows.
        make(&[(METRIC_NAME, "gappy"), ("kind", "sparse")], 44, |index, _| {
            (index % 16 == 3).then_some(index as f64 * index as f64)
        }),
    ]
}

fn specials() -> Vec<Series> {
    let nan = NORMAL_NAN;
    let mut all = Vec::new();
    for (seed, kind, values) in [
        (51, "nan", [nan, 1.0, 2.0, nan, 5.0]),
        (52, "inf", [1.0, f64::INFINITY, 3.0, 4.0, 5.0]),
        (53, "both", [f64::INFINITY, f64::NEG_INFINITY, 1.0, 0.0, -0.0]),
        (54, "huge", [1e308, -1e308, 1e-300, 1.5e308, 3.0]),
        (55, "tiny", [1e100, 1.0, -1e100, 1.0, 0.1]),
        (56, "only_nan", [nan; 5]),
    ] {
        all.push(make(&[(METRIC_NAME, "special"), ("kind", kind)], seed, |index, _| {
            Some(values[(index % 5) as usize])
        }));
    }
    all
}

fn information() -> Vec<Series> {
    let mut all = Vec::new();
    for (job, version, region) in [("api", "1.2", "eu"), ("edge", "1.3", "us")] {
        let pairs = [(METRIC_NAME, "build_info"), ("job", job), ("version", version), ("region", region)];
        all.push(make(&pairs, 61, |_, _| Some(1.0)));
    }
    for (instance, up) in [("a:1", 1.0), ("b:1", 0.0), ("c:1", 1.0)] {
        all.push(make(&[(METRIC_NAME, "up"), ("job", "api"), ("instance", instance)], 62, |_, _| Some(up)));
    }
    all
}
