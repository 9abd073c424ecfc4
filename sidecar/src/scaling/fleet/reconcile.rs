//! One round: from what was decided and what is seen, the new state of all instances and what is to be done. A pure function,
//! so that a crash at any moment is a round that begins again.

use std::collections::BTreeMap;

use millrace_kit::clock::UnixMillis;

use super::{
    InstanceState, Settings,
    actuator::Listing,
    balancer::{Duty, Member, Members},
    edge::{Health, Probe},
    handover::Handover,
    ledger::{Book, Entry},
    life::{Fate, Scene, Sight, advance},
    value::{Candidate, Worth, least_valuable, natural},
};

pub(super) struct Round<'a> {
    pub(super) now: UnixMillis,
    pub(super) settings: &'a Settings,
    pub(super) listing: &'a Listing,
    pub(super) probes: &'a BTreeMap<String, Probe>,
    pub(super) sight: Sight<'a>,
    /// Of those that serve, when one has to leave.
    pub(super) worth: &'a BTreeMap<String, Worth>,
    /// Names for new instances.
    pub(super) names: &'a [String],
}

/// To be done after the book is saved. Names are of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Start(String),
    /// As many as this, of one that names instances itself.
    Count(u32),
    Warm(String),
    /// To those that stay, what only it has.
    HandOver(String),
    Ask(String),
    Kill(String),
    Clear(String),
}

pub(super) fn reconcile(book: &mut Book, round: &Round) -> Vec<Order> {
    let mut orders = Vec::new();
    adopt(book, round, &mut orders);
    live(book, round, &mut orders);
    if book.aim.is_none() && !book.instances.is_empty() {
        // What runs when nobody has said a number yet is the number.
        book.aim = Some(round.listing.desired.unwrap_or_else(|| book.aim_or_staying()));
    }
    if let Some(aim) = book.aim {
        match round.listing.desired {
            None => grow(book, round, aim, &mut orders),
            Some(desired) => count(book, round, aim, desired, &mut orders),
        }
        shrink(book, round, aim);
    }
    orders
}

/// Takes in what runs and is not in the book.
fn adopt(book: &mut Book, round: &Round, orders: &mut Vec<Order>) {
    for (name, running) in &round.listing.instances {
        if book.get(name).is_some() {
            continue;
        }
        if !running.alive {
            orders.push(Order::Clear(name.clone()));
            continue;
        }
        let mut entry = Entry::new(name, round.now);
        if running.leaving {
            entry.asked = true;
            entry.enter(InstanceState::Stopping, round.now, "told to stop by others");
        } else if round.listing.desired.is_none() {
            // Started by a conductor whose book is lost: it may have served for long.
            entry.joined = true;
            entry.note = "found running".to_owned();
        }
        book.instances.push(entry);
    }
}

fn live(book: &mut Book, round: &Round, orders: &mut Vec<Order>) {
    let mut entries = std::mem::take(&mut book.instances);
    let answers =
        |name: &str| round.probes.get(name).is_some_and(|probe| !matches!(probe.health, Health::Silent(_)));
    let mut serving = entries.iter().filter(|entry| entry.state == InstanceState::Ready).count();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
    entries.retain_mut(|entry| {
        let was = usize::from(entry.state == InstanceState::Ready);
        let alone = names.len() == 1;
        let scene = Scene {
            now: round.now,
            settings: round.settings,
            running: round.listing.instances.get(&entry.name),
            probes: round.probes,
            probe: round.probes.get(&entry.name),
            sight: round.sight,
            others_ready: serving - was,
            others_answer: alone || names.iter().any(|name| *name != entry.name && answers(name)),
            counted: round.listing.desired.is_some(),
        };
        let fate = advance(entry, &scene, orders);
        let is = usize::from(fate == Fate::Stays && entry.state == InstanceState::Ready);
        // Those that joined in this round are no peers yet.
        serving = serving - was + was.min(is);
        fate == Fate::Stays
    });
    book.instances = entries;
}

/// Those that get ready and have not served yet.
fn cold(book: &Book) -> usize {
    let is_cold = |entry: &&Entry| {
        matches!(entry.state, InstanceState::Starting | InstanceState::Warming) && !entry.joined
    };
    book.instances.iter().filter(is_cold).count()
}

/// How many more may get ready at once: when none serves there is nobody whom they could harm.
fn room(book: &Book, settings: &Settings) -> usize {
    match book.count(InstanceState::Ready) {
        0 => usize::MAX,
        _ => (settings.max_cold as usize).saturating_sub(cold(book)),
    }
}

fn grow(book: &mut Book, round: &Round, aim: u32, orders: &mut Vec<Order>) {
    let mut lacking = (aim as usize).saturating_sub(book.staying());
    take_back(book, round, &mut lacking);
    let fresh = lacking.min(room(book, round.settings));
    for name in round.names.iter().take(fresh) {
        let mut entry = Entry::new(name, round.now);
        entry.seen.started = true;
        book.instances.push(entry);
        orders.push(Order::Start(name.clone()));
    }
}

/// Those that are about to leave are the warmest that can be had.
fn take_back(book: &mut Book, round: &Round, lacking: &mut usize) {
    for entry in &mut book.instances {
        if *lacking > 0 && entry.state == InstanceState::Draining && !entry.by_hand {
            let state = if entry.joined { InstanceState::Ready } else { InstanceState::Starting };
            entry.enter(state, round.now, "taken back");
            entry.seen.handover = Handover::Due;
            *lacking -= 1;
        }
    }
}

/// The same for one that names instances itself: it is told how many there shall be.
fn count(book: &mut Book, round: &Round, aim: u32, desired: u32, orders: &mut Vec<Order>) {
    let staying = book.staying();
    let mut lacking = (aim as usize).saturating_sub(staying);
    take_back(book, round, &mut lacking);
    let wanted = total(book, Some(desired), aim);
    if wanted <= desired {
        return;
    }
    // Those that it has been told of and has not brought up yet are cold too.
    let coming = (desired as usize).saturating_sub(book.instances.len());
    let fresh = room(book, round.settings).saturating_sub(coming).min((wanted - desired) as usize);
    if fresh > 0 {
        orders.push(Order::Count(desired + u32::try_from(fresh).unwrap_or(0)));
    }
}

/// How many one that names instances itself shall run: those that drain are still needed.
pub(super) fn total(book: &Book, desired: Option<u32>, aim: u32) -> u32 {
    let draining = u32::try_from(book.count(InstanceState::Draining)).unwrap_or(0);
    match desired {
        Some(_) => aim.saturating_add(draining),
        None => aim,
    }
}

/// How many have to leave.
pub(super) fn surplus(book: &Book) -> usize {
    book.aim.map_or(0, |aim| book.staying().saturating_sub(aim as usize))
}

fn shrink(book: &mut Book, round: &Round, aim: u32) {
    let surplus = surplus(book);
    if surplus == 0 {
        return;
    }
    let rank = |entry: &Entry| match entry.state {
        InstanceState::Failed => 0,
        InstanceState::Starting => 1,
        InstanceState::Warming => 2,
        _ => 3,
    };
    let staying = book.instances.iter().filter(|entry| !entry.state.leaves());
    let candidates: Vec<_> =
        staying.map(|entry| Candidate { name: entry.name.clone(), rank: rank(entry) }).collect();
    for name in least_valuable(&candidates, round.worth, surplus) {
        if let Some(entry) = book.get(&name) {
            leave(entry, round.now, &format!("the group shall have {aim}"));
        }
    }
}

/// One that does not serve has nothing to finish.
pub(super) fn leave(entry: &mut Entry, now: UnixMillis, why: &str) {
    entry.seen.handover = Handover::Due;
    match entry.state {
        InstanceState::Draining | InstanceState::Stopping => {}
        InstanceState::Ready => entry.enter(InstanceState::Draining, now, why),
        InstanceState::Starting if entry.joined => entry.enter(InstanceState::Draining, now, why),
        _ => entry.enter(InstanceState::Stopping, now, why),
    }
}

/// Who gets requests. An instance that was ready and is not now keeps what it has.
pub(super) fn members(book: &Book) -> Members {
    let mut entries: Vec<_> = book.instances.iter().collect();
    entries.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    let seat = |entry: &Entry| {
        let duty = match entry.state {
            InstanceState::Ready => Duty::Serving,
            InstanceState::Draining => Duty::Draining,
            InstanceState::Starting if entry.joined => Duty::Draining,
            _ => return None,
        };
        let address = entry.data_url.split_once("://")?.1.to_owned();
        Some((entry.name.clone(), Member { address, duty }))
    };
    entries.into_iter().filter_map(seat).collect()
}

#[cfg(test)]
mod tests;
