//! Better forms of images and segments that are asked for often. The first answer is made quickly, since somebody waits for it; what
//! turns out to be wanted is encoded again with more effort, when there is nothing else to do, and takes its place: the same
//! address, a new entity tag.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    super::{Core, fill::Born, route::Work},
    Refusal, derived_fields, entity_tag,
    gate::{Task, Urgency},
    image_variant::{encode, operation},
    source::{Address, SourceError, Want},
};
use crate::{
    cache::{Content, Found, Head, Key},
    media::{
        image::{Effort, Params},
        video::{Asset, Rendition},
    },
};

/// Images that wait to be improved.
const MAX_WAITING: usize = 64;
/// Versions of images whose uses are counted, at most about 1 MiB.
const MAX_COUNTED: usize = 16 << 10;
/// How often one is put off because there is other work when its turn has come.
pub(super) const MAX_TRIES: usize = 8;

/// What is to be improved.
pub struct Candidate {
    /// Where it is stored.
    pub key: Key,
    pub source: Address,
    pub what: Improvable,
}

/// What can be made better than it is at first.
#[derive(Debug, Clone, Copy)]
pub enum Improvable {
    Image(Params),
    /// Of a smaller rendition.
    Segment {
        rung: u16,
        number: u32,
    },
}

impl Improvable {
    pub fn of(work: &Work) -> Option<Self> {
        match work {
            Work::Image(params) => params.thorough().map(|_| Self::Image(*params)),
            Work::Video(Asset::Segment(Rendition::Rung(rung), number)) => {
                Some(Self::Segment { rung: *rung, number: *number })
            }
            _ => None,
        }
    }
}

/// Which images are worth it.
pub struct Improvements {
    after: u32,
    uses: Mutex<HashMap<u128, u32>>,
    queue: mpsc::Sender<Candidate>,
    waiting: Mutex<Option<mpsc::Receiver<Candidate>>>,
}

/// What became of a candidate, in the words of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Improved {
    Better,
    /// More effort made it no shorter.
    NoGain,
    /// It is not stored any more, or not of this source.
    Gone,
    /// There was always something else to do.
    Busy,
    Failed,
}

impl Improved {
    fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::NoGain => "no-gain",
            Self::Gone => "gone",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

impl Improvements {
    /// `after`: so many uses; 0: never.
    pub(super) fn new(after: u32) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        Self { after, uses: Mutex::default(), queue, waiting: Mutex::new(Some(waiting)) }
    }

    /// Counts a use of what is stored. When it is the one that makes the image worth the effort, `candidate` tells which
    /// image that is; where that is not known, the use does not count. Whether it did, or need not.
    pub fn used(&self, key: &Key, head: &Head, candidate: impl FnOnce() -> Option<Candidate>) -> bool {
        if self.after == 0 || head.status != StatusCode::OK {
            return true;
        }
        let Some(version) = version(key, head) else { return true };
        let mut uses = self.uses.lock();
        if uses.len() >= MAX_COUNTED && !uses.contains_key(&version) {
            // Who is used now and then counts less than who is used all the time.
            uses.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
            if uses.len() >= MAX_COUNTED {
                uses.clear();
            }
        }
        let count = uses.entry(version).or_default();
        if count.saturating_add(1) == self.after {
            let Some(candidate) = candidate() else { return false };
            if self.queue.try_send(candidate).is_err() {
                // Perhaps there is room after as many more.
                *count = 0;
                return true;
            }
        }
        *count = count.saturating_add(1);
        true
    }

    /// Its uses do not count any more.
    pub(super) fn settle(&self, key: &Key, head: &Head) {
        if let Some(version) = version(key, head) {
            self.uses.lock().insert(version, u32::MAX);
        }
    }
}

/// One version of what is stored under a key.
fn version(key: &Key, head: &Head) -> Option<u128> {
    let tag = head.strong_validator()?;
    Some(xxh3_128(&[&key.hash().to_le_bytes(), tag.as_bytes()].concat()))
}

impl Core {
    /// Improves one after the other, for ever.
    pub async fn improve(self: Arc<Self>) {
        let Some(mut waiting) = self.media.improvements().waiting.lock().take() else { return };
        while let Some(candidate) = waiting.recv().await {
            let improved = match candidate.what {
                Improvable::Image(params) => self.improve_image(&candidate, params).await,
                Improvable::Segment { rung, number } => self.improve_segment(&candidate, rung, number).await,
            };
            tracing::debug!(path = candidate.key.path(), result = improved.as_str(), "improved");
            self.media.instruments.improved.with_label_values(&[improved.as_str()]).inc();
        }
    }

    async fn improve_image(&self, candidate: &Candidate, quick: Params) -> Improved {
        let Candidate { key, source: address, .. } = candidate;
        let store = self.fills.store();
        let Some(params) = quick.thorough() else { return Improved::NoGain };
        let task = Task {
            operation: "improve",
            budget: Some(self.media.config.image_timeout),
            urgency: Urgency::Spare,
        };
        for _ in 0..MAX_TRIES {
            self.media.idle().await;
            let Some(Found::Head(stored)) = store.find(key).await else { return Improved::Gone };
            let born = Born::after(store.purges().latest());
            let Ok(source) = self.source(address, Want::All, &born).await else { return Improved::Failed };
            // Another version than the stored one is for the next request to find.
            let tag = entity_tag(source.head(), &operation(&quick));
            if tag.is_none() || stored.strong_validator() != tag {
                self.media.improvements().settle(key, &stored);
                return Improved::Gone;
            }
            let encoded = match encode(self, &source, params, task).await {
                Ok((encoded, _)) => encoded,
                Err(SourceError::Refused(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, .. })) => {
                    continue;
                }
                Err(_) => return Improved::Failed,
            };
            let length = encoded.bytes.len() as u64;
            if length >= stored.length || length > u64::from(store.block_size()) {
                return Improved::NoGain;
            }
            let head = better(&stored, source.head(), &params, encoded.bytes, encoded.content_type, self);
            let head = Arc::new(head.born_after(born.purge()));
            self.media.improvements().settle(key, &head);
            return match store.exchange_head(key, &stored, head).await {
                true => Improved::Better,
                false => Improved::Gone,
            };
        }
        Improved::Busy
    }
}

/// The head of the better form.
fn better(
    stored: &Head,
    source: &Head,
    params: &Params,
    bytes: Bytes,
    content_type: &'static str,
    core: &Core,
) -> Head {
    debug_assert_eq!(params.effort(), Effort::Thorough);
    let now = core.clock().unix_millis();
    let fields = derived_fields(source, &operation(params), content_type, now);
    let length = bytes.len() as u64;
    Head::new(&stored.key, StatusCode::OK, &fields, (now, now), length, Content::Inline(bytes))
}
