//! Target tracking with the arithmetic of Kubernetes' autoscaler: `ceil(ratio × instances)`, a tolerance, and the
//! cautious view of instances of which nothing is known.

use super::Known;
use crate::scaling::{
    decision::{Reading, TargetVerdict},
    policy::Target,
};

pub(super) fn judge(known: &Known<'_>) -> Vec<TargetVerdict> {
    known.policy.targets.iter().map(|target| one(known, target)).collect()
}

fn one(known: &Known<'_>, target: &Target) -> TargetVerdict {
    let reading = known.reading(&target.signal);
    let (ratio, wants) = match reading.and_then(|reading| Some((reading, reading.value?))) {
        None => (None, None),
        Some((_, total)) if target.total => {
            let (ratio, wants) = of_total(known, target, total);
            (Some(ratio), Some(wants))
        }
        Some((reading, mean)) => (Some(mean / target.target), Some(of_mean(known, target, reading, mean))),
    };
    TargetVerdict {
        signal: target.signal.clone(),
        value: reading.and_then(|reading| reading.value),
        target: target.target,
        ratio,
        wants,
    }
}

fn of_total(known: &Known<'_>, target: &Target, total: f64) -> (f64, u32) {
    let aim = known.inputs.aim;
    let ratio = total / (target.target * f64::from(aim.max(1)));
    let wants = if within(ratio, target) { aim } else { whole(total / target.target) };
    (ratio, wants)
}

fn of_mean(known: &Known<'_>, target: &Target, reading: &Reading, mean: f64) -> u32 {
    let (aim, counts) = (known.inputs.aim, known.inputs.counts);
    let ratio = mean / target.target;
    let reporting = reading.reporting.min(counts.ready);
    let missing = counts.ready - reporting;
    let rises = ratio > 1.0;
    let cold = if rises { counts.cold } else { 0 };
    if missing == 0 && cold == 0 {
        return if within(ratio, target) { aim } else { whole(ratio * f64::from(reporting)) };
    }
    // Those who do not report are idle when it would grow, and full when it would shrink; cold ones are idle.
    let assumed = if rises { 0.0 } else { target.full };
    let seen = f64::from(reporting + missing + cold);
    let cautious =
        (mean * f64::from(reporting) + assumed * f64::from(missing)) / (target.target * seen.max(1.0));
    let turned = (rises && cautious < 1.0) || (!rises && cautious > 1.0);
    if within(cautious, target) || turned {
        return aim;
    }
    let wants = whole(cautious * seen);
    if (rises && wants < aim) || (!rises && wants > aim) { aim } else { wants }
}

fn within(ratio: f64, target: &Target) -> bool {
    (ratio - 1.0).abs() <= target.tolerance
}

/// Rounded up. What is more than `u32` holds is cut by the bounds anyway.
fn whole(instances: f64) -> u32 {
    instances.ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}
