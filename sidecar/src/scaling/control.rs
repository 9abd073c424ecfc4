//! The groups that are scaled: in each's rhythm signals are asked for, a decision is made and written down, and the fleet
//! is told. What people decide by hand comes in here too.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Fleet, FleetView, InstanceState, InstanceView,
    decide::{decide, unusable},
    decision::{Counts, Decision, Inputs, Override, Reading, State},
    journal::{Bounds, Entry, Journal},
    policy::Policy,
    signals::{self, Source},
};

mod by_hand;

/// Decisions by hand are for a while.
pub const MAX_OVERRIDE: Duration = Duration::from_secs(24 * 3600);

/// Decisions kept in memory per group: 16 hours at 15 s. Older ones are in the journal.
const KEPT: usize = 4000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no group {0:?}")]
    UnknownGroup(String),
    #[error("group {group:?} has no instance {instance:?} that could leave")]
    UnknownInstance { group: String, instance: String },
    #[error("{0}")]
    Invalid(String),
    #[error("cannot be written down: {0}")]
    Journal(#[from] std::io::Error),
}

/// What others may want to hear of.
pub enum Event<'a> {
    Decision(&'a Decision),
    Instance { group: &'a str, instance: &'a InstanceView },
}

pub type Listener = Box<dyn Fn(Event<'_>) + Send + Sync>;

pub struct Controller {
    groups: Vec<Arc<Group>>,
}

pub struct Group {
    pub name: String,
    policy: ArcSwap<Policy>,
    fleet: Arc<dyn Fleet>,
    source: Source,
    journal: Journal,
    listener: Arc<Listener>,
    memory: Mutex<Memory>,
    /// One decision, or change by hand, at a time.
    deciding: tokio::sync::Mutex<()>,
    nudged: Notify,
}

#[derive(Default)]
struct Memory {
    /// None before the first decision of a group without a past.
    state: Option<State>,
    /// By which this process has decided last.
    decided_by: Option<Arc<Policy>>,
    manual: Option<Override>,
    by_hand: VecDeque<Entry>,
    recent: VecDeque<Decision>,
    readings: Vec<Reading>,
    seen: Vec<(String, InstanceState)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Auto,
    Paused,
    Override,
}

/// A group at one time.
pub struct GroupView {
    pub mode: Mode,
    pub manual: Option<Override>,
    pub fleet: FleetView,
    pub ready: u32,
    /// With why they are not used, if they are not.
    pub readings: Vec<(Reading, Option<String>)>,
    pub last: Option<Decision>,
}

impl Controller {
    pub fn new(groups: Vec<Arc<Group>>) -> Self {
        Self { groups }
    }

    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    pub fn group(&self, name: &str) -> Result<&Arc<Group>, Error> {
        let found = self.groups.iter().find(|group| group.name == name);
        found.ok_or_else(|| Error::UnknownGroup(name.to_owned()))
    }
}

impl Group {
    /// Remembers what the journal knows.
    pub fn new(
        policy: Policy,
        fleet: Arc<dyn Fleet>,
        source: Source,
        bounds: &Bounds,
        listener: Arc<Listener>,
    ) -> Self {
        let journal = Journal::new(bounds, &policy.name);
        let found = journal.remembered(KEPT);
        let memory = Memory {
            state: found.state,
            manual: found.manual,
            recent: found.decisions.into(),
            by_hand: found.by_hand.into(),
            ..Memory::default()
        };
        Self {
            name: policy.name.clone(),
            policy: ArcSwap::from_pointee(policy),
            fleet,
            source,
            journal,
            listener,
            memory: Mutex::new(memory),
            deciding: tokio::sync::Mutex::new(()),
            nudged: Notify::new(),
        }
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Decides by this from now on. What is remembered stays: cooldowns, what was wanted, since when rules hold.
    pub fn adopt(&self, policy: Policy) {
        if policy != **self.policy.load() {
            tracing::info!(group = self.name, "another policy");
            self.policy.store(Arc::new(policy));
            self.nudged.notify_one();
        }
    }

    /// One round of the fleet's own work.
    pub async fn step(&self, now: UnixMillis) {
        self.fleet.step(now).await;
        let view = self.fleet.view();
        let seen: Vec<_> = view.instances.iter().map(|one| (one.name.clone(), one.state)).collect();
        let before = std::mem::replace(&mut self.memory.lock().seen, seen);
        for instance in &view.instances {
            if !before.contains(&(instance.name.clone(), instance.state)) {
                (self.listener)(Event::Instance { group: &self.name, instance });
            }
        }
    }

    /// Asks, decides, writes down, acts.
    pub async fn tick(self: &Arc<Self>, now: UnixMillis) -> Option<Decision> {
        let _one = self.deciding.lock().await;
        let view = self.fleet.view();
        let ready = scraped_as(&view);
        let policy = self.policy();
        let readings = signals::read_all(&self.source, &policy, &ready, now).await;
        let group = self.clone();
        // The disk may take its time.
        let decided = tokio::task::spawn_blocking(move || group.settle(&view, readings, &policy, now)).await;
        let decision = decided.ok()?;
        (self.listener)(Event::Decision(&decision));
        Some(decision)
    }

    fn settle(
        &self,
        view: &FleetView,
        readings: Vec<Reading>,
        policy: &Arc<Policy>,
        now: UnixMillis,
    ) -> Decision {
        let mut memory = self.memory.lock();
        memory.manual = memory.manual.take().filter(|manual| now < manual.until);
        let inputs = Inputs {
            aim: view.aim,
            counts: count(view),
            reachable: view.reachable,
            converging: view.converging,
            readings: readings.clone(),
            manual: memory.manual.clone(),
        };
        let mut state = memory.state.take().unwrap_or_else(|| State::new(now, view.aim));
        let mut written = Ok(());
        let before = memory.decided_by.replace(policy.clone());
        if before.is_none() {
            state.started_at = now;
        }
        if before.is_none_or(|before| !Arc::ptr_eq(&before, policy)) {
            written = self.journal.start(now, policy, &state);
        }
        let (decision, next) = decide(&state, &inputs, policy, now);
        if let Err(error) = written.and_then(|()| self.journal.tick(&inputs, &decision, policy, &state)) {
            // Instances are needed, whether or not it can be told later.
            tracing::error!(group = self.name, "decision is not written down: {error}");
        }
        memory.state = Some(next);
        memory.readings = readings;
        if memory.recent.len() >= KEPT {
            memory.recent.pop_front();
        }
        memory.recent.push_back(decision.clone());
        drop(memory);
        if decision.from != decision.to {
            tracing::info!(
                group = self.name,
                from = decision.from,
                to = decision.to,
                binding = decision.binding.as_str(),
                "{}",
                decision.reason
            );
            self.fleet.aim(decision.to);
        }
        decision
    }

    /// Until somebody has decided something by hand, or there is another policy.
    pub async fn nudged(&self) {
        self.nudged.notified().await;
    }

    pub fn view(&self, now: UnixMillis) -> GroupView {
        let (fleet, policy) = (self.fleet.view(), self.policy());
        let memory = self.memory.lock();
        let manual = memory.manual.clone().filter(|manual| now < manual.until);
        let judged = memory.readings.iter();
        GroupView {
            mode: match &manual {
                None => Mode::Auto,
                Some(manual) if manual.pause => Mode::Paused,
                Some(_) => Mode::Override,
            },
            manual,
            ready: count(&fleet).ready,
            fleet,
            readings: judged.map(|reading| (reading.clone(), unusable(reading, &policy))).collect(),
            last: memory.recent.back().cloned(),
        }
    }

    /// When the aim was last changed, by whomever.
    pub fn last_change(&self) -> Option<UnixMillis> {
        let memory = self.memory.lock();
        let state = memory.state.as_ref()?;
        state.last_up.max(state.last_down)
    }

    /// Newest first.
    pub fn decisions(&self, limit: usize, wanted: impl Fn(&Decision) -> bool) -> Vec<Decision> {
        let memory = self.memory.lock();
        memory.recent.iter().rev().filter(|decision| wanted(decision)).take(limit).cloned().collect()
    }
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Paused => "paused",
            Self::Override => "override",
        }
    }
}

fn count(view: &FleetView) -> Counts {
    let mut counts = Counts::default();
    for instance in &view.instances {
        match instance.state {
            InstanceState::Ready => counts.ready += 1,
            InstanceState::Starting | InstanceState::Warming => counts.cold += 1,
            InstanceState::Draining | InstanceState::Stopping => counts.leaving += 1,
            InstanceState::Failed => counts.failed += 1,
        }
    }
    counts
}

fn scraped_as(view: &FleetView) -> Vec<String> {
    let ready = view.instances.iter().filter(|instance| instance.state == InstanceState::Ready);
    let mut names: Vec<String> = ready.map(InstanceView::scraped_as).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
