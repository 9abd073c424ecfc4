//! Objects on their way from one server's store to another's: what is given away, and what of a peer's is taken.
//!
//! Numbers of purges, stamps of variants and seeds of keys are each server's own. So what is taken gets ours: the key is
//! made anew, and it counts as born after the purges that we knew when it came from its origin. What we have been told to forget
//! since then, and the peer not yet, does not come back.

use std::sync::Arc;

use bytes::Bytes;
use millrace_kit::clock::UnixMillis;

use super::{Store, admission::Occasion, heads::head_key, inspect::Held};
use crate::cache::{
    Content, Freshness, Head, Incarnation, Key, Variants,
    entry::{Entry, EntryKey, HEAD},
    purge::Standing,
};

/// What a peer may have.
#[derive(Debug, Clone)]
pub struct Offer {
    pub head: Arc<Head>,
    /// When it is one of several.
    pub variants: Option<Arc<Variants>>,
}

/// A peer's object that there is a place for. It is found when it is settled.
#[derive(Debug)]
pub struct Adoption {
    key: Key,
    head: Head,
    /// What its head weighs on disk, if it goes there.
    write: Option<usize>,
    blocks: u64,
    /// The least block that may come next.
    next: u64,
}

/// Bytes of a peer's blocks, which can be set otherwise than ours.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 64 << 10..=16 << 20;

/// How far clocks may be apart, and what is lost where ages are told in seconds.
const MARGIN: UnixMillis = 2000;

impl Store {
    /// The object with this id, if it is anything that others could use: not purged, and if it cannot be completed, complete.
    pub async fn offered(&self, id: u128) -> Option<Offer> {
        let at = EntryKey { id, part: HEAD };
        let entry = match (self.memory.look(&at), &self.disk) {
            (Some(entry), _) => entry,
            (None, Some(disk)) => disk.load(&at).await?,
            (None, None) => return None,
        };
        let Entry::Head(head) = entry else { return None };
        let complete = self.inspect_blocks(&head).is_none_or(|blocks| blocks.held == blocks.total);
        if self.purges.judge(&head) != Standing::Current || !(complete || head.has_strong_validator()) {
            return None;
        }
        let Some((resource, stamp, rest)) = Key::parts(&head.key) else {
            return Some(Offer { head, variants: None });
        };
        match self.inspect(&Key::new(resource, self.seed)).await? {
            (Held::Variants(variants), _) if variants.stamp == stamp && is_plain(rest, &variants) => {
                Some(Offer { head, variants: Some(variants) })
            }
            // From before an invalidation.
            _ => None,
        }
    }

    /// Bytes that the tiers can hold together.
    pub fn room(&self) -> u64 {
        self.memory.capacity() as u64 + self.disk.as_ref().map_or(0, |disk| disk.config.bytes)
    }

    /// A block as it is stored, without moving it between tiers or counting.
    pub async fn held_block(&self, incarnation: Incarnation, index: u32) -> Option<Bytes> {
        let key = EntryKey { id: incarnation.0, part: index };
        match (self.memory.look(&key), &self.disk) {
            (Some(entry), _) => entry.block(),
            (None, Some(disk)) if disk.may_contain(&key) => disk.load(&key).await?.block(),
            _ => None,
        }
    }

    /// A place for a peer's object, whose times are by our clock. `born`: the latest purge from before the peer was asked.
    /// None: something is stored there, or was taken out; or a purge that we know of concerns it; or it makes no sense.
    pub async fn adopt(&self, head: &Head, variants: Option<&Variants>, born: u64) -> Option<Adoption> {
        if !makes_sense(head) {
            return None;
        }
        let key = self.own_key(head, variants).await?;
        let from_origin = head.freshness.response_time.saturating_sub(head.freshness.initial_age);
        let from_origin = from_origin.min(head.request_time);
        let born = born.min(self.purges.latest_by(from_origin.saturating_sub(MARGIN)));
        let content = match head.content.clone() {
            Content::Blocks { block_size, .. } => {
                Content::Blocks { incarnation: Incarnation::new(), block_size }
            }
            inline => inline,
        };
        let head = Head { key: key.text().into(), content, ..head.clone() }.born_after(born);
        self.find(&key).await;
        let free = self.is_free(self.memory.look(&head_key(&key)).as_ref());
        if !free || self.purges.judge(&head) == Standing::Hidden {
            return None;
        }
        let write = self.admits(&head, key.hash(), Occasion::Fetched).then(|| head.weight());
        if let (None, Content::Blocks { incarnation, .. }) = (write, &head.content) {
            self.admission.refuse_blocks(*incarnation);
        }
        Some(Adoption { key, head, write, blocks: 0, next: 0 })
    }

    /// A block of it, which come in ascending order. What does not fit the object is refused.
    pub async fn adopt_block(&self, adoption: &mut Adoption, index: u32, bytes: Bytes, hits: u8) -> bool {
        let Content::Blocks { incarnation, block_size } = adoption.head.content else { return false };
        let block_size = u64::from(block_size);
        let start = u64::from(index) * block_size;
        let expected = adoption.head.length.saturating_sub(start).min(block_size);
        if u64::from(index) < adoption.next || bytes.is_empty() || bytes.len() as u64 != expected {
            return false;
        }
        adoption.next = u64::from(index) + 1;
        let key = EntryKey { id: incarnation.0, part: index };
        let entry = Entry::Block(bytes.into());
        self.memory.insert(key, entry.clone());
        self.memory.credit(&key, hits);
        self.put_block_on_disk(incarnation, key, entry).await;
        adoption.blocks += 1;
        true
    }

    /// The object is found from now on. False when there is something else by now, or when it is of no use.
    pub async fn settle(&self, adoption: Adoption, hits: u8) -> bool {
        let Adoption { key, head, write, blocks, .. } = adoption;
        let complete = match head.content {
            Content::Inline(_) => true,
            Content::Blocks { block_size, .. } => blocks == head.length.div_ceil(u64::from(block_size)),
        };
        if !complete && (!head.has_strong_validator() || blocks == 0) {
            return false;
        }
        let head = Arc::new(head);
        let mut settled = false;
        self.change(&key, write, |current| {
            settled = self.is_free(current) && self.purges.judge(&head) != Standing::Hidden;
            settled.then(|| Entry::Head(head.clone()))
        })
        .await;
        if settled {
            self.memory.credit(&head_key(&key), hits);
        }
        settled
    }

    /// The key under which a peer's object is looked for here.
    async fn own_key(&self, head: &Head, variants: Option<&Variants>) -> Option<Key> {
        let Some(theirs) = variants else {
            return Key::parts(&head.key).is_none().then(|| Key::new(&*head.key, self.seed));
        };
        let (resource, stamp, rest) = Key::parts(&head.key)?;
        if *theirs.key != *resource || theirs.stamp != stamp || !is_plain(rest, theirs) {
            return None;
        }
        let resource = Key::new(resource, self.seed);
        self.find(&resource).await;
        let mut ours = None;
        self.change(&resource, Some(0), |current| match current {
            None => {
                let variants = Arc::new(theirs.clone());
                ours = Some(variants.clone());
                Some(Entry::Variants(variants))
            }
            Some(Entry::Variants(known)) if known.spec == theirs.spec && known.key == theirs.key => {
                ours = Some(known.clone());
                None
            }
            _ => None,
        })
        .await;
        Some(resource.variant(&*ours?, rest, self.seed))
    }

    /// Whether nothing is in the way of a peer's object: what is there stays, also a note that something was taken out.
    fn is_free(&self, current: Option<&Entry>) -> bool {
        match current {
            None => true,
            Some(Entry::Head(head)) => self.purges.judge(head) == Standing::Hidden,
            Some(_) => false,
        }
    }
}

/// Whether such a head can be a server's that keeps to the same bounds.
fn makes_sense(head: &Head) -> bool {
    head.freshness.initial_age >= 0
        && match &head.content {
            Content::Inline(bytes) => bytes.len() as u64 == head.length,
            Content::Blocks { block_size, .. } => {
                BLOCK_SIZES.contains(block_size)
                    && head.length.div_ceil(u64::from(*block_size)) <= u64::from(u32::MAX)
            }
        }
}

/// Whether what follows a stamp is a selection, and what is made of that at most once: there are no further stamps in it.
fn is_plain(rest: &str, variants: &Variants) -> bool {
    rest.matches('\n').count() == variants.spec.names().len()
}

impl Head {
    /// Bytes of the body that are stored with the head.
    pub fn inline_length(&self) -> u64 {
        match &self.content {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Blocks { .. } => 0,
        }
    }

    /// The same, with its times moved by so much.
    #[must_use]
    pub fn moved_by(self, shift: UnixMillis) -> Self {
        let response_time = self.freshness.response_time.saturating_add(shift);
        let freshness = Freshness { response_time, ..self.freshness };
        Self { request_time: self.request_time.saturating_add(shift), freshness, ..self }
    }
}
