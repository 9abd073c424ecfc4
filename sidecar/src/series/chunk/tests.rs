//! Tests of `chunk`.

use proptest::prelude::*;

use super::*;
use crate::model::STALE_NAN;

fn filled(samples: &[Sample]) -> Open {
    let mut chunk = Open::new(samples[0]);
    for sample in &samples[1..] {
        assert!(chunk.takes(sample.value));
        chunk.push(*sample);
    }
    chunk
}

fn read(sealed: &Sealed) -> Vec<Sample> {
    let mut samples = Vec::new();
    sealed.append_to(&mut samples);
    samples
}

#[test]
fn a_chunk_of_whole_numbers_takes_nothing_else() {
    let chunk = Open::new(Sample { at: 0, value: 3.0 });
    for (value, taken) in [
        (-4.0, true),
        (0.0, true),
        (-0.0, false),
        (0.5, false),
        (STALE_NAN, false),
        (f64::INFINITY, false),
        (9_007_199_254_740_991.0, true),
        (9_007_199_254_740_992.0, false),
    ] {
        assert_eq!(chunk.takes(value), taken, "{value}");
    }
    assert!(Open::new(Sample { at: 0, value: 0.5 }).takes(3.0));
}

#[test]
fn a_regular_counter_costs_little() {
    let samples: Vec<_> = (0..MAX_SAMPLES as i64)
        .map(|n| Sample { at: 1_700_000_000_000 + n * 15_000, value: (1_000_000 + n * 37) as f64 })
        .collect();
    // While it is written to, and sealed.
    let costs = |samples: &[Sample]| {
        let chunk = filled(samples);
        let open = chunk.bits.bytes().len() as f64 / samples.len() as f64;
        (open, chunk.seal().bytes.len() as f64 / samples.len() as f64)
    };
    let (open, sealed) = costs(&samples);
    assert!(open < 0.4 && sealed < 0.2, "{open}, {sealed} bytes");
    let uneven: Vec<_> = samples
        .iter()
        .scan(0.0, |sum, sample| {
            *sum += ((sample.at / 15_000).wrapping_mul(2_654_435_761) % 997) as f64;
            Some(Sample { value: *sum, ..*sample })
        })
        .collect();
    let (open, sealed) = costs(&uneven);
    assert!(open < 2.2 && sealed < 1.4, "{open}, {sealed} bytes");
    let constant: Vec<_> = samples.iter().map(|sample| Sample { value: 7.0, ..*sample }).collect();
    let (open, sealed) = costs(&constant);
    assert!(open < 0.3 && sealed < 0.15, "{open}, {sealed} bytes");
}

#[test]
fn stale_markers_keep_their_bits() {
    let samples = [Sample { at: 0, value: 1.5 }, Sample { at: 5, value: STALE_NAN }];
    assert_eq!(filled(&samples).samples().collect::<Vec<_>>(), samples);
    assert_eq!(read(&filled(&samples).seal()), samples);
}

#[test]
fn what_is_not_regular_is_kept_as_it_was_written() {
    let regular: Vec<_> = (0..100).map(|n| Sample { at: n * 15_000, value: (n * n % 41) as f64 }).collect();
    assert_eq!(filled(&regular).seal().coding, PACKED);
    let mut late = regular.clone();
    late[50].at += 1;
    let mut seldom: Vec<_> = regular.iter().map(|sample| Sample { value: 0.0, ..*sample }).collect();
    seldom.iter_mut().step_by(25).for_each(|sample| sample.value = 1e12);
    for (samples, packed) in [(regular, true), (late, false), (seldom, false)] {
        let sealed = filled(&samples).seal();
        assert_eq!((sealed.coding == PACKED, read(&sealed)), (packed, samples));
    }
}

fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        (0..1000i32).prop_map(f64::from),
        Just(STALE_NAN),
    ];
    let number = prop_oneof![0..1000i64, any::<i32>().prop_map(i64::from), -(1i64 << 53) + 1..1 << 53];
    // A chunk that begins with a fraction takes anything, one that begins with a whole number only such.
    prop_oneof![
        samples_of(value.boxed(), Some(0.25)),
        samples_of(number.prop_map(|number| number as f64).boxed(), None),
    ]
}

/// Whole numbers every fifteen seconds.
fn regular_samples() -> impl Strategy<Value = Vec<Sample>> {
    let number = prop_oneof![0..1000i64, -(1i64 << 53) + 1..1 << 53];
    (any::<i32>(), proptest::collection::vec(number, 1..MAX_SAMPLES)).prop_map(|(start, numbers)| {
        let times = (i64::from(start)..).step_by(15_000);
        times.zip(numbers).map(|(at, number)| Sample { at, value: number as f64 }).collect()
    })
}

fn samples_of(value: BoxedStrategy<f64>, first: Option<f64>) -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![1..100_000i64, Just(15_000), 1..i64::MAX / 1_000];
    (any::<i32>(), proptest::collection::vec((step, value), 1..MAX_SAMPLES)).prop_map(
        move |(start, steps)| {
            let mut at = i64::from(start);
            let mut samples = Vec::new();
            for (index, (step, value)) in steps.into_iter().enumerate() {
                let value = first.filter(|_| index == 0).unwrap_or(value);
                at = at.saturating_add(step);
                if samples.last().is_none_or(|last: &Sample| last.at < at) {
                    samples.push(Sample { at, value });
                }
            }
            samples
        },
    )
}

proptest! {
    #[test]
    fn every_sample_comes_back(samples in any_samples()) {
        let chunk = filled(&samples);
        prop_assert_eq!(chunk.samples().collect::<Vec<_>>(), samples.clone());
        let (first_at, count, coding, bytes) = chunk.encode();
        let copy = Sealed::decode(first_at, count, coding, bytes.to_vec()).unwrap();
        prop_assert_eq!(read(&copy), samples.clone());
        let mut copy = Open::resume(copy).unwrap();
        prop_assert_eq!(copy.last(), *samples.last().unwrap());
        prop_assert_eq!(copy.whole, chunk.whole);
        let next = Sample { at: copy.last().at.saturating_add(9), value: samples[0].value };
        copy.push(next);
        prop_assert_eq!(copy.samples().last(), Some(next));
    }

    #[test]
    fn every_sample_survives_sealing(samples in prop_oneof![any_samples(), regular_samples()]) {
        let sealed = filled(&samples).seal();
        prop_assert_eq!(read(&sealed), samples.clone());
        prop_assert_eq!((sealed.first_at(), sealed.last_at()), (samples[0].at, samples[samples.len() - 1].at));
        let (first_at, count, coding, bytes) = sealed.encode();
        prop_assert_eq!(read(&Sealed::decode(first_at, count, coding, bytes.to_vec()).unwrap()), samples);
    }

    #[test]
    fn decoding_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in any::<u16>(), coding in any::<u8>()) {
        if let Some(sealed) = Sealed::decode(0, count, coding, bytes) {
            prop_assert_eq!(read(&sealed).len(), usize::from(count));
        }
    }
}
