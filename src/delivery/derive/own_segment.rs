//! Segments of the source's own pictures: an index of a few hundred bytes, and the source's blocks as they are stored. Nothing is
//! stored for those that are longer than a block; shorter ones are objects, of which a hit costs less than putting them together.

use std::{ops::Range, sync::Arc};

use http::{HeaderMap, StatusCode};

use super::{
    super::{
        Core,
        resolve::{Query, Resolved},
        respond::Available,
        route::{Plan, Work},
    },
    Arrangement, derived_fields,
    source::{Address, Source, SourceError, Want, version_of},
};
use crate::{
    cache::{Fields, Found, Head},
    media::video::{Asset, Package, Rendition, Splice},
};

impl Core {
    /// What `query` asks for: as it is stored, or the source as that, or why there is none. None: it is to be had like everything that is
    /// made.
    pub async fn put_together(
        &self,
        plan: &Plan<'_>,
        query: &Query,
        headers: &HeaderMap,
    ) -> Option<Resolved> {
        let asset = own_segment(plan)?;
        // Others have no use for what is not to be stored, nor this client for what is.
        if query.control.no_store {
            return None;
        }
        // An object of its own, neither purged nor taken out.
        if let Some(Found::Head(head)) = self.fills.store().find_rare(&query.key).await {
            return Some(self.resolve_found(query, head).await);
        }
        let source = self.query_for(&Address::of(plan, headers), Want::Parts);
        let source = Query { control: query.control, method: query.method.clone(), ..source };
        match self.resolve(&source).await {
            Resolved::Object { mut available, served, hold } => {
                available.arrangement = Some(self.segment_in(&available, plan, asset).await?);
                Some(Resolved::Object { available, served, hold })
            }
            // The client would only wait for the same a second time.
            failed @ (Resolved::Failed { .. } | Resolved::NotCached | Resolved::Overloaded { .. }) => {
                Some(failed)
            }
            Resolved::Answer { response, served } if response.status.is_server_error() => {
                let response = SourceError::Status(response.status).into_answer().ok()?;
                Some(Resolved::Answer { response, served })
            }
            // That is remembered for what is made, so that a crowd does not ask the origin again and again.
            Resolved::Answer { .. } => None,
        }
    }

    async fn segment_in(
        &self,
        available: &Available,
        plan: &Plan<'_>,
        asset: Asset,
    ) -> Option<Arc<Arrangement>> {
        let head = &available.object.head;
        if head.status != StatusCode::OK {
            return None;
        }
        let source = Source::of(&self.fills, available)?;
        source.version()?;
        let package = self.package(&source).await.ok()?;
        let splice = self.long_enough(&package, asset)?;
        let now = self.clock().unix_millis();
        let operation = self.media.operation(&plan.work).await;
        let fields = derived_fields(head, &operation, asset.content_type(), now);
        let head = Head { fields: Fields::from(&fields), ..Head::clone(head) };
        Some(Arc::new(Arrangement { head: Arc::new(head), splice }))
    }

    /// Where in a source of this head the bytes of a segment are that is put together, as far as that is known.
    pub fn place_of_segment(&self, plan: &Plan<'_>, key: &str, head: &Head) -> Option<Range<u64>> {
        let package = self.media.packages.get(&version_of(key, head)?)?;
        let ranges = self.long_enough(&package, own_segment(plan)?)?.ranges;
        Some(ranges.iter().map(|range| range.start).min()?..ranges.iter().map(|range| range.end).max()?)
    }

    fn long_enough(&self, package: &Package, asset: Asset) -> Option<Splice> {
        let splice = package.asset(&asset).ok()?;
        (splice.len > u64::from(self.fills.store().block_size())).then_some(splice)
    }
}

fn own_segment(plan: &Plan<'_>) -> Option<Asset> {
    match plan.work {
        Work::Video(asset @ Asset::Segment(Rendition::Source, _)) => Some(asset),
        _ => None,
    }
}
