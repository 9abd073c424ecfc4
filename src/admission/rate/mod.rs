//! How fast somebody may ask, and guess. A bucket for each client (GCRA, by `governor`), in a table of bounded size.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, nanos::Nanos};
use millrace_kit::clock::Clock;

use super::client::counted;

mod table;

use table::Table;

/// Keys remembered for each limit: a mebibyte.
const KEYS: usize = 65_536;

/// So much in so long, on the average; and so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: NonZeroU32,
    pub per: Duration,
    pub burst: NonZeroU32,
}

/// Whose requests count together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    Address,
    /// The `sub` of a token; the address where there is none.
    Token,
    /// The value of a field; the address where there is none.
    Field(http::HeaderName),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker<'a> {
    Address(IpAddr),
    Token(&'a str),
    Field(&'a [u8]),
}

impl Asker<'_> {
    pub fn at(address: IpAddr) -> Self {
        Self::Address(counted(address))
    }
}

/// Let in only after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBefore(pub Duration);

impl NotBefore {
    /// For `Retry-After`: whole seconds, at least one.
    pub fn seconds(self) -> u64 {
        (self.0.as_secs_f64().ceil() as u64).max(1)
    }
}

/// Judges requests one by one, on the way of each of them, without waiting. One that is shared by a fleet would judge by
/// what it knows here, and tell and hear the others' counts meanwhile.
pub trait Limiter: Send + Sync {
    /// Counts a request, unless it has to wait.
    fn admit(&self, asker: Asker<'_>) -> Result<(), NotBefore>;

    /// Whether a request would have to wait. Counts nothing.
    fn is_exhausted(&self, asker: Asker<'_>) -> Option<NotBefore>;
}

/// Of this process alone.
pub struct Local {
    rate: Rate,
    limiter: RateLimiter<u64, Shared, Ticks, NoOpMiddleware<Duration>>,
    table: Arc<Table>,
    ticks: Ticks,
}

struct Shared(Arc<Table>);

impl governor::state::StateStore for Shared {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, judge)
    }
}

/// Steady time, but for tests that move it.
#[derive(Clone)]
struct Ticks {
    clock: Clock,
    start: Instant,
    start_millis: i64,
}

impl Ticks {
    fn since_start(&self) -> Duration {
        match self.clock {
            Clock::System => self.start.elapsed(),
            Clock::Manual(_) => {
                let millis = self.clock.unix_millis() - self.start_millis;
                Duration::from_millis(u64::try_from(millis).unwrap_or_default())
            }
        }
    }
}

impl clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.since_start()
    }
}

impl Rate {
    /// The time in which one more is let in.
    fn step(&self) -> Duration {
        // Not 0, which would be no rate at all.
        (self.per / self.requests.get()).max(Duration::from_nanos(1))
    }

    /// The time in which all that may come at once is let in.
    pub fn window(&self) -> Duration {
        self.step().saturating_mul(self.burst.get())
    }
}

impl Local {
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let table = Arc::new(Table::new(KEYS));
        let start_millis = clock.unix_millis();
        let ticks = Ticks { clock, start: Instant::now(), start_millis };
        // A step is never 0.
        let quota = Quota::with_period(rate.step()).unwrap_or(Quota::per_second(rate.requests));
        let limiter = RateLimiter::new(quota.allow_burst(rate.burst), Shared(table.clone()), ticks.clone());
        Self { rate, limiter, table, ticks }
    }
}

impl Limiter for Local {
    fn admit(&self, asker: Asker<'_>) -> Result<(), NotBefore> {
        let judged = self.limiter.check_key(&self.table.key(&asker));
        judged.map_err(|not_until| NotBefore(not_until.wait_time_from(self.ticks.since_start())))
    }

    fn is_exhausted(&self, asker: Asker<'_>) -> Option<NotBefore> {
        let due = Duration::from_nanos(self.table.due(self.table.key(&asker))?);
        let tolerance = self.rate.step().saturating_mul(self.rate.burst.get() - 1);
        let wait = due.saturating_sub(tolerance).saturating_sub(self.ticks.since_start());
        (!wait.is_zero()).then_some(NotBefore(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(requests: u32, per_secs: u64, burst: u32) -> (Local, Clock) {
        let clock = Clock::manual(1_800_000_000_000);
        let (requests, burst) = (requests.try_into().unwrap(), burst.try_into().unwrap());
        let rate = Rate { requests, per: Duration::from_secs(per_secs), burst };
        (Local::new(rate, clock.clone()), clock)
    }

    fn admitted(limiter: &Local, asker: Asker<'_>, times: usize) -> usize {
        (0..times).filter(|_| limiter.admit(asker).is_ok()).count()
    }

    #[test]
    fn bursts_are_let_in_and_then_the_rate() {
        let (limiter, clock) = limiter(10, 1, 25);
        let one = Asker::at("192.0.2.1".parse().unwrap());
        assert_eq!(admitted(&limiter, one, 100), 25);
        assert_eq!(limiter.is_exhausted(one), Some(NotBefore(Duration::from_millis(100))));
        assert_eq!(limiter.admit(one), Err(NotBefore(Duration::from_millis(100))));
        for _ in 0..5 {
            clock.advance(Duration::from_secs(1));
            assert_eq!(limiter.is_exhausted(one), None);
            assert_eq!(admitted(&limiter, one, 100), 10);
        }
        assert_eq!(admitted(&limiter, Asker::at("192.0.2.2".parse().unwrap()), 100), 25, "another's");
    }

    #[test]
    fn askers_of_different_kinds_are_apart() {
        let (limiter, _) = limiter(1, 60, 1);
        for asker in [Asker::Token("a"), Asker::Field(b"a"), Asker::at([192, 0, 2, 1].into())] {
            assert_eq!(admitted(&limiter, asker, 3), 1, "{asker:?}");
        }
        assert_eq!(limiter.admit(Asker::Token("a")).unwrap_err().seconds(), 60);
    }
}
