//! Which of a chain's origins is asked first, and who comes next when it fails.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::Member;

/// How the origins of a chain that are neither ahead of the others nor their backup share the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// The first that stands there gets all, the others what it does not answer.
    #[default]
    Order,
    /// Each address has its own order, the same at every server. When an origin is added or taken away, only the addresses move
    /// that were, or are now, its own.
    Hash,
    /// By lot; of the first two the less busy one.
    Random,
}

/// What an origin's part in that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It comes before all others.
    Ahead,
    /// As many requests as this is of the sum of all weights.
    Weight(u32),
    /// It comes after all others.
    Backup,
}

impl Balance {
    /// The members in the order in which they are asked for the target.
    pub(super) fn arrange<'a>(self, mut members: Vec<&'a Arc<Member>>, target: &str) -> Vec<&'a Arc<Member>> {
        if members.len() < 2 {
            return members;
        }
        // Stable: those ahead and the backups stay in their order.
        members.sort_by_cached_key(|member| match member.share() {
            Share::Ahead => (0, 0),
            Share::Weight(_) if self == Self::Order => (1, 0),
            Share::Weight(weight) => (1, draw(self.lot(member, target), weight)),
            Share::Backup => (2, 0),
        });
        let first = members.iter().position(|member| weight(member).is_some()).unwrap_or_default();
        if let (Self::Random, Some([one, other])) = (self, members.get(first..first + 2))
            && weight(other).is_some()
            && busyness(other) < busyness(one)
        {
            members.swap(first, first + 1);
        }
        members
    }

    /// Uniform in `0.0..1.0`.
    fn lot(self, member: &Member, target: &str) -> f64 {
        match self {
            Self::Hash => {
                let seed = xxh3_64_with_seed(member.name().as_bytes(), 0);
                (xxh3_64_with_seed(target.as_bytes(), seed) >> 11) as f64 / (1_u64 << 53) as f64
            }
            Self::Order | Self::Random => fastrand::f64(),
        }
    }
}

/// Of several draws the least wins as often as its weight is of their sum (rendezvous hashing with weights): the time to the
/// first event of a Poisson process of that rate, as a number that sorts alike.
fn draw(lot: f64, weight: u32) -> u64 {
    // Not negative, so its bits are in the order of its value.
    (-(1.0 - lot).ln() / f64::from(weight.max(1))).abs().to_bits()
}

fn weight(member: &Member) -> Option<u32> {
    match member.share() {
        Share::Weight(weight) => Some(weight.max(1)),
        Share::Ahead | Share::Backup => None,
    }
}

/// Requests under way and waiting, for its weight.
fn busyness(member: &Member) -> f64 {
    let load = member.load().unwrap_or_default();
    (load.running + load.waiting) as f64 / f64::from(weight(member).unwrap_or(1))
}
