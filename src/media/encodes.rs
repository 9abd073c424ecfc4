//! Who may encode: a fixed number at a time, the rest in a bounded queue, the most urgent first. Full means refused at once.

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What waits, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Somebody looks at a still picture: a beginning, or the place after a jump.
    First,
    /// Somebody plays, and has a little in store.
    Next,
    /// Nobody has asked yet.
    Ahead,
    /// Nobody may ever ask: only when nothing else is to do.
    Spare,
}

impl Urgency {
    /// How far an encode stands back behind what answers from the cache, and behind those that are more urgent.
    pub fn niceness(self) -> i32 {
        match self {
            Self::First => 4,
            Self::Next => 7,
            Self::Ahead => 11,
            Self::Spare => 15,
        }
    }
}

/// Between two looks at who waits.
const LOOKING: std::time::Duration = std::time::Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Encodes that run at once; at least one. One more may where somebody looks at a still picture: the others may be for
    /// viewers who have left the place, and stand back.
    pub running: usize,
    /// Encodes that may wait besides.
    pub queue: usize,
}

/// No place in the queue, or none any more: something more urgent has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many encodes are waiting")]
pub struct Full;

#[derive(Debug)]
pub struct Encodes {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// By urgency, then in the order in which they came.
    waiting: BTreeMap<(Urgency, u64), Waiting>,
    tickets: u64,
    /// What will come, and how urgent it has become before that.
    expected: HashMap<u128, Expectations>,
}

#[derive(Debug)]
struct Expectations {
    urgency: Urgency,
    /// Those who expect it.
    count: usize,
}

#[derive(Debug)]
struct Waiting {
    /// What is wanted, so that it can be hurried.
    what: u128,
    go: oneshot::Sender<Permit>,
}

impl Encodes {
    pub fn new(config: Config) -> Arc<Self> {
        let config = Config { running: config.running.max(1), ..config };
        Arc::new(Self { config, state: Mutex::default() })
    }

    /// Takes a place. What is more urgent takes that of what is not wanted yet. Beyond half of the queue, nothing is made
    /// ahead of time.
    pub fn enter(self: &Arc<Self>, what: u128, urgency: Urgency) -> Result<Ticket, Full> {
        let (go, permit) = oneshot::channel();
        let expected = self.state.lock().expected.get(&what).map_or(urgency, |expected| expected.urgency);
        let urgency = urgency.min(expected);
        // Dropped when the lock is released: its owner is told by that.
        let mut _displaced = None;
        let mut state = self.state.lock();
        let at_once = state.running < self.places(urgency);
        let room = match urgency {
            Urgency::Ahead => self.config.queue / 2,
            Urgency::Spare => self.config.queue / 4,
            Urgency::First | Urgency::Next => self.config.queue,
        };
        if !at_once && state.waiting.len() >= room {
            let last = state.waiting.keys().next_back().copied();
            let last = last.filter(|(last, _)| *last >= Urgency::Ahead && urgency < *last).ok_or(Full)?;
            _displaced = state.waiting.remove(&last);
        }
        let number = state.tickets;
        state.tickets += 1;
        state.waiting.insert((urgency, number), Waiting { what, go });
        drop(state);
        self.begin();
        Ok(Ticket { encodes: self.clone(), number, permit })
    }

    /// How many may run when one like this begins. One place is kept free of what nobody has asked for yet.
    fn places(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Ahead | Urgency::Spare => self.config.running.saturating_sub(1).max(1),
            Urgency::Next => self.config.running,
            Urgency::First => self.config.running + 1,
        }
    }

    /// Tells that this will come, though nobody has asked for it. Whoever hurries it before that is heeded.
    pub fn expect(self: &Arc<Self>, what: u128) -> Expected {
        let mut state = self.state.lock();
        let nobody = Expectations { urgency: Urgency::Ahead, count: 0 };
        state.expected.entry(what).or_insert(nobody).count += 1;
        Expected { encodes: self.clone(), what }
    }

    /// Moves what waits for this up the queue, when somebody has come who wants it sooner.
    pub fn hurry(&self, what: u128, urgency: Urgency) {
        let mut state = self.state.lock();
        if let Some(expected) = state.expected.get_mut(&what) {
            expected.urgency = expected.urgency.min(urgency);
        }
        let place = state.waiting.iter().find(|((now, _), one)| *now > urgency && one.what == what);
        if let Some(place) = place.map(|(place, _)| *place)
            && let Some(one) = state.waiting.remove(&place)
        {
            state.waiting.insert((urgency, place.1), one);
        }
    }

    /// Until somebody waits whose turn is before that of [`Urgency::Spare`].
    pub async fn pressed(&self) {
        while !self.state.lock().waiting.keys().any(|(urgency, _)| *urgency < Urgency::Spare) {
            tokio::time::sleep(LOOKING).await;
        }
    }

    pub fn depth(&self) -> usize {
        self.state.lock().waiting.len()
    }

    pub fn running(&self) -> usize {
        self.state.lock().running
    }

    /// The most urgent begin, as many as may.
    fn begin(self: &Arc<Self>) {
        loop {
            let first = {
                let mut state = self.state.lock();
                let may = |entry: &OccupiedEntry<'_, (Urgency, u64), Waiting>, running| {
                    running < self.places(entry.key().0)
                };
                let running = state.running;
                let Some(first) = state.waiting.first_entry().filter(|entry| may(entry, running)) else {
                    return;
                };
                let urgency = first.key().0;
                let first = first.remove();
                state.running += 1;
                (first, urgency)
            };
            let (first, urgency) = first;
            if let Err(mut permit) = first.go.send(Permit { encodes: Some(self.clone()), urgency }) {
                // Nobody there any more.
                permit.encodes = None;
                self.state.lock().running -= 1;
            }
        }
    }
}

/// Something will come, as long as this lives.
#[derive(Debug)]
pub struct Expected {
    encodes: Arc<Encodes>,
    what: u128,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut state = self.encodes.state.lock();
        if let Some(expected) = state.expected.get_mut(&self.what) {
            expected.count -= 1;
            if expected.count == 0 {
                state.expected.remove(&self.what);
            }
        }
    }
}

/// A place in the queue, given up when dropped.
#[derive(Debug)]
pub struct Ticket {
    encodes: Arc<Encodes>,
    number: u64,
    permit: oneshot::Receiver<Permit>,
}

impl Ticket {
    pub async fn permit(mut self) -> Result<Permit, Full> {
        (&mut self.permit).await.map_err(|_| Full)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.encodes.state.lock().waiting.retain(|(_, other), _| *other != self.number);
    }
}

/// One encode may run as long as this lives.
#[derive(Debug)]
pub struct Permit {
    encodes: Option<Arc<Encodes>>,
    urgency: Urgency,
}

impl Permit {
    /// When it was given.
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(encodes) = self.encodes.take() {
            encodes.state.lock().running -= 1;
            encodes.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn encodes(running: usize, queue: usize) -> Arc<Encodes> {
        Encodes::new(Config { running, queue })
    }

    fn permit(ticket: Ticket) -> Option<Permit> {
        ticket.permit().now_or_never().and_then(Result::ok)
    }

    #[tokio::test]
    async fn one_more_for_who_looks_at_a_still_picture() {
        let encodes = encodes(2, 16);
        let enter = |urgency| permit(encodes.enter(0, urgency).unwrap());
        let running = [Urgency::Ahead, Urgency::Next, Urgency::First].map(|urgency| enter(urgency).unwrap());
        assert_eq!(running.each_ref().map(Permit::urgency), [Urgency::Ahead, Urgency::Next, Urgency::First]);
        assert!(enter(Urgency::First).is_none() && enter(Urgency::Next).is_none());
        let [ahead, next, first] = running;
        drop(ahead);
        assert!(enter(Urgency::Next).is_none(), "two run");
        assert!(enter(Urgency::First).is_some());
        drop((next, first));
        assert_eq!((encodes.depth(), encodes.running()), (0, 0));
    }

    #[tokio::test]
    async fn the_most_urgent_begins_first() {
        let encodes = encodes(1, 16);
        let running =
            [Urgency::Next, Urgency::First].map(|it| permit(encodes.enter(0, it).unwrap()).unwrap());
        let mut waiting: Vec<_> =
            [Urgency::Ahead, Urgency::Next, Urgency::First, Urgency::Next, Urgency::Ahead]
                .iter()
                .enumerate()
                .map(|(what, urgency)| {
                    Some(Box::pin(encodes.enter(what as u128, *urgency).unwrap().permit()))
                })
                .collect();
        encodes.hurry(4, Urgency::Next);
        encodes.hurry(2, Urgency::Next);
        assert_eq!(encodes.depth(), 5);
        drop(running);
        let mut order = Vec::new();
        while order.len() < 5 {
            for (what, one) in waiting.iter_mut().enumerate() {
                if let Some(Ok(permit)) = one.as_mut().and_then(|one| one.now_or_never()) {
                    order.push(what);
                    *one = None;
                    drop(permit);
                    break;
                }
            }
        }
        assert_eq!(order, [2, 1, 3, 4, 0]);
        assert_eq!((encodes.depth(), encodes.running()), (0, 0));
    }

    /// Between the wish to make it ahead and its place in the queue, its source has to be read.
    #[tokio::test]
    async fn what_is_hurried_before_it_comes_is_urgent_when_it_does() {
        let encodes = encodes(1, 16);
        let running = permit(encodes.enter(0, Urgency::Next).unwrap()).unwrap();
        let beside = permit(encodes.enter(0, Urgency::First).unwrap()).unwrap();
        let (expected, once_more) = (encodes.expect(7), encodes.expect(7));
        encodes.hurry(7, Urgency::First);
        encodes.hurry(8, Urgency::First);
        drop(once_more);
        let mut other = Box::pin(encodes.enter(8, Urgency::Next).unwrap().permit());
        let hurried = encodes.enter(7, Urgency::Ahead).unwrap();
        drop((running, beside));
        assert!((&mut other).now_or_never().is_none(), "it is less urgent");
        drop(permit(hurried).unwrap());
        drop(expected);
        assert!(encodes.state.lock().expected.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_what_is_early_gives_way() {
        let encodes = encodes(1, 2);
        let running = permit(encodes.enter(0, Urgency::Next).unwrap()).unwrap();
        let beside = permit(encodes.enter(0, Urgency::First).unwrap()).unwrap();
        let early = encodes.enter(1, Urgency::Ahead).unwrap();
        assert_eq!(encodes.enter(2, Urgency::Ahead).unwrap_err(), Full, "half of the queue");
        let wanted = encodes.enter(3, Urgency::Next).unwrap();
        let urgent = encodes.enter(4, Urgency::First).unwrap();
        assert_eq!(early.permit().await.unwrap_err(), Full);
        assert_eq!(encodes.enter(5, Urgency::First).unwrap_err(), Full);
        drop(urgent);
        assert_eq!(encodes.depth(), 1);
        drop((running, beside));
        let permit = wanted.permit().await.unwrap();
        drop(permit);
        assert_eq!((encodes.depth(), encodes.running()), (0, 0));
    }

    #[tokio::test]
    async fn what_nobody_may_want_gives_way() {
        let encodes = encodes(1, 4);
        let running = permit(encodes.enter(0, Urgency::Next).unwrap()).unwrap();
        let spare = encodes.enter(1, Urgency::Spare).unwrap();
        assert_eq!(encodes.enter(2, Urgency::Spare).unwrap_err(), Full, "a quarter of the queue");
        assert!(encodes.pressed().now_or_never().is_none(), "by its like it is not pressed");
        let ahead = encodes.enter(3, Urgency::Ahead).unwrap();
        assert!(encodes.pressed().now_or_never().is_some());
        drop(running);
        let ahead = permit(ahead).unwrap();
        assert_eq!(encodes.depth(), 1, "it comes last");
        drop(ahead);
        assert!(permit(spare).is_some());
    }

    #[tokio::test]
    async fn a_permit_that_nobody_took_is_not_lost() {
        let encodes = encodes(1, 2);
        drop(encodes.enter(0, Urgency::Next).unwrap());
        assert_eq!(encodes.running(), 0);
        let running = permit(encodes.enter(0, Urgency::Next).unwrap()).unwrap();
        let waiting = encodes.enter(1, Urgency::Next).unwrap();
        drop(running);
        assert_eq!(encodes.running(), 1, "it has been let go, and not looked");
        drop(waiting);
        assert_eq!(encodes.running(), 0);
    }
}
