//! One run: whom to ask for what, and taking it.
//!
//! Purges come in between. What this server is told to forget meanwhile hides by itself, as what is taken counts as older. What only
//! some of the peers were told, lately or during the run, holds here too: it is asked of all of them before and after.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::sync::oneshot;

use super::{
    Bounds, Warmer,
    pace::Pace,
    peer::{Peer, PurgesOf},
};
use crate::cache::{
    Head, Variants,
    handover::{Frame, Frames},
    purge::Since,
};

/// Objects that a peer is asked to name.
const MOST: usize = 20_000;
/// Objects on their way at a time: each holds a block.
pub const AT_A_TIME: usize = 8;

/// An object that some of the peers have.
struct Target {
    hits: u8,
    bytes: u64,
    /// Who has it, under which id.
    at: Vec<(usize, u128)>,
}

enum Taken {
    Stored { bytes: u64 },
    Skipped,
}

impl Warmer {
    /// What kept it from bringing everything, if anything did.
    pub(super) async fn run(
        &self,
        bounds: &Bounds,
        broken_off: oneshot::Receiver<()>,
    ) -> Result<Option<&'static str>, String> {
        let mut before = Vec::new();
        let taking = async {
            // First, so that no purge falls in between.
            before = join_all(bounds.peers.iter().map(|peer| peer.purges(PurgesOf::Lately))).await;
            self.forget(&before).await;
            self.take_all(bounds).await
        };
        let result = tokio::select! {
            result = tokio::time::timeout(bounds.deadline, taking) => match result {
                Ok(result) => result.map(|()| None),
                Err(_) => Ok(Some("its time was up")),
            },
            _ = broken_off => Err("broken off".to_owned()),
        };
        let known = self.catch_up(bounds, &before).await;
        // Of nothing there is nothing to forget.
        if known || self.report().objects == 0 {
            return result;
        }
        match result {
            Ok(None) => Ok(Some("what a peer was told to forget is not known")),
            Ok(Some(_)) => Ok(Some("its time was up, and what a peer was told to forget is not known")),
            Err(error) => Err(format!("{error}, and what a peer was told to forget is not known")),
        }
    }

    async fn take_all(&self, bounds: &Bounds) -> Result<(), String> {
        let targets = self.targets(bounds).await?;
        let goal = targets.iter().map(|target| target.bytes).sum();
        self.note(|current| current.report.goal_bytes = goal);
        tracing::info!(objects = targets.len(), bytes = goal, "warming");
        let pace = Pace::new(bounds.bytes_per_sec);
        let mut taking = stream::iter(targets.into_iter().enumerate())
            .map(|(number, target)| {
                let pace = &pace;
                async move { (target.bytes, self.take(bounds, number, &target, pace).await) }
            })
            .buffer_unordered(AT_A_TIME);
        while let Some((listed, taken)) = taking.next().await {
            self.note(|current| {
                let report = &mut current.report;
                match taken {
                    Some(Taken::Stored { bytes }) => {
                        report.objects += 1;
                        report.bytes += bytes;
                    }
                    Some(Taken::Skipped) => report.skipped_objects += 1,
                    None => report.failed_objects += 1,
                }
                if taken.is_some() {
                    current.done_bytes += listed;
                }
            });
        }
        Ok(())
    }

    /// What is worth having, the most wanted first.
    async fn targets(&self, bounds: &Bounds) -> Result<Vec<Target>, String> {
        // What is named may stand behind more than that.
        let bytes = if bounds.objects.is_some() { u64::MAX } else { bounds.bytes };
        let lists = join_all(bounds.peers.iter().map(|peer| peer.hottest(MOST, bytes))).await;
        let mut targets: HashMap<u128, Target> = HashMap::new();
        let mut failure = None;
        let mut answered = false;
        for (peer, list) in lists.into_iter().enumerate() {
            let list = match list {
                Ok(list) => list,
                Err(error) => {
                    tracing::warn!("a peer does not say what is wanted: {error}");
                    failure = Some(error);
                    continue;
                }
            };
            answered = true;
            for object in list.objects.into_iter().take(MOST) {
                let (Some(id), Some(name)) = (object.id(), object.name()) else { continue };
                if bounds.objects.as_ref().is_some_and(|named| !named.contains(&name)) {
                    continue;
                }
                let target = targets.entry(name).or_insert(Target { hits: 0, bytes: 0, at: Vec::new() });
                target.hits = target.hits.saturating_add(object.hits);
                target.bytes = target.bytes.max(object.bytes);
                target.at.push((peer, id));
            }
        }
        if let (false, Some(failure)) = (answered, failure) {
            return Err(failure);
        }
        let store = self.store.clone();
        // Looks at each entry in memory.
        let names = move || store.hottest(usize::MAX, u64::MAX).iter().map(|one| one.name).collect();
        let ours: HashSet<u128> = self.tasks.runtime().spawn_blocking(names).await.unwrap_or_default();
        targets.retain(|name, _| !ours.contains(name));
        let mut targets: Vec<_> = targets.into_values().collect();
        targets.sort_by_key(|target| (Reverse(target.hits), target.bytes));
        let mut left = bounds.bytes.min(self.store.room());
        targets.retain(|target| {
            let fits = target.bytes <= left;
            left -= if fits { target.bytes } else { 0 };
            fits
        });
        Ok(targets)
    }

    /// From one of those who have it, each time from another first. None: from nobody.
    async fn take(&self, bounds: &Bounds, number: usize, target: &Target, pace: &Pace) -> Option<Taken> {
        let mut outcome = None;
        for turn in 0..target.at.len() {
            let (peer, id) = target.at[(number + turn) % target.at.len()];
            match self.take_from(&bounds.peers[peer], id, target.hits, pace).await {
                Ok(Taken::Skipped) => outcome = Some(Taken::Skipped),
                Ok(stored) => return Some(stored),
                Err(error) => tracing::warn!("an object did not come: {error}"),
            }
        }
        outcome
    }

    async fn take_from(&self, peer: &Arc<Peer>, id: u128, hits: u8, pace: &Pace) -> Result<Taken, String> {
        let (born, asked) = (self.store.purges().latest(), self.clock.unix_millis());
        let Some(mut body) = peer.object(id).await? else { return Ok(Taken::Skipped) };
        let senseless = |what: &str| Err(format!("{}: {what}", peer.name));
        let (mut frames, mut shift) = (Frames::default(), None);
        let mut variants: Option<Arc<Variants>> = None;
        let mut adoption = None;
        let (mut bytes, mut blocks) = (0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| error.to_string())?;
            pace.spend(piece.len()).await;
            frames.push(&piece);
            while let Some(frame) = frames.take().map_err(|damaged| format!("{}: {damaged}", peer.name))? {
                match (frame, &mut adoption) {
                    // From before it was asked to when it answered: at most that much too old.
                    (Frame::Begin { now }, None) => shift = Some(asked.saturating_sub(now)),
                    (Frame::Variants(found), None) => variants = Some(found),
                    (Frame::Head(head), None) => {
                        let Some(shift) = shift else { return senseless("a head without a beginning") };
                        let head = Head::clone(&head).moved_by(shift);
                        match self.store.adopt(&head, variants.as_deref(), born).await {
                            Some(begun) => adoption = Some(begun),
                            None => return Ok(Taken::Skipped),
                        }
                        bytes = head.inline_length();
                    }
                    (Frame::Block { index, bytes: block }, Some(adoption)) => {
                        let length = block.len() as u64;
                        if !self.store.adopt_block(adoption, index, block, hits).await {
                            return senseless("a block that does not fit its object");
                        }
                        (bytes, blocks) = (bytes + length, blocks + 1);
                    }
                    (Frame::End { blocks: sent }, Some(_)) if sent == blocks => {
                        let Some(adoption) = adoption.take() else { break };
                        return Ok(match self.store.settle(adoption, hits).await {
                            true => Taken::Stored { bytes },
                            false => Taken::Skipped,
                        });
                    }
                    _ => return senseless("an object in disorder"),
                }
            }
        }
        senseless("an object broke off")
    }

    /// What the peers were told to forget since the run began; of those that did not say then, lately. False: some do not say.
    async fn catch_up(&self, bounds: &Bounds, before: &[Result<Since, String>]) -> bool {
        let after = bounds.peers.iter().zip(before).map(|(peer, before)| {
            peer.purges(before.as_ref().map_or(PurgesOf::Lately, |since| PurgesOf::After(since.latest)))
        });
        let after = join_all(after).await;
        self.forget(&after).await;
        after.iter().all(Result::is_ok)
    }

    /// Purges of peers hold here too, for what came from its origin before them.
    async fn forget(&self, told: &[Result<Since, String>]) {
        for since in told {
            let since = match since {
                Ok(since) => since,
                Err(error) => {
                    tracing::warn!("purges of a peer are not known: {error}");
                    continue;
                }
            };
            // Its answer took a while, so this is rather too late.
            let shift = self.clock.unix_millis().saturating_sub(since.now);
            for purge in &since.purges {
                if let Err(error) = self.store.purges().purge(purge, since.at.saturating_add(shift)).await {
                    tracing::error!("{error}");
                }
            }
        }
    }
}
