//! Asking for the head of an answer, once for everybody who waits for it.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::{oneshot, watch};

use super::{Ask, Attachment, Extent, Fills, FlightKey, Opened, Pace, Subject, Transfer, Upstream};
use crate::{
    cache::{
        Content, Head, Incarnation, Key,
        control::{RequestControl, ResponseControl},
        freshness::Freshness,
        storable::{self, Asked, Refusal},
        validator,
        vary::VarySpec,
    },
    delivery::range::Spec,
    origin,
};

/// What a request wants of a key that cannot be served from store.
pub struct Wanted {
    /// The resource.
    pub primary: Key,
    /// Where to look and wait: the resource, or the variant that an earlier answer's `Vary` leads to.
    pub key: Key,
    pub upstream: Arc<dyn Upstream>,
    pub method: Method,
    pub headers: Arc<HeaderMap>,
    pub control: RequestControl,
    /// The first range asked for, if any.
    pub range: Option<Spec>,
    /// A stale stored response to validate.
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

/// A place on a flight.
pub struct Boarding {
    landed: watch::Receiver<Option<Landed>>,
    pub leader: Option<oneshot::Receiver<Leader>>,
}

pub(super) struct Flight {
    landed: watch::Sender<Option<Landed>>,
}

impl Boarding {
    pub async fn landed(&mut self) -> Landed {
        match self.landed.wait_for(Option::is_some).await.map(|landed| landed.clone()) {
            Ok(Some(landed)) => landed,
            // The flight's task ended without landing: it was cancelled or it panicked.
            _ => Landed::Failed(origin::Error {
                origin: "none".into(),
                kind: origin::ErrorKind::Io,
                detail: "the fill was abandoned".to_owned(),
            }),
        }
    }

    pub fn is_leader(&self) -> bool {
        self.leader.is_some()
    }
}

impl Fills {
    /// Joins the flight for this key, or starts it.
    pub fn board(self: &Arc<Self>, wanted: Wanted) -> Boarding {
        let flight_key = FlightKey { key: wanted.key.hash(), head_only: wanted.method == Method::HEAD };
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&flight_key) {
            self.collapsed.inc();
            return Boarding { landed: flight.landed.subscribe(), leader: None };
        }
        let flight = Arc::new(Flight { landed: watch::Sender::new(None) });
        flights.insert(flight_key, flight.clone());
        drop(flights);
        let landed = flight.landed.subscribe();
        let (leader, follow) = oneshot::channel();
        let fills = self.clone();
        self.tasks.spawn("flight", async move {
            fills.in_flight.inc();
            let leaving = Leaving { fills: &fills, flight_key, flight: &flight };
            fills.fly(&wanted, &flight, leader, leaving).await;
            fills.in_flight.dec();
        });
        Boarding { landed, leader: Some(follow) }
    }

    /// Starts a flight for this key that nobody waits for, unless there is one.
    pub fn refresh(self: &Arc<Self>, wanted: Wanted) {
        let flight_key = FlightKey { key: wanted.key.hash(), head_only: wanted.method == Method::HEAD };
        let under_way = self.flights.lock().contains_key(&flight_key);
        if !under_way {
            self.board(wanted);
        }
    }

    async fn fly(
        self: &Arc<Self>,
        wanted: &Wanted,
        flight: &Flight,
        leader: oneshot::Sender<Leader>,
        leaving: Leaving<'_>,
    ) {
        let land = |landed| {
            flight.landed.send_replace(Some(landed));
        };
        let mut request_time = self.clock.unix_millis();
        let mut opened = wanted.upstream.open(self.ask(wanted)).await;
        if let (Ok(response), Some(stale)) = (&opened, &wanted.stale)
            && response.status == StatusCode::NOT_MODIFIED
        {
            let head = stale.freshened(&response.headers, (request_time, self.clock.unix_millis()));
            if !(head.control.no_store || head.control.private) {
                let head = Arc::new(head);
                self.store().put_head(&wanted.key, head.clone()).await;
                leaving.now();
                return land(self.confirmed(wanted, head));
            }
            // Unchanged, and not for everybody any more: asked for as if it had never been here.
            self.store().remove_head(&wanted.key).await;
            request_time = self.clock.unix_millis();
            opened = wanted.upstream.open(Ask { validate: None, ..self.ask(wanted) }).await;
        }
        let response = match opened {
            Ok(response) => response,
            Err(error) => {
                leaving.now();
                return land(Landed::Failed(error));
            }
        };
        let times = (request_time, self.clock.unix_millis());
        let landing = match self.judge(wanted, &response) {
            Ok(landing) => landing,
            Err(refusal) => {
                let status = response.status;
                if wanted.stale.is_some() && takes_back(status, refusal) {
                    self.store().remove_head(&wanted.key).await;
                }
                leaving.now();
                // First the answer, so that a leader who sees the landing finds it.
                let _ = leader.send(Leader::Answer(response, refusal));
                return land(Landed::Uncacheable { refusal, status });
            }
        };
        self.land_object(wanted, response, landing, times, leader, leaving, land).await;
    }

    /// The stored response is still good.
    fn confirmed(&self, wanted: &Wanted, head: Arc<Head>) -> Landed {
        let vary = VarySpec::of(&head.fields);
        Landed::Object(Arc::new(LandedObject {
            key: wanted.key.clone(),
            selection: vary.select(&*wanted.headers),
            vary,
            head,
            transfer: None,
            status: StatusCode::NOT_MODIFIED,
            validated: true,
        }))
    }

    /// The question, with the range widened to whole blocks.
    fn ask(&self, wanted: &Wanted) -> Ask {
        let block_size = u64::from(self.store().block_size());
        let range = wanted.range.map(|range| match range {
            Spec::From(first) => Spec::From(first / block_size * block_size),
            Spec::FromTo(first, last) => Spec::FromTo(
                first / block_size * block_size,
                (last / block_size + 1).saturating_mul(block_size) - 1,
            ),
            // Long enough to begin before the block that holds the first byte asked for.
            Spec::Suffix(count) => Spec::Suffix(count.saturating_add(block_size - 1)),
        });
        Ask {
            method: wanted.method.clone(),
            headers: (*wanted.headers).clone(),
            range,
            if_range: wanted.range.and_then(|_| wanted.headers.get(header::IF_RANGE).cloned()),
            validate: wanted.stale.clone(),
        }
    }

    fn judge(&self, wanted: &Wanted, response: &origin::Response) -> Result<Landing, Refusal> {
        let head_only = wanted.method == Method::HEAD;
        let extent = if head_only { Extent::of_head(response) } else { Extent::of(response) };
        let validator = validator::strong(&response.headers).is_some();
        // A part stands for the whole object when the whole can be completed later.
        let status = match &extent {
            Extent::Part { .. } if validator => StatusCode::OK,
            _ => response.status,
        };
        let control = ResponseControl::parse(&response.headers);
        let now = self.clock.unix_millis();
        let freshness = Freshness::of(status, &response.headers, &control, now, now);
        let asked = Asked {
            method: &wanted.method,
            control: &wanted.control,
            authorization: wanted.headers.contains_key(header::AUTHORIZATION),
        };
        storable::check(&asked, status, &response.headers, &control, &freshness)?;
        let vary = VarySpec::of(&response.headers);
        if vary.is_too_wide() {
            return Err(Refusal::VaryStar);
        }
        match extent {
            // Without its bytes a head is of use only if they can be fetched later.
            Extent::Whole { length }
                if head_only && (length.is_none() || !validator || status != StatusCode::OK) =>
            {
                Err(Refusal::Method)
            }
            Extent::Unclear => Err(Refusal::Status),
            extent => Ok(Landing { status, extent, validator, vary, head_only }),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `fly`, cut out for its length")]
    async fn land_object(
        self: &Arc<Self>,
        wanted: &Wanted,
        response: origin::Response,
        landing: Landing,
        times: (i64, i64),
        leader: oneshot::Sender<Leader>,
        leaving: Leaving<'_>,
        land: impl Fn(Landed),
    ) {
        let block_size = self.store().block_size();
        let incarnation = Incarnation::new();
        let content = Content::Blocks { incarnation, block_size };
        let (offset, part_end, length) = match &landing.extent {
            Extent::Part { range, length } => (range.start, Some(range.end), Some(*length)),
            Extent::Whole { length } => (0, *length, *length),
            Extent::Unclear => (0, None, None),
        };
        let selection = landing.vary.select(&*wanted.headers);
        let key = match landing.vary.is_empty() {
            true => wanted.primary.clone(),
            false => wanted.primary.variant(&selection, self.store().seed()),
        };
        let announced = length.unwrap_or(0);
        let head =
            Arc::new(Head::new(key.text(), landing.status, &response.headers, times, announced, content));
        if !landing.vary.is_empty() {
            self.store().put_variants(&wanted.primary, landing.vary.clone()).await;
        }
        let object = |transfer| {
            Landed::Object(Arc::new(LandedObject {
                key: key.clone(),
                head: head.clone(),
                transfer,
                status: response.status,
                validated: false,
                vary: landing.vary.clone(),
                selection: selection.clone(),
            }))
        };
        if landing.head_only {
            self.store().put_head(&key, head.clone()).await;
            leaving.now();
            return land(object(None));
        }
        let is_part = matches!(landing.extent, Extent::Part { .. });
        let block = u64::from(block_size);
        let start = offset.div_ceil(block) * block;
        let subject = Subject {
            incarnation,
            block_size,
            length,
            validator: head.strong_validator().filter(|_| landing.validator),
            upstream: wanted.upstream.clone(),
            headers: (*wanted.headers).clone(),
        };
        let pace = if is_part { Pace::Demand } else { Pace::Whole };
        let transfer = Transfer::new(subject, start, part_end, pace);
        self.register(&transfer);
        let _ = leader.send(Leader::Attached(transfer.attach()));
        // An object whose parts can be fetched again is found by everybody from now on. Another one is found only
        // when it is complete; until then its readers come by this flight.
        let early = length.is_some_and(|length| length > block || is_part) && landing.validator;
        if early {
            self.store().put_head(&key, head.clone()).await;
            leaving.now();
        }
        land(object(Some(transfer.clone())));
        let opened = Opened::new(response.body, offset, None);
        let result = transfer.run(&self.context, Some(opened), self.drop_head(&key, incarnation)).await;
        match result {
            Ok(()) => self.complete(&key, &head, &transfer, early).await,
            Err(error) => tracing::warn!(key = key.text(), "fill failed: {error}"),
        }
        self.forget(&transfer);
        drop(leaving);
    }

    /// Stores the head of an object that has arrived whole, or was abandoned with its head already stored.
    async fn complete(&self, key: &Key, head: &Arc<Head>, transfer: &Transfer, stored: bool) {
        if let Some(bytes) = transfer.whole() {
            let head = head.with_content(bytes.len() as u64, Content::Inline(bytes));
            self.store().put_head(key, head.into()).await;
        } else if !stored
            && let Some(length) = transfer.object_length()
            && transfer.reached(length)
        {
            let head = head.with_content(length, head.content.clone());
            if self.is_usable(&head) {
                self.store().put_head(key, head.into()).await;
            }
        }
    }
}

/// Whether an answer that is not stored says that what is stored is not to be had any more. A request that forbids
/// storing does not speak for others, and a server in trouble does not speak for the resource.
fn takes_back(status: StatusCode, refusal: Refusal) -> bool {
    let of_the_request =
        matches!(refusal, Refusal::Method | Refusal::RequestNoStore | Refusal::Authorization);
    let in_trouble = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    !of_the_request && !in_trouble
}

/// What a storable answer is.
struct Landing {
    /// Of the whole object: 200 where a part came as 206.
    status: StatusCode,
    extent: Extent,
    validator: bool,
    vary: VarySpec,
    head_only: bool,
}

/// Takes the flight off the board when dropped: later requests look in the store, or start another.
struct Leaving<'a> {
    fills: &'a Arc<Fills>,
    flight_key: FlightKey,
    flight: &'a Arc<Flight>,
}

impl Leaving<'_> {
    fn now(&self) {
        let mut flights = self.fills.flights.lock();
        // After leaving once, the place may belong to a later flight.
        if flights.get(&self.flight_key).is_some_and(|current| Arc::ptr_eq(current, self.flight)) {
            flights.remove(&self.flight_key);
        }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.now();
    }
}
