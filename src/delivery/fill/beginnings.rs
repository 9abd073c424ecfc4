//! Beginnings of objects that have come without a validator. Nothing may be combined with them (RFC 9111 §3.4), so their bytes are not
//! kept; but whoever asks for the whole while such a part is fresh has the origin asked for the rest first, and that may bring the whole.

use std::collections::HashMap;

use http::{Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{Ask, Born, Extent, Fills, Wanted, board::Place};
use crate::{
    cache::{
        FieldLines, Freshness,
        control::ResponseControl,
        storable::{self, Refusal},
        vary::VarySpec,
    },
    delivery::range::Spec,
    origin,
};

/// What is known of, about 64 KiB. When there is more, all is forgotten: it only saves nothing then.
const MOST: usize = 1024;

/// By the hashes of their keys.
#[derive(Default)]
pub(super) struct Beginnings(HashMap<u128, Beginning>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    /// How many bytes, fewer than there are.
    pub length: u64,
    pub fresh_until: UnixMillis,
    /// The latest purge from before it was asked for.
    pub born: u64,
}

impl Beginnings {
    pub fn enter(&mut self, key: u128, beginning: Beginning, now: UnixMillis) {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, beginning| beginning.fresh_until > now);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        self.0.insert(key, beginning);
    }

    pub fn forget(&mut self, key: u128) {
        self.0.remove(&key);
    }

    /// Used once: what comes of it takes its place, or nothing does.
    pub fn take(&mut self, key: u128, now: UnixMillis) -> Option<Beginning> {
        self.0.remove(&key).filter(|beginning| beginning.fresh_until > now)
    }
}

impl Fills {
    /// Notes that an answer which is not stored is the beginning of what might be, and nothing but.
    pub(super) fn note_beginning(
        &self,
        wanted: &Wanted,
        place: &Place,
        response: &origin::Response,
        refusal: Refusal,
        now: UnixMillis,
    ) {
        if refusal != Refusal::Status || wanted.method != Method::GET || wanted.key != wanted.primary {
            return;
        }
        let Extent::Part { range, length } = Extent::of(response) else { return };
        let headers = &response.headers;
        let validated = headers.has("etag") || headers.has("last-modified");
        if validated || range.start > 0 || range.end >= length {
            return;
        }
        let rules = &wanted.policy.rules;
        let control = ResponseControl::parse(headers);
        let said = Freshness::of(StatusCode::OK, headers, &control, now, now);
        let freshness = rules.lifetimes.bound(StatusCode::OK, said);
        let varies = !VarySpec::of(headers).with(rules.fields.nominated()).is_empty();
        let useless = control.no_cache || varies || length > rules.storing.max_length;
        let asked = wanted.asked();
        let check = || storable::check(&rules.storing, &asked, StatusCode::OK, headers, &control, &freshness);
        if useless || check().is_err() || !place.is_current() {
            return;
        }
        let fresh_until = now.saturating_add(freshness.ttl(now));
        let beginning = Beginning { length: range.end, fresh_until, born: place.born.purge() };
        self.beginnings.lock().enter(wanted.key.hash(), beginning, now);
    }

    /// Asks for what is wanted; first for what follows on its beginning, if that is known. Only an answer that is whole is of any use
    /// then: else the same is asked as if nothing were known, and when that was is in the place of the `request_time`.
    pub(super) async fn open(
        &self,
        wanted: &Wanted,
        born: &Born,
        request_time: &mut UnixMillis,
    ) -> Result<origin::Response, origin::Error> {
        let ask = self.ask(wanted, born);
        if let Some(first) = self.length_of_beginning(wanted, *request_time) {
            let rest = Ask { range: Some(Spec::From(first)), ..ask.clone() };
            if let Ok(response) = wanted.upstream.open(rest).await
                && response.status == StatusCode::OK
            {
                return Ok(response);
            }
            // Of anything else the body is not read: the connection goes with it.
            *request_time = self.clock.unix_millis();
        }
        wanted.upstream.open(ask).await
    }

    fn length_of_beginning(&self, wanted: &Wanted, now: UnixMillis) -> Option<u64> {
        let whole = wanted.method == Method::GET && wanted.range.is_none() && wanted.seen.is_none();
        if !whole || wanted.control.no_cache || wanted.headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        let beginning = self.beginnings.lock().take(wanted.key.hash(), now)?;
        let purged = self.store().purges().may_concern(wanted.key.text(), beginning.born);
        (!purged).then_some(beginning.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINNING: Beginning = Beginning { length: 5, fresh_until: 10, born: 0 };

    #[test]
    fn a_beginning_is_used_once_and_while_it_is_fresh() {
        let mut beginnings = Beginnings::default();
        beginnings.enter(1, BEGINNING, 0);
        beginnings.enter(2, BEGINNING, 0);
        assert_eq!((beginnings.take(1, 9), beginnings.take(1, 9)), (Some(BEGINNING), None));
        assert_eq!(beginnings.take(2, 10), None);
        assert!(beginnings.0.is_empty());
    }

    #[test]
    fn there_are_never_too_many() {
        let mut beginnings = Beginnings::default();
        let later = Beginning { fresh_until: 20, ..BEGINNING };
        for key in 0..MOST as u128 {
            beginnings.enter(key, if key < 10 { BEGINNING } else { later }, 0);
        }
        beginnings.enter(1 << 20, later, 10);
        assert_eq!(beginnings.0.len(), MOST - 10 + 1, "first those that are stale");
        (0..20).for_each(|key| beginnings.enter(1 << 21 | key, later, 10));
        assert!(beginnings.0.len() <= MOST && beginnings.take(1 << 21 | 19, 10).is_some());
    }
}
