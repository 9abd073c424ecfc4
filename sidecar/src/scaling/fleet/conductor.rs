//! Brings a group of instances to the number that is aimed at, round by round: looks at what is there, writes down what is to
//! be done, does it. What a round has not done, the next one does.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::{StreamExt, stream};
use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::{
    Error, FleetView, InstanceState, MAX_INSTANCES, Settings, Unknown,
    actuator::{self, Actuator, Listing, Stop},
    balancer::{self, Balancer, Seats},
    edge::{self, Probe, Question},
    handover,
    ledger::{Book, Ledger},
    life::Sight,
    reconcile::{Order, Round, leave, members, reconcile, surplus, total},
    settings::millis,
    value::Worth,
};
use crate::{
    discovery::{Named, Source},
    model::Labels,
};

/// Questions and orders under way at a time.
const AT_ONCE: usize = 16;
/// Of all that a round does.
const ROUND: Duration = Duration::from_secs(60);
/// How often an instance that serves is asked what it is doing.
const STREAMS_EVERY: Duration = Duration::from_secs(5);

/// Of one group.
pub struct Conductor {
    settings: ArcSwap<Settings>,
    group: String,
    actuator: Box<dyn Actuator>,
    balancer: Option<Box<dyn Balancer>>,
    edges: edge::Client,
    ledger: Arc<Mutex<Ledger>>,
    view: ArcSwap<FleetView>,
    /// Those that are scraped.
    named: Named,
    /// Of the last round.
    now: AtomicI64,
    /// One round at a time.
    turn: tokio::sync::Mutex<()>,
    /// Locked for as long as this process runs the group.
    _lock: File,
}

/// What a round could not do.
#[derive(Default)]
struct Troubles(Vec<String>);

impl Troubles {
    fn note<T, E: std::fmt::Display>(&mut self, answer: Result<T, E>) -> Option<T> {
        answer.map_err(|error| self.0.push(error.to_string())).ok()
    }
}

impl Conductor {
    /// Goes on from what the last one has left in the data directory. What runs is looked for in the first round.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let actuator = actuator::build(&settings.group, &settings.actuator)?;
        let balancer = balancer::build(&settings.group, &settings.balancer);
        Self::with(settings, actuator, balancer)
    }

    pub fn with(
        settings: &Settings,
        actuator: Box<dyn Actuator>,
        balancer: Option<Box<dyn Balancer>>,
    ) -> Result<Self, Error> {
        let group = &settings.group;
        let bad = |source| Error::State { group: group.clone(), source };
        fs::create_dir_all(&settings.data_dir).map_err(bad)?;
        let lock = File::create(settings.data_dir.join(format!("{group}.lock"))).map_err(bad)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Taken(group.clone()))?;
        let ledger = Ledger::open(&settings.data_dir.join(format!("{group}.json"))).map_err(bad)?;
        let mut view = ledger.book.view(false, Some("not looked yet".to_owned()));
        view.converging = true;
        Ok(Self {
            settings: ArcSwap::from_pointee(settings.clone()),
            group: group.clone(),
            actuator,
            balancer,
            edges: edge::Client::new(settings)?,
            ledger: Arc::new(Mutex::new(ledger)),
            view: ArcSwap::from_pointee(view),
            named: Named::default(),
            now: AtomicI64::new(0),
            turn: tokio::sync::Mutex::new(()),
            _lock: lock,
        })
    }

    /// Names the instances as targets.
    pub fn source(&self) -> Result<Source, Error> {
        Ok(Source::named(&self.settings.load().source, self.named.clone())?)
    }

    /// What of these settings could only be had with a new conductor, by its key.
    pub fn fixed(&self, wanted: &Settings) -> Vec<&'static str> {
        self.settings.load().fixed(wanted)
    }

    /// How instances join and leave, from the next round on.
    pub fn adjust(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    pub fn view(&self) -> FleetView {
        FleetView::clone(&self.view.load())
    }

    /// How many instances there shall be. On disk when this returns; if that fails, nothing is done until it works.
    pub fn aim(&self, desired: u32) {
        let desired = desired.min(MAX_INSTANCES);
        self.change(|book| book.aim = Some(desired));
    }

    /// The instance leaves, and is not replaced.
    pub fn drain(&self, name: &str) -> Result<(), Unknown> {
        self.change(|book| {
            let aim = book.aim_or_staying();
            let entry = book.get(name).ok_or_else(|| Unknown(name.to_owned()))?;
            let now = self.now.load(Ordering::Relaxed).max(entry.since);
            if !entry.by_hand {
                let counted = !entry.state.leaves();
                entry.by_hand = true;
                leave(entry, now, "asked to leave by hand");
                if counted {
                    book.aim = Some(aim.saturating_sub(1));
                }
            }
            Ok(())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut ledger = self.ledger.lock();
        let changed = change(&mut ledger.book);
        if let Err(error) = ledger.save() {
            tracing::error!(group = self.group, "state of the fleet could not be saved: {error}");
        }
        let before = self.view.load();
        let mut view = ledger.book.view(before.reachable, before.error.clone());
        view.converging |= !before.reachable;
        self.view.store(Arc::new(view));
        changed
    }

    /// One round.
    pub async fn step(&self, now: UnixMillis) {
        let _turn = self.turn.lock().await;
        self.now.store(now, Ordering::Relaxed);
        let mut troubles = Troubles::default();
        let round = tokio::time::timeout(ROUND, self.round(now, &mut troubles)).await;
        let reachable = round.unwrap_or_else(|_| {
            troubles.0.push(format!("a round was not over within {ROUND:?}"));
            false
        });
        self.publish(reachable, troubles);
    }

    /// False when whoever runs the instances does not answer: then nothing is done.
    async fn round(&self, now: UnixMillis, troubles: &mut Troubles) -> bool {
        let Some(listing) = troubles.note(self.actuator.list().await) else { return false };
        let (listing, odd) = listing.checked();
        troubles.0.extend(odd);
        let seats = match &self.balancer {
            Some(balancer) => Some(troubles.note(balancer.seats().await)),
            None => None,
        };
        let book = self.ledger.lock().book.clone();
        let probes = self.probes(&book, &listing, now).await;
        let worth = self.worth(&book).await;
        let names = self.names(&book, &listing);

        let orders = {
            let mut ledger = self.ledger.lock();
            let round = Round {
                now,
                settings: &self.settings.load(),
                listing: &listing,
                probes: &probes,
                sight: sight(seats.as_ref()),
                worth: &worth,
                names: &names,
            };
            reconcile(&mut ledger.book, &round)
        };
        self.name(&listing);
        if troubles.note(self.save().await).is_none() {
            self.ledger.lock().book.undo(&orders);
            return true;
        }
        if let Some(balancer) = &self.balancer {
            let members = members(&self.ledger.lock().book);
            troubles.note(balancer.seat(&members).await);
        }
        let (gifts, orders) = orders.into_iter().partition(|order| matches!(order, Order::HandOver(_)));
        self.carry_out(orders, &listing, now, troubles).await;
        self.hand_over(gifts).await;
        troubles.note(self.save().await);
        true
    }

    async fn save(&self) -> Result<(), String> {
        let ledger = self.ledger.clone();
        let saved = tokio::task::spawn_blocking(move || ledger.lock().save()).await;
        let saved = saved.map_err(std::io::Error::other).flatten();
        saved.map_err(|error| format!("state of the fleet could not be saved: {error}"))
    }

    async fn probes(&self, book: &Book, listing: &Listing, now: UnixMillis) -> BTreeMap<String, Probe> {
        let mut asked = Vec::new();
        for (name, running) in &listing.instances {
            if !running.alive || running.admin_url.is_empty() {
                continue;
            }
            let entry = book.instances.iter().find(|entry| entry.name == *name);
            let question = Question {
                streams: entry.is_some_and(|entry| {
                    entry.state == InstanceState::Draining
                        || now - entry.seen.streams_at >= millis(STREAMS_EVERY)
                }),
                warmth: book.takes(name) || entry.is_some_and(|entry| entry.state == InstanceState::Warming),
            };
            asked.push((name.clone(), running.admin_url.clone(), question));
        }
        let probes = asked
            .into_iter()
            .map(|(name, admin, question)| async move { (name, self.edges.probe(&admin, question).await) });
        stream::iter(probes).buffer_unordered(AT_ONCE).collect().await
    }

    /// Only asked for when somebody has to leave.
    async fn worth(&self, book: &Book) -> BTreeMap<String, Worth> {
        let mut asked = Vec::new();
        if surplus(book) > 0 {
            let serving = book.instances.iter().filter(|entry| entry.state == InstanceState::Ready);
            asked.extend(serving.map(|entry| (entry.name.clone(), entry.admin_url.clone())));
        }
        let worth =
            asked.into_iter().map(|(name, admin)| async move { (name, self.edges.worth(&admin).await) });
        stream::iter(worth).buffer_unordered(AT_ONCE).collect().await
    }

    /// For those that are lacking.
    fn names(&self, book: &Book, listing: &Listing) -> Vec<String> {
        let lacking = (book.aim.unwrap_or(0) as usize).saturating_sub(book.staying());
        let all = (1..=MAX_INSTANCES).map(|number| format!("{}-{number}", self.group));
        let free = |name: &String| {
            !listing.instances.contains_key(name)
                && !book.instances.iter().any(|entry| entry.name == *name)
                && self.actuator.vacant(name)
        };
        if listing.desired.is_some() { Vec::new() } else { all.filter(free).take(lacking).collect() }
    }

    async fn carry_out(
        &self,
        orders: Vec<Order>,
        listing: &Listing,
        now: UnixMillis,
        troubles: &mut Troubles,
    ) {
        let (total, peers, admin_urls) = {
            let book = &self.ledger.lock().book;
            let peers: Vec<_> = book.serving().into_iter().map(|(_, admin)| admin).collect();
            let urls: BTreeMap<_, _> =
                book.instances.iter().map(|entry| (entry.name.clone(), entry.admin_url.clone())).collect();
            (total(book, listing.desired, book.aim_or_staying()), peers, urls)
        };
        let (peers, admin_urls) = (&peers, &admin_urls);
        let counts = |order: &Order| matches!(order, Order::Count(_) | Order::Ask(_) | Order::Kill(_));
        let (in_turn, at_once): (Vec<_>, Vec<_>) =
            orders.into_iter().partition(|order| listing.desired.is_some() && counts(order));
        let work = at_once.into_iter().map(|order| async move {
            let done = self.carry(&order, total, peers, admin_urls).await;
            (order, done)
        });
        let work = stream::iter(work).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        // Who chooses itself which one ends may be told of one at a time only, or it would choose one that serves.
        let turns = async {
            let is_ask = |order: &Order| matches!(order, Order::Ask(_));
            let mut left = u32::try_from(in_turn.iter().filter(|order| is_ask(order)).count()).unwrap_or(0);
            let most = listing.desired.unwrap_or(0).max(total);
            let mut done = Vec::new();
            for order in in_turn {
                let asks = u32::from(is_ask(&order));
                let total = total.saturating_add(left - asks).min(most);
                let answer = self.carry(&order, total, peers, admin_urls).await;
                if answer.is_ok() {
                    // Who could not be told stays, and is counted with those that follow.
                    left -= asks;
                }
                done.push((order, answer));
            }
            done
        };
        let (mut done, told) = futures_util::future::join(work, turns).await;
        done.extend(told);
        let mut ledger = self.ledger.lock();
        for (order, answer) in done {
            let Err(error) = answer else { continue };
            if let Order::Warm(name) = &order {
                if let Some(entry) = ledger.book.get(name) {
                    entry.seen.unable = Some(error.0);
                }
                continue;
            }
            ledger.book.failed(&order, &error.0, self.settings.load().crash_limit, now);
            troubles.0.push(error.0);
        }
    }

    /// One after the other: those that stay take from one at a time.
    async fn hand_over(&self, gifts: Vec<Order>) {
        for order in gifts {
            let Order::HandOver(name) = order else { continue };
            let (leaving, takers) = {
                let mut ledger = self.ledger.lock();
                let leaving = ledger.book.get(&name).map(|entry| entry.admin_url.clone());
                (leaving.unwrap_or_default(), ledger.book.serving())
            };
            let begun = handover::begin(&self.edges, &leaving, &takers, &self.settings.load()).await;
            tracing::info!(instance = name, handover = ?begun, "hands over what only it has");
            if let Some(entry) = self.ledger.lock().book.get(&name) {
                entry.seen.handover = begun;
            }
        }
    }

    /// `total`: for those that are told how many there shall be.
    async fn carry(
        &self,
        order: &Order,
        total: u32,
        peers: &[String],
        admin_urls: &BTreeMap<String, String>,
    ) -> Result<(), actuator::Error> {
        match order {
            Order::Start(name) => self.actuator.start(name, total).await,
            Order::Count(total) => self.actuator.start("", *total).await,
            Order::Ask(name) => self.actuator.stop(name, Stop::Ask, total).await,
            Order::Kill(name) => self.actuator.stop(name, Stop::Kill, total).await,
            Order::Clear(name) => self.actuator.clear(name).await,
            Order::HandOver(_) => Ok(()),
            Order::Warm(name) => {
                let admin = admin_urls.get(name).map(String::as_str).unwrap_or_default();
                let peers: Vec<_> = peers.iter().filter(|peer| *peer != admin).cloned().collect();
                match self.edges.warm(admin, &peers, &self.settings.load()).await {
                    Err(Some(reason)) => Err(actuator::Error(reason)),
                    // Asked again in the next round.
                    Ok(()) | Err(None) => Ok(()),
                }
            }
        }
    }

    fn name(&self, listing: &Listing) {
        let alive = listing.instances.values().filter(|running| running.alive);
        let hosts = alive.filter_map(|running| running.admin_url.split_once("://"));
        self.named.set(hosts.map(|(_, host)| Labels::from_pairs([("__address__", host)])).collect());
    }

    fn publish(&self, reachable: bool, troubles: Troubles) {
        let ledger = self.ledger.lock();
        let mut errors = troubles.0;
        let failed = ledger.book.instances.iter().filter(|entry| entry.state == InstanceState::Failed);
        errors.extend(failed.map(|entry| format!("{}: {}", entry.name, entry.note)));
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        let before = self.view.load();
        if error != before.error
            && let Some(error) = &error
        {
            tracing::warn!(group = self.group, "{error}");
        }
        let mut view = ledger.book.view(reachable, error);
        view.converging |= !reachable;
        self.view.store(Arc::new(view));
    }
}

fn sight(seats: Option<&Option<Seats>>) -> Sight<'_> {
    match seats {
        None => Sight::None,
        Some(None) => Sight::Dark,
        Some(Some(seats)) => Sight::Seats(seats),
    }
}
