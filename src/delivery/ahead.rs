//! What viewers of smaller renditions will want next: how urgent a segment is, and making the following ones before they are
//! asked for.

use std::{collections::HashSet, sync::Arc};

use millrace_kit::tasks::Tasks;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Core,
    pipeline::Delivery,
    reader::Reader,
    request::Request,
    resolve::{Query, Resolved},
    route::{Plan, Work},
};
use crate::{
    cache::Key,
    media::{
        encodes::Urgency,
        video::{Asset, Rendition},
    },
};

/// Segments remembered as played, and as many again of before.
const REMEMBERED: usize = 8192;
/// Viewers for whom something is being made ahead at a time.
const MAX_RUNNING: usize = 32;

pub(super) struct Ahead {
    tasks: Tasks,
    /// Segments made ahead of each viewer.
    segments: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    played: HashSet<u128>,
    played_before: HashSet<u128>,
    /// Segments after which something is being made.
    running: HashSet<u128>,
}

impl Ahead {
    pub(super) fn new(tasks: Tasks, segments: u32) -> Self {
        Self { tasks, segments, state: Mutex::default() }
    }

    /// Whether somebody looks at a still picture, or plays on from the segment before. In whichever rendition that was.
    pub(super) fn urgency(&self, plan: &Plan<'_>) -> Urgency {
        let Some((_, number)) = segment_of(plan) else { return Urgency::First };
        let before = name(plan, number.saturating_sub(1));
        let state = self.state.lock();
        match state.played.contains(&before) || state.played_before.contains(&before) {
            true => Urgency::Next,
            false => Urgency::First,
        }
    }

    fn has_played(&self, plan: &Plan<'_>, number: u32) {
        let mut state = self.state.lock();
        if state.played.len() >= REMEMBERED {
            state.played_before = std::mem::take(&mut state.played);
        }
        state.played.insert(name(plan, number));
    }
}

impl Delivery {
    /// A client asks for this. `key` is that of the plan.
    pub(super) fn foresee(&self, request: &Request, plan: &Plan<'_>, key: &Key) {
        let Some((rung, number)) = segment_of(plan) else { return };
        self.core.media.hurry(key.hash(), self.ahead.urgency(plan));
        self.ahead.has_played(plan, number);
        let asked = key.hash();
        {
            let mut state = self.ahead.state.lock();
            if state.running.len() >= MAX_RUNNING || !state.running.insert(asked) {
                return;
            }
        }
        let next = (1..=self.ahead.segments).filter_map(|step| number.checked_add(step));
        let queries: Vec<_> = next
            .map(|number| {
                let plan = plan.instead(Work::Video(Asset::Segment(rung, number)));
                self.query_of(request, &plan, Urgency::Ahead)
            })
            .filter(|query| self.store().peek(&query.key).is_none())
            .map(|query| (self.core.media.expect(query.key.hash()), query))
            .collect();
        let (core, ahead) = (self.core.clone(), self.ahead.clone());
        self.ahead.tasks.spawn_until_stop("ahead", async move {
            let _running = Running { ahead, asked };
            for (_expected, query) in queries {
                if !make(&core, &query).await {
                    break;
                }
            }
        });
    }
}

/// Has it made and stored, unless it is already. False when there is no point in going on.
async fn make(core: &Arc<Core>, query: &Query) -> bool {
    let Resolved::Object { available, hold, .. } = core.resolve(query).await else { return false };
    let Some(transfer) = &available.following else { return available.object.head.status.is_success() };
    let mut reader = Reader::to_the_end(core.fills.clone(), available.object.clone(), transfer);
    drop(hold);
    while let Some(item) = reader.next().await {
        if item.is_err() {
            return false;
        }
    }
    available.object.head.status.is_success()
}

struct Running {
    ahead: Arc<Ahead>,
    asked: u128,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ahead.state.lock().running.remove(&self.asked);
    }
}

/// Whether what comes next should be thought of when this is asked for.
pub(super) fn looks_ahead(plan: &Plan<'_>) -> bool {
    segment_of(plan).is_some()
}

/// What costs enough to be foreseen.
fn segment_of(plan: &Plan<'_>) -> Option<(Rendition, u32)> {
    match plan.work {
        Work::Video(Asset::Segment(rung @ Rendition::Rung(_), number)) => Some((rung, number)),
        _ => None,
    }
}

/// A stretch of a source, in whichever rendition.
fn name(plan: &Plan<'_>, number: u32) -> u128 {
    xxh3_128(format!("{}{} {number}", plan.policy.space, plan.source).as_bytes())
}
