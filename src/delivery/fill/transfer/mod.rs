//! Body bytes on their way from an upstream into blocks, followed by any number of readers.
//!
//! A transfer covers a stretch of one version of an object. It runs in its own task: readers come and go. Readers
//! close behind it are served from what it holds; those further back read the blocks it has stored. Of an object that the
//! tiers cannot keep, it does not run away from its foremost reader, and holds what lies between them.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use millrace_kit::metrics::IntCounter;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Error, Upstream, room::Room};
use crate::cache::{Incarnation, Loan, Store};

mod attachment;
mod blocks;
mod held;
mod opened;
mod resume;
mod run;
mod waiting;

pub use attachment::Attachment;
pub use opened::Opened;

use held::Held;

/// How eagerly a transfer runs ahead of its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Somebody asked for the whole object: it is completed even when everybody has left.
    Whole,
    /// Ranges: no further than the read-ahead beyond the foremost reader, and no longer than somebody reads.
    Demand,
}

/// Bounds of transfers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that a [`Pace::Demand`] transfer runs ahead of its foremost reader.
    pub read_ahead: u64,
    /// An abandoned [`Pace::Whole`] transfer is completed when no more than this remains.
    pub finish: u64,
    /// A paused transfer gives its connection back after this time, or goes on without waiting when it could not get
    /// another.
    pub idle: Duration,
    /// Attempts to resume one transfer.
    pub resumes: u32,
}

/// What all transfers share.
pub struct Context {
    pub store: Arc<Store>,
    pub room: Room,
    pub limits: Limits,
    pub resumes: IntCounter,
    /// Body bytes.
    pub received: IntCounter,
}

/// What a transfer needs to know of its object.
pub struct Subject {
    pub incarnation: Incarnation,
    pub block_size: u32,
    /// None until the end has come, when the upstream did not say.
    pub length: Option<u64>,
    /// Parts of the object can be asked for separately under this.
    pub validator: Option<HeaderValue>,
    pub upstream: Arc<dyn Upstream>,
    /// The upstream brings parts when asked for them, as far as is known.
    pub in_parts: bool,
    /// The upstream is left as soon as nobody wants its bytes any more.
    pub costly: bool,
    /// Fields of the request that the upstream is asked with.
    pub headers: HeaderMap,
}

pub struct Transfer {
    subject: Subject,
    /// Starts on a block boundary.
    start: u64,
    pace: Pace,
    shared: Mutex<Shared>,
    /// Sent at every change of `shared`.
    progress: watch::Sender<()>,
    readers: AtomicUsize,
    /// The largest offset that a reader waits for.
    frontier: AtomicU64,
    /// Readers came, left or moved.
    demand: Notify,
}

struct Shared {
    /// Offset of the next byte to come.
    position: u64,
    /// Where the transfer ends, when known.
    end: Option<u64>,
    /// Up to `position`: the block being filled or the one just completed, and what is kept before it.
    held: Held,
    /// For what is held that is not being filled.
    kept: Option<Loan>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Running,
    Done,
    Failed(Error),
}

/// What a reader gets at an offset.
#[derive(Debug)]
pub enum Taken {
    Bytes(Bytes),
    /// Not there yet: wait for progress.
    Pending,
    /// Behind what is held: it was stored.
    Stored,
    /// Beyond the stretch of this transfer, or it stopped early.
    NotCovered,
    /// The object ends here.
    End,
    Failed(Error),
}

impl Transfer {
    /// `end` bounds the stretch; None: to the end of the object, whose length is not known yet.
    pub fn new(subject: Subject, start: u64, end: Option<u64>, pace: Pace) -> Arc<Self> {
        let shared =
            Shared { position: start, end, held: Held::default(), kept: None, state: State::Running };
        Arc::new(Self {
            subject,
            start,
            pace,
            shared: Mutex::new(shared),
            progress: watch::Sender::new(()),
            readers: AtomicUsize::new(0),
            frontier: AtomicU64::new(start),
            demand: Notify::new(),
        })
    }

    pub fn incarnation(&self) -> Incarnation {
        self.subject.incarnation
    }

    /// Whether the upstream did not announce a length.
    pub fn length_is_open(&self) -> bool {
        self.subject.length.is_none()
    }

    /// The length of the object: known from the start, or since the transfer is done.
    pub fn object_length(&self) -> Option<u64> {
        self.subject.length.or_else(|| {
            let shared = self.shared.lock();
            shared.end.filter(|_| matches!(shared.state, State::Done))
        })
    }

    /// Whether bytes that are lost can be fetched again while this transfer runs.
    fn is_repeatable(&self) -> bool {
        self.subject.validator.is_some() && self.subject.length.is_some()
    }

    /// Whether a reader that begins now finds everything that has come so far.
    pub fn has_beginning(&self, store: &Store) -> bool {
        if self.is_repeatable() || self.start > 0 {
            return true;
        }
        let held = {
            let shared = self.shared.lock();
            shared.held.start().unwrap_or(shared.position)
        };
        let blocks = 0..held.div_ceil(u64::from(self.subject.block_size));
        blocks.into_iter().all(|block| store.has_block(self.subject.incarnation, block as u32))
    }

    /// Whether everything before `offset` has been received or was stored already.
    pub fn reached(&self, offset: u64) -> bool {
        self.shared.lock().position >= offset
    }

    /// Whether a reader at `offset` is served soon: bytes at most `window` ahead of the transfer.
    pub fn serves(&self, offset: u64, window: u64) -> bool {
        let shared = self.shared.lock();
        let ahead = shared.position.saturating_add(window);
        matches!(shared.state, State::Running)
            && offset >= self.start
            && shared.end.is_none_or(|end| offset < end)
            && offset >= shared.held.start().unwrap_or(shared.position)
            && offset <= ahead
    }

    /// Whether a reader at `offset` is better served by a transfer of its own: its bytes are more than `window` away, and
    /// can be asked for separately.
    pub fn is_far_from(&self, offset: u64, window: u64) -> bool {
        self.subject.in_parts
            && self.is_repeatable()
            && self.running_at().is_some_and(|at| offset > at.saturating_add(window))
    }

    /// Where the next byte comes, while it runs.
    pub fn running_at(&self) -> Option<u64> {
        let shared = self.shared.lock();
        matches!(shared.state, State::Running).then_some(shared.position)
    }

    /// Waits until it runs no more.
    pub async fn ended(&self) {
        let mut progress = self.progress.subscribe();
        while matches!(self.shared.lock().state, State::Running) {
            // The sender lives as long as we do.
            let _ = progress.changed().await;
        }
    }

    pub fn attach(self: &Arc<Self>) -> Attachment {
        Attachment::new(self.clone())
    }

    /// Bytes at `offset`, as many as one held piece has.
    pub fn take(&self, offset: u64) -> Taken {
        let shared = self.shared.lock();
        if offset < self.start {
            return Taken::NotCovered;
        }
        if offset < shared.position {
            return shared.held.at(offset).map_or(Taken::Stored, Taken::Bytes);
        }
        match &shared.state {
            State::Failed(error) => Taken::Failed(error.clone()),
            _ if self.subject.length.or(shared.end).is_some_and(|length| offset >= length) => Taken::End,
            State::Done => Taken::NotCovered,
            State::Running if shared.end.is_some_and(|end| offset >= end) => Taken::NotCovered,
            State::Running => Taken::Pending,
        }
    }

    /// All bytes of an object that fits in one block, once the transfer is done.
    pub fn whole(&self) -> Option<Bytes> {
        let shared = self.shared.lock();
        let (State::Done, Some(end)) = (&shared.state, self.subject.length.or(shared.end)) else {
            return None;
        };
        if self.start != 0 || end > u64::from(self.subject.block_size) || shared.position != end {
            return None;
        }
        Some(shared.held.all())
    }

    fn reach(&self) -> (u64, Option<u64>) {
        let shared = self.shared.lock();
        (shared.position, shared.end)
    }
}

impl Shared {
    /// The block that ends at `position`, in one piece.
    fn complete_block(&mut self, block_size: u64) -> (u64, Bytes) {
        let index = (self.position - 1) / block_size;
        (index, self.held.join_from(index * block_size))
    }
}

/// `range` widened to block boundaries.
pub fn aligned(range: &Range<u64>, block_size: u32, length: u64) -> Range<u64> {
    let block_size = u64::from(block_size);
    let end = range.end.div_ceil(block_size).saturating_mul(block_size);
    range.start / block_size * block_size..end.min(length)
}
