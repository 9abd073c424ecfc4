//! What the conductor has decided and begun, on disk before it is done: after a crash the next one goes on from there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use millrace_kit::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{FleetView, InstanceState, InstanceView, handover::Handover, reconcile::Order, value::natural};
use crate::durable;

/// Before a crashed instance is started again: doubled each time.
const FIRST_BACKOFF_MS: UnixMillis = 1_000;
const LONGEST_BACKOFF_MS: UnixMillis = 60_000;
const MAX_NOTE: usize = 2_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Book {
    /// None: nobody has said yet; what runs stays.
    pub(super) aim: Option<u32>,
    pub(super) instances: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) state: InstanceState,
    pub(super) since: UnixMillis,
    pub(super) data_url: String,
    pub(super) admin_url: String,
    /// It has served since it was started: it need not be warmed, and answers for itself when it is not ready.
    pub(super) joined: bool,
    /// Somebody wants it to leave; otherwise it may be taken back.
    pub(super) by_hand: bool,
    /// It has been told to stop; a second time would cut its drain short.
    pub(super) asked: bool,
    /// In a row.
    pub(super) crashes: u32,
    pub(super) crashed_at: UnixMillis,
    pub(super) note: String,
    #[serde(skip)]
    pub(super) seen: Seen,
}

/// What this conductor has seen of an instance itself; not kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// This conductor has started it: when it does not run, it has ended.
    pub(super) started: bool,
    pub(super) streams: Option<u64>,
    pub(super) streams_at: UnixMillis,
    pub(super) warm_ratio: Option<f64>,
    /// Why it will not be warmed.
    pub(super) unable: Option<String>,
    /// Looks in a row at which it was not ready.
    pub(super) misses: u32,
    /// Since when it has not answered at all.
    pub(super) silent_since: Option<UnixMillis>,
    /// While it drains.
    pub(super) handover: Handover,
}

impl Entry {
    pub(super) fn new(name: &str, now: UnixMillis) -> Self {
        Self {
            name: name.to_owned(),
            state: InstanceState::Starting,
            since: now,
            data_url: String::new(),
            admin_url: String::new(),
            joined: false,
            by_hand: false,
            asked: false,
            crashes: 0,
            crashed_at: 0,
            note: String::new(),
            seen: Seen::default(),
        }
    }

    pub(super) fn enter(&mut self, state: InstanceState, now: UnixMillis, note: impl Into<String>) {
        let mut note: String = note.into();
        if let Some((at, _)) = note.char_indices().nth(MAX_NOTE) {
            note.truncate(at);
        }
        if self.state != state {
            tracing::info!(instance = self.name, "{} → {} {note}", self.state.as_str(), state.as_str());
            self.since = now;
        }
        self.state = state;
        self.note = note;
    }

    /// It has ended by itself, or could not be started.
    pub(super) fn crash(&mut self, why: &str, limit: u32, now: UnixMillis) {
        self.crashes = self.crashes.saturating_add(1);
        self.crashed_at = now;
        self.joined = false;
        self.asked = false;
        self.seen = Seen::default();
        let state = if self.crashes >= limit { InstanceState::Failed } else { InstanceState::Starting };
        let note = match self.crashes {
            1 => format!("crashed: {why}"),
            crashes => format!("crashed {crashes} times in a row, at last: {why}"),
        };
        self.since = now;
        self.enter(state, now, note);
        tracing::warn!(instance = self.name, "{}", self.note);
    }

    /// When it may be started again.
    pub(super) fn again_at(&self) -> UnixMillis {
        match self.crashes {
            0 => UnixMillis::MIN,
            crashes => {
                let doubled = FIRST_BACKOFF_MS << (crashes - 1).min(16);
                self.crashed_at.saturating_add(doubled.min(LONGEST_BACKOFF_MS))
            }
        }
    }

    fn view(&self) -> InstanceView {
        InstanceView {
            name: self.name.clone(),
            data_url: self.data_url.clone(),
            admin_url: self.admin_url.clone(),
            state: self.state,
            since: self.since,
            warm_ratio: self.seen.warm_ratio,
            streams: self.seen.streams,
            note: self.note.clone(),
        }
    }
}

impl Book {
    pub(super) fn get(&mut self, name: &str) -> Option<&mut Entry> {
        self.instances.iter_mut().find(|entry| entry.name == name)
    }

    pub(super) fn count(&self, state: InstanceState) -> usize {
        self.instances.iter().filter(|entry| entry.state == state).count()
    }

    /// Names and admin ports of those that serve.
    pub(super) fn serving(&self) -> Vec<(String, String)> {
        let ready = self.instances.iter().filter(|entry| entry.state == InstanceState::Ready);
        ready.map(|entry| (entry.name.clone(), entry.admin_url.clone())).collect()
    }

    /// Whether it takes what another hands over.
    pub(super) fn takes(&self, name: &String) -> bool {
        let running = |entry: &Entry| matches!(&entry.seen.handover, Handover::Running(takers) if takers.contains(name));
        self.instances.iter().any(running)
    }

    /// Those that shall stay.
    pub(super) fn staying(&self) -> usize {
        self.instances.iter().filter(|entry| !entry.state.leaves()).count()
    }

    pub(super) fn aim_or_staying(&self) -> u32 {
        self.aim.unwrap_or_else(|| u32::try_from(self.staying()).unwrap_or(u32::MAX))
    }

    /// Nothing of this was done, and nobody shall wait for it.
    pub(super) fn undo(&mut self, orders: &[Order]) {
        for order in orders {
            match order {
                Order::Start(name) => self.get(name).into_iter().for_each(|entry| entry.seen.started = false),
                Order::Ask(name) => self.get(name).into_iter().for_each(|entry| entry.asked = false),
                Order::Count(_) | Order::Warm(_) | Order::HandOver(_) | Order::Kill(_) | Order::Clear(_) => {}
            }
        }
    }

    /// It was tried and did not work.
    pub(super) fn failed(&mut self, order: &Order, why: &str, crash_limit: u32, now: UnixMillis) {
        match order {
            Order::Start(name) => {
                let started = self.get(name).into_iter();
                started.for_each(|entry| entry.crash(&format!("not started: {why}"), crash_limit, now));
            }
            order => self.undo(std::slice::from_ref(order)),
        }
    }

    pub(super) fn view(&self, reachable: bool, error: Option<String>) -> FleetView {
        let mut instances: Vec<_> = self.instances.iter().map(Entry::view).collect();
        instances.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
        let aim = self.aim_or_staying();
        let moving = |state| !matches!(state, InstanceState::Ready | InstanceState::Failed);
        let converging = instances.iter().any(|instance| moving(instance.state))
            || u32::try_from(self.staying()).unwrap_or(u32::MAX) != aim;
        FleetView { instances, aim, reachable, converging, error }
    }
}

/// A [`Book`] and its file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    pub(super) book: Book,
    /// As it stands in the file.
    saved: Option<Book>,
}

impl Ledger {
    /// A file that cannot be read is put aside: what runs is found without it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => Some(text?),
        };
        let mut book = Book::default();
        if let Some(text) = text {
            match serde_json::from_slice(&text) {
                Ok(read) => book = read,
                Err(reason) => {
                    let aside = path.with_extension("unreadable");
                    tracing::warn!(path = %path.display(), "state of the fleet is unreadable, put aside: {reason}");
                    fs::rename(path, aside)?;
                }
            }
        }
        Ok(Self { path: path.to_owned(), book, saved: None })
    }

    pub(super) fn save(&mut self) -> io::Result<()> {
        // What was only seen does not count.
        let kept = |book: &Book| {
            let mut book = book.clone();
            for entry in &mut book.instances {
                entry.seen = Seen::default();
            }
            book
        };
        let book = kept(&self.book);
        if self.saved.as_ref() != Some(&book) {
            durable::replace(&self.path, &serde_json::to_vec_pretty(&book)?)?;
            self.saved = Some(book);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.json");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.book.aim = Some(2);
        let mut entry = Entry::new("edge-1", 5);
        entry.seen.streams = Some(3);
        ledger.book.instances.push(entry);
        ledger.save().unwrap();
        let again = Ledger::open(&path).unwrap();
        assert_eq!((again.book.aim, again.book.instances.len()), (Some(2), 1));
        assert_eq!(again.book.instances[0].seen, Seen::default());
    }

    #[test]
    fn an_unreadable_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.json");
        fs::write(&path, "{").unwrap();
        assert_eq!(Ledger::open(&path).unwrap().book, Book::default());
        assert!(folder.path().join("edge.unreadable").exists() && !path.exists());
    }

    #[test]
    fn crashes_wait_longer_and_longer() {
        let mut entry = Entry::new("edge-1", 0);
        assert!(entry.again_at() < 0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            entry.crash("x", 9, 100_000);
            waits.push(entry.again_at() - 100_000);
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(entry.state, InstanceState::Starting);
        entry.crash("x", 9, 100_000);
        assert_eq!(entry.state, InstanceState::Failed);
    }
}
