//! What holds for all policies and all courses of events.

use proptest::{collection::vec, option, prelude::*};

use super::{
    tests::{START, inputs, policy},
    *,
};
use crate::scaling::decision::{Counts, Override, Verdict};

const TICK: i64 = 15_000;

/// One moment: signals (None: unknown), and what else may be.
#[derive(Debug, Clone)]
struct Moment {
    cpu: Option<f64>,
    queue: Option<f64>,
    /// Never too slow, but not always known.
    p95: Option<f64>,
    cold: u32,
    converging: bool,
    reachable: bool,
    manual: Option<(Option<u32>, bool)>,
    drained: bool,
}

fn moment() -> impl Strategy<Value = Moment> {
    let rare = || proptest::bool::weighted(0.05);
    let manual = option::weighted(0.05, (option::of(0u32..20), any::<bool>()));
    // Calm more often than not, or nothing would ever go.
    let signal = |most: f64| option::weighted(0.97, prop_oneof![8 => 0.0..most / 50.0, 1 => 0.0..most]);
    let cold = prop_oneof![4 => Just(0u32), 1 => 1u32..3];
    (signal(2.0), (signal(150.0), option::weighted(0.8, 0.0f64..1.0)), cold, rare(), rare(), manual, rare())
        .prop_map(|(cpu, (queue, p95), cold, converging, away, manual, drained)| Moment {
            cpu,
            queue,
            p95,
            cold,
            converging,
            reachable: !away,
            manual,
            drained,
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let bounds = (1u32..4, 0u32..12);
    let waits = (0u64..120, 0u64..400, 0u64..400, 0u64..90);
    let thresholds = (0.4f64..0.9, 0.2f64..0.95);
    (bounds, waits, 0u32..4, 0u32..3, any::<bool>(), thresholds).prop_map(|(bounds, waits, cold, rate, targets, (high, share))| {
        let ((min, more), low) = (bounds, high * share);
        let (up_cooldown, down_cooldown, window, hold) = waits;
        let rate = if rate == 0 { String::new() } else { format!("{{ instances = {rate}, period_secs = 60 }}") };
        let targets = if targets { "{ signal = 'cpu', target = 0.5 }" } else { "" };
        policy(&format!(
            "min = {min}\nmax = {}\nmax_cold = {cold}\npanic_ratio = 2.0
up_cooldown_secs = {up_cooldown}\ndown_cooldown_secs = {down_cooldown}\nstabilization_secs = {window}\nstartup_hold_secs = {hold}
up_rates = [{rate}]\ndown_rates = [{rate}]\ntargets = [{targets}]
up = [{{ signal = 'cpu', above = {high:?}, for_secs = 30 }}, {{ signal = 'queue', above = 50.0, for_secs = 30 }}, {{ signal = 'p95', above = 2.0, for_secs = 30 }}]
down = [{{ signal = 'cpu', below = {low:?}, for_secs = 30 }}, {{ signal = 'queue', below = 10.0, for_secs = 30 }}]",
            min + more
        ))
    })
}

fn seen(moment: &Moment, aim: u32, now: UnixMillis) -> Inputs {
    let values: Vec<_> = [("cpu", moment.cpu), ("queue", moment.queue), ("p95", moment.p95)]
        .into_iter()
        .filter_map(|(n, v)| Some((n, v?)))
        .collect();
    let ready = aim.saturating_sub(moment.cold);
    let mut inputs = inputs(ready, &values);
    inputs.aim = if moment.drained { aim.saturating_sub(1) } else { aim };
    inputs.counts = Counts { ready, cold: moment.cold, ..Counts::default() };
    (inputs.converging, inputs.reachable) = (moment.converging, moment.reachable);
    inputs.manual = moment.manual.map(|(desired, pause)| Override {
        desired,
        pause,
        by: "ops".to_owned(),
        reason: String::new(),
        until: now + TICK,
    });
    inputs
}

/// All decisions of a course, with what they were made of and what was remembered before.
fn course(policy: &Policy, moments: &[Moment]) -> Vec<(State, Inputs, Decision)> {
    let mut state = State::new(START, policy.min);
    let mut aim = policy.min;
    let mut all = Vec::new();
    for (index, moment) in moments.iter().enumerate() {
        let now = START + i64::try_from(index).unwrap() * TICK;
        let inputs = seen(moment, aim, now);
        let (decision, next) = decide(&state, &inputs, policy, now);
        aim = decision.to;
        all.push((std::mem::replace(&mut state, next), inputs, decision));
    }
    all
}

/// Made by signals, not by people or bounds.
fn of_signals(decision: &Decision, policy: &Policy) -> bool {
    let inside = (policy.min..=policy.max).contains(&decision.from);
    decision.binding != Binding::Override && inside
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_outside_of_min_and_max(policy in any_policy(), moments in vec(moment(), 1..120)) {
        for (_, _, decision) in course(&policy, &moments) {
            let inside = (policy.min..=policy.max).contains(&decision.to);
            // What others have put outside stays there only while nothing can be done about it.
            let held = decision.to == decision.from
                && matches!(decision.binding, Binding::Paused | Binding::Unreachable);
            prop_assert!(inside || held, "{decision:?}");
        }
    }

    #[test]
    fn cooldowns_are_respected(policy in any_policy(), moments in vec(moment(), 1..120)) {
        let (mut last_up, mut last) = (None, None);
        for (state, inputs, decision) in course(&policy, &moments) {
            let now = decision.at;
            if let Some(before) = state.aim.filter(|before| *before != inputs.aim) {
                last = Some(now);
                if inputs.aim > before {
                    last_up = Some(now);
                }
            }
            let since = |at: Option<UnixMillis>| at.map_or(i64::MAX, |at| now - at);
            if of_signals(&decision, &policy) {
                match decision.action {
                    Action::Up if !urgent(&inputs, &policy) => prop_assert!(since(last_up) >= policy.up_cooldown_ms, "{decision:?}"),
                    Action::Down => prop_assert!(since(last) >= policy.down_cooldown_ms, "{decision:?}"),
                    _ => {}
                }
            }
            if decision.action != Action::Hold {
                last = Some(now);
            }
            if decision.action == Action::Up {
                last_up = Some(now);
            }
        }
    }

    #[test]
    fn down_is_never_below_what_was_wanted_within_the_window(policy in any_policy(), moments in vec(moment(), 1..120)) {
        let mut wanted: Vec<(UnixMillis, u32)> = vec![(START, policy.min)];
        for (_, inputs, decision) in course(&policy, &moments) {
            // What any rule or target asks for by itself, or no change where something is unknown.
            let asked = decision.targets.iter().filter_map(|target| target.wants);
            let ups = decision.rules[..3].iter().any(|rule| rule.verdict == Verdict::True);
            let lows = decision.rules[3..].iter().all(|rule| rule.verdict == Verdict::True);
            let unknown = decision.rules.iter().any(|rule| rule.verdict == Verdict::Unknown);
            let at_least = match () {
                () if ups => inputs.aim + 1,
                () if unknown || !lows => inputs.aim,
                () => inputs.aim.saturating_sub(1),
            };
            let now_wanted = asked.max().unwrap_or(0).max(at_least).clamp(policy.min, policy.max);
            wanted.push((decision.at, now_wanted));
            if decision.action == Action::Down && of_signals(&decision, &policy) {
                let window = wanted.iter().filter(|(at, _)| *at >= decision.at - policy.stabilization_ms);
                let most = window.map(|(_, wanted)| *wanted).max().unwrap_or(0);
                prop_assert!(decision.to >= most.min(decision.from), "{most} {decision:?}");
            }
        }
    }

    #[test]
    fn up_on_any_down_on_all_and_the_unknown_never_up_and_never_down(policy in any_policy(), moments in vec(moment(), 1..120)) {
        for (_, _, decision) in course(&policy, &moments) {
            if !of_signals(&decision, &policy) {
                continue;
            }
            let (ups, downs) = decision.rules.split_at(3);
            let over = ups.iter().any(|rule| {
                let urgent = rule.value.is_some_and(|value| value >= rule.threshold * policy.panic_ratio);
                rule.verdict == Verdict::True || (rule.verdict == Verdict::Pending && urgent)
            });
            let asks = over || decision.targets.iter().any(|target| target.wants.is_some_and(|wants| wants > decision.from));
            match decision.action {
                Action::Up => prop_assert!(asks, "{decision:?}"),
                Action::Down => {
                    prop_assert!(!asks, "{decision:?}");
                    prop_assert!(downs.iter().all(|rule| rule.verdict == Verdict::True), "{decision:?}");
                    prop_assert!(decision.rules.iter().all(|rule| rule.value.is_some()), "{decision:?}");
                    prop_assert!(decision.targets.iter().all(|target| target.wants.is_some()), "{decision:?}");
                }
                // ANY is enough, unless something is said to be in the way.
                Action::Hold => prop_assert!(!asks || decision.binding != Binding::None, "{decision:?}"),
            }
        }
    }

    /// With nothing known at all, nothing happens, whatever was before.
    #[test]
    fn silence_changes_nothing(policy in any_policy(), moments in vec(moment(), 1..60)) {
        let all = course(&policy, &moments);
        let (state, _, last) = all.last().unwrap();
        let silent = Inputs { readings: Vec::new(), ..inputs(last.to.clamp(policy.min, policy.max), &[]) };
        let (decision, _) = decide(state, &silent, &policy, last.at + TICK);
        prop_assert_eq!(decision.to, decision.from);
        prop_assert!(matches!(decision.binding, Binding::Unknown | Binding::Startup), "{:?}", decision.binding);
    }

    /// Written down and read again, a course is the same: state and inputs lose nothing.
    #[test]
    fn what_is_written_down_decides_the_same(policy in any_policy(), moments in vec(moment(), 1..40)) {
        let policy_again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        prop_assert_eq!(&policy_again, &policy);
        for (state, inputs, decision) in course(&policy, &moments) {
            let state: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            let inputs: Inputs = serde_json::from_str(&serde_json::to_string(&inputs).unwrap()).unwrap();
            let (again, _) = decide(&state, &inputs, &policy_again, decision.at);
            prop_assert_eq!(&again, &decision);
            let read: Decision = serde_json::from_str(&serde_json::to_string(&decision).unwrap()).unwrap();
            prop_assert_eq!(read, decision);
        }
    }

    /// A load that stays the same ends in a number of instances that stays the same, in one direction.
    #[test]
    fn constant_load_does_not_swing(policy in any_policy(), load in 0.05f64..12.0, begin in 1u32..14, join in 1usize..6) {
        let mut state = State::new(START, begin);
        let mut aim = begin.clamp(policy.min, policy.max);
        let mut joining: Vec<usize> = Vec::new();
        let mut turns = Vec::new();
        for tick in 0..400 {
            joining.retain(|at| *at > tick);
            let cold = u32::try_from(joining.len()).unwrap();
            let ready = (aim - cold).max(1);
            let mut inputs = inputs(ready, &[("cpu", load / f64::from(ready)), ("queue", 1.0), ("p95", 0.1)]);
            inputs.aim = aim;
            inputs.counts.cold = cold;
            inputs.converging = cold > 0;
            let now = START + i64::try_from(tick).unwrap() * TICK;
            let (decision, next) = decide(&state, &inputs, &policy, now);
            state = next;
            for _ in aim..decision.to {
                joining.push(tick + join);
            }
            if decision.action != Action::Hold {
                turns.push((tick, decision.action, decision.to));
            }
            aim = decision.to;
        }
        prop_assert!(turns.iter().all(|(tick, ..)| *tick < 350), "still moving: {turns:?}");
        // It may go up while others join, and come back once; not to and fro.
        let changes = turns.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        prop_assert!(changes <= 1, "{turns:?}");
    }
}

fn urgent(inputs: &Inputs, policy: &Policy) -> bool {
    let value = |name: &str| {
        inputs.readings.iter().find(|reading| reading.name == name).and_then(|reading| reading.value)
    };
    let rules = policy.up.iter().map(|rule| (&rule.signal, rule.threshold));
    let bounds = rules.chain(policy.targets.iter().map(|target| (&target.signal, target.target)));
    bounds
        .into_iter()
        .any(|(signal, bound)| value(signal).is_some_and(|value| value / bound >= policy.panic_ratio))
}
