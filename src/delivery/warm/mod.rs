//! Filling an empty store from peers: what they are asked for most, from them and never from an origin, within bounds of
//! bytes, rate and time. One such run at a time. What a peer gives away: [`super::handover`].

use std::{collections::HashSet, sync::Arc, time::Duration};

use millrace_kit::{
    clock::Clock,
    metrics::{self, Gauge, Registry, catalogue},
    tasks::Tasks,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use url::Url;

use crate::cache::Store;

mod pace;
mod peer;
mod run;

use super::handover::number;
use peer::Peer;

/// What a run is to bring, if its order does not say otherwise.
#[derive(Debug, Clone)]
pub struct Config {
    pub peers: Vec<Url>,
    /// For the peers' admin ports; empty: none.
    pub token: Token,
    pub bytes: u64,
    /// 0: no bound.
    pub bytes_per_sec: u64,
    pub deadline: Duration,
    /// Whether a run begins with the server, if there are peers. It is not ready before the run is over.
    pub at_start: bool,
}

/// Never shown.
#[derive(Clone, Default)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What the admin port is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    pub peers: Option<Vec<String>>,
    pub bytes: Option<u64>,
    pub bytes_per_sec: Option<u64>,
    pub deadline_secs: Option<u32>,
    /// Names of what is to be taken, out of lists of what is hot; without, all of it.
    pub objects: Option<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("a run is under way; DELETE it first")]
    Running,
    #[error("no peers are given, and none are configured")]
    NoPeers,
    #[error("at most {MAX_PEERS} peers")]
    TooManyPeers,
    #[error("a run has at least one second")]
    NoTime,
    #[error("at most {MAX_NAMED} objects")]
    TooManyObjects,
    #[error("{0:?} is not the name of an object, of 32 hexadecimal digits")]
    NoName(String),
    #[error("{0:?} is not an address such as http://10.0.0.2:8081")]
    NoAddress(String),
    #[error("{0}")]
    Peer(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Idle,
    Running,
    /// It brought what there was, or its time was up.
    Done,
    /// No peer could be asked, or it was broken off.
    Failed,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    pub state: State,
    /// Taken and stored.
    pub objects: u64,
    pub bytes: u64,
    /// There already, purged meanwhile, or gone from the peer.
    pub skipped_objects: u64,
    pub failed_objects: u64,
    /// Of bodies that the peers have and are worth having.
    pub goal_bytes: u64,
    /// Of the goal, what is done with; 1 when there is nothing to be done.
    pub ratio: f64,
    pub error: Option<String>,
}

/// A peer's admin port.
pub fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// At most so many peers are asked.
pub const MAX_PEERS: usize = 16;
/// Objects that an order may name.
pub const MAX_NAMED: usize = 1_000;

pub struct Warmer {
    config: Config,
    store: Arc<Store>,
    clock: Clock,
    tasks: Tasks,
    ratio: Gauge,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    report: Report,
    /// Bytes of the goal that are done with.
    done_bytes: u64,
    /// Dropped to break the run off, which then comes to its end.
    running: Option<oneshot::Sender<()>>,
    /// The run that began with the server is not over.
    starting: bool,
}

/// A checked order.
struct Bounds {
    peers: Vec<Arc<Peer>>,
    /// None: whatever the peers are asked for most.
    objects: Option<HashSet<u128>>,
    bytes: u64,
    bytes_per_sec: u64,
    deadline: Duration,
}

impl Warmer {
    pub fn new(
        config: Config,
        store: Arc<Store>,
        clock: Clock,
        tasks: Tasks,
        registry: &Registry,
    ) -> Result<Arc<Self>, metrics::Error> {
        let ratio = registry.ratio(&catalogue::WARM_RATIO)?.with_label_values::<&str>(&[]);
        ratio.set(1.0);
        let report = Report { ratio: 1.0, ..Report::default() };
        let current = Mutex::new(Current { report, ..Current::default() });
        Ok(Arc::new(Self { config, store, clock, tasks, ratio, current }))
    }

    pub fn report(&self) -> Report {
        self.current.lock().report.clone()
    }

    /// Whether the run that began with the server is still under way.
    pub fn is_starting(&self) -> bool {
        self.current.lock().starting
    }

    /// Begins the run that belongs to the start, if one does.
    pub fn begin_at_start(self: &Arc<Self>) {
        if !self.config.at_start || self.config.peers.is_empty() {
            return;
        }
        self.current.lock().starting = true;
        if let Err(refusal) = self.begin(Order::default(), "") {
            tracing::warn!("not warmed: {refusal}");
            self.current.lock().starting = false;
        }
    }

    /// `shown`: the token that came with the order, for peers that are not in the settings; ours is for those that are.
    pub fn begin(self: &Arc<Self>, order: Order, shown: &str) -> Result<Report, Refusal> {
        let bounds = self.bounds(order, shown)?;
        let (broken_off, listening) = oneshot::channel();
        let report = {
            let mut current = self.current.lock();
            if current.report.state == State::Running {
                return Err(Refusal::Running);
            }
            current.report = Report { state: State::Running, ..Report::default() };
            current.done_bytes = 0;
            current.running = Some(broken_off);
            current.report.clone()
        };
        self.ratio.set(0.0);
        let warmer = self.clone();
        self.tasks.spawn_until_stop("warm", async move {
            let ending = Ending(warmer.clone());
            let result = warmer.run(&bounds, listening).await;
            ending.0.end(result);
        });
        Ok(report)
    }

    /// Whether there was anything to break off.
    pub fn break_off(&self) -> bool {
        self.current.lock().running.take().is_some()
    }

    fn bounds(&self, order: Order, shown: &str) -> Result<Bounds, Refusal> {
        let config = &self.config;
        let parse = |text: String| address(&text).ok_or(Refusal::NoAddress(text));
        let peers = match order.peers {
            Some(peers) => peers.into_iter().map(parse).collect::<Result<_, _>>()?,
            None => config.peers.clone(),
        };
        match peers.len() {
            0 => return Err(Refusal::NoPeers),
            1..=MAX_PEERS => {}
            _ => return Err(Refusal::TooManyPeers),
        }
        let objects = order.objects.map(named).transpose()?;
        let peer = |url: &Url| {
            let token = if config.peers.contains(url) { config.token.0.as_str() } else { shown };
            Peer::new(url, token).map(Arc::new).map_err(Refusal::Peer)
        };
        let deadline =
            order.deadline_secs.map_or(config.deadline, |seconds| Duration::from_secs(u64::from(seconds)));
        if deadline.is_zero() {
            return Err(Refusal::NoTime);
        }
        Ok(Bounds {
            peers: peers.iter().map(peer).collect::<Result<_, _>>()?,
            objects,
            bytes: order.bytes.unwrap_or(config.bytes),
            bytes_per_sec: order.bytes_per_sec.unwrap_or(config.bytes_per_sec),
            deadline,
        })
    }

    fn note(&self, change: impl FnOnce(&mut Current)) {
        let mut current = self.current.lock();
        change(&mut current);
        let goal = current.report.goal_bytes;
        let ratio = if goal == 0 { 0.0 } else { current.done_bytes.min(goal) as f64 / goal as f64 };
        current.report.ratio = ratio;
        self.ratio.set(ratio);
    }

    fn end(&self, result: Result<Option<&'static str>, String>) {
        let mut current = self.current.lock();
        let report = &mut current.report;
        match result {
            Ok(short) => (report.state, report.error) = (State::Done, short.map(str::to_owned)),
            Err(error) => (report.state, report.error) = (State::Failed, Some(error)),
        }
        if report.state == State::Done && report.error.is_none() && report.failed_objects == 0 {
            report.ratio = 1.0;
        }
        self.ratio.set(report.ratio);
        let Report { state, objects, bytes, skipped_objects, failed_objects, ratio, error, .. } = &*report;
        tracing::info!(?state, objects, bytes, skipped_objects, failed_objects, ratio, error, "warmed");
        current.running = None;
        current.starting = false;
    }
}

fn named(names: Vec<String>) -> Result<HashSet<u128>, Refusal> {
    if names.len() > MAX_NAMED {
        return Err(Refusal::TooManyObjects);
    }
    names.into_iter().map(|name| number(&name).ok_or(Refusal::NoName(name))).collect()
}

/// Ends the run also when its task is dropped or panics.
struct Ending(Arc<Warmer>);

impl Drop for Ending {
    fn drop(&mut self) {
        if self.0.report().state == State::Running {
            self.0.end(Err("the server is stopping".to_owned()));
        }
    }
}
