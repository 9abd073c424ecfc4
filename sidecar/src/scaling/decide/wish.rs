//! What signals ask for, before anything limits it.

use super::{Known, shown};
use crate::scaling::{
    decision::{Binding, RuleVerdict, TargetVerdict, Verdict},
    policy::Side,
};

#[derive(Debug)]
pub(super) struct Wish {
    pub(super) to: u32,
    pub(super) why: String,
    /// So far above that neither waits nor cooldowns count.
    pub(super) urgent: bool,
    /// Something else would be asked for but for this.
    pub(super) held_back: Option<(Binding, String)>,
    /// What that is.
    pub(super) otherwise: String,
    /// Rules that want to find out whether one more helps, and the value now.
    pub(super) trials: Vec<(String, f64)>,
}

/// UP when any rule or target asks for it; DOWN only when all do, and all is known.
pub(super) fn wish(
    known: &Known<'_>,
    up: &[RuleVerdict],
    down: &[RuleVerdict],
    targets: &[TargetVerdict],
) -> Wish {
    let aim = known.inputs.aim;
    let mut wish = Wish {
        to: aim,
        why: "nothing asks for more, and not everything for fewer".to_owned(),
        urgent: false,
        held_back: None,
        otherwise: String::new(),
        trials: Vec::new(),
    };
    let explained = ask_for_more(known, up, targets, &mut wish);
    if wish.to > aim {
        return wish;
    }
    if let Some(fault) = explained {
        wish.held_back = Some((Binding::OriginFault, fault));
        wish.otherwise = format!("without it more than {aim}: answers take too long");
        return wish;
    }
    let fewer = ask_for_fewer(known, up, down, targets);
    let unknown = unknown_signals(known);
    if let Some((signal, why)) = unknown.first() {
        let others = match unknown.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more are unknown"),
        };
        wish.held_back = Some((Binding::Unknown, format!("{signal} {why}{others}")));
        if let Some((to, why)) = fewer {
            wish.otherwise = format!("without it {to}, because {why}");
        }
        return wish;
    }
    if let Some((to, why)) = fewer {
        (wish.to, wish.why) = (to, why);
    }
    wish
}

/// Returns what an origin does that keeps some rule from asking.
fn ask_for_more(
    known: &Known<'_>,
    up: &[RuleVerdict],
    targets: &[TargetVerdict],
    wish: &mut Wish,
) -> Option<String> {
    let (policy, aim) = (known.policy, known.inputs.aim);
    let fault = known.origin_fault();
    let mut explained = None;
    let panics = |pressure: f64| policy.panic_ratio > 0.0 && pressure >= policy.panic_ratio;
    for (rule, judged) in policy.up.iter().zip(up) {
        let Some(value) = judged.value else { continue };
        let urgent = rule.side == Side::Above && rule.threshold > 0.0 && panics(value / rule.threshold);
        let asks = judged.verdict == Verdict::True || (judged.verdict == Verdict::Pending && urgent);
        if !asks {
            continue;
        }
        if !judged.note.is_empty() {
            if rule.explained_by_origin && fault.is_some() {
                explained = Some(format!("{} is {}, but {}", rule.signal, shown(value), judged.note));
            }
            continue;
        }
        wish.urgent |= urgent;
        if rule.side == Side::Below {
            wish.trials.push((rule.name.clone(), value));
        }
        let to = aim.saturating_add(rule.step);
        if to > wish.to {
            wish.to = to;
            wish.why = match rule.side {
                Side::Above if urgent => {
                    let (value, threshold) = (shown(value), shown(rule.threshold));
                    format!("{} is {value}, far above {threshold}", rule.signal)
                }
                Side::Above => over(&rule.signal, value, rule.threshold, judged.for_seconds),
                Side::Below => {
                    format!("{} is {}, below {}", rule.signal, shown(value), shown(rule.threshold))
                }
            };
        }
    }
    for (target, judged) in policy.targets.iter().zip(targets) {
        let (Some(ratio), Some(wants), Some(value)) = (judged.ratio, judged.wants, judged.value) else {
            continue;
        };
        if wants <= aim {
            continue;
        }
        if let Some(fault) = fault.as_ref().filter(|_| target.explained_by_origin) {
            explained = Some(format!("{} is {}, but {fault}", target.signal, shown(value)));
            continue;
        }
        wish.urgent |= panics(ratio);
        if wants > wish.to {
            wish.to = wants;
            wish.why = aims(&target.signal, value, target.target);
        }
    }
    explained
}

fn ask_for_fewer(
    known: &Known<'_>,
    up: &[RuleVerdict],
    down: &[RuleVerdict],
    targets: &[TargetVerdict],
) -> Option<(u32, String)> {
    let aim = known.inputs.aim;
    let calm = up.iter().all(|rule| matches!(rule.verdict, Verdict::False | Verdict::Unknown));
    let low = down.iter().all(|rule| rule.verdict == Verdict::True);
    if !calm || !low || (down.is_empty() && targets.is_empty()) {
        return None;
    }
    let asked = known.policy.targets.iter().zip(targets);
    let wanted = asked.filter_map(|(target, judged)| Some((judged.wants?, target, judged.value?)));
    let most = wanted.max_by_key(|(wants, _, _)| *wants);
    let by_rules = if down.is_empty() { 0 } else { aim.saturating_sub(1) };
    let (to, why) = match most {
        Some((wants, target, value)) if wants >= by_rules => {
            (wants, aims(&target.signal, value, target.target))
        }
        _ => {
            let said = |rule: &RuleVerdict| format!("{} ({})", rule.name, shown(rule.value.unwrap_or(0.0)));
            let all: Vec<_> = down.iter().map(said).collect();
            (by_rules, format!("all of {} hold", all.join(", ")))
        }
    };
    (to < aim).then_some((to, why))
}

/// Signals that something depends on and that nobody knows.
fn unknown_signals<'a>(known: &Known<'a>) -> Vec<(&'a str, String)> {
    let policy = known.policy;
    let mut used: Vec<&str> = policy.up.iter().chain(&policy.down).map(|rule| rule.signal.as_str()).collect();
    used.extend(policy.targets.iter().map(|target| target.signal.as_str()));
    if policy.origin.budget > 0.0 {
        used.extend([policy.origin.load_signal.as_str(), policy.origin.hits_signal.as_str()]);
    }
    let mut unknown: Vec<(&str, String)> = Vec::new();
    for signal in used {
        if known.reading(signal).is_none() && !unknown.iter().any(|(name, _)| *name == signal) {
            unknown.push((signal, known.why_unknown(signal)));
        }
    }
    unknown
}

fn over(signal: &str, value: f64, threshold: f64, seconds: i64) -> String {
    let (value, threshold) = (shown(value), shown(threshold));
    match seconds {
        0 => format!("{signal} is {value}, above {threshold}"),
        _ => format!("{signal} is {value}, above {threshold} for {seconds} s"),
    }
}

fn aims(signal: &str, value: f64, target: f64) -> String {
    format!("{signal} is {}, to be {}", shown(value), shown(target))
}
