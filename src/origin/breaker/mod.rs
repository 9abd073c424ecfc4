//! Keeps requests away from an origin that is in trouble, and lets them back bit by bit. Knows no HTTP: it is told what
//! became of requests, and asked whether another one may be sent. See docs/decisions/0008-breakers-and-budgets.md.
//!
//! Two kinds of evidence open it. *Thin*: it could not be reached once, or failed at several targets in a row; then only
//! requests stay away that have another origin to go to. *Firm*: it could not be reached several times in a row, a large
//! share of its recent answers were failures, or its health checks fail; then nobody asks, but for a probe now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

mod window;

use window::Window;

#[derive(Debug, Clone)]
pub struct Config {
    /// Failures among the answers of the last ten seconds that open it, as a share.
    pub failure_ratio: f64,
    /// With fewer answers than this nothing is concluded from the share.
    pub least_answers: u32,
    /// Failures to be reached, in a row.
    pub unreachable: u32,
    /// How long it stays open before the first probe; twice as long after each probe that failed.
    pub open: Duration,
    pub open_max: Duration,
}

/// Different targets that have to fail before failures count: one bad object is no outage.
const LEAST_TARGETS: usize = 5;
/// Requests let through in the first step of recovery; each next step lets twice as many through.
const FIRST_STEP: u32 = 4;
const STEP: Duration = Duration::from_millis(500);
/// 4 × 2^12 requests in half a second are no bound any more.
const MAX_STEP: u32 = 12;

/// The numbers are those of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// The origin failed at this target (its hash).
    Bad(u64),
    /// It did not answer in time at this target. Two of them are evidence enough, as each has cost somebody the time-out.
    Silent(u64),
    Unreachable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Go(Ticket),
    /// One request may find out whether it has recovered.
    Probe(Ticket),
    /// `thin`: may be asked when there is nobody else. `retry_after`: until the next probe.
    No {
        thin: bool,
        retry_after: Duration,
    },
    /// It recovers, and as many have been let through as may for the moment.
    Later {
        retry_after: Duration,
    },
}

/// Ties an outcome to the state in which its request was let through: what was sent before says nothing about after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    epoch: u64,
    probe: bool,
}

/// What an operation has changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub to: State,
    pub why: &'static str,
}

/// When it is found out next whether the origin has recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextProbe {
    UnderWay,
    Due(Instant),
}

pub struct Breaker {
    config: Config,
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    /// Counts the changes of phase.
    epoch: u64,
    /// Times in a row that it could not be reached.
    strikes: u32,
    /// Targets in a row at which it failed.
    failures: usize,
    /// Probes that failed since it was last closed.
    trips: u32,
    window: Window,
    change: Option<Change>,
}

enum Phase {
    Closed,
    Open {
        /// When the next probe may be sent; None: when the health checks say so.
        until: Option<Instant>,
        firm: bool,
        /// One is under way; `until` is when it is given up.
        probing: bool,
    },
    HalfOpen {
        step: u32,
        ends: Instant,
        admitted: u32,
        refused: bool,
        good: u32,
        bad: u32,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            failure_ratio: 0.5,
            least_answers: 20,
            unreachable: 5,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(2),
        }
    }
}

impl Ticket {
    pub fn is_probe(self) -> bool {
        self.probe
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

impl Breaker {
    pub fn new(config: Config) -> Self {
        let inner = Inner {
            phase: Phase::Closed,
            epoch: 0,
            strikes: 0,
            failures: 0,
            trips: 0,
            window: Window::default(),
            change: None,
        };
        Self { config, inner: Mutex::new(inner) }
    }

    /// Whether a request may be sent; `alternative`: it could go elsewhere.
    pub fn admit(&self, alternative: bool) -> (Admission, Option<Change>) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.advance(now);
        let ticket = Ticket { epoch: inner.epoch, probe: false };
        if matches!(inner.phase, Phase::Open { firm: false, .. }) && !alternative {
            return (Admission::Go(ticket), inner.change.take());
        }
        if let Some(ticket) = self.due_probe(&mut inner, now) {
            return (Admission::Probe(ticket), inner.change.take());
        }
        let admission = match &mut inner.phase {
            Phase::Closed => Admission::Go(ticket),
            Phase::Open { until, firm, .. } => Admission::No {
                thin: !*firm,
                retry_after: until.map_or(self.config.open_max, |until| until - now),
            },
            Phase::HalfOpen { step, admitted, refused, ends, .. } => {
                if *admitted < FIRST_STEP << *step {
                    *admitted += 1;
                    Admission::Go(ticket)
                } else {
                    *refused = true;
                    Admission::Later { retry_after: *ends - now }
                }
            }
        };
        (admission, inner.change.take())
    }

    /// None: it is not kept from everybody, or until the health checks say otherwise.
    pub fn next_probe(&self) -> Option<NextProbe> {
        let Phase::Open { firm: true, until: Some(until), probing } = self.inner.lock().phase else {
            return None;
        };
        match probing && Instant::now() < until {
            true => Some(NextProbe::UnderWay),
            false => Some(NextProbe::Due(until)),
        }
    }

    /// A probe, if one is due.
    pub fn take_probe(&self) -> Option<Ticket> {
        self.due_probe(&mut self.inner.lock(), Instant::now())
    }

    fn due_probe(&self, inner: &mut Inner, now: Instant) -> Option<Ticket> {
        let lease = self.period(inner.trips);
        match &mut inner.phase {
            Phase::Open { until: Some(until), probing, .. } if now >= *until => {
                // Should this probe never come back, the next one goes after another while.
                (*until, *probing) = (now + lease, true);
                Some(Ticket { epoch: inner.epoch, probe: true })
            }
            _ => None,
        }
    }

    /// When time alone may change something: a probe is due, or a step of recovery ends.
    pub fn wakes_at(&self) -> Option<Instant> {
        match self.inner.lock().phase {
            Phase::Closed => None,
            Phase::Open { until, .. } => until,
            Phase::HalfOpen { ends, .. } => Some(ends),
        }
    }

    /// What became of a request that was let through.
    pub fn record(&self, ticket: Ticket, outcome: Outcome) -> Option<Change> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.advance(now);
        if ticket.epoch != inner.epoch {
            return inner.change.take();
        }
        let counted = inner.window.count(now, outcome);
        (inner.strikes, inner.failures) = match outcome {
            Outcome::Good => (0, 0),
            Outcome::Unreachable => (inner.strikes.saturating_add(1), inner.failures),
            Outcome::Bad(_) => (0, inner.failures + usize::from(counted)),
            Outcome::Silent(_) => (0, inner.failures + if counted { LEAST_TARGETS.div_ceil(2) } else { 0 }),
        };
        let (good, bad) = inner.window.totals(now);
        let mostly_failing = good + bad >= self.config.least_answers
            && f64::from(bad) >= f64::from(good + bad) * self.config.failure_ratio
            && inner.window.failing_targets() >= LEAST_TARGETS;
        let firm = mostly_failing || inner.strikes >= self.config.unreachable;
        match inner.phase {
            Phase::Closed => self.while_closed(&mut inner, now, outcome, firm),
            Phase::Open { .. } => self.while_open(&mut inner, now, ticket, outcome, firm),
            Phase::HalfOpen { .. } if counted => self.while_half_open(&mut inner, now, outcome),
            Phase::HalfOpen { .. } => {}
        }
        inner.change.take()
    }

    /// An answer that was counted as good has broken since.
    pub fn retract(&self, ticket: Ticket, target: u64) -> Option<Change> {
        self.inner.lock().window.retract(Instant::now());
        self.record(ticket, Outcome::Bad(target))
    }

    /// What the health checks say. It stays open as long as they fail.
    pub fn health(&self, good: bool) -> Option<Change> {
        let mut inner = self.inner.lock();
        match (&inner.phase, good) {
            (Phase::Open { until: None, .. }, true) => inner.half_open(Instant::now(), "healthy again"),
            (Phase::Open { until: None, .. }, false) | (_, true) => {}
            (_, false) => inner.open(None, true, "unhealthy"),
        }
        inner.change.take()
    }

    pub fn state(&self) -> (State, Option<Change>) {
        let mut inner = self.inner.lock();
        inner.advance(Instant::now());
        let state = match inner.phase {
            Phase::Closed => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } => State::Open,
        };
        (state, inner.change.take())
    }

    /// Whether the health checks keep everybody away.
    pub fn is_held_open(&self) -> bool {
        matches!(self.inner.lock().phase, Phase::Open { until: None, .. })
    }

    /// Good and bad answers of the last ten seconds.
    pub fn recent(&self) -> (u32, u32) {
        self.inner.lock().window.totals(Instant::now())
    }

    fn while_closed(&self, inner: &mut Inner, now: Instant, outcome: Outcome, firm: bool) {
        let why = match outcome {
            Outcome::Good => return,
            Outcome::Unreachable => "unreachable",
            Outcome::Bad(_) | Outcome::Silent(_) if firm || inner.failures >= LEAST_TARGETS => {
                "too many failures"
            }
            Outcome::Bad(_) | Outcome::Silent(_) => return,
        };
        let until = Some(now + self.period(0));
        inner.open(until, firm, why);
    }

    fn while_open(&self, inner: &mut Inner, now: Instant, ticket: Ticket, outcome: Outcome, firm: bool) {
        let Phase::Open { until: Some(until), firm: was_firm, probing } = &mut inner.phase else { return };
        match outcome {
            // It was a hiccup.
            Outcome::Good if !*was_firm && inner.trips == 0 => {
                inner.enter(Phase::Closed, State::Closed, "answers again");
            }
            Outcome::Good => inner.half_open(now, "a probe succeeded"),
            Outcome::Bad(_) | Outcome::Silent(_) | Outcome::Unreachable => {
                *was_firm |= firm;
                if ticket.probe {
                    inner.trips = inner.trips.saturating_add(1);
                    (*until, *probing) = (now + self.period(inner.trips), false);
                }
            }
        }
    }

    fn while_half_open(&self, inner: &mut Inner, now: Instant, outcome: Outcome) {
        let Phase::HalfOpen { good, bad, .. } = &mut inner.phase else { return };
        match outcome {
            Outcome::Good => *good += 1,
            Outcome::Bad(_) | Outcome::Silent(_) | Outcome::Unreachable => *bad += 1,
        }
        if outcome == Outcome::Unreachable || (*bad >= 2 && bad >= good) {
            inner.trips = inner.trips.saturating_add(1);
            let until = Some(now + self.period(inner.trips));
            inner.open(until, true, "failed again");
        }
    }

    /// With up to a fifth more or less, so that servers that opened together do not probe together.
    fn period(&self, trips: u32) -> Duration {
        let doubled = self.config.open.saturating_mul(1 << trips.min(16)).min(self.config.open_max);
        doubled.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

impl Inner {
    fn enter(&mut self, phase: Phase, to: State, why: &'static str) {
        self.phase = phase;
        self.epoch += 1;
        if to == State::Closed {
            (self.trips, self.strikes, self.failures) = (0, 0, 0);
        }
        // While it is open, more may come to make thin evidence firm.
        if to != State::Open {
            self.window.clear();
        }
        self.change = Some(Change { to, why });
    }

    fn open(&mut self, until: Option<Instant>, firm: bool, why: &'static str) {
        self.enter(Phase::Open { until, firm, probing: false }, State::Open, why);
    }

    fn half_open(&mut self, now: Instant, why: &'static str) {
        // The probe that led here is the first good answer.
        let phase =
            Phase::HalfOpen { step: 0, ends: now + STEP, admitted: 0, refused: false, good: 1, bad: 0 };
        self.enter(phase, State::HalfOpen, why);
    }

    /// Ends steps of recovery that are over. When nobody had to be turned away for a step, or nobody came, all may come.
    fn advance(&mut self, now: Instant) {
        let Phase::HalfOpen { step, ends, admitted, refused, good, bad } = &mut self.phase else { return };
        if now < *ends {
            return;
        }
        let nobody_came = *admitted == 0;
        if (*good > 0 || nobody_came) && (!*refused || *step >= MAX_STEP) {
            return self.enter(Phase::Closed, State::Closed, "recovered");
        }
        *step += u32::from(*good > 0);
        *ends = now + STEP;
        (*admitted, *refused, *good, *bad) = (0, false, 0, 0);
    }
}

#[cfg(test)]
mod tests;
