//! The writing side of a transfer: asks the upstream, again where it broke, and turns what comes into blocks.

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::{
    super::{
        Ask, Error, Extent,
        room::{Place, Room},
        upstream::{same_version, speaks_for_the_resource},
    },
    Context, Opened, Pace, State, Transfer,
    blocks::SKIP_BLOCKS,
    resume::Resuming,
};
use crate::{
    cache::{Kept, Store},
    delivery::range::Spec,
    origin::{self, Resume},
};

/// How far a transfer of an object that the tiers cannot keep runs ahead of its foremost reader; two blocks if they are
/// larger. Each such transfer holds as much.
const LEAD: u64 = 1 << 20;

/// What is costly does not announce its length; it is at most this, and kept as if it had said so.
const COSTLY_BYTES: u64 = 16 << 20;

impl Transfer {
    /// Has the tiers keep what will come. None: they cannot.
    pub fn keep(&self, store: &Store) -> Option<Kept> {
        let length = self.subject.length.or(self.subject.costly.then_some(COSTLY_BYTES));
        store.keep(self.subject.incarnation, length, self.is_repeatable())
    }

    /// Receives until the end of the stretch, an error, or until nobody wants more. When the object has changed,
    /// `forget` comes before readers are told, so that they do not find the old version again. `first` is a body that has been
    /// opened already, with memory for its first block.
    pub async fn run(
        &self,
        context: &Context,
        first: Option<(Opened, Place)>,
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
        first: Option<(Opened, Place)>,
        bytes_get_lost: bool,
    ) -> Result<(), Error> {
        let block_size = u64::from(self.subject.block_size);
        let (mut opened, mut place) = first.unzip();
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
                let has_had_one = position > self.start;
                if has_had_one && (context.room.is_wanted() || !self.is_awaited(position, lead)) {
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
                        place = self.place(&context.room, position, end).await?;
                    }
                    if place.is_none() {
                        return Ok(());
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
                place = None;
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
