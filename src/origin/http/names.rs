//! From the name of an origin to its addresses: asked again when their time is over, kept beyond it when there is no answer,
//! and only those that a name may lead to.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::net::NetError;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    config::Dns,
    guard::{NotPublic, Reach},
    resolver::{LEAST, NOTHING, Resolver},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// For an answer, when there are addresses that were good.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an address comes last to which no connection came about.
const SHUNNED: Duration = Duration::from_secs(30);

/// The name servers know no address, or there are none.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads nowhere: {cause}")]
pub(super) struct Unresolved {
    host: String,
    cause: BoxError,
}

/// Shared by all connections to an origin. Only names that are configured come here, so that they are few.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    stale_max: Duration,
    allow_private: bool,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    addresses: Vec<IpAddr>,
    /// So long they are good.
    until: Instant,
    /// Not before then they are asked for again.
    ask_at: Instant,
    /// Addresses that failed, and until when they come last.
    shunned: Vec<(IpAddr, Instant)>,
    /// Which of them comes first the next time.
    turn: usize,
}

impl Names {
    pub(super) fn new(dns: &Dns, allow_private: bool) -> Result<Self, NetError> {
        let resolver = Resolver::new(dns)?;
        let stale_max = dns.stale_max;
        Ok(Self(Arc::new(Shared { resolver, stale_max, allow_private, known: Mutex::default() })))
    }

    /// Whether a connection to this address should not be used again: the name leads elsewhere now, or it is time to ask where
    /// it leads, which new connections do.
    pub(super) fn is_outdated(&self, host: &str, address: IpAddr) -> bool {
        let known = self.0.known.lock();
        known
            .get(host)
            .is_some_and(|known| known.ask_at <= Instant::now() || !known.addresses.contains(&address))
    }

    async fn addresses(&self, host: &str, patience: Duration) -> Result<Vec<IpAddr>, BoxError> {
        let Shared { resolver, stale_max, known, .. } = &*self.0;
        let last_good = {
            let known = known.lock();
            let known = known.get(host);
            if let Some(known) = known.filter(|known| Instant::now() < known.ask_at) {
                return Ok(known.addresses.clone());
            }
            known.is_some_and(|known| Instant::now() < known.until + *stale_max)
        };
        let lookup = resolver.lookup(host);
        // With something at hand, nobody waits for a name server that is down.
        let patience = if last_good { PATIENCE.min(patience) } else { patience };
        let found = timeout(patience, lookup).await.map_err(BoxError::from).and_then(|found| Ok(found?));
        let mut known = known.lock();
        match (found, known.get_mut(host).filter(|_| last_good)) {
            (Ok(found), _) => {
                let left = found.valid_until().saturating_duration_since(std::time::Instant::now());
                let addresses: Vec<_> = found.iter().collect();
                let until = Instant::now() + left.max(LEAST);
                let (shunned, turn) = match known.remove(host) {
                    Some(old) => (old.shunned, old.turn),
                    None => (Vec::new(), 0),
                };
                let fresh = Known { addresses: addresses.clone(), until, ask_at: until, shunned, turn };
                known.insert(host.to_owned(), fresh);
                Ok(addresses)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(host, "using the last good addresses: {error}");
                known.ask_at = Instant::now() + NOTHING;
                Ok(known.addresses.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// In the order in which they are to be tried: each time another one is first, and those that failed are last.
    pub(super) async fn resolve(&self, host: &str, patience: Duration) -> Result<Vec<IpAddr>, BoxError> {
        let unresolved = |cause| Unresolved { host: host.to_owned(), cause };
        let addresses = self.addresses(host, patience).await.map_err(unresolved)?;
        let reach = Reach::of(host, self.0.allow_private);
        let admitted: Vec<_> = addresses.iter().copied().filter(|address| reach.admits(*address)).collect();
        match (admitted.is_empty(), addresses.first()) {
            (true, Some(address)) => Err(NotPublic { host: host.to_owned(), address: *address }.into()),
            _ => Ok(self.in_turn(host, admitted)),
        }
    }

    /// To these no connection came about, but to another one of the host's.
    pub(super) fn shun(&self, host: &str, failed: &[IpAddr]) {
        if failed.is_empty() {
            return;
        }
        if let Some(known) = self.0.known.lock().get_mut(host) {
            known.shunned.retain(|(address, _)| !failed.contains(address));
            let until = Instant::now() + SHUNNED;
            known.shunned.extend(failed.iter().map(|address| (*address, until)));
        }
    }

    fn in_turn(&self, host: &str, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let mut known = self.0.known.lock();
        let Some(known) = known.get_mut(host).filter(|_| addresses.len() > 1) else { return addresses };
        known.turn = (known.turn + 1) % addresses.len();
        addresses.rotate_left(known.turn);
        let now = Instant::now();
        known.shunned.retain(|(_, until)| now < *until);
        // Stable: the rest keeps its order.
        addresses.sort_by_key(|address| known.shunned.iter().any(|(shunned, _)| shunned == address));
        addresses
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn addresses_take_turns_and_those_that_failed_come_last() {
        let dns = Dns { servers: vec!["192.0.2.1:53".parse().unwrap()], stale_max: Duration::ZERO };
        let names = Names::new(&dns, true).unwrap();
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        let until = Instant::now() + Duration::from_secs(3600);
        let known = Known { addresses: vec![a, b, c], until, ask_at: until, shunned: Vec::new(), turn: 0 };
        names.0.known.lock().insert("o.example".to_owned(), known);
        let resolve = async || names.resolve("o.example", PATIENCE).await.unwrap();
        for expected in [[b, c, a], [c, a, b], [a, b, c]] {
            assert_eq!(resolve().await, expected);
        }
        names.shun("o.example", &[b]);
        for expected in [[c, a, b], [c, a, b], [a, c, b]] {
            assert_eq!(resolve().await, expected);
        }
        tokio::time::advance(SHUNNED).await;
        assert_eq!(resolve().await, [b, c, a]);
    }
}
