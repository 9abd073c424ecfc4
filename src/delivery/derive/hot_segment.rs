//! Better forms of segments that are asked for often: the same pictures at the same times under the same description, encoded with
//! more effort, after everybody who waits.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use http::StatusCode;

use super::{
    super::{Core, fill::Born, route::Work},
    derived_fields, entity_tag,
    improve::{Candidate, Improved, MAX_TRIES},
    source::Want,
    video,
};
use crate::{
    cache::{Content, Found, Head},
    media::{
        encodes::Urgency,
        video::{Asset, Encoder, Rendition, TranscodeError},
    },
};

/// Before another look when there was something else to do.
const PAUSE: Duration = Duration::from_secs(5);

impl Core {
    pub(super) async fn improve_segment(&self, candidate: &Candidate, rung: u16, number: u32) -> Improved {
        let Candidate { key, source: address, .. } = candidate;
        let (store, media) = (self.fills.store(), &self.media);
        let asset = Asset::Segment(Rendition::Rung(rung), number);
        let operation = media.operation(&Work::Video(asset)).await;
        for attempt in 0..MAX_TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let Some(Found::Head(stored)) = store.find(key).await else { return Improved::Gone };
            if !matches!(stored.content, Content::Inline(_)) {
                media.improvements().settle(key, &stored);
                return Improved::NoGain;
            }
            let born = Born::after(store.purges().latest());
            let Ok(source) = self.source(address, Want::Parts, &born).await else { return Improved::Failed };
            // Another version than the stored one is for the next request to find; so is what was made in hardware.
            let tag = entity_tag(source.head(), &operation);
            if tag.is_none() || stored.strong_validator() != tag {
                media.improvements().settle(key, &stored);
                return Improved::Gone;
            }
            let Some(transcoder) = media.transcoder().await else { return Improved::Failed };
            if transcoder.encoder() != Encoder::X264 {
                return Improved::NoGain;
            }
            // Whatever waits for a place itself is done before taking one.
            let Ok(package) = self.package(&source).await else { return Improved::Failed };
            let Ok(entry) = media.entry(&transcoder, &source, &package, rung).await else { continue };
            let Ok(ticket) = media.rungs.encodes.enter(key.hash(), Urgency::Spare) else { continue };
            let Ok(_permit) = ticket.permit().await else { continue };
            let made = tokio::select! {
                made = self.encode_better(transcoder.better(Arc::new(source.clone()), package, rung, number, entry))
                    => made,
                // Somebody waits: all that was done is given up, and nothing else.
                () = media.rungs.encodes.pressed() => continue,
            };
            let bytes = match made {
                Ok(bytes) => bytes,
                Err(TranscodeError::Otherwise) => return Improved::NoGain,
                Err(error) => {
                    tracing::warn!("a segment could not be improved: {error}");
                    return Improved::Failed;
                }
            };
            let length = bytes.len() as u64;
            if length > u64::from(store.block_size()) {
                media.improvements().settle(key, &stored);
                return Improved::NoGain;
            }
            let now = self.clock().unix_millis();
            let fields =
                derived_fields(source.head(), &video::thorough(&operation), asset.content_type(), now);
            let head =
                Head::new(&stored.key, StatusCode::OK, &fields, (now, now), length, Content::Inline(bytes));
            let head = Arc::new(head.born_after(born.purge()));
            media.improvements().settle(key, &head);
            return match store.exchange_head(key, &stored, head).await {
                true => Improved::Better,
                false => Improved::Gone,
            };
        }
        Improved::Busy
    }

    async fn encode_better(
        &self,
        mut pieces: BoxStream<'static, Result<Bytes, TranscodeError>>,
    ) -> Result<Bytes, TranscodeError> {
        let timer = self.media.instruments.duration.with_label_values(&["improve_segment"]).start_timer();
        let mut all = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        timer.observe_duration();
        Ok(all.freeze())
    }
}
