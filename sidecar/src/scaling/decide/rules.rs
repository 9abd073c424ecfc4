//! Threshold rules: which hold, and for how long.

use std::collections::BTreeMap;

use millrace_kit::clock::UnixMillis;

use super::{Known, shown};
use crate::scaling::{
    decision::{Direction, RuleVerdict, Since, State, Verdict},
    policy::{Policy, Rule, Side},
};

/// Share of the way to the threshold that one more instance must have brought a signal.
const HELPED: f64 = 0.5;

pub(super) fn up(known: &Known<'_>, state: &mut State, now: UnixMillis) -> Vec<RuleVerdict> {
    let fault = known.origin_fault();
    let rules = known.policy.up.iter();
    let judged = rules.map(|rule| {
        let mut verdict = judge(known, rule, Direction::Up, &mut state.up_since, now);
        if let Some(fault) = fault.as_ref().filter(|_| rule.explained_by_origin) {
            verdict.note = format!("explained by the origin: {fault}");
        }
        if rule.side == Side::Below {
            trial(known, rule, &mut verdict, state, now);
        }
        verdict
    });
    judged.collect()
}

pub(super) fn down(known: &Known<'_>, state: &mut State, now: UnixMillis) -> Vec<RuleVerdict> {
    let rules = known.policy.down.iter();
    rules.map(|rule| judge(known, rule, Direction::Down, &mut state.down_since, now)).collect()
}

fn judge(
    known: &Known<'_>,
    rule: &Rule,
    direction: Direction,
    since: &mut BTreeMap<String, Since>,
    now: UnixMillis,
) -> RuleVerdict {
    let value = known.value(&rule.signal);
    let holds = value.map(|value| match rule.side {
        Side::Above => value > rule.threshold,
        Side::Below => value < rule.threshold,
    });
    let verdict = match holds {
        Some(true) => {
            let held = since.entry(rule.name.clone()).or_insert(Since { first: now, last: now });
            held.last = now;
            if now.saturating_sub(held.first) >= rule.for_ms { Verdict::True } else { Verdict::Pending }
        }
        Some(false) => {
            since.remove(&rule.name);
            Verdict::False
        }
        None => {
            // One lost scrape does not start the wait anew; longer silence does.
            let patience = known.policy.max_age_ms;
            if since.get(&rule.name).is_some_and(|held| now.saturating_sub(held.last) > patience) {
                since.remove(&rule.name);
            }
            Verdict::Unknown
        }
    };
    RuleVerdict {
        name: rule.name.clone(),
        direction,
        expr: known.policy.signal(&rule.signal).map_or(String::new(), |signal| signal.expr.clone()),
        verdict,
        value,
        threshold: rule.threshold,
        for_seconds: rule.for_ms / 1000,
        true_since: since.get(&rule.name).map(|held| held.first),
        note: match verdict {
            Verdict::Unknown => known.why_unknown(&rule.signal),
            _ => String::new(),
        },
    }
}

/// More instances may lower what they should raise: a cold cache lowers a hit ratio, and the rule would run away. So it
/// gets one step, and another only after that one has helped.
fn trial(known: &Known<'_>, rule: &Rule, verdict: &mut RuleVerdict, state: &mut State, now: UnixMillis) {
    let (Some(value), Some(trial)) = (verdict.value, state.trials.get_mut(&rule.name)) else { return };
    let patience = patience(known.policy, rule);
    if value >= rule.threshold {
        // Values that come and go around the threshold are no recovery.
        let since = *trial.recovered_since.get_or_insert(now);
        if now.saturating_sub(since) >= patience {
            state.trials.remove(&rule.name);
        }
        return;
    }
    trial.recovered_since = None;
    let settled =
        !known.inputs.converging && known.inputs.counts.cold == 0 && now.saturating_sub(trial.at) >= patience;
    if !trial.failed && !settled {
        verdict.verdict = Verdict::Pending;
        verdict.note = "the last step has yet to show whether it helps".to_owned();
    } else if trial.failed || value < trial.before + HELPED * (rule.threshold - trial.before) {
        // From now on it asks for nothing, and keeps nothing, until the value has recovered.
        trial.failed = true;
        verdict.verdict = Verdict::False;
        let before = shown(trial.before);
        verdict.note = format!("left off: one more instance did not help when it was {before}");
    }
}

fn patience(policy: &Policy, rule: &Rule) -> i64 {
    rule.for_ms.max(policy.up_cooldown_ms).max(policy.down_cooldown_ms)
}
