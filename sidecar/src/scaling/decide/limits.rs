//! How much of a wish may be granted now.

use millrace_kit::clock::UnixMillis;

use super::{Known, shown};
use crate::scaling::{
    decision::State,
    policy::{Policy, Rate, RateKind, Select, Side},
};

/// A cooldown that is not over, in seconds.
pub(super) struct Cooldown {
    pub(super) passed: i64,
    pub(super) wanted: i64,
}

pub(super) fn cools_down(last: Option<UnixMillis>, cooldown_ms: i64, now: UnixMillis) -> Option<Cooldown> {
    let passed = now.saturating_sub(last?);
    (passed < cooldown_ms).then_some(Cooldown { passed: passed / 1000, wanted: cooldown_ms / 1000 })
}

/// The most that rates allow now.
pub(super) fn up(state: &State, policy: &Policy, aim: u32, now: UnixMillis) -> u32 {
    let limit = |rate: &Rate| {
        let start = at_start(state, rate, aim, now);
        let limit = match rate.kind {
            RateKind::Instances => start + i64::from(rate.amount),
            RateKind::Percent => percent(start, 100 + i64::from(rate.amount), Round::Up),
        };
        u32::try_from(limit.max(i64::from(aim))).unwrap_or(u32::MAX)
    };
    let limits = policy.up_rates.iter().map(limit);
    let selected = match policy.up_select {
        Select::Most => limits.max(),
        Select::Least => limits.min(),
    };
    selected.unwrap_or(u32::MAX)
}

/// The least that rates allow now.
pub(super) fn down(state: &State, policy: &Policy, aim: u32, now: UnixMillis) -> u32 {
    let limit = |rate: &Rate| {
        let start = at_start(state, rate, aim, now);
        let limit = match rate.kind {
            RateKind::Instances => start - i64::from(rate.amount),
            RateKind::Percent => percent(start, 100 - i64::from(rate.amount), Round::Down),
        };
        u32::try_from(limit.clamp(0, i64::from(aim))).unwrap_or(aim)
    };
    let limits = policy.down_rates.iter().map(limit);
    let selected = match policy.down_select {
        Select::Most => limits.min(),
        Select::Least => limits.max(),
    };
    selected.unwrap_or(0)
}

/// Instances when the period of the rate began.
fn at_start(state: &State, rate: &Rate, aim: u32, now: UnixMillis) -> i64 {
    let begin = now.saturating_sub(rate.period_ms);
    let changed: i64 = state.changes.iter().filter(|(at, _)| *at > begin).map(|(_, by)| i64::from(*by)).sum();
    i64::from(aim) - changed
}

enum Round {
    Up,
    Down,
}

fn percent(of: i64, percent: i64, round: Round) -> i64 {
    let hundredfold = of.saturating_mul(percent);
    match round {
        Round::Up => hundredfold.saturating_add(99).div_euclid(100),
        // Towards zero, as Kubernetes does.
        Round::Down => hundredfold / 100,
    }
}

/// The hits of instances that leave go to the origin until other caches have what they had. Some(least): so many must
/// stay for the origin to bear it.
pub(super) fn origin_bears(known: &Known<'_>, to: u32) -> Option<(u32, String)> {
    let origin = &known.policy.origin;
    let aim = known.inputs.aim;
    if origin.budget <= 0.0 || aim == 0 {
        return None;
    }
    // Unknown loads have held back the wish already.
    let (load, hits) = (known.value(&origin.load_signal)?, known.value(&origin.hits_signal)?);
    let with = |left: u32| load + hits * f64::from(aim - left) / f64::from(aim);
    let least = (to..aim).find(|left| with(*left) <= origin.budget).unwrap_or(aim);
    let why = format!(
        "the origin would get up to {} requests a second, and bears {}",
        shown(with(to.min(aim))),
        shown(origin.budget)
    );
    (least > to).then_some((least, why))
}

/// With fewer instances each bears more: what would at once ask for more again stays. Some(least): so many must stay.
pub(super) fn would_come_back(known: &Known<'_>, to: u32) -> Option<(u32, String)> {
    let (policy, aim) = (known.policy, known.inputs.aim);
    let ready = f64::from(known.inputs.counts.ready.max(1));
    let mut worst: Option<(u32, String)> = None;
    for rule in policy.up.iter().filter(|rule| rule.side == Side::Above) {
        let shared = policy.signal(&rule.signal).is_some_and(|signal| signal.per_instance);
        let Some(value) = known.value(&rule.signal).filter(|_| shared) else { continue };
        let with = |left: u32| value * ready / f64::from(left.max(1));
        let Some(least) = (to..=aim).find(|left| with(*left) <= rule.threshold || *left == aim) else {
            continue;
        };
        if least > worst.as_ref().map_or(to, |(least, _)| *least) {
            let (expected, threshold) = (shown(with(to)), shown(rule.threshold));
            let why = format!("{} would be {expected} then, above {threshold}", rule.signal);
            worst = Some((least, why));
        }
    }
    worst
}
