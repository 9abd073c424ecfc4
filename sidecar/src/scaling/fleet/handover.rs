//! What only a leaving instance has is taken by those that stay, while it finishes: who takes what.

use std::{cmp::Reverse, collections::BTreeSet};

use futures_util::future::{join, join_all};

use super::{Settings, edge, value::Worth};

/// How far it is. Not kept over a restart: those that stay are asked again, and have by then what they have taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Handover {
    #[default]
    Due,
    /// These instances take.
    Running(Vec<String>),
    /// So many bytes were taken.
    Over(u64),
}

/// A server gives away 32 objects at a time, and takes 8.
const MOST_TAKERS: usize = 4;

/// Asks who has what, and tells those that stay (names and admin ports) what to take. Due again when somebody does not answer
/// or is busy.
pub(super) async fn begin(
    edges: &edge::Client,
    leaving: &str,
    takers: &[(String, String)],
    settings: &Settings,
) -> Handover {
    let sharing = takers.len().min(MOST_TAKERS);
    let theirs = join_all(takers.iter().map(|(_, admin)| edges.hot(admin)));
    let (own, theirs) = join(edges.hot(leaving), theirs).await;
    let (Some(own), Some(theirs)) = (own, theirs.into_iter().collect::<Option<Vec<_>>>()) else {
        return Handover::Due;
    };
    let shares = shares(&own, &theirs, settings.warm.bytes);
    let wanted = takers.iter().zip(&shares).filter(|(_, share)| !share.is_empty());
    let told = wanted.map(|((name, admin), share)| async move {
        let answer = edges.take(admin, leaving, share, sharing, settings).await;
        (name.clone(), answer)
    });
    let (mut running, mut busy) = (Vec::new(), false);
    for (name, answer) in join_all(told).await {
        match answer {
            Ok(()) => running.push(name),
            Err(None) => busy = true,
            Err(Some(reason)) => tracing::warn!(instance = name, "takes over nothing: {reason}"),
        }
    }
    match (running.is_empty(), busy) {
        (false, _) => Handover::Running(running),
        (true, true) => Handover::Due,
        (true, false) => Handover::Over(0),
    }
}

/// Of what none of the others has, the hottest of at most so many bytes, each for one of them.
fn shares(own: &Worth, others: &[Worth], mut bytes: u64) -> Vec<Vec<String>> {
    let known: BTreeSet<&str> = others.iter().flat_map(|worth| worth.names()).collect();
    let mut shares = vec![(0, Vec::new()); others.len().min(MOST_TAKERS)];
    for (name, size) in own.hot.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        if *size > bytes {
            continue;
        }
        let least = shares.iter_mut().enumerate().min_by_key(|(at, (load, _))| (*load, Reverse(*at)));
        let Some((_, (load, share))) = least else { break };
        bytes -= size;
        // An empty body counts too.
        *load += size.max(&1);
        share.push(name.clone());
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(hot: &[(&str, u64)]) -> Worth {
        Worth { streams: None, hot: hot.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect() }
    }

    #[test]
    fn only_what_nobody_else_has_and_each_object_for_one() {
        let own = worth(&[("both", 10), ("a", 30), ("b", 20), ("huge", 1_000), ("c", 5), ("d", 40)]);
        let others = [worth(&[("both", 10)]), worth(&[("other", 10)])];
        // The hottest first, in turn to who has got less; what does not fit makes way.
        assert_eq!(shares(&own, &others, 90), [vec!["b", "c"], vec!["a"]]);
        assert_eq!(shares(&own, &others, 95), [vec!["b", "c", "d"], vec!["a"]]);
        assert_eq!(shares(&own, &[], 90), Vec::<Vec<String>>::new());
        assert!(shares(&worth(&[]), &others, 90).iter().all(Vec::is_empty));
    }
}
