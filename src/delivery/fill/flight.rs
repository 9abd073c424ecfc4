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
    pub(super) async fn fly(
        self: Arc<Self>,
        wanted: &Wanted,
        leader: oneshot::Sender<Leader>,
        mut place: Place,
    ) {
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
            let vary = wanted.vary(&head.fields);
            if !(head.control.no_store || head.control.private || vary.is_too_wide()) {
                self.note(wanted, true);
                let landed = self.confirm(wanted, stale, head, (vary, status), &mut place).await;
                place.leave();
                return place.land(landed);
            }
            self.store().remove_head(&wanted.key).await;
            if status == StatusCode::NOT_MODIFIED {
                // Unchanged, and not for everybody any more.
                (opened, request_time) = self.open_anew(wanted, &place.born).await;
            }
        } else if matches!(&opened, Ok(response) if response.status == StatusCode::NOT_MODIFIED) {
            (opened, request_time) = self.open_anew(wanted, &place.born).await;
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
        let judged = judged.and_then(|landing| self.judge_beside(wanted, &response, landing, times.1));
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
                let taken_back = |stale: &Arc<Head>| {
                    takes_back(status, refusal) || tells_of_another(wanted, stale, &response, times.1)
                };
                if wanted.stale.as_ref().is_some_and(taken_back) {
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

    /// Asks as if nothing had ever been stored. With the time at which that was.
    async fn open_anew(
        &self,
        wanted: &Wanted,
        born: &Born,
    ) -> (Result<origin::Response, origin::Error>, UnixMillis) {
        let now = self.clock.unix_millis();
        (wanted.upstream.open(Ask { validate: None, ..self.ask(wanted, born) }).await, now)
    }

    /// Stores what has been found to be still good, where requests like this one look for it from now on.
    async fn confirm(
        &self,
        wanted: &Wanted,
        stale: &Head,
        head: Head,
        (vary, status): (VarySpec, StatusCode),
        place: &mut Place,
    ) -> Landed {
        let selection = vary.select(&*wanted.headers);
        let (key, head) = match vary == wanted.vary(&stale.fields) {
            true => (wanted.key.clone(), head),
            false => {
                let fields = head.fields.to_header_map();
                let (key, _) = self.keys_of(wanted, &vary, &fields, &selection, place).await;
                let head = Head { key: key.text().into(), ..head };
                (key, head)
            }
        };
        let head = Arc::new(head);
        let still = || place.is_current() && !self.is_hidden(stale);
        self.store().put_head_while(&key, head.clone(), still).await;
        let landed = LandedObject { key, head, transfer: None, status, validated: true, vary, selection };
        Landed::Object(Arc::new(landed))
    }

    /// What stands in the way of storing an answer that by itself may be stored.
    fn judge_beside(
        &self,
        wanted: &Wanted,
        response: &origin::Response,
        landing: Landing,
        now: UnixMillis,
    ) -> Result<Landing, Refusal> {
        let unavailable = matches!(response.status.as_u16(), 500 | 502 | 503 | 504);
        let stands_in = |stale: &Arc<Head>| {
            // By whoever made it: one client's word is not for those who wait with it.
            stale.control.stale_if_error.is_some()
                && wanted.policy.rules.lifetimes.may_stand_in(stale, &wanted.control, now)
        };
        if unavailable && wanted.stale.as_ref().is_some_and(stands_in) {
            return Err(Refusal::StandIn);
        }
        // RFC 9110 §15.3.7: of a part that a client has asked for with a condition, it may leave out what the client has already.
        let asked_for_rest = wanted.range.is_some() && wanted.headers.contains_key(header::IF_RANGE);
        if landing.is_part() && asked_for_rest && !response.headers.contains_key(header::CONTENT_TYPE) {
            return Err(Refusal::Status);
        }
        Ok(landing)
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

/// Whether the answer says that what is stored is still good: a 304, unless it is of another version (RFC 9111 §4.3.4), or the head of the
/// same version (§4.3.5). A tag alone does not make another version: some servers send another one with 304 than with 200.
fn confirms(wanted: &Wanted, stale: &Head, response: &origin::Response) -> bool {
    let same_head = || {
        wanted.method == Method::HEAD
            && response.status == StatusCode::OK
            && declared_length(&response.headers).is_none_or(|length| length == stale.length)
            && stale.strong_validator().is_some_and(|ours| same_version(&response.headers, &ours))
    };
    let unchanged = || {
        response.status == StatusCode::NOT_MODIFIED
            && !(validator::contradict(&stale.fields, &response.headers)
                && validator::dates_differ(&stale.fields, &response.headers))
    };
    unchanged() || same_head()
}

/// Whether the answer to HEAD says that what is stored, though fresh, is not what GET would bring (RFC 9111 §4.3.5).
fn tells_of_another(wanted: &Wanted, stale: &Head, response: &origin::Response, now: UnixMillis) -> bool {
    // Many that make their answers as they are asked for them tell HEAD of no bytes at all.
    let other_length = || {
        let declared = declared_length(&response.headers).filter(|length| *length > 0);
        declared.is_some_and(|length| length != stale.length)
    };
    wanted.method == Method::HEAD
        && response.status == StatusCode::OK
        && stale.status == StatusCode::OK
        && wanted.policy.rules.lifetimes.of(stale).ttl(now) > 0
        && (validator::contradict(&stale.fields, &response.headers) || other_length())
}

/// Whether an answer that is not stored says that what is stored is not to be had any more. A request that forbids
/// storing does not speak for others.
fn takes_back(status: StatusCode, refusal: Refusal) -> bool {
    let of_the_request =
        matches!(refusal, Refusal::Method | Refusal::RequestNoStore | Refusal::Authorization);
    !of_the_request && speaks_for_the_resource(status)
}
