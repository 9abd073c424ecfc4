//! A policy over times that are past: from the journal's inputs, to show that it decides as it did, or from recorded
//! metrics, to show what another policy would have done.

use millrace_kit::clock::UnixMillis;

use super::{
    decide::{decide, unusable},
    decision::{Action, Binding, Counts, Decision, Inputs, Reading, State},
    journal::{Entry, Journal},
    policy::Policy,
    signals::{self, Source},
};

mod plot;
mod table;

pub use plot::svg;
pub use table::table;

/// Decisions of one replay; longer stretches are refused.
const MAX_TICKS: i64 = 200_000;

/// How many instances there were, over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub at: UnixMillis,
    pub instances: u32,
}

/// A course of instances and what it came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    pub points: Vec<Point>,
    pub decisions: Vec<Decision>,
    pub instance_hours: f64,
    /// Minutes in which an objective was violated.
    pub violated_minutes: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub from: UnixMillis,
    pub to: UnixMillis,
    pub kind: Kind,
    pub happened: Course,
    pub replayed: Course,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The policy is that of the journal: every decision was made again from what it was made of.
    Journal { decisions: usize, different: Vec<(Decision, Decision)> },
    /// Another policy, or no journal: signals come from metrics.
    Metrics { policy_differs: bool },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the end is not after the beginning")]
    Backwards,
    #[error("that would be {0} decisions, more than {MAX_TICKS}")]
    TooLong(i64),
    #[error("there are no decisions of group {0:?} in that time, and no metrics of instances either")]
    Nothing(String),
    #[error("cannot ask for instances: {0}")]
    Instances(String),
}

/// One decision of the journal, with what it was made of.
struct Tick {
    inputs: Inputs,
    decision: Decision,
    /// That it was really made with.
    state: State,
    policy_is_same: bool,
}

pub async fn replay(
    policy: &Policy,
    journal: Option<&Journal>,
    source: &Source,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Outcome, Error> {
    if to <= from {
        return Err(Error::Backwards);
    }
    let ticks = (to - from) / policy.interval_ms.max(1);
    if ticks > MAX_TICKS {
        return Err(Error::TooLong(ticks));
    }
    let policy = &aged_as_recorded(policy, journal);
    let recorded = journal.map_or_else(Vec::new, |journal| recorded(journal, policy, from, to));
    if !recorded.is_empty() && recorded.iter().all(|tick| tick.policy_is_same) {
        return Ok(from_journal(policy, recorded, from, to));
    }
    from_metrics(policy, &recorded, source, from, to).await
}

/// Where the file does not say how old a sample may be, the sidecar that recorded knew its scrape interval.
fn aged_as_recorded(policy: &Policy, journal: Option<&Journal>) -> Policy {
    let mut policy = policy.clone();
    let mut read = |entry| {
        if let Entry::Start { policy: recorded, .. } = entry
            && recorded.max_age_follows
            && policy.max_age_follows
        {
            policy.max_age_ms = recorded.max_age_ms;
        }
    };
    if let Some(journal) = journal {
        journal.read(&mut read);
    }
    policy
}

fn recorded(journal: &Journal, policy: &Policy, from: UnixMillis, to: UnixMillis) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let mut past: Option<(Policy, State)> = None;
    journal.read(|entry| match entry {
        Entry::Start { policy, state, .. } => past = Some((*policy, *state)),
        Entry::Tick { inputs, decision } => {
            let Some((made_with, state)) = &mut past else { return };
            let next = decide(state, &inputs, made_with, decision.at).1;
            let state = std::mem::replace(state, next);
            if (from..=to).contains(&decision.at) {
                let policy_is_same = made_with == policy;
                ticks.push(Tick { inputs: *inputs, decision: *decision, state, policy_is_same });
            }
        }
        Entry::Override { .. } | Entry::Drain { .. } => {}
    });
    ticks
}

/// The chain begins with the first state; from there on each decision follows from the one before, as it did. Only a
/// start of the sidecar in between, which forgets nothing but begins its hold anew, is taken as it was.
fn from_journal(policy: &Policy, ticks: Vec<Tick>, from: UnixMillis, to: UnixMillis) -> Outcome {
    let mut state = ticks.first().map(|tick| tick.state.clone()).unwrap_or_default();
    let mut again = Vec::with_capacity(ticks.len());
    let mut different = Vec::new();
    for tick in &ticks {
        state.started_at = tick.state.started_at;
        let (decision, next) = decide(&state, &tick.inputs, policy, tick.decision.at);
        state = next;
        if decision != tick.decision {
            different.push((tick.decision.clone(), decision.clone()));
        }
        again.push(decision);
    }
    let happened = account(policy, &ticks, ticks.iter().map(|tick| tick.decision.clone()).collect(), to);
    let replayed = account(policy, &ticks, again, to);
    let kind = Kind::Journal { decisions: ticks.len(), different };
    Outcome { from, to, kind, happened, replayed }
}

fn account(policy: &Policy, ticks: &[Tick], decisions: Vec<Decision>, to: UnixMillis) -> Course {
    let mut course = Course { decisions, ..Course::default() };
    for (index, tick) in ticks.iter().enumerate() {
        let at = tick.decision.at;
        let until = ticks.get(index + 1).map_or(to, |next| next.decision.at);
        // A gap in the journal is nobody's time.
        let span = (until - at).clamp(0, 4 * policy.interval_ms);
        let violated = violates(policy, &tick.inputs.readings, 1.0);
        course.add(at, tick.inputs.counts.ready, span, violated);
    }
    course.decisions.retain(|decision| decision.at <= to);
    course
}

/// Signals of a load that is shared change with the number of instances; all others are taken as they were.
async fn from_metrics(
    policy: &Policy,
    recorded: &[Tick],
    source: &Source,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Outcome, Error> {
    let mut happened = Course {
        decisions: recorded.iter().map(|tick| tick.decision.clone()).collect(),
        ..Course::default()
    };
    let mut replayed = Course::default();
    let mut fleet: Option<Imagined> = None;
    let mut state = State::default();
    let mut at = from;
    while at <= to {
        let span = policy.interval_ms.min(to - at);
        let ready = signals::instances(source, &policy.instances, at).await.map_err(Error::Instances)?;
        let there = u32::try_from(ready.len()).unwrap_or(u32::MAX);
        if there == 0 && fleet.is_none() {
            at += policy.interval_ms;
            continue;
        }
        let fleet = fleet.get_or_insert_with(|| {
            // The past before the beginning is not known; what was there is taken as what was wanted.
            state = State::new(at.saturating_sub(policy.startup_hold_ms), there);
            Imagined { aim: there, ready: there, joining: Vec::new() }
        });
        fleet.pass(at);
        let mut readings = signals::read_all(source, policy, &ready, at).await;
        happened.add(at, there, span, violates(policy, &readings, 1.0));
        let share = f64::from(there.max(1)) / f64::from(fleet.ready.max(1));
        for reading in &mut readings {
            project(policy, reading, share, fleet.ready);
        }
        replayed.add(at, fleet.ready, span, violates(policy, &readings, share));
        let inputs = Inputs {
            aim: fleet.aim,
            counts: Counts { ready: fleet.ready, cold: fleet.cold(), ..Counts::default() },
            reachable: true,
            converging: fleet.cold() > 0,
            readings,
            manual: None,
        };
        let (decision, next) = decide(&state, &inputs, policy, at);
        state = next;
        fleet.change(decision.to, at.saturating_add(policy.join_ms));
        replayed.decisions.push(decision);
        at += policy.interval_ms;
    }
    if replayed.points.is_empty() {
        return Err(Error::Nothing(policy.name.clone()));
    }
    let kind = Kind::Metrics { policy_differs: !recorded.is_empty() };
    Ok(Outcome { from, to, kind, happened, replayed })
}

/// The fleet of a replay: who is asked for is there after a while, who is not leaves at once.
struct Imagined {
    aim: u32,
    ready: u32,
    /// When they will be ready, in that order.
    joining: Vec<UnixMillis>,
}

impl Imagined {
    fn cold(&self) -> u32 {
        u32::try_from(self.joining.len()).unwrap_or(u32::MAX)
    }

    fn pass(&mut self, now: UnixMillis) {
        let before = self.joining.len();
        self.joining.retain(|at| *at > now);
        self.ready += u32::try_from(before - self.joining.len()).unwrap_or(0);
    }

    fn change(&mut self, aim: u32, ready_at: UnixMillis) {
        self.aim = aim;
        while self.ready + self.cold() > aim && self.joining.pop().is_some() {}
        self.ready = self.ready.min(aim);
        while self.ready + self.cold() < aim {
            self.joining.push(ready_at);
        }
    }
}

fn project(policy: &Policy, reading: &mut Reading, share: f64, ready: u32) {
    if policy.signal(&reading.name).is_some_and(|signal| signal.per_instance) {
        reading.value = reading.value.map(|value| value * share);
    }
    reading.reporting = (reading.coverage * f64::from(ready)).round() as u32;
}

/// `share`: of the load that an instance bears, to what it really bore. Where it bears more than an up-rule allows, and
/// more than it did, the objective counts as violated too: how slow it would have been, nobody knows.
fn violates(policy: &Policy, readings: &[Reading], share: f64) -> bool {
    let value = |name: &str| {
        let reading = readings.iter().find(|reading| reading.name == name)?;
        reading.value.filter(|_| unusable(reading, policy).is_none())
    };
    let violated = policy.slo.iter().any(|slo| value(&slo.signal).is_some_and(|value| value > slo.above));
    let overloaded = share > 1.0
        && policy.up.iter().any(|rule| {
            let shared = policy.signal(&rule.signal).is_some_and(|signal| signal.per_instance);
            shared && value(&rule.signal).is_some_and(|value| value > rule.threshold)
        });
    // With more instances than there were, what was slow for want of them would not have been.
    let relieved = share < 1.0
        && policy.up.iter().all(|rule| {
            let shared = policy.signal(&rule.signal).is_some_and(|signal| signal.per_instance);
            !shared || value(&rule.signal).is_some_and(|value| value <= rule.threshold)
        })
        && policy
            .up
            .iter()
            .any(|rule| value(&rule.signal).is_some_and(|value| value / share > rule.threshold));
    (violated && !relieved) || overloaded
}

impl Outcome {
    /// Nothing speaks against the journal.
    pub fn is_exact(&self) -> bool {
        !matches!(&self.kind, Kind::Journal { different, .. } if !different.is_empty())
    }
}

impl Course {
    fn add(&mut self, at: UnixMillis, instances: u32, span_ms: i64, violated: bool) {
        if self.points.last().is_none_or(|last| last.instances != instances) {
            self.points.push(Point { at, instances });
        }
        self.instance_hours += f64::from(instances) * span_ms as f64 / 3_600_000.0;
        if violated {
            self.violated_minutes += span_ms as f64 / 60_000.0;
        }
    }

    pub fn steps(&self, action: Action) -> usize {
        self.decisions.iter().filter(|decision| decision.action == action).count()
    }

    /// Decisions that changed something, or were kept from it, without those that repeat the one before.
    pub fn turning_points(&self) -> Vec<&Decision> {
        let mut last: Option<(Action, Binding)> = None;
        let turns = self.decisions.iter().filter(|decision| {
            let now = (decision.action, decision.binding);
            let new = decision.action != Action::Hold || last != Some(now);
            last = Some(now);
            new
        });
        turns.collect()
    }
}

#[cfg(test)]
mod tests;
