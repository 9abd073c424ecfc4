//! Body bytes on their way from an upstream into blocks, followed by any number of readers.
//!
//! A transfer covers a stretch of one version of an object. It runs in its own task: readers come and go. Readers
//! close behind it are served from what it holds; those further back read the blocks it has stored. Of an object that the
//! tiers cannot keep, it does not run away from its foremost reader, and holds what lies between them.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use millrace_kit::metrics::IntCounter;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Ask, Error, Extent, Upstream, held::Held, upstream::same_version};
use crate::{
    cache::{Incarnation, Store},
    delivery::range::Spec,
    origin,
};

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

/// A stretch of stored blocks at least this long is skipped rather than transferred again.
const SKIP_BLOCKS: u64 = 4;

/// How far a transfer of an object that the tiers cannot keep runs ahead of its foremost reader; two blocks if they are
/// larger. Each such transfer holds as much.
const LEAD: u64 = 1 << 20;

/// How far ahead stored blocks are looked for before an upstream is asked.
const LOOK_BLOCKS: u64 = 256;

/// An upstream body, and the offset of its next byte.
pub struct Opened {
    pub body: origin::Body,
    pub offset: u64,
    /// Where it ends, when no more was asked for.
    pub end: Option<u64>,
    /// What has come of it and was not taken yet; `offset` is where it begins.
    pub rest: Bytes,
}

impl Opened {
    pub fn new(body: origin::Body, offset: u64, end: Option<u64>) -> Self {
        Self { body, offset, end, rest: Bytes::new() }
    }

    /// The next bytes at `position`, no further than to the end of its block, so that each block is an occasion to
    /// look up. Empty while the body is still before the position.
    async fn piece(
        &mut self,
        position: u64,
        block_size: u64,
        end: Option<u64>,
        received: &IntCounter,
    ) -> Option<Result<Bytes, origin::Error>> {
        if self.rest.is_empty() {
            match self.body.next().await? {
                Ok(chunk) => {
                    received.inc_by(chunk.len() as u64);
                    self.rest = chunk;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let before = position.saturating_sub(self.offset).min(self.rest.len() as u64);
        self.rest.advance(before as usize);
        let block_end = (position / block_size + 1) * block_size;
        let room = end.map_or(block_end, |end| block_end.min(end)) - position;
        let piece = self.rest.split_to(self.rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        self.offset += before + piece.len() as u64;
        Some(Ok(piece))
    }
}

impl Transfer {
    /// `end` bounds the stretch; None: to the end of the object, whose length is not known yet.
    pub fn new(subject: Subject, start: u64, end: Option<u64>, pace: Pace) -> Arc<Self> {
        let shared = Shared { position: start, end, held: Held::default(), state: State::Running };
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

    pub fn progress(&self) -> watch::Receiver<()> {
        self.progress.subscribe()
    }

    /// Where the next byte comes, while it runs.
    pub fn running_at(&self) -> Option<u64> {
        let shared = self.shared.lock();
        matches!(shared.state, State::Running).then_some(shared.position)
    }

    /// Waits until it runs no more.
    pub async fn ended(&self) {
        let mut progress = self.progress();
        while matches!(self.shared.lock().state, State::Running) {
            // The sender lives as long as we do.
            let _ = progress.changed().await;
        }
    }

    pub fn attach(self: &Arc<Self>) -> Attachment {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Attachment { progress: self.progress(), transfer: self.clone() }
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

    /// Receives until the end of the stretch, an error, or until nobody wants more.
    pub async fn run(&self, context: &Context, first: Option<Opened>) -> Result<(), Error> {
        let result = self.receive(context, first).await;
        let state = match &result {
            Ok(()) => State::Done,
            Err(error) => State::Failed(error.clone()),
        };
        self.shared.lock().state = state;
        let _ = self.progress.send(());
        result
    }

    async fn receive(&self, context: &Context, first: Option<Opened>) -> Result<(), Error> {
        let block_size = u64::from(self.subject.block_size);
        let mut opened = first;
        let mut resumes = 0;
        let bytes_get_lost = !context.store.keeps(self.subject.length);
        let mut lead = match (self.pace, bytes_get_lost) {
            (_, true) => Some(LEAD.max(2 * block_size)),
            (Pace::Demand, false) => Some(context.limits.read_ahead),
            (Pace::Whole, false) => None,
        };
        let keep = if bytes_get_lost { lead.unwrap_or(0) + block_size } else { 0 };
        loop {
            let (position, end) = self.reach();
            if end.is_some_and(|end| position >= end) {
                let excess = opened.is_some_and(|source| !source.rest.is_empty());
                return match excess && end == self.subject.length {
                    true => Err(Error::TooLong),
                    false => Ok(()),
                };
            }
            if position.is_multiple_of(block_size) {
                if !self.wanted(&context.limits, position, &mut lead, &mut opened).await {
                    return Ok(());
                }
                let next = self.next_missing(&context.store, position);
                let worth_it =
                    next >= position + SKIP_BLOCKS * block_size || opened.is_none() || Some(next) == end;
                let possible = self.subject.validator.is_some() || Some(next) == end;
                if next > position && worth_it && possible {
                    opened = None;
                    self.skip_to(next);
                    continue;
                }
            }
            let mut source = match opened.take() {
                Some(source) => source,
                None => {
                    let stop = end.map(|end| self.last_missing(&context.store, position, end));
                    self.open(position, stop).await?
                }
            };
            let piece = source.piece(position, block_size, end, &context.received);
            let broken = match piece.await {
                Some(Ok(piece)) => {
                    self.accept(&context.store, piece, keep).await;
                    opened = Some(source);
                    continue;
                }
                None if source.end == Some(position) => continue,
                None if end.is_none() => {
                    self.finish_at(&context.store, position).await;
                    return Ok(());
                }
                None => Error::Truncated,
                Some(Err(error)) => Error::Origin(error),
            };
            resumes += 1;
            if self.subject.validator.is_none() || end.is_none() || resumes > context.limits.resumes {
                return Err(broken);
            }
            tracing::warn!(position, "resuming a broken transfer: {broken}");
            context.resumes.inc();
        }
    }

    /// Asks the upstream for `position..end` of the same version.
    async fn open(&self, position: u64, end: Option<u64>) -> Result<Opened, Error> {
        let Some(validator) = &self.subject.validator else { return Err(Error::NotResumable) };
        let range = match end {
            Some(end) => Spec::FromTo(position, end - 1),
            None => Spec::From(position),
        };
        let ask = Ask {
            range: Some(range),
            if_range: Some(validator.clone()),
            ..Ask::get(self.subject.headers.clone())
        };
        let response = self.subject.upstream.open(ask).await.map_err(Error::Origin)?;
        let ours = same_version(&response.headers, validator);
        match Extent::of(&response) {
            _ if response.status.is_server_error() => {
                Err(Error::Refused { origin: response.origin, status: response.status })
            }
            Extent::Part { range, length }
                if ours && range.start == position && self.subject.length == Some(length) =>
            {
                Ok(Opened::new(response.body, position, end))
            }
            // The upstream does not do ranges: what we have is skipped.
            Extent::Whole { length }
                if ours
                    && response.status == StatusCode::OK
                    && length.is_none_or(|length| self.subject.length == Some(length)) =>
            {
                Ok(Opened::new(response.body, 0, None))
            }
            _ => Err(Error::Changed),
        }
    }

    /// Waits while readers are further behind than the `lead`. False when nobody wants more.
    async fn wanted(
        &self,
        limits: &Limits,
        position: u64,
        lead: &mut Option<u64>,
        opened: &mut Option<Opened>,
    ) -> bool {
        loop {
            if self.readers.load(Ordering::Relaxed) == 0 && position > self.start {
                let (_, end) = self.reach();
                // Without a known end, what came so far stands for what may yet come.
                let remaining = end.map_or(position, |end| end - position);
                return self.pace == Pace::Whole && remaining <= limits.finish;
            }
            let ahead = position.saturating_sub(self.frontier.load(Ordering::Relaxed));
            if lead.is_none_or(|lead| ahead < lead) {
                return true;
            }
            let changed = self.demand.notified();
            if opened.is_none() {
                changed.await;
            } else if tokio::time::timeout(limits.idle, changed).await.is_err() {
                match self.is_repeatable() {
                    true => *opened = None,
                    false => *lead = None,
                }
            }
        }
    }

    /// The first block boundary at or after `position` whose block is not stored.
    fn next_missing(&self, store: &Store, position: u64) -> u64 {
        let block_size = u64::from(self.subject.block_size);
        let (_, end) = self.reach();
        let mut next = position;
        while end.is_some_and(|end| next < end)
            && store.has_block(self.subject.incarnation, (next / block_size) as u32)
        {
            next += block_size;
        }
        end.map_or(next, |end| next.min(end))
    }

    /// Where to stop asking: before a stretch of stored blocks that is worth skipping, and behind the last block
    /// that is missing.
    fn last_missing(&self, store: &Store, position: u64, end: u64) -> u64 {
        let block_size = u64::from(self.subject.block_size);
        let mut missing = position;
        let mut next = position / block_size * block_size;
        while next < end {
            if next >= position + LOOK_BLOCKS * block_size {
                return end;
            }
            if store.has_block(self.subject.incarnation, (next / block_size) as u32) {
                if next >= missing + (SKIP_BLOCKS - 1) * block_size {
                    break;
                }
            } else {
                missing = next + block_size;
            }
            next += block_size;
        }
        // The block at the position is wanted in any case.
        missing.max((position / block_size + 1) * block_size).min(end)
    }

    fn reach(&self) -> (u64, Option<u64>) {
        let shared = self.shared.lock();
        (shared.position, shared.end)
    }

    fn skip_to(&self, position: u64) {
        let mut shared = self.shared.lock();
        shared.held.clear();
        shared.position = position;
        drop(shared);
        let _ = self.progress.send(());
    }

    /// Adds bytes at the position, at most up to the end of the block; stores the block that they complete, and holds
    /// `keep` bytes before it.
    async fn accept(&self, store: &Store, piece: Bytes, keep: u64) {
        if piece.is_empty() {
            return;
        }
        let block_size = u64::from(self.subject.block_size);
        let completed = {
            let mut shared = self.shared.lock();
            let start = shared.position;
            if start.is_multiple_of(block_size) {
                // The block before is stored; readers that still want it find it there.
                shared.held.drop_before(start, keep);
            }
            shared.position += piece.len() as u64;
            shared.held.push(start, piece);
            let boundary = shared.position.is_multiple_of(block_size) || Some(shared.position) == shared.end;
            boundary.then(|| shared.complete_block(block_size))
        };
        let _ = self.progress.send(());
        if let Some((index, block)) = completed {
            self.store_block(store, index, block).await;
        }
    }

    /// The upstream ended a body of unknown length.
    async fn finish_at(&self, store: &Store, position: u64) {
        let last = {
            let mut shared = self.shared.lock();
            shared.end = Some(position);
            (!position.is_multiple_of(u64::from(self.subject.block_size)))
                .then(|| shared.complete_block(u64::from(self.subject.block_size)))
        };
        if let Some((index, block)) = last {
            self.store_block(store, index, block).await;
        }
    }

    /// An object of one block is stored inline with its head, by whoever owns the head.
    async fn store_block(&self, store: &Store, index: u64, block: Bytes) {
        let (_, end) = self.reach();
        let length = self.subject.length.or(end);
        if length.is_some_and(|length| length <= u64::from(self.subject.block_size)) {
            return;
        }
        store.put_block(self.subject.incarnation, index as u32, block).await;
    }
}

impl Shared {
    /// The block that ends at `position`, in one piece.
    fn complete_block(&mut self, block_size: u64) -> (u64, Bytes) {
        let index = (self.position - 1) / block_size;
        (index, self.held.join_from(index * block_size))
    }
}

/// A reader's hold on a transfer: as long as it lives, the transfer knows that somebody wants its bytes.
pub struct Attachment {
    pub transfer: Arc<Transfer>,
    progress: watch::Receiver<()>,
}

impl Attachment {
    /// Tells the transfer how far this reader has come.
    pub fn wants(&self, offset: u64) {
        if self.transfer.frontier.fetch_max(offset, Ordering::Relaxed) < offset {
            self.transfer.demand.notify_one();
        }
    }

    /// Marks what is there now as seen; [`Self::changed`] then waits for more.
    pub fn look(&mut self) {
        self.progress.mark_unchanged();
    }

    pub async fn changed(&mut self) {
        // The sender lives as long as the transfer that we hold.
        let _ = self.progress.changed().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.transfer.readers.fetch_sub(1, Ordering::Relaxed);
        self.transfer.demand.notify_one();
    }
}

/// `range` widened to block boundaries.
pub fn aligned(range: &Range<u64>, block_size: u32, length: u64) -> Range<u64> {
    let block_size = u64::from(block_size);
    let end = range.end.div_ceil(block_size).saturating_mul(block_size);
    range.start / block_size * block_size..end.min(length)
}
