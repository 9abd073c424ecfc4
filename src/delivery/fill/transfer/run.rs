//! The writing side of a transfer: asks the upstream, again where it broke, and turns what comes into blocks.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::{
    super::{
        Ask, Error, Extent,
        room::{Place, Room, Taker},
        upstream::{same_version, speaks_for_the_resource},
    },
    Context, Opened, Pace, State, Transfer,
    resume::Resuming,
};
use crate::{
    cache::{Kept, Store},
    delivery::range::Spec,
    origin::{self, Resume},
};

/// A stretch of stored blocks at least this long is skipped rather than transferred again.
const SKIP_BLOCKS: u64 = 4;

/// How far a transfer of an object that the tiers cannot keep runs ahead of its foremost reader; two blocks if they are
/// larger. Each such transfer holds as much.
const LEAD: u64 = 1 << 20;

/// How long what is costly goes on without a reader: players that come back at once find it.
const DESERTED: Duration = Duration::from_secs(1);

/// What is costly does not announce its length; it is at most this, and kept as if it had said so.
const COSTLY_BYTES: u64 = 16 << 20;

/// How far ahead stored blocks are looked for before an upstream is asked.
const LOOK_BLOCKS: u64 = 256;

impl Transfer {
    /// Has the tiers keep what will come. None: they cannot.
    pub fn keep(&self, store: &Store) -> Option<Kept> {
        let length = self.subject.length.or(self.subject.costly.then_some(COSTLY_BYTES));
        store.keep(self.subject.incarnation, length, self.is_repeatable())
    }

    /// Receives until the end of the stretch, an error, or until nobody wants more. When the object has changed,
    /// `forget` comes before readers are told, so that they do not find the old version again.
    pub async fn run(
        &self,
        context: &Context,
        first: Option<Opened>,
        kept: bool,
        forget: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let _ending = Ending(self);
        let result = self.receive(context, first, !kept).await;
        if matches!(result, Err(Error::Changed)) {
            forget.await;
        }
        self.let_go(context, kept && result.is_ok());
        self.end(match &result {
            Ok(()) => State::Done,
            Err(error) => State::Failed(error.clone()),
        });
        result
    }

    fn end(&self, state: State) {
        self.shared.lock().state = state;
        let _ = self.progress.send(());
    }

    async fn receive(
        &self,
        context: &Context,
        first: Option<Opened>,
        bytes_get_lost: bool,
    ) -> Result<(), Error> {
        let block_size = u64::from(self.subject.block_size);
        let mut opened = first;
        let mut resuming = Resuming::default();
        if let Some(source) = &opened {
            resuming.begin(&source.origin, self.start);
        }
        let mut lead = match (self.pace, bytes_get_lost) {
            (_, true) => Some(LEAD.max(2 * block_size)),
            (Pace::Demand, false) => Some(context.limits.read_ahead.max(1)),
            (Pace::Whole, false) => None,
        };
        let keep = if bytes_get_lost { lead.unwrap_or(0) + block_size } else { 0 };
        if keep > 0 {
            self.shared.lock().kept = Some(context.room.beside(keep));
        }
        let mut alone = None;
        let mut place = None;
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
                if context.room.is_wanted() || !self.is_awaited(position, lead) {
                    // Others have their turn.
                    place = None;
                }
                if !self.wanted(context, position, keep, &mut lead, &mut opened).await {
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
            let source = match opened.take() {
                Some(source) => Ok(source),
                None => {
                    // Whoever has a place does not wait for an origin.
                    place = None;
                    let stop = end.map(|end| self.last_missing(&context.store, position, end));
                    let source = self.open(&context.room, position, stop, resuming.after(position)).await;
                    source.inspect(|source| resuming.begin(&source.origin, position))
                }
            };
            let broken = match source {
                Ok(mut source) => {
                    if place.is_none() {
                        place = Some(self.place(&context.room, position, end).await?);
                    }
                    match self.piece_of(&mut source, (position, end), context, &mut alone).await {
                        None => return Ok(()),
                        Some(Some(Ok(piece))) => {
                            self.accept(&context.store, piece, keep).await;
                            opened = Some(source);
                            continue;
                        }
                        Some(None) if source.ends_well(position, block_size) => continue,
                        Some(None) if end.is_none() => {
                            self.finish_at(&context.store, position).await;
                            return Ok(());
                        }
                        Some(None) => Error::Truncated,
                        Some(Some(Err(error))) => Error::Origin(error),
                    }
                }
                Err(error) => error,
            };
            let resumable = self.subject.validator.is_some() && end.is_some();
            if !resumable || !resuming.again(&broken, position, context.limits.resumes) {
                return Err(broken);
            }
            tracing::warn!(position, "resuming a broken transfer: {broken}");
            context.resumes.inc();
            if let Some(pause) = resuming.pause() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// What comes next. The outer None: it is not worth waiting for, since nobody does.
    async fn piece_of(
        &self,
        source: &mut Opened,
        (position, end): (u64, Option<u64>),
        context: &Context,
        alone: &mut Option<Instant>,
    ) -> Option<Option<Result<Bytes, origin::Error>>> {
        let block_size = u64::from(self.subject.block_size);
        let piece = source.piece(position, block_size, end, &context.received);
        if !self.subject.costly {
            return Some(piece.await);
        }
        tokio::select! {
            biased;
            piece = piece => Some(piece),
            () = self.deserted(alone) => None,
        }
    }

    /// Waits until nobody has wanted anything for a while. `since` goes on over several pieces.
    async fn deserted(&self, since: &mut Option<Instant>) {
        loop {
            let changed = self.demand.notified();
            if self.readers.load(Ordering::Relaxed) > 0 {
                *since = None;
                changed.await;
                continue;
            }
            let alone = *since.get_or_insert_with(Instant::now);
            if tokio::time::timeout_at(alone + DESERTED, changed).await.is_err() {
                return;
            }
        }
    }

    /// Asks the upstream for `position..end` of the same version.
    async fn open(
        &self,
        room: &Room,
        position: u64,
        end: Option<u64>,
        resume: Option<Resume>,
    ) -> Result<Opened, Error> {
        let Some(validator) = &self.subject.validator else { return Err(Error::NotResumable) };
        let range = match end {
            Some(end) => Spec::FromTo(position, end - 1),
            None => Spec::From(position),
        };
        let ask = Ask {
            range: Some(range),
            if_range: Some(validator.clone()),
            resume,
            ..Ask::get(self.subject.headers.clone())
        };
        let response = self.subject.upstream.open(ask).await.map_err(Error::Origin)?;
        let ours = same_version(&response.headers, validator);
        match Extent::of(&response) {
            _ if !speaks_for_the_resource(response.status) => {
                Err(Error::Refused { origin: response.origin, status: response.status })
            }
            // It may end before the end that was asked for: then it is asked for the rest.
            Extent::Part { range, length }
                if ours && range.start == position && self.subject.length == Some(length) =>
            {
                let network = room.connection(Some(range.end - position));
                Ok(Opened::new(response.origin, response.body, position, Some(range.end), network))
            }
            // The upstream does not do ranges: what we have is skipped.
            Extent::Whole { length }
                if ours
                    && response.status == StatusCode::OK
                    && length.is_none_or(|length| self.subject.length == Some(length)) =>
            {
                Ok(Opened::new(response.origin, response.body, 0, None, room.connection(length)))
            }
            _ => Err(Error::Changed),
        }
    }

    /// Memory for the block at `position`.
    async fn place(&self, room: &Room, position: u64, end: Option<u64>) -> Result<Place, Error> {
        let block_size = u64::from(self.subject.block_size);
        let bytes = end.map_or(block_size, |end| block_size.min(end - position));
        let taker = match position > self.start {
            _ if !self.subject.upstream.is_selective() => Taker::Derived,
            true => Taker::Begun,
            false => Taker::New,
        };
        room.enter(bytes, taker).await.ok_or(Error::Full)
    }

    /// What is stored need not be held for readers, who find it there. An object of one block is: it is stored by whoever owns its head.
    fn let_go(&self, context: &Context, is_stored: bool) {
        let (position, end) = self.reach();
        let one_block =
            self.subject.length.or(end).is_some_and(|end| end <= u64::from(self.subject.block_size));
        let mut shared = self.shared.lock();
        if one_block {
            shared.kept = Some(context.room.beside(position - self.start.min(position)));
        } else if is_stored {
            shared.held.clear();
        }
    }

    /// Whether a reader is within the `lead`.
    fn is_awaited(&self, position: u64, lead: Option<u64>) -> bool {
        let ahead = position.saturating_sub(self.frontier.load(Ordering::Relaxed));
        lead.is_none_or(|lead| ahead < lead)
    }

    /// Waits while readers are further behind than the `lead`. False when nobody wants more.
    async fn wanted(
        &self,
        context: &Context,
        position: u64,
        keep: u64,
        lead: &mut Option<u64>,
        opened: &mut Option<Opened>,
    ) -> bool {
        let limits = &context.limits;
        loop {
            if self.readers.load(Ordering::Relaxed) == 0 && position > self.start {
                let (_, end) = self.reach();
                // Without a known end, what came so far stands for what may yet come.
                let remaining = end.map_or(position, |end| end - position);
                return self.pace == Pace::Whole && remaining <= limits.finish;
            }
            if self.is_awaited(position, *lead) {
                return true;
            }
            // What is stored is not held for as long as nothing comes: its readers may be very slow.
            self.shared.lock().held.drop_before(position, keep);
            let changed = self.demand.notified();
            let repeatable = self.is_repeatable();
            if repeatable && context.room.is_used_up() {
                // Its readers can have it fetched again.
                let mut shared = self.shared.lock();
                shared.held.clear();
                (shared.kept, *opened) = (None, None);
            }
            let Some(source) = opened else {
                changed.await;
                continue;
            };
            let wanted = async {
                match repeatable {
                    true => self.subject.upstream.wanted(&source.origin).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = wanted => *opened = None,
                () = tokio::time::sleep(limits.idle) => match repeatable {
                    true => *opened = None,
                    false => *lead = None,
                },
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

/// Ends the transfer for its readers even when its task was cancelled or has panicked.
struct Ending<'a>(&'a Transfer);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.0.running_at().is_some() {
            self.0.end(State::Failed(Error::Stopped));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, future::BoxFuture};
    use http::HeaderMap;
    use millrace_kit::{metrics::Registry, tasks::Tasks};

    use super::{
        super::{super::Upstream, Limits, Subject, Taken},
        *,
    };
    use crate::{
        cache::{Config, Incarnation},
        origin,
    };

    struct Silent;

    impl Upstream for Silent {
        fn open(&self, _: Ask) -> BoxFuture<'_, Result<origin::Response, origin::Error>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test]
    async fn readers_of_a_task_that_is_gone_are_told() {
        let config = Config { memory_bytes: 1 << 20, disk: None, block_size: 1 << 16 };
        let store = Store::open(&config, &Registry::new(), &Tasks::new()).await.unwrap();
        let limits = Limits { read_ahead: 1, finish: 1, idle: std::time::Duration::from_secs(1), resumes: 1 };
        let counter = || prometheus::IntCounter::new("a", "b").unwrap();
        let room = Room::new(store.lender().clone(), 1 << 16);
        let context = Context { store, room, limits, resumes: counter(), received: counter() };
        let subject = Subject {
            incarnation: Incarnation::new(),
            block_size: 1 << 16,
            length: Some(1 << 20),
            validator: Some(http::HeaderValue::from_static("\"1\"")),
            upstream: Arc::new(Silent),
            in_parts: true,
            costly: false,
            headers: HeaderMap::new(),
        };
        let transfer = Transfer::new(subject, 0, Some(1 << 20), Pace::Whole);
        let _reader = transfer.attach();
        assert!(transfer.run(&context, None, true, async {}).now_or_never().is_none());
        assert!(matches!(transfer.take(0), Taken::Failed(Error::Stopped)));
    }
}
