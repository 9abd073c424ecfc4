//! What is given away to peers that warm up: which objects are wanted most, and each of them as it is stored. The other side:
//! [`super::warm`].

use std::{ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{pipeline::Delivery, shown_key};
use crate::cache::{Content, Head, Hot, Incarnation, Offer, Store, handover::Frame, purge::Since};

pub use crate::cache::handover::CONTENT_TYPE;

/// The list, as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hottest {
    pub objects: Vec<Listed>,
    /// Of all of them.
    pub bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// Under which it is asked for, at this server.
    id: String,
    /// The same at each server that has it.
    name: String,
    /// For people, without secrets.
    pub url: String,
    pub bytes: u64,
    /// Requests lately, at most 15.
    pub hits: u8,
}

/// Objects given away at a time.
const MOST: usize = 32;
/// More are not listed.
pub const MAX_LISTED: usize = 20_000;

/// Places for those who take.
pub struct Givers(Arc<Semaphore>);

impl Default for Givers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGiven {
    /// There is no such object, or none that others may have.
    Nothing,
    /// Enough are being given away.
    Busy,
}

pub fn hex(number: u128) -> String {
    format!("{number:032x}")
}

pub fn number(hex: &str) -> Option<u128> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32)
}

impl Listed {
    fn of(hot: &Hot) -> Self {
        let Hot { id, name, head, hits, bytes } = hot;
        let url = shown_key::of_text(&head.key);
        Self { id: hex(*id), name: hex(*name), url, bytes: *bytes, hits: *hits }
    }

    pub fn id(&self) -> Option<u128> {
        number(&self.id)
    }

    pub fn name(&self) -> Option<u128> {
        number(&self.name)
    }
}

impl Delivery {
    /// What was asked for most. Takes a while: not for threads that serve.
    pub fn hottest(&self, most: usize, bytes: u64) -> Hottest {
        let hot = self.store().hottest(most.min(MAX_LISTED), bytes);
        let objects: Vec<_> = hot.iter().map(Listed::of).collect();
        Hottest { bytes: objects.iter().map(|object| object.bytes).sum(), objects }
    }

    /// The purges after this number.
    pub fn purges_since(&self, after: u64) -> Since {
        self.store().purges().since(after, self.core.clock().unix_millis())
    }

    /// The purges of the last so many seconds, and perhaps some from before.
    pub fn purges_within(&self, seconds: u32) -> Since {
        let then = self.core.clock().unix_millis().saturating_sub(i64::from(seconds) * 1000);
        self.purges_since(self.store().purges().latest_by(then))
    }

    /// An object as it is stored, with these of its blocks.
    pub async fn hand_over(
        &self,
        id: &str,
        blocks: RangeInclusive<u32>,
    ) -> Result<BoxStream<'static, Bytes>, NotGiven> {
        let id = number(id).ok_or(NotGiven::Nothing)?;
        let place = self.givers.0.clone().try_acquire_owned().map_err(|_| NotGiven::Busy)?;
        let now = self.core.clock().unix_millis();
        let Offer { head, variants } = self.store().offered(id).await.ok_or(NotGiven::Nothing)?;
        let mut first = vec![Frame::Begin { now }];
        first.extend(variants.map(Frame::Variants));
        first.push(Frame::Head(head.clone()));
        let rest = Giving::of(self.store().clone(), &head, blocks, place);
        if rest.incarnation.is_none() {
            first.push(Frame::End { blocks: 0 });
        }
        let first = first.iter().map(Frame::encode).collect::<Option<Vec<_>>>().ok_or(NotGiven::Nothing)?;
        // As one piece, as it may be all there is.
        let first = Bytes::from(first.iter().flatten().flatten().copied().collect::<Vec<u8>>());
        let rest = stream::unfold(rest, Giving::next).flat_map(stream::iter);
        Ok(stream::once(async { first }).chain(rest).boxed())
    }
}

/// Blocks on their way out; those that are not there are left out.
struct Giving {
    store: Arc<Store>,
    incarnation: Option<Incarnation>,
    /// The next to be looked for.
    next: u64,
    end: u64,
    given: u32,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Giving {
    fn of(store: Arc<Store>, head: &Head, blocks: RangeInclusive<u32>, place: OwnedSemaphorePermit) -> Self {
        let (incarnation, count) = match head.content {
            Content::Inline(_) => (None, 0),
            Content::Blocks { incarnation, block_size } => {
                (Some(incarnation), head.length.div_ceil(u64::from(block_size)))
            }
        };
        let end = count.min(u64::from(*blocks.end()) + 1);
        let next = u64::from(*blocks.start());
        Self { store, incarnation, next, end, given: 0, ended: incarnation.is_none(), _place: place }
    }

    async fn next(mut self) -> Option<([Bytes; 3], Self)> {
        while let Some(incarnation) = self.incarnation.filter(|_| self.next < self.end) {
            let index = u32::try_from(self.next).ok()?;
            self.next += 1;
            if let Some(bytes) = self.store.held_block(incarnation, index).await {
                self.given += 1;
                return Some((Frame::Block { index, bytes }.encode()?, self));
            }
        }
        if self.ended {
            return None;
        }
        (self.ended, self.incarnation) = (true, None);
        Some((Frame::End { blocks: self.given }.encode()?, self))
    }
}
