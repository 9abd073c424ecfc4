//! Purges: what they are, and what of the store they leave to be found.
//!
//! Nothing is searched for. A purge takes the next sequence number and stamps the names it concerns with it. An object
//! knows the latest number from before its fill began; when it is looked up, a later stamp on one of its names hides it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use millrace_kit::{
    clock::UnixMillis,
    metrics::{self, Histogram, IntGauge, Registry, catalogue},
    tasks::Tasks,
};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{Head, KeySeed};

mod log;
mod marks;
mod moments;
mod stamps;
mod words;

pub use marks::{ANY_TAG, MAX_DEPTH, MAX_TAG, Name, Tags};
pub use stamps::{Concern, Named};

use log::{Books, Log};
use marks::Mark;

/// What is to be forgotten. Servers tell each other in this form too: names are hashes that are the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    soft: bool,
    all: bool,
    tagged: bool,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a tag has 1 to {MAX_TAG} bytes, no comma, no white space at its ends, and is not `{ANY_TAG}`")]
    Tag,
    #[error("a prefix begins with a slash, has no query, and at most {MAX_DEPTH} segments")]
    Prefix,
}

impl Purge {
    /// What it concerns is not used any more.
    pub fn hard() -> Self {
        Self { soft: false, all: false, tagged: false, marks: Vec::new() }
    }

    /// What it concerns is outdated at once: validated before it is used, but still there to stand in.
    pub fn soft() -> Self {
        Self { soft: true, ..Self::hard() }
    }

    pub fn everything(self) -> Self {
        Self { all: true, ..self }
    }

    /// Text of a resource's key: with it go its variants and what is made of it.
    pub fn url(mut self, text: &str) -> Self {
        self.marks.push(Mark::url(text));
        self
    }

    pub fn tag(mut self, tag: &str) -> Result<Self, BadName> {
        let good = (1..=MAX_TAG).contains(&tag.len()) && !tag.contains(',') && tag.trim() == tag;
        if !good || tag == ANY_TAG {
            return Err(BadName::Tag);
        }
        self.marks.push(Mark::tag(tag.as_bytes()));
        self.tagged = true;
        Ok(self)
    }

    /// The path itself and all that lies below it, of the keys that begin with `space`. A slash at its end does not matter.
    pub fn prefix(mut self, space: &str, path: &str) -> Result<Self, BadName> {
        let stem = path.strip_suffix('/').unwrap_or(path);
        let depth = stem.bytes().filter(|byte| *byte == b'/').count();
        if !path.starts_with('/') || path.contains('?') || depth > MAX_DEPTH {
            return Err(BadName::Prefix);
        }
        self.marks.push(Mark::prefix(&[space, stem].concat()));
        Ok(self)
    }
}

/// Purges as one server tells them another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// The latest number.
    pub latest: u64,
    /// The time there.
    pub now: UnixMillis,
    /// When the last of them came; what came from its origin later is not concerned.
    pub at: UnixMillis,
    pub purges: Vec<Purge>,
}

/// How an object stands to the purges so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// Purged softly.
    Outdated,
    /// Not there for anybody.
    Hidden,
}

/// The purge has come into force here, but would not survive a restart.
#[derive(Debug, thiserror::Error)]
#[error("purge {sequence} is in force, but could not be written down: {reason}")]
pub struct NotDurable {
    pub sequence: u64,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Log(#[from] std::io::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

/// All purges of a cache.
pub struct Purges {
    /// The sequence number of the latest purge in force.
    latest: AtomicU64,
    books: Arc<RwLock<Books>>,
    /// None: what is cached does not survive a restart either.
    log: Option<Log>,
    sequence: IntGauge,
    apply: Histogram,
}

impl Purges {
    /// Of a cache that is forgotten at a restart.
    pub fn in_memory(registry: &Registry) -> Result<Self, metrics::Error> {
        Self::new(Books::default(), None, registry)
    }

    /// Of the cache in `dir`. None when its log is lost, or belongs to keys with another seed: then nothing that is stored
    /// there may be found again.
    pub fn open(
        dir: &Path,
        seed: KeySeed,
        registry: &Registry,
        tasks: &Tasks,
    ) -> Result<Option<Self>, OpenError> {
        let Some((log, books)) = Log::open(dir, seed, tasks.runtime())? else { return Ok(None) };
        Ok(Some(Self::new(books, Some(log), registry)?))
    }

    /// Of a cache in `dir` that is new.
    pub fn create(dir: &Path, seed: KeySeed, registry: &Registry, tasks: &Tasks) -> Result<Self, OpenError> {
        let (log, books) = Log::create(dir, seed, tasks.runtime())?;
        Ok(Self::new(books, Some(log), registry)?)
    }

    fn new(books: Books, log: Option<Log>, registry: &Registry) -> Result<Self, metrics::Error> {
        let sequence = registry.gauge(&catalogue::PURGE_SEQUENCE)?.with_label_values::<&str>(&[]);
        let apply = registry.histogram(&catalogue::PURGE_APPLY)?.with_label_values::<&str>(&[]);
        let latest = books.stamps.latest();
        sequence.set(gauge(latest));
        Ok(Self { latest: latest.into(), books: Arc::new(RwLock::new(books)), log, sequence, apply })
    }

    /// What is asked of an upstream from now on is not concerned by purges up to this.
    pub fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// What an upstream was asked for at this time, by our clock, is not concerned by purges up to the number.
    pub fn latest_by(&self, time: UnixMillis) -> u64 {
        let books = self.books.read();
        books.moments.latest_by(time).max(books.stamps.latest_by(time))
    }

    /// What has come after this number, in few purges.
    pub fn since(&self, after: u64, now: UnixMillis) -> Since {
        /// More names are told as everything.
        const MOST: usize = 10_000;
        let books = self.books.read();
        let purges = books.stamps.since(after, MOST);
        Since { latest: books.stamps.latest(), now, at: books.moments.latest().unwrap_or(now), purges }
    }

    /// How a stored object stands. When there was no purge since the last time, that is all there is to see.
    pub fn judge(&self, head: &Head) -> Standing {
        let latest = self.latest();
        if head.seen.get() >= latest {
            return Standing::Current;
        }
        let standing = self.books.read().stamps.judge(&head.key, &head.tags, head.born);
        if standing == Standing::Current {
            head.seen.raise(latest);
        }
        standing
    }

    /// What [`Self::judge`] goes by.
    pub fn concerning<'a>(&self, head: &'a Head) -> Vec<Concern<'a>> {
        self.books.read().stamps.concerning(head)
    }

    /// Whether something that is being fetched for this key since `born` may be concerned by a purge; what its tags will
    /// be is not known.
    pub fn may_concern(&self, key: &str, born: u64) -> bool {
        born < self.latest()
            && self.books.read().stamps.judge(key, &Tags::unknown(), born) != Standing::Current
    }

    /// Writes all that is on the books where the log belongs, after its directory was lost.
    pub async fn write_down(&self) -> Result<(), String> {
        match &self.log {
            Some(log) => log.write_down(&self.books).await,
            None => Ok(()),
        }
    }

    /// The purge's sequence number, when it is in force and will be after a restart too.
    pub async fn purge(&self, purge: &Purge, now: UnixMillis) -> Result<u64, NotDurable> {
        let begun = Instant::now();
        let sequence = {
            let mut books = self.books.write();
            let sequence = books.enter(purge, now, self.log.is_some());
            self.latest.store(sequence, Ordering::Release);
            self.sequence.set(gauge(sequence));
            sequence
        };
        if let Some(log) = &self.log {
            log.commit(sequence, &self.books).await.map_err(|reason| NotDurable { sequence, reason })?;
        }
        self.apply.observe(begun.elapsed().as_secs_f64());
        Ok(sequence)
    }
}

fn gauge(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// Up to which purge an object has been judged to be in order. Only saves work, so it is no part of what the object is.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

impl Seen {
    pub fn up_to(sequence: u64) -> Self {
        Self(sequence.into())
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn raise(&self, sequence: u64) {
        self.0.fetch_max(sequence, Ordering::Relaxed);
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self::up_to(self.get())
    }
}

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}
