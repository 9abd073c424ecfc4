//! Asking for an answer, once for everybody who waits for it, and judging what it is good for.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;
use tokio::sync::oneshot;

use super::{
    Ask, Born, Extent, Fills, Landed, LandedObject, Leader, Wanted,
    board::Place,
    declared_length,
    landing::Landing,
    unshared,
    upstream::{same_version, speaks_for_the_resource},
};
use crate::{
    cache::{
        Head,
        control::ResponseControl,
        freshness::Freshness,
        storable::{self, Asked, Hear, Refusal},
        validator,
        vary::VarySpec,
    },
    delivery::{policy::Policy, range::Spec},
    origin,
};

impl Fills {
    pub(super) async fn fly(self: Arc<Self>, wanted: &Wanted, leader: oneshot::Sender<Leader>, place: Place) {
        let mut request_time = self.clock.unix_millis();
        let mut opened = self.open(wanted, &place.born, &mut request_time).await;
        let confirmation = match (&opened, &wanted.stale) {
            (Ok(response), Some(stale)) if confirms(wanted, stale, response) => {
                let times = (request_time, self.clock.unix_millis());
                let head = stale.freshened(&response.headers, times).born_after(place.born.purge());
                Some((head, response.status, stale))
            }
            _ => None,
        };
        if let Some((head, status, stale)) = confirmation {
            if !(head.control.no_store || head.control.private) {
                let head = Arc::new(head);
                self.note(wanted, true);
                let still = || place.is_current() && !self.is_hidden(stale);
                self.store().put_head_while(&wanted.key, head.clone(), still).await;
                place.leave();
                return place.land(confirmed(wanted, head, status));
            }
            self.store().remove_head(&wanted.key).await;
            if status == StatusCode::NOT_MODIFIED {
                // Unchanged, and not for everybody any more: asked for as if it had never been here.
                request_time = self.clock.unix_millis();
                opened = wanted.upstream.open(Ask { validate: None, ..self.ask(wanted, &place.born) }).await;
            }
        }
        let response = match opened {
            Ok(response) => response,
            Err(error) => {
                self.journal.failed(&wanted.primary, &wanted.asked(), error.kind, self.clock.unix_millis());
                place.leave();
                return place.land(Landed::Failed(error));
            }
        };
        let times = (request_time, self.clock.unix_millis());
        let judged = self.judge(&wanted.policy, &wanted.asked(), &response, times.1, &mut |_, _| {});
        let landing = match judged {
            Ok(landing) => match self.memory_for(wanted, &landing, &place).await {
                Some(memory) => Ok((landing, memory)),
                None => {
                    place.leave();
                    return place.land(Landed::Full);
                }
            },
            Err(refusal) => Err(refusal),
        };
        let vary = wanted.vary(&response.headers);
        let selection = (!vary.is_empty()).then(|| vary.select(&*wanted.headers));
        let refusal = landing.as_ref().err().copied();
        self.journal.answered(&wanted.primary, &wanted.asked(), selection, &response, times, refusal);
        match landing {
            Ok((landing, memory)) => {
                self.note(wanted, true);
                self.land(wanted, response, landing, times, leader, (place, memory)).await;
            }
            Err(refusal) => {
                let status = response.status;
                if unshared::is_lasting(status, refusal) {
                    self.note(wanted, false);
                }
                if wanted.stale.is_some() && takes_back(status, refusal) {
                    self.store().remove_head(&wanted.key).await;
                }
                self.note_beginning(wanted, &place, &response, refusal, times.1);
                place.leave();
                // First the answer, so that a leader who sees the landing finds it.
                let _ = leader.send(Leader::Answer(response, refusal));
                place.land(Landed::Uncacheable { refusal, status });
            }
        }
    }

    /// The question, with the range widened to whole blocks.
    pub(super) fn ask(&self, wanted: &Wanted, born: &Born) -> Ask {
        let block_size = u64::from(self.store().block_size());
        let range = wanted.range.map(|range| match range {
            Spec::From(first) => Spec::From(first / block_size * block_size),
            Spec::FromTo(first, last) => Spec::FromTo(
                first / block_size * block_size,
                (last / block_size + 1).saturating_mul(block_size) - 1,
            ),
            // Long enough to begin before the block that holds the first byte asked for.
            Spec::Suffix(count) => Spec::Suffix(count.saturating_add(block_size - 1)),
        });
        Ask {
            method: wanted.method.clone(),
            headers: (*wanted.headers).clone(),
            range,
            if_range: wanted.range.and_then(|_| wanted.headers.get(header::IF_RANGE).cloned()),
            validate: wanted.stale.clone(),
            resume: None,
            born: born.clone(),
        }
    }

    /// What the answer is good for, received at `now`. `hear` is told what the verdict stands on.
    pub(super) fn judge(
        &self,
        policy: &Policy,
        asked: &Asked<'_>,
        response: &origin::Response,
        now: UnixMillis,
        hear: Hear<'_>,
    ) -> Result<Landing, Refusal> {
        let head_only = *asked.method == Method::HEAD;
        let extent = if head_only { Extent::of_head(response) } else { Extent::of(response) };
        let validator = validator::strong(&response.headers).is_some();
        // A part stands for the whole object when the whole can be completed later.
        let status = match &extent {
            Extent::Part { .. } if validator => StatusCode::OK,
            _ => response.status,
        };
        let control = ResponseControl::parse(&response.headers);
        let rules = &policy.rules;
        let said = Freshness::of(status, &response.headers, &control, now, now);
        let freshness = rules.lifetimes.bound(status, said);
        storable::check_aloud(&rules.storing, asked, status, &response.headers, &control, &freshness, hear)?;
        let unkeyed_cookie = asked.cookie && !rules.fields.has_cookies();
        storable::check_lengthened(unkeyed_cookie, &control, &said, &freshness)?;
        let vary = VarySpec::of(&response.headers).with(rules.fields.nominated());
        if vary.is_too_wide() {
            return Err(Refusal::VaryStar);
        }
        let blocks = extent.length().unwrap_or(0).div_ceil(u64::from(self.store().block_size()));
        let too_long = extent.length().is_some_and(|length| length > rules.storing.max_length);
        if too_long || blocks >= u64::from(u32::MAX) {
            return Err(Refusal::TooLarge);
        }
        match extent {
            // Without its bytes a head is of use only if they can be fetched later.
            Extent::Whole { length }
                if head_only && (length.is_none() || !validator || status != StatusCode::OK) =>
            {
                Err(Refusal::Method)
            }
            Extent::Unclear => Err(Refusal::Status),
            extent => Ok(Landing { status, extent, validator, vary, head_only }),
        }
    }
}

/// Whether the answer says that what is stored is still good: a 304, or the head of the same version (RFC 9111 §4.3.5).
fn confirms(wanted: &Wanted, stale: &Head, response: &origin::Response) -> bool {
    let same_head = || {
        wanted.method == Method::HEAD
            && response.status == StatusCode::OK
            && declared_length(&response.headers).is_none_or(|length| length == stale.length)
            && stale.strong_validator().is_some_and(|ours| same_version(&response.headers, &ours))
    };
    response.status == StatusCode::NOT_MODIFIED || same_head()
}

fn confirmed(wanted: &Wanted, head: Arc<Head>, status: StatusCode) -> Landed {
    let vary = wanted.vary(&head.fields);
    Landed::Object(Arc::new(LandedObject {
        key: wanted.key.clone(),
        selection: vary.select(&*wanted.headers),
        vary,
        head,
        transfer: None,
        status,
        validated: true,
    }))
}

/// Whether an answer that is not stored says that what is stored is not to be had any more. A request that forbids
/// storing does not speak for others.
fn takes_back(status: StatusCode, refusal: Refusal) -> bool {
    let of_the_request =
        matches!(refusal, Refusal::Method | Refusal::RequestNoStore | Refusal::Authorization);
    !of_the_request && speaks_for_the_resource(status)
}
