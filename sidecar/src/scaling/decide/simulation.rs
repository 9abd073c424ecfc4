//! A simulated fleet of caches under steady load: the rule "one more instance when the hit ratio is low" runs away to the
//! maximum, ours does not. LRU caches, popularity by Zipf (0.9), requests spread at random.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{
    tests::{START, inputs, policy},
    *,
};

const OBJECTS: usize = 5000;
const CACHED: usize = 500;
const REQUESTS: usize = 1000;
const TICKS: usize = 120;
/// Ticks until a new instance counts as warm.
const WARM: usize = 4;
/// Ticks that the signal is averaged over, as `rate(…[2m])` does.
const WINDOW: usize = 8;

#[derive(Default)]
struct Cache {
    used: HashMap<usize, u64>,
    by_use: BTreeMap<u64, usize>,
    clock: u64,
    age: usize,
    hits: usize,
    requests: usize,
}

impl Cache {
    fn ask(&mut self, object: usize) {
        self.clock += 1;
        self.requests += 1;
        if let Some(before) = self.used.insert(object, self.clock) {
            self.hits += 1;
            self.by_use.remove(&before);
        } else if self.used.len() > CACHED
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.used.remove(&oldest);
        }
        self.by_use.insert(self.clock, object);
    }
}

struct Fleet {
    caches: Vec<Cache>,
    popularity: Vec<f64>,
    random: u64,
}

impl Fleet {
    fn new(instances: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=OBJECTS).map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        });
        let popularity: Vec<f64> = weights.collect();
        let mut fleet = Self { caches: Vec::new(), popularity, random: 0x9e37_79b9_7f4a_7c15 };
        fleet.resize(instances);
        // Warm already.
        for _ in 0..20 {
            fleet.tick();
        }
        fleet
    }

    fn resize(&mut self, instances: usize) {
        self.caches.resize_with(instances, Cache::default);
    }

    fn unit(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tick(&mut self) {
        for cache in &mut self.caches {
            (cache.hits, cache.requests) = (0, 0);
            cache.age += 1;
        }
        for _ in 0..REQUESTS {
            let total = self.popularity[OBJECTS - 1];
            let at = self.unit() * total;
            let object = self.popularity.partition_point(|sum| *sum < at);
            let instance = (self.unit() * self.caches.len() as f64) as usize;
            self.caches[instance].ask(object);
        }
    }

    fn hit_ratio(&self, counts: impl Fn(&Cache) -> bool) -> f64 {
        let (hits, requests) = self
            .caches
            .iter()
            .filter(|cache| counts(cache))
            .fold((0, 0), |(hits, requests), cache| (hits + cache.hits, requests + cache.requests));
        hits as f64 / requests.max(1) as f64
    }
}

/// Just below what the fleet reaches when it is warm.
fn threshold() -> f64 {
    let fleet = Fleet::new(3);
    fleet.hit_ratio(|_| true) + 0.05
}

#[test]
fn the_naive_rule_runs_away() {
    let threshold = threshold();
    let mut fleet = Fleet::new(3);
    let mut lowest: f64 = 1.0;
    let begun = fleet.hit_ratio(|_| true);
    for tick in 0..TICKS {
        fleet.tick();
        let ratio = fleet.hit_ratio(|_| true);
        lowest = lowest.min(ratio);
        // Every four ticks, as a cooldown of a minute would have it.
        if tick % 4 == 0 && ratio < threshold && fleet.caches.len() < 10 {
            let more = fleet.caches.len() + 1;
            fleet.resize(more);
        }
    }
    assert_eq!(fleet.caches.len(), 10);
    assert!(lowest < begun - 0.05, "each cold instance lowers it further: {begun} {lowest}");
}

#[test]
fn ours_takes_one_step_and_stays() {
    let text = format!(
        "min = 3\nmax = 10\nup_cooldown_secs = 60\ndown_cooldown_secs = 300\nmax_cold = 2
up = [{{ signal = 'hit_ratio', below = {:?}, for_secs = 30 }}, {{ signal = 'cpu', above = 0.75, for_secs = 30 }}]
down = [{{ signal = 'cpu', below = 0.35, for_secs = 30 }}]",
        threshold()
    );
    let steps = run(&policy(&text));
    assert_eq!(steps, [4], "one more was tried, and did not help");
}

/// As shipped, the hit ratio calls for nothing at all.
#[test]
fn the_shipped_rules_do_not_move() {
    let text = "min = 3\nmax = 10\nup = [{ signal = 'cpu', above = 0.75, for_secs = 30 }]\ndown = [{ signal = 'cpu', below = 0.35, for_secs = 120 }]";
    assert!(run(&policy(text)).is_empty());
}

/// Numbers of instances that were decided, in order.
fn run(policy: &Policy) -> Vec<u32> {
    let mut fleet = Fleet::new(3);
    let mut state = State::new(START, 3);
    let mut steps = Vec::new();
    let mut ratios = VecDeque::new();
    for tick in 0..TICKS {
        fleet.tick();
        let aim = u32::try_from(fleet.caches.len()).unwrap();
        let warm = |cache: &Cache| cache.age >= WARM;
        let cold = u32::try_from(fleet.caches.iter().filter(|cache| !warm(cache)).count()).unwrap();
        ratios.push_back(fleet.hit_ratio(warm));
        if ratios.len() > WINDOW {
            ratios.pop_front();
        }
        let ratio = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let values = [("hit_ratio", ratio), ("cpu", 1.8 / f64::from(aim - cold))];
        let mut inputs = inputs(aim - cold, &values);
        inputs.aim = aim;
        (inputs.counts.cold, inputs.converging) = (cold, cold > 0);
        let now = START + i64::try_from(tick).unwrap() * 15_000;
        let (decision, next) = decide(&state, &inputs, policy, now);
        state = next;
        if decision.to != aim {
            steps.push(decision.to);
            fleet.resize(decision.to as usize);
        }
    }
    steps
}
