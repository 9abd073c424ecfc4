//! The decision: a pure function of what is remembered, what is known now, the policy and the time.
//!
//! Read [`decide`] from top to bottom. First what signals ask for ([`wish`]), then what keeps it from being done: gates, for
//! whole decisions, and limits, for their size. The last one that changed anything is the decision's binding constraint.

use millrace_kit::clock::UnixMillis;

mod limits;
mod rules;
mod targets;
mod wish;

#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(super) mod tests;

use self::wish::Wish;
use super::{
    decision::{Action, Binding, Decision, Inputs, Reading, State, Trial},
    policy::Policy,
};

/// Changes and wants that are remembered at most, whatever the policy's windows.
const MAX_REMEMBERED: usize = 4096;

/// What to do now, and what to remember for the next time.
pub fn decide(state: &State, inputs: &Inputs, policy: &Policy, now: UnixMillis) -> (Decision, State) {
    let mut next = state.clone();
    notice_changes_by_others(&mut next, inputs.aim, now);
    let known = Known { inputs, policy };
    let up = rules::up(&known, &mut next, now);
    let down = rules::down(&known, &mut next, now);
    let targets = targets::judge(&known);
    let wish = wish::wish(&known, &up, &down, &targets);
    if wish.urgent {
        next.panic_until = Some(now.saturating_add(policy.panic_ms));
    }
    let wanted = wish.to.clamp(policy.min, policy.max);
    remember_wanted(&mut next, policy, now, wanted);

    let mut course = Course::new(inputs.aim, &wish);
    if course.to > inputs.aim {
        limit_up(&mut course, &next, &known, &wish, now);
    } else if course.to < inputs.aim {
        limit_down(&mut course, &next, &known, now);
    }
    gates(&mut course, &next, inputs, policy, now);

    let (from, to) = (inputs.aim, course.to);
    remember_change(&mut next, policy, now, from, to);
    if to > from && course.of_signals {
        for (name, before) in &wish.trials {
            next.trials.insert(
                name.clone(),
                Trial { at: now, before: *before, failed: false, recovered_since: None },
            );
        }
    }
    let action = match to.cmp(&from) {
        std::cmp::Ordering::Greater => Action::Up,
        std::cmp::Ordering::Less => Action::Down,
        std::cmp::Ordering::Equal => Action::Hold,
    };
    let decision = Decision {
        at: now,
        group: policy.name.clone(),
        action,
        from,
        to,
        binding: course.binding,
        reason: course.reason,
        counterfactual: course.counterfactual,
        rules: up.into_iter().chain(down).collect(),
        targets,
        ready: inputs.counts.ready,
        warming: inputs.counts.cold,
    };
    (decision, next)
}

/// Inputs, as far as they can be trusted.
struct Known<'a> {
    inputs: &'a Inputs,
    policy: &'a Policy,
}

impl Known<'_> {
    /// The reading, when it is a number, fresh, and of enough instances.
    fn reading(&self, signal: &str) -> Option<&Reading> {
        let reading = self.inputs.readings.iter().find(|reading| reading.name == signal)?;
        unusable(reading, self.policy).is_none().then_some(reading)
    }

    fn value(&self, signal: &str) -> Option<f64> {
        self.reading(signal)?.value
    }

    /// Why there is nothing to go by.
    fn why_unknown(&self, signal: &str) -> String {
        match self.inputs.readings.iter().find(|reading| reading.name == signal) {
            Some(reading) => unusable(reading, self.policy).unwrap_or_default(),
            None => "was not asked for".to_owned(),
        }
    }

    /// What an origin does that explains long answers, whatever the number of instances.
    fn origin_fault(&self) -> Option<String> {
        let origin = &self.policy.origin;
        let above = |signal: &str, bound: f64| {
            let value = self.value(signal).filter(|value| *value > bound)?;
            Some(format!("{signal} is {}, above {}", shown(value), shown(bound)))
        };
        above(&origin.latency_signal, origin.latency_above)
            .or_else(|| above(&origin.errors_signal, origin.errors_above))
    }
}

/// Why a reading is not to be trusted; None: it is.
pub(super) fn unusable(reading: &Reading, policy: &Policy) -> Option<String> {
    if !reading.error.is_empty() {
        return Some(reading.error.clone());
    }
    if reading.value.is_none_or(|value| !value.is_finite()) {
        return Some("has no value".to_owned());
    }
    let Some(age) = reading.age_ms else { return Some("has no samples".to_owned()) };
    if age > policy.max_age_ms {
        let bound = policy.max_age_ms / 1000;
        return Some(format!("is {} s old, more than {bound} s", age / 1000));
    }
    if reading.coverage < policy.min_coverage {
        let (covered, wanted) = (reading.coverage * 100.0, policy.min_coverage * 100.0);
        return Some(format!("comes from {covered:.0} % of ready instances, less than {wanted:.0} %"));
    }
    None
}

/// A decision in the making.
struct Course {
    to: u32,
    binding: Binding,
    reason: String,
    counterfactual: String,
    why: String,
    /// Still what signals asked for, or less of it.
    of_signals: bool,
}

impl Course {
    fn new(aim: u32, wish: &Wish) -> Self {
        let (binding, reason, counterfactual) = match &wish.held_back {
            Some((binding, why)) => (*binding, why.clone(), wish.otherwise.clone()),
            None => (Binding::None, wish.why.clone(), String::new()),
        };
        let of_signals = wish.to != aim;
        Self { to: wish.to, binding, reason, counterfactual, why: wish.why.clone(), of_signals }
    }

    /// A constraint; without effect when it changes nothing.
    fn bind(&mut self, aim: u32, to: u32, binding: Binding, reason: String) {
        if to == self.to {
            return;
        }
        if self.to != aim {
            self.counterfactual = format!("without it {}, because {}", self.to, self.why);
        }
        self.to = to;
        self.binding = binding;
        self.reason = reason;
    }

    /// A gate, which is told even when there was nothing to hold back.
    fn shut(&mut self, aim: u32, to: u32, binding: Binding, reason: String) {
        self.of_signals = false;
        if to == self.to {
            (self.binding, self.reason) = (binding, reason);
        } else {
            self.bind(aim, to, binding, reason);
        }
    }
}

fn limit_up(course: &mut Course, state: &State, known: &Known<'_>, wish: &Wish, now: UnixMillis) {
    let (policy, aim) = (known.policy, known.inputs.aim);
    let ceiling = policy.max.max(aim);
    course.bind(aim, course.to.min(ceiling), Binding::Max, format!("the most is {}", policy.max));
    let limit = limits::up(state, policy, aim, now);
    course.bind(aim, course.to.min(limit), Binding::Rate, format!("no faster than to {limit} by now"));
    if policy.max_cold > 0 {
        let missing = aim.saturating_sub(known.inputs.counts.ready);
        let cold = known.inputs.counts.cold.max(missing);
        let most = aim.saturating_add(policy.max_cold.saturating_sub(cold));
        let instances = if cold == 1 { "instance is" } else { "instances are" };
        let reason = format!("{cold} {instances} cold, and at most {} may be", policy.max_cold);
        course.bind(aim, course.to.min(most), Binding::ColdLimit, reason);
    }
    if let Some(ends) = limits::cools_down(state.last_up, policy.up_cooldown_ms, now)
        && !wish.urgent
    {
        let reason = format!("the last step up was {} s ago, {} s are to pass", ends.passed, ends.wanted);
        course.bind(aim, aim, Binding::CooldownUp, reason);
    }
    if wish.urgent && course.to > aim && course.binding == Binding::None {
        course.binding = Binding::Panic;
    }
}

fn limit_down(course: &mut Course, state: &State, known: &Known<'_>, now: UnixMillis) {
    let (policy, aim) = (known.policy, known.inputs.aim);
    let floor = policy.min.min(aim);
    course.bind(aim, course.to.max(floor), Binding::Min, format!("the least is {}", policy.min));
    let most = state.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(aim).min(aim);
    let reason = format!("{most} were wanted within the last {} s", policy.stabilization_ms / 1000);
    course.bind(aim, course.to.max(most), Binding::Stabilization, reason);
    let limit = limits::down(state, policy, aim, now);
    course.bind(aim, course.to.max(limit), Binding::Rate, format!("no faster than to {limit} by now"));
    if let Some((least, why)) = limits::origin_bears(known, course.to) {
        course.bind(aim, least, Binding::OriginBudget, why);
    }
    if let Some((least, why)) = limits::would_come_back(known, course.to) {
        course.bind(aim, least, Binding::Stabilization, why);
    }
    if let Some(ends) = limits::cools_down(state.last_up.max(state.last_down), policy.down_cooldown_ms, now) {
        let reason = format!("the last change was {} s ago, {} s are to pass", ends.passed, ends.wanted);
        course.bind(aim, aim, Binding::CooldownDown, reason);
    }
    if state.panic_until.is_some_and(|until| now < until) {
        let reason = "load rose steeply a short while ago".to_owned();
        course.bind(aim, aim, Binding::Panic, reason);
    }
    if known.inputs.converging {
        let reason = "instances are still coming or going".to_owned();
        course.bind(aim, aim, Binding::Converging, reason);
    }
}

/// The later, the stronger.
fn gates(course: &mut Course, state: &State, inputs: &Inputs, policy: &Policy, now: UnixMillis) {
    let aim = inputs.aim;
    let ends = state.started_at.saturating_add(policy.startup_hold_ms);
    if now < ends {
        let reason = format!("the sidecar has started; decisions begin in {} s", (ends - now) / 1000);
        course.shut(aim, aim, Binding::Startup, reason);
    }
    if aim < policy.min {
        course.shut(aim, course.to.max(policy.min), Binding::Min, format!("the least is {}", policy.min));
    } else if aim > policy.max {
        course.shut(aim, course.to.min(policy.max), Binding::Max, format!("the most is {}", policy.max));
    }
    if let Some(manual) = inputs.manual.as_ref().filter(|manual| now < manual.until) {
        let said = if manual.reason.is_empty() { "no reason given" } else { &manual.reason };
        match manual.desired {
            Some(desired) if !manual.pause => {
                let to = desired.clamp(policy.min, policy.max);
                course.shut(aim, to, Binding::Override, format!("{} wants {desired}: {said}", manual.by));
            }
            _ => {
                course.shut(aim, aim, Binding::Paused, format!("{} has paused decisions: {said}", manual.by))
            }
        }
    }
    if !inputs.reachable && course.binding != Binding::Paused {
        let reason = "what starts and stops instances does not answer".to_owned();
        course.shut(aim, aim, Binding::Unreachable, reason);
    }
}

/// An instance drained by hand, or an aim set elsewhere, is a change like ours: cooldowns and rates count it.
fn notice_changes_by_others(state: &mut State, aim: u32, now: UnixMillis) {
    let Some(before) = state.aim.filter(|before| *before != aim) else { return };
    match aim > before {
        true => state.last_up = Some(now),
        false => state.last_down = Some(now),
    }
    state.changes.push((now, difference(before, aim)));
}

fn remember_change(state: &mut State, policy: &Policy, now: UnixMillis, from: u32, to: u32) {
    state.aim = Some(to);
    if to != from {
        match to > from {
            true => state.last_up = Some(now),
            false => state.last_down = Some(now),
        }
        state.changes.push((now, difference(from, to)));
    }
    let rates = policy.up_rates.iter().chain(&policy.down_rates);
    let longest = rates.map(|rate| rate.period_ms).max().unwrap_or(0);
    state.changes.retain(|(at, _)| *at > now.saturating_sub(longest));
    let surplus = state.changes.len().saturating_sub(MAX_REMEMBERED);
    state.changes.drain(..surplus);
}

fn remember_wanted(state: &mut State, policy: &Policy, now: UnixMillis, wanted: u32) {
    state.wanted.push((now, wanted));
    state.wanted.retain(|(at, _)| *at >= now.saturating_sub(policy.stabilization_ms));
    let surplus = state.wanted.len().saturating_sub(MAX_REMEMBERED);
    state.wanted.drain(..surplus);
}

fn difference(from: u32, to: u32) -> i32 {
    i32::try_from(i64::from(to) - i64::from(from)).unwrap_or(0)
}

/// Three digits are enough for a sentence.
fn shown(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        0.0 => "0".to_owned(),
        _ if magnitude >= 100.0 => format!("{value:.0}"),
        _ if magnitude >= 10.0 => format!("{value:.1}"),
        _ if magnitude >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
