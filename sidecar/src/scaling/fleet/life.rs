//! One step in the life of one instance: from what it was and what was seen of it now, what it is and what is to be done.

use std::collections::BTreeMap;

use millrace_kit::clock::UnixMillis;

use super::{
    InstanceState, Settings,
    actuator::Running,
    balancer::{Duty, Seats},
    edge::{Health, Probe, Warmth},
    handover::Handover,
    ledger::Entry,
    reconcile::Order,
    settings::millis,
};

/// Looks in a row at which an instance that serves must not be ready, to be taken out.
const MISSES: u32 = 3;
/// An instance that has been ready for so long has got over its crashes.
const STABLE_MS: UnixMillis = 60_000;
/// What a balancer had on its way when it was told of a drain has arrived by then.
const SETTLE_MS: UnixMillis = 2_000;
/// The instance gives up warming by itself at the deadline; this long after it nobody waits for its word.
const GRACE_MS: UnixMillis = 2_000;

/// What is known of the balancer's members.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sight<'a> {
    /// There is no balancer.
    None,
    /// It does not answer.
    Dark,
    Seats(&'a Seats),
}

pub(super) struct Scene<'a> {
    pub(super) now: UnixMillis,
    pub(super) settings: &'a Settings,
    pub(super) running: Option<&'a Running>,
    pub(super) probe: Option<&'a Probe>,
    /// Of all instances.
    pub(super) probes: &'a BTreeMap<String, Probe>,
    pub(super) sight: Sight<'a>,
    /// Instances other than this that serve.
    pub(super) others_ready: usize,
    /// Another answers, or there is no other: it is not the way to the instances that is broken.
    pub(super) others_answer: bool,
    /// Who runs the instances replaces them and names them.
    pub(super) counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is no more.
    Gone,
}

impl Scene<'_> {
    fn alive(&self) -> bool {
        self.running.is_some_and(|running| running.alive)
    }

    fn leaving(&self) -> bool {
        self.running.is_some_and(|running| running.alive && running.leaving)
    }

    fn words(&self) -> &str {
        match self.running.map(|running| running.words.as_str()) {
            None | Some("") => "it ended without a word",
            Some(words) => words,
        }
    }

    fn ready(&self) -> bool {
        self.probe.is_some_and(|probe| probe.health == Health::Ready)
    }
}

pub(super) fn advance(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    remember(entry, scene);
    match entry.state {
        InstanceState::Starting => starting(entry, scene, orders),
        InstanceState::Warming => warming(entry, scene, orders),
        InstanceState::Ready => ready(entry, scene, orders),
        InstanceState::Draining => draining(entry, scene, orders),
        InstanceState::Stopping => stopping(entry, scene, orders),
        InstanceState::Failed => failed(entry, scene),
    }
}

fn remember(entry: &mut Entry, scene: &Scene) {
    // A clock that was set back must not make anything last longer.
    entry.since = entry.since.min(scene.now);
    entry.crashed_at = entry.crashed_at.min(scene.now);
    if let Some(running) = scene.running {
        entry.data_url.clone_from(&running.data_url);
        entry.admin_url.clone_from(&running.admin_url);
    }
    let Some(probe) = scene.probe else { return };
    if probe.streams.is_some() {
        entry.seen.streams = probe.streams;
        entry.seen.streams_at = scene.now;
    }
    match probe.health {
        Health::Ready => (entry.seen.misses, entry.seen.silent_since) = (0, None),
        Health::NotReady(_) => (entry.seen.misses, entry.seen.silent_since) = (entry.seen.misses + 1, None),
        Health::Silent(_) => {
            entry.seen.misses += 1;
            entry.seen.silent_since.get_or_insert(scene.now);
        }
    }
}

fn starting(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    let now = scene.now;
    if !scene.alive() {
        if scene.counted {
            return Fate::Gone;
        }
        if entry.seen.started || entry.joined {
            entry.crash(scene.words(), scene.settings.crash_limit, now);
        } else if now >= entry.again_at() {
            entry.seen.started = true;
            entry.since = now;
            orders.push(Order::Start(entry.name.clone()));
        }
        return Fate::Stays;
    }
    if scene.leaving() {
        entry.asked = true;
        entry.enter(InstanceState::Stopping, now, "told to stop by others");
    } else if scene.ready() {
        if entry.joined || scene.settings.warm.bytes == 0 || scene.others_ready == 0 {
            join(entry, now, "");
        } else {
            entry.enter(InstanceState::Warming, now, "");
            orders.push(Order::Warm(entry.name.clone()));
        }
    } else {
        let late = now - entry.since > millis(scene.settings.start_deadline);
        // One that has served and still answers knows why it is not ready.
        let hopeless = late && (!entry.joined || hung(entry, scene));
        let why = why(scene);
        if hopeless && !scene.counted {
            orders.push(Order::Kill(entry.name.clone()));
            let why = format!("not ready within {:?}: {why}", scene.settings.start_deadline);
            entry.crash(&why, scene.settings.crash_limit, now);
        } else {
            entry.note = why;
        }
    }
    Fate::Stays
}

fn why(scene: &Scene) -> String {
    let said = scene.running.map(|running| running.words.as_str()).unwrap_or_default();
    match scene.probe.map(|probe| &probe.health) {
        Some(Health::NotReady(reason) | Health::Silent(reason)) if said.is_empty() => reason.clone(),
        Some(Health::NotReady(reason) | Health::Silent(reason)) => format!("{said}; {reason}"),
        _ => said.to_owned(),
    }
}

fn hung(entry: &Entry, scene: &Scene) -> bool {
    let since = entry.seen.silent_since;
    since.is_some_and(|since| scene.now - since > millis(scene.settings.start_deadline))
        && scene.others_answer
}

fn join(entry: &mut Entry, now: UnixMillis, note: impl Into<String>) {
    entry.joined = true;
    entry.seen.misses = 0;
    entry.enter(InstanceState::Ready, now, note);
}

fn warming(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    if !scene.alive() || scene.leaving() {
        return ended(entry, scene);
    }
    let now = scene.now;
    let deadline = scene.settings.warm.deadline;
    if let Some(reason) = entry.seen.unable.take() {
        join(entry, now, format!("joined cold: {reason}"));
        return Fate::Stays;
    }
    match scene.probe.and_then(|probe| probe.warmth.as_ref()) {
        Some(Warmth::Done { ratio, bytes }) => {
            entry.seen.warm_ratio = ratio.or(entry.seen.warm_ratio);
            join(entry, now, format!("warmed with {bytes} bytes"));
            return Fate::Stays;
        }
        Some(Warmth::Failed(reason)) => {
            join(entry, now, format!("joined without being warm: {reason}"));
            return Fate::Stays;
        }
        Some(Warmth::Unable(reason)) => {
            join(entry, now, format!("joined cold: {reason}"));
            return Fate::Stays;
        }
        Some(Warmth::Running(ratio)) => entry.seen.warm_ratio = ratio.or(entry.seen.warm_ratio),
        Some(Warmth::Idle) => orders.push(Order::Warm(entry.name.clone())),
        None => {}
    }
    if now - entry.since >= millis(deadline) + GRACE_MS {
        join(entry, now, format!("joined without being warm: not done within {deadline:?}"));
    }
    Fate::Stays
}

/// One that served, or was about to, does not run any more.
fn ended(entry: &mut Entry, scene: &Scene) -> Fate {
    if scene.leaving() {
        entry.asked = true;
        entry.enter(InstanceState::Stopping, scene.now, "told to stop by others");
        return Fate::Stays;
    }
    if scene.counted {
        return Fate::Gone;
    }
    entry.crash(scene.words(), scene.settings.crash_limit, scene.now);
    Fate::Stays
}

fn ready(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    if !scene.alive() || scene.leaving() {
        return ended(entry, scene);
    }
    let now = scene.now;
    if now - entry.since >= STABLE_MS {
        entry.crashes = 0;
    }
    if entry.seen.misses >= MISSES {
        let why = why(scene);
        if scene.others_ready > 0 {
            entry.enter(InstanceState::Starting, now, why);
        } else if hung(entry, scene) && !scene.counted {
            orders.push(Order::Kill(entry.name.clone()));
            entry.crash(&why, scene.settings.crash_limit, now);
        } else {
            // Better one that may not be ready than none.
            entry.note = why;
        }
    }
    Fate::Stays
}

fn draining(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    if !scene.alive() {
        orders.push(Order::Clear(entry.name.clone()));
        return Fate::Gone;
    }
    let waited = scene.now - entry.since;
    hand_over(entry, scene, waited, orders);
    // While the balancer cannot be told, it may go on giving requests to the instance.
    let told = !matches!(scene.sight, Sight::Dark);
    if scene.leaving() {
        entry.asked = true;
        entry.enter(InstanceState::Stopping, scene.now, "told to stop by others");
    } else if let (true, Handover::Over(bytes)) =
        (waited >= SETTLE_MS && is_idle(entry, scene), &entry.seen.handover)
    {
        let note =
            if *bytes > 0 { format!("drained, {bytes} bytes handed over") } else { "drained".to_owned() };
        entry.enter(InstanceState::Stopping, scene.now, note);
    } else if told && waited >= millis(scene.settings.drain_deadline) {
        let left = entry.seen.streams.map_or_else(String::new, |left| format!(" with {left} requests left"));
        entry.enter(InstanceState::Stopping, scene.now, format!("at the deadline of its drain{left}"));
    }
    Fate::Stays
}

/// Those that stay take what only it has, for as long as warming may take.
fn hand_over(entry: &mut Entry, scene: &Scene, waited: UnixMillis, orders: &mut Vec<Order>) {
    let Settings { warm, .. } = scene.settings;
    let in_time = waited < millis(scene.settings.handover_deadline()) + GRACE_MS;
    match &entry.seen.handover {
        Handover::Over(_) => {}
        _ if !in_time || !scene.alive() => entry.seen.handover = Handover::Over(0),
        Handover::Due if warm.hand_over && warm.bytes > 0 && entry.joined && scene.others_ready > 0 => {
            orders.push(Order::HandOver(entry.name.clone()));
        }
        Handover::Due => entry.seen.handover = Handover::Over(0),
        Handover::Running(takers) => {
            let mut taken = 0;
            for probe in takers.iter().filter_map(|taker| scene.probes.get(taker)) {
                match &probe.warmth {
                    Some(Warmth::Done { bytes, .. }) => taken += bytes,
                    // Not asked yet, or no answer.
                    Some(Warmth::Running(_)) | None => return,
                    Some(Warmth::Idle | Warmth::Failed(_) | Warmth::Unable(_)) => {}
                }
            }
            entry.seen.handover = Handover::Over(taken);
        }
    }
}

fn is_idle(entry: &Entry, scene: &Scene) -> bool {
    let own = scene.probe.and_then(|probe| probe.streams);
    match scene.sight {
        Sight::Dark => false,
        // It drains once more by itself when it is told to stop.
        Sight::None => own.is_none_or(|streams| streams == 0),
        Sight::Seats(seats) => match seats.get(&entry.name) {
            None => own.is_none_or(|streams| streams == 0),
            Some(seat) => {
                let known = [seat.connections, own];
                seat.duty == Duty::Draining
                    && known.iter().any(Option::is_some)
                    && known.iter().flatten().all(|streams| *streams == 0)
            }
        },
    }
}

fn stopping(entry: &mut Entry, scene: &Scene, orders: &mut Vec<Order>) -> Fate {
    if !scene.alive() {
        orders.push(Order::Clear(entry.name.clone()));
        return Fate::Gone;
    }
    if !entry.asked {
        entry.asked = true;
        entry.since = scene.now;
        orders.push(Order::Ask(entry.name.clone()));
    } else if scene.counted && scene.leaving() {
        // Whoever runs it has set it a time of its own, and ends it then.
    } else if scene.now - entry.since <= millis(scene.settings.stop_deadline) {
        // It has its time.
    } else if scene.counted {
        entry.asked = false;
        let note = "another was chosen to leave";
        let state = if entry.joined { InstanceState::Ready } else { InstanceState::Starting };
        entry.enter(state, scene.now, note);
    } else {
        orders.push(Order::Kill(entry.name.clone()));
    }
    Fate::Stays
}

fn failed(entry: &mut Entry, scene: &Scene) -> Fate {
    if scene.now - entry.since >= millis(scene.settings.retry_failed) {
        // Once more: the next crash is the last again.
        entry.crashes = scene.settings.crash_limit.saturating_sub(1);
        entry.crashed_at = UnixMillis::MIN / 2;
        let note = format!("tried again; {}", entry.note);
        entry.enter(InstanceState::Starting, scene.now, note);
    }
    Fate::Stays
}
