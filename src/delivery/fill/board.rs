//! Who waits for what: at most one flight for each key, which everybody who wants the same joins.

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, Method, StatusCode, header};
use parking_lot::MutexGuard;
use tokio::sync::{oneshot, watch};

use super::{Attachment, Born, Error, Fills, Transfer, Upstream, unshared::Unshared};
use crate::{
    cache::{
        FieldLines, Found, Head, Key,
        control::RequestControl,
        purge::Standing,
        storable::{Asked, Refusal},
        vary::VarySpec,
    },
    delivery::{policy::Policy, range::Spec},
    origin,
};

/// More flights than this at a time are not begun. Each is a request to an upstream without an answer yet.
const MAX_FLIGHTS: usize = 16 << 10;

/// What a request wants of a key that cannot be served from store.
pub struct Wanted {
    /// The resource.
    pub primary: Key,
    /// Where to look and wait: the resource, or the variant that an earlier answer's `Vary` leads to.
    pub key: Key,
    pub upstream: Arc<dyn Upstream>,
    pub method: Method,
    pub headers: Arc<HeaderMap>,
    pub policy: Arc<Policy>,
    pub control: RequestControl,
    /// The first range asked for, if any.
    pub range: Option<Spec>,
    /// What the store held under the key.
    pub seen: Option<Arc<Head>>,
    /// The same, if it is to be validated.
    pub stale: Option<Arc<Head>>,
}

/// How a flight ended, for everybody who waited.
#[derive(Clone)]
pub enum Landed {
    /// The answer is (being) stored, or the stored one is still good.
    Object(Arc<LandedObject>),
    /// Each has to ask for itself.
    Uncacheable {
        refusal: Refusal,
        status: StatusCode,
    },
    Failed(origin::Error),
    /// There is no memory for it.
    Full,
}

pub struct LandedObject {
    pub key: Key,
    pub head: Arc<Head>,
    /// Brings the body, when it is not stored already.
    pub transfer: Option<Arc<Transfer>>,
    pub status: StatusCode,
    pub validated: bool,
    /// Which requests this answer serves: equal selections only.
    pub vary: VarySpec,
    pub selection: String,
}

/// What only the request that started the flight gets.
pub enum Leader {
    /// Keeps the transfer wanted until the leader reads.
    Attached(Attachment),
    /// An answer that is not stored, to be streamed to this one client.
    Answer(origin::Response, Refusal),
}

/// What comes of wanting to board.
pub enum Boarded {
    Boarding(Boarding),
    /// What is stored is not what the caller saw: look again.
    Changed,
    /// Too many flights.
    Full,
}

/// A place on a flight.
pub struct Boarding {
    landed: watch::Receiver<Option<Landed>>,
    pub leader: Option<oneshot::Receiver<Leader>>,
}

pub(super) struct Flight {
    /// Hash of the resource's key.
    primary: u128,
    landed: watch::Sender<Option<Landed>>,
    outdated: AtomicBool,
    /// It goes on when nobody waits for it any more.
    kept: AtomicBool,
    /// The latest purge from before it began.
    born: u64,
}

/// When a flight is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// When all has come, also if nobody has ever waited for it.
    Kept,
    /// When all has come, whoever still wants it; but what nobody waits for takes no memory from others.
    Landed,
    /// Also when nobody waits for it any more.
    Abandoned,
}

/// Requests that only want the head do not wait for those that want bytes, or the other way round; and what is answered to
/// somebody with credentials says little about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    key: u128,
    head_only: bool,
    authorized: bool,
    /// Nobody joins it.
    alone: Option<u64>,
}

/// All flights, and where they are of no use to others.
#[derive(Default)]
pub(super) struct Board {
    flights: HashMap<FlightKey, Arc<Flight>>,
    unshared: Unshared<FlightKey>,
    /// Flights so far that nobody joins.
    alone: u64,
}

impl Wanted {
    /// The fields by which answers like this one are told apart.
    pub(super) fn vary(&self, answer: &impl FieldLines) -> VarySpec {
        VarySpec::of(answer).with(self.policy.rules.fields.nominated())
    }

    /// What of the request matters for storing its answer.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            control: &self.control,
            authorization: self.headers.contains_key(header::AUTHORIZATION),
            cookie: self.headers.contains_key(header::COOKIE),
        }
    }
}

impl FlightKey {
    fn of(wanted: &Wanted) -> Self {
        Self {
            key: wanted.key.hash(),
            head_only: wanted.method == Method::HEAD,
            authorized: wanted.headers.contains_key(header::AUTHORIZATION),
            alone: None,
        }
    }
}

impl Boarding {
    pub async fn landed(&mut self) -> Landed {
        match self.landed.wait_for(Option::is_some).await.map(|landed| landed.clone()) {
            Ok(Some(landed)) => landed,
            // The flight's task ended without landing: it was cancelled or it panicked.
            _ => {
                let stopped = Error::Stopped.to_string();
                Landed::Failed(origin::Error::new(&"none".into(), origin::ErrorKind::Io, stopped))
            }
        }
    }

    pub fn is_leader(&self) -> bool {
        self.leader.is_some()
    }
}

impl Fills {
    /// Joins the flight for this key, or starts it. Where answers have lately not been for everybody, each starts its own.
    pub fn board(self: &Arc<Self>, wanted: Wanted) -> Boarded {
        let mut board = self.board.lock();
        let mut flight_key = FlightKey::of(&wanted);
        if board.unshared.has(&flight_key, self.clock.unix_millis()) {
            board.alone += 1;
            flight_key.alone = Some(board.alone);
        } else if let Some(flight) = self.joinable(&board, &wanted) {
            self.collapsed.inc();
            return Boarded::Boarding(Boarding { landed: flight.landed.subscribe(), leader: None });
        }
        let ends = if wanted.upstream.is_abandonable() { Ends::Abandoned } else { Ends::Landed };
        self.start(wanted, flight_key, board, ends)
    }

    fn start(
        self: &Arc<Self>,
        wanted: Wanted,
        flight_key: FlightKey,
        mut board: MutexGuard<'_, Board>,
        ends: Ends,
    ) -> Boarded {
        // A flight stores first and leaves then, so what has left since the caller looked is stored by now.
        if self.has_changed(&wanted) {
            return Boarded::Changed;
        }
        if board.flights.len() >= MAX_FLIGHTS {
            return Boarded::Full;
        }
        let born = self.store().purges().latest();
        let flight = Arc::new(Flight {
            primary: wanted.primary.hash(),
            landed: watch::Sender::new(None),
            outdated: AtomicBool::new(false),
            kept: AtomicBool::new(ends == Ends::Kept),
            born,
        });
        if let Some(earlier) = board.flights.insert(flight_key, flight.clone()) {
            earlier.outdated.store(true, Ordering::SeqCst);
        }
        drop(board);
        let wanted = Wanted { stale: wanted.stale.filter(|stale| !self.is_hidden(stale)), ..wanted };
        let landed = flight.landed.subscribe();
        let (leader, follow) = oneshot::channel();
        let place = Place { fills: self.clone(), flight, keys: vec![flight_key], born: Born::after(born) };
        self.spawn("flight", async move {
            place.fills.in_flight.inc();
            let (fills, flight) = (place.fills.clone(), place.flight.clone());
            // Pinned here, lest it is held twice.
            let flying = pin!(fills.clone().fly(&wanted, leader, place));
            match ends {
                Ends::Kept | Ends::Landed => flying.await,
                Ends::Abandoned => tokio::select! {
                    () = flying => {}
                    () = fills.abandoned(&flight) => {
                        tracing::debug!(path = wanted.key.path(), "nobody waits for it any more");
                    }
                },
            }
            fills.in_flight.dec();
        });
        Boarded::Boarding(Boarding { landed, leader: Some(follow) })
    }

    /// Starts a flight for this key that nobody waits for, unless there is one.
    pub fn refresh(self: &Arc<Self>, wanted: Wanted) {
        let board = self.board.lock();
        match self.joinable(&board, &wanted) {
            // Of those who wait for it all may leave.
            Some(flight) => flight.kept.store(true, Ordering::Relaxed),
            None => {
                let flight_key = FlightKey::of(&wanted);
                self.start(wanted, flight_key, board, Ends::Kept);
            }
        }
    }

    /// Resolves when everybody who waited for this flight has gone before it landed; from then on nobody can join it.
    async fn abandoned(&self, flight: &Arc<Flight>) {
        loop {
            flight.landed.closed().await;
            let mut board = self.board.lock();
            if flight.landed.borrow().is_some() || flight.kept.load(Ordering::Relaxed) {
                break;
            }
            // Somebody may have joined just now.
            if flight.landed.receiver_count() == 0 {
                board.flights.retain(|_, other| !Arc::ptr_eq(other, flight));
                return;
            }
        }
        std::future::pending().await
    }

    /// The flight to join, if any: what began before a purge that may concern it is not for those who come after.
    fn joinable<'a>(&self, board: &'a Board, wanted: &Wanted) -> Option<&'a Arc<Flight>> {
        let flight = board.flights.get(&FlightKey::of(wanted))?;
        (!self.store().purges().may_concern(wanted.key.text(), flight.born)).then_some(flight)
    }

    /// Takes a resource out of the store, and sees to it that what is under way for it is not stored either.
    pub async fn invalidate(&self, primary: &Key) {
        self.board.lock().flights.retain(|_, flight| {
            let other = flight.primary != primary.hash();
            if !other {
                flight.outdated.store(true, Ordering::SeqCst);
            }
            other
        });
        self.beginnings.lock().forget(primary.hash());
        self.store().remove_head(primary).await;
    }

    /// Remembers whether answers like this one are for everybody.
    pub(super) fn note(&self, wanted: &Wanted, shared: bool) {
        let key = FlightKey::of(wanted);
        let mut board = self.board.lock();
        match shared {
            true => board.unshared.leave(&key),
            false => board.unshared.enter(key, self.clock.unix_millis()),
        }
    }

    /// Whether something is being fetched for this resource that is not stored yet.
    pub fn is_under_way(&self, primary: &Key) -> bool {
        self.board.lock().flights.values().any(|flight| flight.primary == primary.hash())
    }

    /// Whether a head that was found before has been purged since.
    pub(super) fn is_hidden(&self, head: &Head) -> bool {
        self.store().purges().judge(head) == Standing::Hidden
    }

    fn has_changed(&self, wanted: &Wanted) -> bool {
        match self.store().peek(&wanted.key) {
            None => false,
            Some(Found::Head(head) | Found::Outdated(head)) => {
                wanted.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &head))
            }
            Some(Found::Variants(_)) => true,
        }
    }
}

/// A flight's place on the board. Off it, later requests look in the store, or start another flight; dropping it leaves.
pub(super) struct Place {
    fills: Arc<Fills>,
    flight: Arc<Flight>,
    keys: Vec<FlightKey>,
    /// Of what it brings.
    pub born: Born,
}

impl Place {
    pub fn land(&self, landed: Landed) {
        self.flight.landed.send_replace(Some(landed));
    }

    /// Resolves when nobody waits for it any more, before it landed.
    pub async fn abandoned(&self) {
        self.fills.abandoned(&self.flight).await;
    }

    /// Whether what this flight brings may be stored: nobody has changed the resource since it began.
    pub fn is_current(&self) -> bool {
        !self.flight.outdated.load(Ordering::SeqCst)
    }

    /// Found under the key of a variant too, from now on.
    pub fn also(&mut self, key: &Key) {
        let Some(first) = self.keys.first() else { return };
        let also = FlightKey { key: key.hash(), ..*first };
        let mut board = self.fills.board.lock();
        if !self.is_current() {
            return;
        }
        if let Entry::Vacant(vacant) = board.flights.entry(also) {
            vacant.insert(self.flight.clone());
            self.keys.push(also);
        }
    }

    pub fn leave(&self) {
        let mut board = self.fills.board.lock();
        for key in &self.keys {
            // After leaving once, the place may belong to a later flight.
            if board.flights.get(key).is_some_and(|current| Arc::ptr_eq(current, &self.flight)) {
                board.flights.remove(key);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
