//! From an answer that may be stored to an object that everybody finds, and its body on the way.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::{
    Error, Extent, Fills, Landed, LandedObject, Leader, Opened, Pace, Subject, Transfer, Wanted,
    board::Place,
    room::{self, Taker},
};
use crate::{
    cache::{Content, FieldLines, Head, Incarnation, Key, vary::VarySpec},
    origin,
};

/// What a storable answer is.
pub(super) struct Landing {
    /// Of the whole object: 200 where a part came as 206.
    pub status: StatusCode,
    pub extent: Extent,
    pub validator: bool,
    pub vary: VarySpec,
    pub head_only: bool,
}

impl Landing {
    pub(super) fn is_part(&self) -> bool {
        matches!(self.extent, Extent::Part { .. })
    }

    /// Offset of the first byte that comes, and where the last block ends that comes whole.
    fn stretch(&self, block_size: u64) -> (u64, Option<u64>) {
        match &self.extent {
            Extent::Part { range, length } if range.end == *length => (range.start, Some(range.end)),
            Extent::Part { range, .. } => (range.start, Some(range.end / block_size * block_size)),
            Extent::Whole { length } => (0, *length),
            Extent::Unclear => (0, None),
        }
    }
}

impl Fills {
    /// Memory for the first block that comes: before what is stored gives way to it. None: there is none, or nobody waits for
    /// the answer any more.
    pub(super) async fn memory_for(
        &self,
        wanted: &Wanted,
        landing: &Landing,
        place: &Place,
    ) -> Option<room::Place> {
        let block = u64::from(self.store().block_size());
        let (offset, end) = landing.stretch(block);
        let start = offset.next_multiple_of(block);
        let bytes = match landing.head_only {
            true => 0,
            false => end.map_or(block, |end| block.min(end.saturating_sub(start))),
        };
        let taker = if wanted.upstream.is_selective() { Taker::New } else { Taker::Derived };
        tokio::select! {
            biased;
            first = self.context.room.enter(bytes, taker) => first,
            () = place.abandoned() => None,
        }
    }

    /// `first_block` is memory for that.
    pub(super) async fn land(
        &self,
        wanted: &Wanted,
        response: origin::Response,
        landing: Landing,
        times: (i64, i64),
        leader: oneshot::Sender<Leader>,
        (mut place, first_block): (Place, room::Place),
    ) {
        let block_size = self.store().block_size();
        let incarnation = Incarnation::new();
        let selection = landing.vary.select(&*wanted.headers);
        let (key, alias) =
            self.keys_of(wanted, &landing.vary, &response.headers, &selection, &mut place).await;
        let length = landing.extent.length();
        let content = Content::Blocks { incarnation, block_size };
        let head =
            Head::new(key.text(), landing.status, &response.headers, times, length.unwrap_or(0), content);
        let head = Arc::new(head.born_after(place.born.purge()));
        let status = response.status;
        let object = |transfer| {
            Landed::Object(Arc::new(LandedObject {
                key: key.clone(),
                head: head.clone(),
                transfer,
                status,
                validated: false,
                vary: landing.vary.clone(),
                selection: selection.clone(),
            }))
        };
        if landing.head_only {
            self.store().put_head_while(&key, head.clone(), || place.is_current()).await;
            place.leave();
            return place.land(object(None));
        }
        let block = u64::from(block_size);
        let (offset, end) = landing.stretch(block);
        let start = offset.next_multiple_of(block);
        let subject = Subject {
            incarnation,
            block_size,
            length,
            validator: head.strong_validator().filter(|_| landing.validator),
            upstream: wanted.upstream.clone(),
            // Whoever was asked for a part and sends it all will do so again.
            in_parts: wanted.upstream.is_selective() && (wanted.range.is_none() || landing.is_part()),
            costly: wanted.upstream.is_costly(),
            headers: (*wanted.headers).clone(),
        };
        let pace = if landing.is_part() { Pace::Demand } else { Pace::Whole };
        let transfer = Transfer::new(subject, start, end.map(|end| end.max(start)), pace);
        self.register(&transfer);
        // With the head, which is stored first or last.
        let kept = transfer.keep(self.store());
        let _ = leader.send(Leader::Attached(transfer.attach()));
        // An object whose parts can be fetched again is found by everybody from now on. Another one is found only
        // when it is complete; until then its readers come by this flight.
        let early = landing.validator && length.is_some_and(|length| length > block || landing.is_part());
        if early {
            self.store().put_head_while(&key, head.clone(), || place.is_current()).await;
            place.leave();
        }
        place.land(object(Some(transfer.clone())));
        let network = self.context.room.connection(end.or(length).map(|end| end.saturating_sub(offset)));
        let opened = Opened::new(response.origin, response.body, offset, None, network);
        let forget = self.store().replace_head(&key, incarnation, None);
        match transfer.run(&self.context, Some((opened, first_block)), kept.is_some(), forget).await {
            Ok(()) => {
                match early {
                    true => self.inline(&key, &head, incarnation, &transfer).await,
                    false => self.complete(wanted, &key, &head, &transfer, &place).await,
                }
                if let Some(alias) = alias {
                    let head = Head { key: alias.text().into(), ..(*head).clone() };
                    self.complete(wanted, &alias, &head, &transfer, &place).await;
                }
            }
            Err(error) => {
                if let Error::Origin(error) = &error {
                    let now = self.clock.unix_millis();
                    self.journal.failed(&wanted.primary, &wanted.asked(), error.kind, now);
                }
                tracing::warn!(path = key.path(), "fill failed: {error}");
            }
        }
        self.forget(&transfer);
        drop(kept);
    }

    /// Where the answer belongs: at the resource, or at the variant for requests like this one; and, when it is in one
    /// language, where requests look that ask for this language alone.
    pub(super) async fn keys_of(
        &self,
        wanted: &Wanted,
        vary: &VarySpec,
        answer: &HeaderMap,
        selection: &str,
        place: &mut Place,
    ) -> (Key, Option<Key>) {
        if vary.is_empty() {
            return (wanted.primary.clone(), None);
        }
        let variants = self.store().variants(&wanted.primary, vary, || place.is_current()).await;
        let variant = |selection: &str| wanted.primary.variant(&variants, selection, self.store().seed());
        let key = variant(selection);
        if key != wanted.key {
            place.also(&key);
        }
        let language = answer.first("content-language").and_then(|line| std::str::from_utf8(line).ok());
        let alone = language.and_then(|language| vary.select_language(&*wanted.headers, language));
        let alias = alone.filter(|alone| alone != selection).map(|alone| variant(&alone));
        (key, alias)
    }

    /// Stores the head of an object that was not to be found before it has arrived whole.
    async fn complete(&self, wanted: &Wanted, key: &Key, head: &Head, transfer: &Transfer, place: &Place) {
        let head = match (transfer.whole(), transfer.object_length()) {
            (Some(bytes), _) => head.with_content(bytes.len() as u64, Content::Inline(bytes)),
            (None, Some(length)) if transfer.reached(length) => {
                head.with_content(length, head.content.clone())
            }
            _ => return,
        };
        if head.length <= wanted.policy.rules.storing.max_length && self.is_usable(&head) {
            self.store().put_head_while(key, head.into(), || place.is_current()).await;
        }
    }

    /// A small object whose blocks came after its head is stored again as one entry.
    pub(super) async fn inline(&self, key: &Key, head: &Head, incarnation: Incarnation, transfer: &Transfer) {
        if let Some(bytes) = transfer.whole() {
            let head = head.with_content(bytes.len() as u64, Content::Inline(bytes));
            self.store().replace_head(key, incarnation, Some(head.into())).await;
        }
    }
}
