//! What a plan asks of the cache: under which key, what makes or brings it, and which part of it first.

use std::sync::Arc;

use http::{Method, header};

use super::{
    derive::{Address, ImageVariant, VideoAsset},
    fill::Upstream,
    forward::OriginUpstream,
    pipeline::Delivery,
    range::{self, Spec},
    request::Request,
    resolve::Query,
    route::{Plan, Work},
};
use crate::{
    cache::{FieldLines, control::RequestControl},
    media::encodes::Urgency,
};

impl Delivery {
    pub(super) fn query(&self, request: &Request, plan: &Plan<'_>) -> Query {
        self.query_of(request, plan, self.ahead.urgency(plan))
    }

    pub(super) fn query_of(&self, request: &Request, plan: &Plan<'_>, urgency: Urgency) -> Query {
        let core = &self.core;
        let source = || Address::of(plan, &request.headers);
        let key = plan.key(core.fills.store().seed());
        let upstream: Arc<dyn Upstream> = match &plan.work {
            Work::Fetch => {
                let upstream = OriginUpstream::new(plan.policy.chain.clone(), &plan.source);
                let has_stand_in = plan.policy.rules.fallback.is_some();
                Arc::new(upstream.on_behalf_of(request).with_stand_in(has_stand_in))
            }
            Work::Image(params) => {
                Arc::new(ImageVariant { core: core.clone(), source: source(), params: *params })
            }
            work @ (Work::Video(_) | Work::Poster { .. } | Work::Waveform { .. }) => Arc::new(VideoAsset {
                core: core.clone(),
                source: source(),
                work: work.clone(),
                what: key.hash(),
                urgency,
            }),
        };
        let mut headers = plan.policy.rules.fields.heeded(&request.headers);
        let first_block = Spec::FromTo(0, u64::from(core.fills.store().block_size()) - 1);
        let mut method = request.method.clone();
        let range = match &plan.work {
            // Of a clip, the answer's bytes are known when the source's index is.
            Work::Fetch if plan.clip().is_some() => {
                if headers.contains_key(header::IF_RANGE) {
                    Arc::make_mut(&mut headers).remove(header::IF_RANGE);
                }
                method = Method::GET;
                Some(first_block)
            }
            // In the source, the bytes may be elsewhere; its beginning is needed to say so.
            Work::Fetch if plan.is_progressive() => {
                if headers.contains_key(header::IF_RANGE) {
                    Arc::make_mut(&mut headers).remove(header::IF_RANGE);
                }
                first_range(request).map(|range| match range {
                    Spec::From(0) | Spec::FromTo(0, _) => range,
                    _ => first_block,
                })
            }
            Work::Fetch => first_range(request),
            // Derived objects are made whole.
            _ => None,
        };
        Query {
            key,
            upstream,
            method,
            headers,
            policy: plan.policy.clone(),
            control: RequestControl::parse(&*request.headers),
            range,
        }
    }
}

fn first_range(request: &Request) -> Option<Spec> {
    if request.method != Method::GET {
        return None;
    }
    range::parse((*request.headers).first("range")?)?.first().copied()
}
