//! Fills: one per key, detached from the clients that want it.
//!
//! A [`Flight`] asks an upstream for the head of an answer; everybody who wants the same key meanwhile waits for it
//! to land. The body then runs as a [`Transfer`], which readers follow. Missing stretches of objects whose head is
//! known get transfers of their own.

use std::{collections::HashMap, sync::Arc};

use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use millrace_kit::{
    clock::{Clock, UnixMillis},
    metrics::{IntCounter, IntGauge},
    tasks::Tasks,
};
use parking_lot::Mutex;

use crate::{
    cache::{
        Content, Head, Incarnation, Key, Store,
        storable::{Asked, Hear, Refusal},
    },
    delivery::policy::Policy,
    origin,
};

mod beginnings;
mod board;
mod flight;
mod journal;
mod landing;
mod room;
#[cfg(test)]
mod tests;
mod transfer;
mod unshared;
mod upstream;

pub use board::{Boarded, Boarding, Landed, LandedObject, Leader, Wanted};
pub use journal::{AnswerThen, Became, Journal, Note, Sibling};
pub use transfer::{Attachment, Limits, Pace, Taken, Transfer, aligned};
pub use upstream::{Ask, Born, Extent, Upstream, declared_length};

use beginnings::Beginnings;
use board::Board;
use room::Room;
use transfer::{Context, Opened, Subject};

/// Why a body could not be completed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Origin(origin::Error),
    #[error("origin {origin} answered {status} to a request for a part")]
    Refused { origin: Arc<str>, status: StatusCode },
    #[error("the body ended early")]
    Truncated,
    #[error("the body is longer than announced")]
    TooLong,
    #[error("the object has changed at the origin")]
    Changed,
    #[error("parts of the object cannot be asked for separately")]
    NotResumable,
    #[error("too much is being fetched already")]
    Full,
    #[error("the server is stopping")]
    Stopped,
}

/// A stored object and where the rest of it comes from.
#[derive(Clone)]
pub struct Object {
    pub key: Key,
    pub head: Arc<Head>,
    pub upstream: Arc<dyn Upstream>,
    /// Fields of the request, for asking again.
    pub headers: Arc<http::HeaderMap>,
}

/// Where missing bytes come from.
pub enum Cover {
    /// One under way, or a new one for the missing part of the range.
    Transfer(Attachment),
    /// They are stored by now.
    Stored,
    /// There is no memory to bring them.
    Refused,
}

/// Blocks ahead of a transfer for which a reader waits rather than asking for them itself.
pub const NEAR: u64 = 2;

/// What asking an upstream takes, beside the future of who asks: the futures of chains and origins, the request, spans.
const ASKING: usize = 12 << 10;

/// All flights and transfers of a server.
pub struct Fills {
    context: Context,
    clock: Clock,
    tasks: Tasks,
    journal: Journal,
    in_flight: IntGauge,
    collapsed: IntCounter,
    board: Mutex<Board>,
    beginnings: Mutex<Beginnings>,
    transfers: Mutex<HashMap<Incarnation, Vec<Arc<Transfer>>>>,
}

/// Instruments of the fills.
pub struct Instruments {
    pub in_flight: IntGauge,
    pub collapsed: IntCounter,
    pub resumes: IntCounter,
    pub received: IntCounter,
}

impl Fills {
    pub fn new(
        store: Arc<Store>,
        limits: Limits,
        clock: Clock,
        tasks: Tasks,
        instruments: Instruments,
    ) -> Arc<Self> {
        let Instruments { in_flight, collapsed, resumes, received } = instruments;
        let room = Room::new(store.lender().clone(), store.block_size());
        Arc::new(Self {
            context: Context { store, room, limits, resumes, received },
            clock,
            tasks,
            journal: Journal::default(),
            in_flight,
            collapsed,
            board: Mutex::default(),
            beginnings: Mutex::default(),
            transfers: Mutex::default(),
        })
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.context.store
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What became of the latest fills.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether this answer would be stored, received at `now`. `hear` is told what the verdict stands on.
    pub fn may_store(
        &self,
        policy: &Policy,
        asked: &Asked<'_>,
        response: &origin::Response,
        now: UnixMillis,
        hear: Hear<'_>,
    ) -> Result<(), Refusal> {
        self.judge(policy, asked, response, now, hear).map(drop)
    }

    /// Whether a stored object is of use: what is missing of it can be fetched under its validator, or nothing is.
    pub fn is_usable(&self, head: &Head) -> bool {
        let Content::Blocks { incarnation, block_size } = head.content else { return true };
        let blocks = head.length.div_ceil(u64::from(block_size));
        head.has_strong_validator()
            || (0..blocks).all(|block| self.store().has_block(incarnation, block as u32))
    }

    /// Whether the block at `offset` is stored, or on its way to somebody else.
    pub fn brings(&self, incarnation: Incarnation, offset: u64) -> bool {
        let transfers = self.transfers.lock();
        transfers
            .get(&incarnation)
            .is_some_and(|running| running.iter().any(|one| one.serves(offset, u64::MAX)))
    }

    /// What brings the bytes at `range.start`, which a reader has not found.
    pub fn cover(
        self: &Arc<Self>,
        object: &Object,
        range: std::ops::Range<u64>,
        pace: Pace,
    ) -> Option<Cover> {
        let Content::Blocks { incarnation, block_size } = object.head.content else { return None };
        // Longer than the head says: the head was made before the length was known, and cannot be resumed.
        if range.end > object.head.length {
            return None;
        }
        let mut stretch = aligned(&range, block_size, object.head.length);
        let block_size = u64::from(block_size);
        let mut transfers = self.transfers.lock();
        let running = transfers.get(&incarnation).map_or(&[][..], Vec::as_slice);
        if let Some(transfer) =
            running.iter().find(|transfer| transfer.serves(range.start, NEAR * block_size))
        {
            return Some(Cover::Transfer(transfer.attach()));
        }
        // A transfer stores a block before it lets go of it; the reader may have looked just before.
        if self.store().has_block(incarnation, (range.start / block_size) as u32) {
            return Some(Cover::Stored);
        }
        // Before an origin is asked.
        if object.upstream.is_selective()
            && self.context.room.refuses(block_size.min(stretch.end - stretch.start))
        {
            return Some(Cover::Refused);
        }
        // What another transfer is about to bring is not asked for twice.
        let next = running.iter().filter_map(|other| other.running_at());
        let next = next.map(|position| position / block_size * block_size).filter(|at| *at > stretch.start);
        stretch.end = next.min().map_or(stretch.end, |next| next.min(stretch.end));
        let subject = Subject {
            incarnation,
            block_size: block_size as u32,
            length: Some(object.head.length),
            validator: object.head.strong_validator(),
            upstream: object.upstream.clone(),
            in_parts: object.upstream.is_selective(),
            costly: object.upstream.is_costly(),
            headers: (*object.headers).clone(),
        };
        let transfer = Transfer::new(subject, stretch.start, Some(stretch.end), pace);
        transfers.entry(incarnation).or_default().push(transfer.clone());
        drop(transfers);
        let attachment = transfer.attach();
        let fills = self.clone();
        let object = object.clone();
        self.spawn("fill", async move {
            fills.in_flight.inc();
            let forget = fills.store().replace_head(&object.key, incarnation, None);
            let kept = transfer.keep(fills.store());
            let result = transfer.run(&fills.context, None, kept.is_some(), forget).await;
            fills.forget(&transfer);
            match result {
                Ok(()) => fills.inline(&object.key, &object.head, incarnation, &transfer).await,
                Err(error) => tracing::warn!(path = object.key.path(), "fill of a part failed: {error}"),
            }
            fills.in_flight.dec();
        });
        Some(Cover::Transfer(attachment))
    }

    /// An answer that is passed on, with what the network holds of it accounted for.
    pub fn passing(&self, mut response: origin::Response) -> origin::Response {
        /// Most answers without a length are short.
        const SHORT: u64 = 32 << 10;
        let network = self.context.room.connection(response.content_length.or(Some(SHORT)));
        let held = move |_: &_| {
            let _ = &network;
        };
        response.body = response.body.inspect(held).boxed();
        response
    }

    /// On its own, and accounted for.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let loan = self.store().lend(size_of_val(&task) + ASKING);
        self.tasks.spawn(name, task.inspect(move |()| drop(loan)));
    }

    fn register(&self, transfer: &Arc<Transfer>) {
        self.transfers.lock().entry(transfer.incarnation()).or_default().push(transfer.clone());
    }

    fn forget(&self, transfer: &Arc<Transfer>) {
        let mut transfers = self.transfers.lock();
        if let Some(running) = transfers.get_mut(&transfer.incarnation()) {
            running.retain(|other| !Arc::ptr_eq(other, transfer));
            if running.is_empty() {
                transfers.remove(&transfer.incarnation());
            }
        }
    }
}
