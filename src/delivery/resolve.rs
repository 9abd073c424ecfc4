//! From a key to something that may be served: from store when the rules allow, else by a fill that everybody
//! who wants the same key shares.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::{
    Core,
    fill::{Ask, Attachment, Boarded, Boarding, Landed, LandedObject, Leader, Object, Upstream, Wanted},
    outcome::{Outcome, Reason, Served},
    policy::Policy,
    range::Spec,
    respond::Available,
};
use crate::{
    cache::{
        Found, Head, Key, Lifetimes, control::RequestControl, freshness::Verdict, purge::Standing,
        storable::Refusal,
    },
    origin,
};

/// What is asked of the cache.
#[derive(Clone)]
pub struct Query {
    /// The resource.
    pub key: Key,
    pub upstream: Arc<dyn Upstream>,
    pub method: Method,
    /// Fields for the upstream and for choosing a variant: those that the policy heeds.
    pub headers: Arc<HeaderMap>,
    pub policy: Arc<Policy>,
    pub control: RequestControl,
    pub range: Option<Spec>,
}

impl Query {
    fn lifetimes(&self) -> &Lifetimes {
        &self.policy.rules.lifetimes
    }
}

pub enum Resolved {
    Object {
        available: Available,
        served: Served,
        /// Keeps a transfer wanted until the body's reader has taken over.
        hold: Option<Attachment>,
    },
    /// To be passed on, once.
    Answer {
        response: origin::Response,
        served: Served,
    },
    Failed {
        error: origin::Error,
        served: Served,
    },
    /// `only-if-cached` and it is not.
    NotCached,
    /// Too much is under way already.
    Overloaded {
        served: Served,
    },
}

/// A follower whose variant differs looks again, under the right key; more often than this nobody can need it.
const MAX_ROUNDS: usize = 4;

/// What the store says about a query.
struct Lookup {
    /// Where the answer is, or would be.
    key: Key,
    head: Option<Arc<Head>>,
    /// It has been purged softly.
    outdated: bool,
    reason: Reason,
}

impl Core {
    pub async fn resolve(&self, query: &Query) -> Resolved {
        self.resolve_from(query, None).await
    }

    /// The same, when this head has just been found under the query's key.
    pub async fn resolve_found(&self, query: &Query, head: Arc<Head>) -> Resolved {
        let (key, head, outdated, reason) = (query.key.clone(), Some(head), false, Reason::Expired);
        self.resolve_from(query, Some(Lookup { key, head, outdated, reason })).await
    }

    async fn resolve_from(&self, query: &Query, mut known: Option<Lookup>) -> Resolved {
        for _ in 0..MAX_ROUNDS {
            let Lookup { key, head: seen, outdated, reason } = match known.take() {
                Some(known) => known,
                None => self.look_up(query).await,
            };
            let now = self.clock().unix_millis();
            let (stale, reason) = match seen.clone() {
                None => (None, reason),
                Some(head) if !self.fills.is_usable(&head) => (None, Reason::Partial),
                Some(head) => match self.usable(query, &key, head, outdated, now) {
                    Ok(resolved) => return resolved,
                    Err(stale) => stale,
                },
            };
            if query.control.only_if_cached {
                return Resolved::NotCached;
            }
            if query.control.no_store {
                // Others have no use for its answer.
                return self.pass(query, Refusal::RequestNoStore).await;
            }
            let resolved = match self.fills.board(self.wanted(query, key, seen, stale.clone())) {
                Boarded::Boarding(boarding) => self.disembark(query, boarding, stale, reason).await,
                Boarded::Changed => None,
                Boarded::Full => Some(self.overloaded(query, stale)),
            };
            if let Some(resolved) = resolved {
                return resolved;
            }
        }
        // Variants keep changing under us: ask alone.
        tracing::debug!(path = query.key.path(), "giving up on sharing a fill");
        self.pass(query, Refusal::VaryStar).await
    }

    async fn look_up(&self, query: &Query) -> Lookup {
        let store = self.fills.store();
        let (key, found, missing) = match store.find(&query.key).await {
            Some(Found::Variants(variants)) => {
                let variant = |selection: &str| query.key.variant(&variants, selection, store.seed());
                let key = variant(&variants.spec.select(&*query.headers));
                match (store.find(&key).await, variants.spec.select_favourite(&*query.headers)) {
                    // What came in the language that this request likes best.
                    (None, Some(favourite)) => {
                        let favourite = variant(&favourite);
                        match store.find(&favourite).await {
                            None => (key, None, Reason::VaryMiss),
                            found => (favourite, found, Reason::VaryMiss),
                        }
                    }
                    (found, _) => (key, found, Reason::VaryMiss),
                }
            }
            found => (query.key.clone(), found, Reason::UriMiss),
        };
        let (head, outdated, reason) = match found {
            Some(Found::Head(head)) => (Some(head), false, Reason::Expired),
            Some(Found::Outdated(head)) => (Some(head), true, Reason::Expired),
            Some(Found::Variants(_)) | None => (None, false, missing),
        };
        Lookup { key, head, outdated, reason }
    }

    /// The stored response, when it may be used; else what to validate, and why.
    fn usable(
        &self,
        query: &Query,
        key: &Key,
        head: Arc<Head>,
        outdated: bool,
        now: UnixMillis,
    ) -> Result<Resolved, (Option<Arc<Head>>, Reason)> {
        let lifetimes = query.lifetimes();
        let freshness = lifetimes.of(&head);
        let freshness = if outdated { freshness.ended(now) } else { freshness };
        let (outcome, reason) = match lifetimes.judge(&freshness, &head.control, &query.control, now) {
            Verdict::Fresh => (Outcome::Hit, Reason::Fresh),
            Verdict::StaleAccepted => (Outcome::Stale, Reason::StaleAccepted),
            Verdict::StaleWhileRevalidate => {
                let background = Query { range: None, ..query.clone() };
                let seen = Some(head.clone());
                self.fills.refresh(self.wanted(&background, key.clone(), seen.clone(), seen));
                (Outcome::Stale, Reason::StaleWhileRevalidate)
            }
            Verdict::RequestWantsValidation => return Err((Some(head), Reason::RequestNoCache)),
            Verdict::Stale => return Err((Some(head), Reason::Expired)),
        };
        Ok(self.stored(query, key, head, now, Served::new(outcome, reason)))
    }

    fn stored(&self, query: &Query, key: &Key, head: Arc<Head>, now: UnixMillis, served: Served) -> Resolved {
        let freshness = query.lifetimes().of(&head);
        let outdated = self.fills.store().purges().judge(&head) != Standing::Current;
        let freshness = if outdated { freshness.ended(now) } else { freshness };
        let served = Served { ttl: Some(freshness.ttl(now).div_euclid(1000)), ..served };
        Resolved::Object { available: self.available(query, key, head), served, hold: None }
    }

    fn available(&self, query: &Query, key: &Key, head: Arc<Head>) -> Available {
        let object = Object {
            key: key.clone(),
            head,
            upstream: query.upstream.clone(),
            headers: query.headers.clone(),
        };
        Available { object, following: None, arrangement: None }
    }

    fn wanted(&self, query: &Query, key: Key, seen: Option<Arc<Head>>, stale: Option<Arc<Head>>) -> Wanted {
        let head_only = query.method == Method::HEAD && query.upstream.is_selective();
        Wanted {
            primary: query.key.clone(),
            key,
            upstream: query.upstream.clone(),
            method: if head_only { Method::HEAD } else { Method::GET },
            headers: query.headers.clone(),
            policy: query.policy.clone(),
            control: query.control,
            range: query.range,
            seen,
            stale,
        }
    }

    /// None: the answer is not for this request, look again.
    async fn disembark(
        &self,
        query: &Query,
        mut boarding: Boarding,
        stale: Option<Arc<Head>>,
        reason: Reason,
    ) -> Option<Resolved> {
        let collapsed = !boarding.is_leader();
        let key = |landed: &LandedObject| landed.key.clone();
        match boarding.landed().await {
            Landed::Object(landed) => {
                if collapsed && landed.vary.select(&*query.headers) != landed.selection {
                    return None;
                }
                let store = self.fills.store();
                if collapsed && landed.transfer.as_ref().is_some_and(|body| !body.has_beginning(store)) {
                    return Some(self.pass(query, Refusal::TooLarge).await);
                }
                let hold = match boarding.leader {
                    Some(leader) => leader.await.ok().and_then(|leader| match leader {
                        Leader::Attached(attachment) => Some(attachment),
                        Leader::Answer(..) => None,
                    }),
                    None => None,
                };
                let (outcome, reason) = match (landed.validated, reason) {
                    (true, Reason::RequestNoCache) => (Outcome::Revalidated, Reason::RequestNoCache),
                    (true, _) => (Outcome::Revalidated, Reason::NotModified),
                    (false, reason) => (Outcome::Miss, reason),
                };
                let served = Served {
                    forward_status: Some(landed.status),
                    stored: true,
                    collapsed,
                    ..Served::new(outcome, reason)
                };
                let mut available = self.available(query, &key(&landed), landed.head.clone());
                available.following = landed.transfer.clone();
                Some(Resolved::Object { available, served, hold })
            }
            Landed::Uncacheable { refusal, status } => {
                if let Some(resolved) = self.stale_if_error(query, stale.filter(|_| status.is_server_error()))
                {
                    return Some(resolved);
                }
                let Some(leader) = boarding.leader else { return Some(self.pass(query, refusal).await) };
                match leader.await {
                    Ok(Leader::Answer(response, refusal)) => {
                        Some(Resolved::Answer { served: forwarded(response.status, refusal), response })
                    }
                    _ => None,
                }
            }
            Landed::Full => Some(self.overloaded(query, stale)),
            Landed::Failed(error) => {
                let served = Served { collapsed, ..Served::new(Outcome::Error, Reason::Origin(error.kind)) };
                Some(self.stale_if_error(query, stale).unwrap_or(Resolved::Failed { error, served }))
            }
        }
    }

    fn overloaded(&self, query: &Query, stale: Option<Arc<Head>>) -> Resolved {
        let served = Served::new(Outcome::Error, Reason::Overloaded);
        self.stale_if_error(query, stale).unwrap_or(Resolved::Overloaded { served })
    }

    /// RFC 5861 §4 and RFC 9111 §4.2.4: rather old than nothing, unless the response or the request forbids it.
    fn stale_if_error(&self, query: &Query, stale: Option<Arc<Head>>) -> Option<Resolved> {
        let head = stale?;
        let now = self.clock().unix_millis();
        if !query.lifetimes().may_stand_in(&head, &query.control, now) {
            return None;
        }
        let key = Key::new(&*head.key, self.fills.store().seed());
        Some(self.stored(query, &key, head, now, Served::new(Outcome::Stale, Reason::StaleIfError)))
    }

    /// The same for an answer whose body broke before its first byte: what is still stored, unless it is of that answer.
    pub async fn stand_in_for(&self, query: &Query, broken: &Head) -> Option<Resolved> {
        let other = |head: &Arc<Head>| head.content != broken.content && self.fills.is_usable(head);
        let stored = self.look_up(query).await.head.filter(other);
        self.stale_if_error(query, stored)
    }

    /// Asks for this client alone, with exactly its range.
    async fn pass(&self, query: &Query, refusal: Refusal) -> Resolved {
        let ask = Ask {
            method: query.method.clone(),
            range: query.range,
            if_range: query.range.and_then(|_| query.headers.get(header::IF_RANGE).cloned()),
            ..Ask::get((*query.headers).clone())
        };
        match query.upstream.open(ask).await {
            Ok(response) => Resolved::Answer { served: forwarded(response.status, refusal), response },
            Err(error) => {
                let served = Served::new(Outcome::Error, Reason::Origin(error.kind));
                Resolved::Failed { error, served }
            }
        }
    }
}

/// How an answer that is not stored is told of.
pub fn forwarded(status: StatusCode, refusal: Refusal) -> Served {
    let forward_status = Some(status);
    let (outcome, reason) = match status {
        // Not stored only because nothing can be made of it again; to the client it is a plain miss.
        StatusCode::NOT_FOUND | StatusCode::GONE => (Outcome::Miss, Reason::NotFound),
        _ => (Outcome::Bypass, Reason::Refused(refusal)),
    };
    Served { forward_status, ..Served::new(outcome, reason) }
}
