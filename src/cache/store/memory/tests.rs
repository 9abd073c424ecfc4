//! What a shard promises, whatever is asked of it: its bound, its order, and that nothing is lost or kept twice.

use std::{
    collections::HashMap,
    sync::{Arc, Barrier},
    thread,
};

use bytes::Bytes;
use millrace_kit::metrics::{Registry, catalogue};
use proptest::prelude::*;

use super::{
    Memory,
    lists::{Packed, Place},
    shard::{Arrival, Gone, Shard},
};
use crate::cache::{
    Incarnation,
    entry::{Entry, EntryKey, HEAD},
};

fn key(n: u64) -> Packed {
    EntryKey { id: xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes()), part: HEAD }.into()
}

fn insert(shard: &mut Shard<u64>, n: u64, weight: usize, arrival: Arrival) -> Vec<u64> {
    let mut gone = Gone::default();
    shard.insert(key(n), n, weight, arrival, &mut gone);
    gone.evicted
}

/// As a server does: what is missing is fetched.
fn ask(shard: &mut Shard<u64>, n: u64, weight: usize) -> bool {
    let held = shard.get(key(n)).is_some();
    if !held {
        insert(shard, n, weight, Arrival::Wanted);
    }
    held
}

#[derive(Debug, Clone)]
enum Step {
    Get(u64),
    Insert(u64, usize),
    Pass(u64, usize, u32),
    Hold(u64, usize),
    LetGo(u64, u32),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..60_u64;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        4 => (key.clone(), 0..600_usize).prop_map(|(key, weight)| Step::Insert(key, weight)),
        1 => (key.clone(), 0..1500_usize, 0..30_u32).prop_map(|(key, weight, now)| Step::Pass(key, weight, now)),
        1 => (key.clone(), 0..600_usize).prop_map(|(key, weight)| Step::Hold(key, weight)),
        1 => (key.clone(), 0..30_u32).prop_map(|(key, now)| Step::LetGo(key, now)),
        1 => key.prop_map(Step::Remove),
    ]
}

proptest! {
    /// Against a map that is told what has gone.
    #[test]
    fn what_is_held_is_what_came_and_has_not_gone(steps in prop::collection::vec(step(), 1..400)) {
        let mut shard = Shard::new(1000);
        let mut model: HashMap<u64, usize> = HashMap::new();
        for step in steps {
            let (n, weight, arrival) = match step {
                Step::Get(n) => {
                    prop_assert_eq!(shard.get(key(n)), model.contains_key(&n).then_some(n));
                    continue;
                }
                Step::Remove(n) => {
                    prop_assert_eq!(shard.remove(key(n)), model.remove(&n).map(|_| n));
                    continue;
                }
                Step::LetGo(n, now) => {
                    shard.let_go(|_, value| *value == n, now);
                    continue;
                }
                Step::Hold(n, weight) => (n, weight, Arrival::Held),
                Step::Insert(n, weight) => (n, weight, Arrival::Wanted),
                Step::Pass(n, weight, now) => (n, weight, Arrival::Passing(now)),
            };
            model.insert(n, weight);
            for gone in insert(&mut shard, n, weight, arrival) {
                prop_assert!(model.remove(&gone).is_some(), "{} went twice", gone);
            }
            prop_assert!(shard.weight() <= 1000);
            prop_assert_eq!(shard.weight(), model.values().sum::<usize>());
            prop_assert_eq!(shard.len(), model.len());
            for n in 0..60 {
                prop_assert_eq!(shard.look(key(n)), model.contains_key(&n).then_some(n));
            }
        }
    }
}

#[test]
fn a_scan_leaves_what_is_wanted() {
    let mut shard = Shard::new(100_000);
    for _ in 0..5 {
        (0..90).for_each(|n| _ = ask(&mut shard, n, 1000));
    }
    (1000..20_000).for_each(|n| _ = ask(&mut shard, n, 1000));
    let left = (0..90).filter(|n| shard.contains(key(*n))).count();
    assert!(left >= 75, "{left} of 90");
}

/// The same of what is longer than a block, which comes by fills: it passes first, and is asked for meanwhile.
#[test]
fn a_scan_of_long_objects_leaves_what_is_wanted() {
    for wanted in [50, 70] {
        let mut shard = Shard::new(100_000);
        for n in 0..wanted {
            insert(&mut shard, n, 1000, Arrival::Passing(0));
        }
        for _ in 0..2 {
            (0..wanted).for_each(|n| _ = shard.get(key(n)));
        }
        (1000..1100).for_each(|n| _ = insert(&mut shard, n, 1000, Arrival::Passing(1)));
        let left = (0..wanted).filter(|n| shard.contains(key(*n))).count() as u64;
        // Without the third that is for what passes there is room for so many.
        assert!(left >= wanted.min(66) - 5, "{left} of {wanted}");
    }
}

#[test]
fn what_nobody_wants_any_more_goes() {
    let mut shard = Shard::new(100_000);
    for _ in 0..15 {
        (0..90).for_each(|n| _ = ask(&mut shard, n, 1000));
    }
    for _ in 0..1000 {
        (100..190).for_each(|n| _ = ask(&mut shard, n, 1000));
    }
    let new = (100..190).filter(|n| shard.contains(key(*n))).count();
    assert!(new >= 80, "{new} of 90");
}

/// A reader that comes after its block finds it, whatever else is wanted more.
#[test]
fn blocks_of_a_fill_stay_for_their_readers_and_no_longer() {
    let mut shard = Shard::new(100_000);
    for _ in 0..10 {
        (0..95).for_each(|n| _ = ask(&mut shard, n, 1000));
    }
    (1000..1030).for_each(|n| _ = insert(&mut shard, n, 1000, Arrival::Passing(5)));
    assert!((1000..1030).all(|n| shard.contains(key(n))), "a third of the room is theirs");
    // Later they have to give way to what is wanted more.
    insert(&mut shard, 2000, 1000, Arrival::Passing(60));
    for _ in 0..5 {
        (3000..3040).for_each(|n| _ = ask(&mut shard, n, 1000));
    }
    let left = (1000..1030).filter(|n| shard.contains(key(*n))).count();
    assert!(left < 5, "{left} are left after a minute");
}

/// Else what is put in the place of a held entry would stay for ever.
#[test]
fn what_takes_the_place_of_what_was_held_is_not() {
    for arrival in [Arrival::Wanted, Arrival::Passing(0)] {
        let mut shard = Shard::new(100_000);
        insert(&mut shard, 1, 1000, Arrival::Held);
        insert(&mut shard, 1, 1000, arrival);
        for _ in 0..5 {
            (1000..1120).for_each(|n| _ = ask(&mut shard, n, 1000));
            insert(&mut shard, 2, 1000, Arrival::Passing(60));
        }
        assert!(!shard.contains(key(1)), "{arrival:?}");
    }
}

/// Hundreds of small ones have to go for it.
#[test]
fn what_is_large_and_wanted_gets_room_among_small_ones() {
    let small_ones = || {
        let mut shard = Shard::new(2_000_000);
        (0..1900).for_each(|n| _ = ask(&mut shard, n, 1000));
        shard
    };
    for (asked, comes_in) in [(1, false), (12, true)] {
        let mut shard = small_ones();
        (0..asked).for_each(|_| _ = ask(&mut shard, 5000, 1_000_000));
        // The window moves on.
        (6000..6100).for_each(|n| _ = ask(&mut shard, n, 1000));
        assert_eq!(shard.contains(key(5000)), comes_in, "asked for {asked} times");
        assert!(shard.weight() <= 2_000_000);
        if comes_in {
            let left = (0..1900).filter(|n| shard.contains(key(*n))).count();
            assert!(left > 700, "{left} of 1900: no more than needed go for it");
        }
    }
}

#[test]
fn what_is_larger_than_the_shard_is_not_held() {
    let mut shard = Shard::new(1000);
    assert!(insert(&mut shard, 1, 10, Arrival::Wanted).is_empty());
    assert_eq!(insert(&mut shard, 1, 1001, Arrival::Wanted), [1]);
    assert_eq!((shard.len(), shard.weight(), shard.contains(key(1))), (0, 0, false));
}

/// The last block of a second fill of what was promised a place to the first.
#[test]
fn what_comes_as_its_fill_ends_is_not_held_for_good() {
    let evictions = Registry::new().counter(&catalogue::CACHE_EVICTIONS).unwrap();
    let memory =
        Arc::new(Memory::new(crate::cache::Lender::new(1 << 20), evictions.with_label_values(&["memory"])));
    let fills: Vec<_> = (0..2000).map(|_| Incarnation::new()).collect();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            for of in &fills {
                start.wait();
                let key = EntryKey { id: of.0, part: 0 };
                memory.pass(key, Entry::Block(Bytes::from_static(b"x").into()), *of);
            }
        });
        for of in &fills {
            let hold = memory.hold(*of, 1);
            start.wait();
            drop(hold);
        }
    });
    let held: usize = memory.shards.iter().map(|shard| shard.lock().weight_in(Place::Held)).sum();
    assert_eq!(held, 0);
}

#[test]
fn what_is_wanted_outlives_what_passes_when_the_tier_becomes_smaller() {
    let mut shard = Shard::new(1200);
    for n in 0..40 {
        insert(&mut shard, n, 10, Arrival::Wanted);
        (0..5).for_each(|_| _ = shard.get(key(n)));
    }
    for n in 100..104 {
        insert(&mut shard, n, 100, Arrival::Passing(0));
    }
    let wanted = |shard: &Shard<u64>| (0..40).filter(|n| shard.contains(key(*n))).count();
    assert_eq!((wanted(&shard), shard.weight()), (40, 800));
    shard.resize(600);
    shard.shrink(&mut Vec::new());
    assert_eq!((wanted(&shard), shard.weight()), (40, 600));
}
