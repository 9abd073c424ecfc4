//! Decisions in single situations, and the rig of all tests of decisions.

use std::time::Duration;

use super::*;
use crate::scaling::{
    decision::{Counts, Override, Verdict},
    policy,
};

/// 2026-01-01T00:00:00Z
pub(in crate::scaling) const START: UnixMillis = 1_767_225_600_000;

/// A group `g` with signals `cpu` and `queue` (shared), `p95`, `hit_ratio`, `hits`, `origin_p95`, `origin_requests`, no waits and no
/// limits but what `text` says.
pub(in crate::scaling) fn policy(text: &str) -> Policy {
    let mut all = "
[[groups]]
name = 'g'
signals = [
  { name = 'cpu', expr = 'cpu', per_instance = true },
  { name = 'queue', expr = 'queue', per_instance = true },
  { name = 'p95', expr = 'p95' },
  { name = 'hit_ratio', expr = 'hit_ratio' },
  { name = 'hits', expr = 'hits' },
  { name = 'origin_p95', expr = 'origin_p95' },
  { name = 'origin_requests', expr = 'origin_requests' },
]
"
    .to_owned();
    let quiet = [
        ("min", "1"),
        ("startup_hold_secs", "0"),
        ("up_cooldown_secs", "0"),
        ("down_cooldown_secs", "0"),
        ("stabilization_secs", "0"),
        ("max_cold", "0"),
        ("panic_ratio", "0.0"),
        ("up_rates", "[]"),
        ("down_rates", "[]"),
        ("up", "[]"),
        ("down", "[]"),
        ("slo", "[]"),
    ];
    for (key, value) in quiet {
        if !text.lines().any(|line| line.trim_start().starts_with(&format!("{key} ="))) {
            all += &format!("{key} = {value}\n");
        }
    }
    all += text;
    let parsed = policy::parse("test.toml", &all, std::path::Path::new("d"), Duration::from_secs(15));
    parsed.unwrap_or_else(|faults| panic!("{faults}\n{all}")).groups.remove(0)
}

pub(in crate::scaling) fn inputs(instances: u32, values: &[(&str, f64)]) -> Inputs {
    let read = |(name, value): &(&str, f64)| Reading {
        name: (*name).to_owned(),
        value: Some(*value),
        age_ms: Some(1000),
        reporting: instances,
        coverage: 1.0,
        error: String::new(),
    };
    Inputs {
        aim: instances,
        counts: Counts { ready: instances, ..Counts::default() },
        reachable: true,
        converging: false,
        readings: values.iter().map(read).collect(),
        manual: None,
    }
}

/// A group over time: decisions are obeyed at once.
struct Run {
    policy: Policy,
    state: State,
    now: UnixMillis,
    aim: u32,
}

impl Run {
    fn new(text: &str, aim: u32) -> Self {
        let policy = policy(text);
        Self { policy, state: State::new(START - 1, aim), now: START, aim }
    }

    /// After so many seconds.
    fn then(&mut self, seconds: i64, values: &[(&str, f64)]) -> Decision {
        let inputs = inputs(self.aim, values);
        self.with(seconds, inputs)
    }

    fn with(&mut self, seconds: i64, inputs: Inputs) -> Decision {
        self.now += seconds * 1000;
        let (decision, next) = decide(&self.state, &inputs, &self.policy, self.now);
        (self.state, self.aim) = (next, decision.to);
        decision
    }
}

fn told(decision: &Decision) -> (u32, Binding) {
    (decision.to, decision.binding)
}

const RULES: &str = "
up = [{ signal = 'cpu', above = 0.75, for_secs = 30 }, { signal = 'queue', above = 50.0, for_secs = 30 }]
down = [{ signal = 'cpu', below = 0.35, for_secs = 60 }, { signal = 'queue', below = 10.0, for_secs = 60 }]
";

#[test]
fn any_rule_takes_it_up_after_its_time() {
    let mut run = Run::new(RULES, 3);
    let busy = [("cpu", 0.5), ("queue", 70.0)];
    let first = run.then(0, &busy);
    assert_eq!((told(&first), first.rules[1].verdict), ((3, Binding::None), Verdict::Pending));
    assert_eq!(first.rules[1].true_since, Some(START));
    assert_eq!(run.then(15, &busy).to, 3);
    let third = run.then(15, &busy);
    assert_eq!(told(&third), (4, Binding::None));
    assert_eq!(third.reason, "queue is 70.0, above 50.0 for 30 s");
}

#[test]
fn all_rules_are_needed_to_go_down() {
    let mut run = Run::new(RULES, 3);
    for _ in 0..10 {
        assert_eq!(run.then(15, &[("cpu", 0.1), ("queue", 20.0)]).to, 3);
    }
    let calm = [("cpu", 0.1), ("queue", 1.0)];
    let steps: Vec<u32> = (0..7).map(|_| run.then(15, &calm).to).collect();
    assert_eq!(steps, [3, 3, 3, 3, 2, 1, 1]);
}

#[test]
fn what_is_unknown_holds_and_says_why() {
    let mut run = Run::new(RULES, 3);
    let calm = [("cpu", 0.1), ("queue", 1.0)];
    for _ in 0..4 {
        run.then(15, &calm);
    }
    for (change, why) in [
        (
            &(|reading: &mut Reading| reading.age_ms = Some(46_000)) as &dyn Fn(&mut Reading),
            "cpu is 46 s old, more than 45 s",
        ),
        (&|reading| reading.coverage = 0.75, "cpu comes from 75 % of ready instances, less than 80 %"),
        (&|reading| reading.value = None, "cpu has no value"),
        (
            &|reading| reading.error = "cannot be asked for: refused".to_owned(),
            "cpu cannot be asked for: refused",
        ),
    ] {
        let mut inputs = inputs(3, &calm);
        change(&mut inputs.readings[0]);
        // A copy of the state: each gap is the first.
        let (decision, _) = decide(&run.state, &inputs, &run.policy, run.now + 15_000);
        assert_eq!((told(&decision), decision.reason.as_str()), ((3, Binding::Unknown), why));
    }
    let nothing = run.with(15, Inputs { readings: Vec::new(), ..inputs(3, &[]) });
    assert_eq!(told(&nothing), (3, Binding::Unknown));
    assert_eq!(nothing.reason, "cpu was not asked for, and 1 more are unknown");
}

#[test]
fn one_lost_scrape_does_not_start_the_wait_anew_but_silence_does() {
    let mut run = Run::new(RULES, 3);
    let busy = [("cpu", 0.9), ("queue", 1.0)];
    let silent = || Inputs { readings: Vec::new(), ..inputs(3, &[]) };
    run.then(0, &busy);
    assert_eq!(run.with(15, silent()).to, 3);
    assert_eq!(run.then(15, &busy).to, 4);

    let mut run = Run::new(RULES, 3);
    run.then(0, &busy);
    for _ in 0..4 {
        run.with(15, silent());
    }
    assert_eq!(run.then(15, &busy).to, 3);
}

#[test]
fn a_slow_origin_is_not_helped_by_more_instances() {
    let text = "up = [{ signal = 'p95', above = 2.0, for_secs = 0, explained_by_origin = true }]";
    let mut run = Run::new(text, 3);
    let slow = run.then(0, &[("p95", 4.0), ("origin_p95", 3.5)]);
    assert_eq!(told(&slow), (3, Binding::OriginFault));
    assert_eq!(slow.reason, "p95 is 4.00, but explained by the origin: origin_p95 is 3.50, above 1.00");
    assert_eq!(run.then(15, &[("p95", 4.0), ("origin_p95", 0.1)]).to, 4);
}

#[test]
fn no_instance_goes_whose_hits_the_origin_cannot_bear() {
    let text = "down = [{ signal = 'cpu', below = 0.35, for_secs = 0 }]\n[groups.origin]\nbudget = 100.0";
    let values = |hits: f64| [("cpu", 0.1), ("hits", hits), ("origin_requests", 40.0)];
    let mut run = Run::new(text, 4);
    let held = run.then(0, &values(400.0));
    assert_eq!(told(&held), (4, Binding::OriginBudget));
    assert_eq!(held.reason, "the origin would get up to 140 requests a second, and bears 100");
    assert_eq!(held.counterfactual, "without it 3, because all of cpu < 0.35 (0.100) hold");
    assert_eq!(run.then(15, &values(200.0)).to, 3);
    // What the origin gets has to be known.
    assert_eq!(told(&run.then(15, &[("cpu", 0.1), ("hits", 1.0)])), (3, Binding::Unknown));
}

#[test]
fn cold_instances_are_few_at_once() {
    let mut run = Run::new("max_cold = 2\ntargets = [{ signal = 'cpu', target = 0.5 }]", 2);
    assert_eq!(told(&run.then(0, &[("cpu", 2.0)])), (4, Binding::ColdLimit));
    let mut warming = inputs(4, &[("cpu", 2.0)]);
    warming.counts = Counts { ready: 2, cold: 1, ..Counts::default() };
    warming.readings[0].reporting = 2;
    let held = run.with(15, warming.clone());
    // The one that is neither ready nor seen to start is cold too.
    assert_eq!(
        (told(&held), held.reason.as_str()),
        ((4, Binding::ColdLimit), "2 instances are cold, and at most 2 may be")
    );
    warming.counts = Counts { ready: 3, cold: 1, ..Counts::default() };
    warming.readings[0].reporting = 3;
    assert_eq!(run.with(15, warming).to, 5);
}

#[test]
fn nothing_leaves_while_others_come_or_go() {
    let mut run = Run::new("down = [{ signal = 'cpu', below = 0.35, for_secs = 0 }]", 3);
    let converging = Inputs { converging: true, ..inputs(3, &[("cpu", 0.1)]) };
    assert_eq!(told(&run.with(0, converging)), (3, Binding::Converging));
    assert_eq!(run.then(15, &[("cpu", 0.1)]).to, 2);
}

#[test]
fn cooldowns_hold_and_panic_does_not_wait() {
    let text =
        "up_cooldown_secs = 60\npanic_ratio = 2.0\nup = [{ signal = 'queue', above = 50.0, for_secs = 30 }]
down = [{ signal = 'queue', below = 10.0, for_secs = 0 }]";
    let mut run = Run::new(text, 3);
    run.then(0, &[("queue", 60.0)]);
    assert_eq!(run.then(30, &[("queue", 60.0)]).to, 4);
    let held = run.then(15, &[("queue", 60.0)]);
    assert_eq!(
        (told(&held), held.reason.as_str()),
        ((4, Binding::CooldownUp), "the last step up was 15 s ago, 60 s are to pass")
    );
    assert_eq!(held.counterfactual, "without it 5, because queue is 60.0, above 50.0 for 30 s");
    assert_eq!(told(&run.then(15, &[("queue", 101.0)])), (5, Binding::Panic));
    assert_eq!(told(&run.then(45, &[("queue", 1.0)])), (5, Binding::Panic));
    assert_eq!(run.then(60, &[("queue", 1.0)]).to, 4);
}

#[test]
fn down_goes_to_the_most_that_was_wanted_lately() {
    let text = "stabilization_secs = 300\ndown_rates = [{ instances = 2, period_secs = 60 }]\ntargets = [{ signal = 'cpu', target = 0.5 }]";
    let mut run = Run::new(text, 8);
    assert_eq!(told(&run.then(0, &[("cpu", 0.1)])), (8, Binding::Stabilization));
    assert_eq!(run.then(200, &[("cpu", 0.3)]).to, 8);
    // The start is forgotten; 5 were wanted since.
    assert_eq!(told(&run.then(150, &[("cpu", 0.1)])), (6, Binding::Rate));
    assert_eq!(told(&run.then(61, &[("cpu", 0.1)])), (5, Binding::Stabilization));
}

#[test]
fn what_would_at_once_ask_for_more_again_stays() {
    let text = "up = [{ signal = 'cpu', above = 0.75, for_secs = 0 }]\ndown = [{ signal = 'cpu', below = 0.5, for_secs = 0 }]";
    let mut run = Run::new(text, 2);
    let held = run.then(0, &[("cpu", 0.45)]);
    assert_eq!(
        (told(&held), held.reason.as_str()),
        ((2, Binding::Stabilization), "cpu would be 0.900 then, above 0.750")
    );
    assert_eq!(run.then(15, &[("cpu", 0.3)]).to, 1);
}

#[test]
fn people_win_over_signals_but_not_over_bounds() {
    let mut run = Run::new("max = 5\nup = [{ signal = 'cpu', above = 0.75, for_secs = 0 }]", 3);
    let manual = |desired, pause| Override {
        desired,
        pause,
        by: "ops".to_owned(),
        reason: "release".to_owned(),
        until: START + 600_000,
    };
    let busy = |manual| Inputs { manual: Some(manual), ..inputs(3, &[("cpu", 0.9)]) };
    let paused = run.with(0, busy(manual(None, true)));
    assert_eq!(
        (told(&paused), paused.reason.as_str()),
        ((3, Binding::Paused), "ops has paused decisions: release")
    );
    assert_eq!(paused.counterfactual, "without it 4, because cpu is 0.900, above 0.750");
    assert_eq!(told(&run.with(15, busy(manual(Some(2), false)))), (2, Binding::Override));
    run.aim = 3;
    assert_eq!(told(&run.with(15, busy(manual(Some(50), false)))), (5, Binding::Override));
    // It is over.
    assert_eq!(told(&run.with(600, busy(manual(None, true)))), (4, Binding::None));
    let unreachable = Inputs { reachable: false, ..busy(manual(Some(2), false)) };
    run.now = START;
    assert_eq!(told(&run.with(0, unreachable)), (3, Binding::Unreachable));
}

#[test]
fn after_a_start_nothing_is_decided_but_the_bounds() {
    let mut run = Run::new(
        "min = 3\nmax = 6\nstartup_hold_secs = 60\nup = [{ signal = 'cpu', above = 0.75, for_secs = 0 }]",
        4,
    );
    assert_eq!(told(&run.then(0, &[("cpu", 0.9)])), (4, Binding::Startup));
    assert_eq!(run.then(60, &[("cpu", 0.9)]).to, 5);
    for (aim, to, binding) in [(0, 3, Binding::Min), (9, 6, Binding::Max)] {
        let mut run = Run::new(
            "min = 3\nmax = 6\nstartup_hold_secs = 60\nup = [{ signal = 'cpu', above = 0.75 }]",
            aim,
        );
        assert_eq!(told(&run.then(0, &[("cpu", 0.1)])), (to, binding));
    }
}

#[test]
fn an_instance_drained_by_hand_counts_as_a_change() {
    let mut run =
        Run::new("down_cooldown_secs = 300\ndown = [{ signal = 'cpu', below = 0.35, for_secs = 0 }]", 5);
    run.then(0, &[("cpu", 0.5)]);
    let drained = run.with(15, inputs(4, &[("cpu", 0.1)]));
    assert_eq!(told(&drained), (4, Binding::CooldownDown));
    assert_eq!(run.then(300, &[("cpu", 0.1)]).to, 3);
}

#[test]
fn a_rule_on_the_hit_ratio_gets_one_step_until_that_helped() {
    let text = "up_cooldown_secs = 60\nup = [{ signal = 'hit_ratio', below = 0.8, for_secs = 0 }]
down = [{ signal = 'cpu', below = 0.35, for_secs = 0 }]";
    let values = |ratio: f64| [("cpu", 0.5), ("hit_ratio", ratio)];
    let mut run = Run::new(text, 3);
    assert_eq!(run.then(0, &values(0.7)).to, 4);
    let waits = run.then(30, &values(0.6));
    assert_eq!((waits.to, waits.rules[0].verdict), (4, Verdict::Pending));
    let off = run.then(60, &values(0.7));
    assert_eq!((off.to, off.rules[0].verdict), (4, Verdict::False));
    assert_eq!(off.rules[0].note, "left off: one more instance did not help when it was 0.700");
    for _ in 0..20 {
        assert_eq!(run.then(60, &values(0.6)).to, 4);
    }
    // It does not keep what it brought.
    assert_eq!(run.then(60, &[("cpu", 0.1), ("hit_ratio", 0.6)]).to, 3);
    // Recovered: another try, and one after that when it helped.
    run.then(60, &values(0.85));
    run.then(60, &values(0.85));
    let aim = run.aim;
    assert_eq!(run.then(60, &values(0.7)).to, aim + 1);
    assert_eq!(run.then(61, &values(0.75)).to, aim + 2);
}

#[test]
fn the_later_gate_is_the_one_that_is_told() {
    let mut run =
        Run::new("startup_hold_secs = 60\nup = [{ signal = 'cpu', above = 0.75, for_secs = 0 }]", 3);
    let both = Inputs { reachable: false, ..inputs(3, &[("cpu", 0.9)]) };
    assert_eq!(told(&run.with(0, both)), (3, Binding::Unreachable));
}
