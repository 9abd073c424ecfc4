//! What would become of the request now, why, and what would change that.

use http::{Method, StatusCode};
use millrace_kit::clock::UnixMillis;

use super::{
    super::{
        fill::{Became, Fills, Note},
        outcome::{Outcome, Reason},
        policy::Policy,
        range::{self, Resolution},
        request::Request,
        resolve::forwarded,
        route::BadQuery,
    },
    Place,
    case::{Case, Ruling},
    change, fixes,
    relatives::{self, Noise},
    report::{Explanation, Fix, Verdict},
    steps,
    words::bytes,
};
use crate::{
    cache::{
        Content, FieldLines, Head, control::RequestControl, freshness, purge::Standing, storable::Refusal,
    },
    origin,
};

pub struct Subject<'a> {
    pub fills: &'a Fills,
    pub request: &'a Request,
    pub policy: &'a Policy,
    pub place: &'a Place,
    pub note: Option<&'a Note>,
    pub case: Option<&'a Case>,
    pub noise: Option<Noise>,
    /// It is being fetched.
    pub under_way: bool,
    pub now: UnixMillis,
}

/// Other ways that are named beside the smallest change.
const MOST_ALTERNATIVES: usize = 3;

pub fn bad_query(bad: &BadQuery) -> Verdict {
    Verdict { outcome: Outcome::Error.as_str(), reason: bad.reason().as_str(), because: bad.to_string() }
}

impl Subject<'_> {
    pub fn decide(&self, told: &mut Explanation) {
        let (outcome, reason) = self.verdict();
        if let Some(case) = self.case {
            if !case.stored {
                told.storability = steps::storability(case, self.fills);
            }
            let judged = match case.rule(self.fills, &mut |_, _| {}) {
                Ruling::Judged(verdict) => Some(verdict),
                Ruling::Refused(_) => None,
            };
            told.freshness =
                steps::freshness(case, judged.filter(|_| self.place.standing == Standing::Current));
        }
        (told.smallest_change, told.alternatives) = self.remedy(outcome, reason, told);
        told.alternatives.truncate(MOST_ALTERNATIVES);
        told.notes = self.notes(outcome, reason, told);
        told.verdict = Verdict {
            outcome: outcome.as_str(),
            reason: reason.as_str(),
            because: self.because(reason, told),
        };
    }

    /// The stored response, as a lookup would find it.
    pub(super) fn visible(&self) -> Option<&Head> {
        self.place.head.as_deref().filter(|_| self.place.standing != Standing::Hidden)
    }

    fn verdict(&self) -> (Outcome, Reason) {
        use freshness::Verdict;
        if matches!(self.request.method, Method::TRACE | Method::CONNECT) {
            return (Outcome::Error, Reason::NotAllowed);
        }
        if !matches!(self.request.method, Method::GET | Method::HEAD) {
            return (Outcome::Bypass, Reason::Refused(Refusal::Method));
        }
        let control = RequestControl::parse(&*self.request.headers);
        let reason = match self.visible() {
            None if self.place.variants.is_some() => Reason::VaryMiss,
            None => Reason::UriMiss,
            Some(head) if !self.fills.is_usable(head) => Reason::Partial,
            Some(head) => {
                let outdated = self.place.standing == Standing::Outdated;
                let lifetimes = &self.policy.rules.lifetimes;
                let freshness = lifetimes.of(head);
                let freshness = if outdated { freshness.ended(self.now) } else { freshness };
                match lifetimes.judge(&freshness, &head.control, &control, self.now) {
                    Verdict::Fresh if self.lacks_blocks(head) => {
                        return match control.only_if_cached {
                            true => (Outcome::Error, Reason::OnlyIfCached),
                            false => (Outcome::Miss, Reason::Partial),
                        };
                    }
                    Verdict::Fresh => return (Outcome::Hit, Reason::Fresh),
                    Verdict::StaleAccepted => return (Outcome::Stale, Reason::StaleAccepted),
                    Verdict::StaleWhileRevalidate => return (Outcome::Stale, Reason::StaleWhileRevalidate),
                    Verdict::RequestWantsValidation => Reason::RequestNoCache,
                    Verdict::Stale => Reason::Expired,
                }
            }
        };
        if control.only_if_cached {
            return (Outcome::Error, Reason::OnlyIfCached);
        }
        if control.no_store {
            return (Outcome::Bypass, Reason::Refused(Refusal::RequestNoStore));
        }
        if self.place.head.is_some() {
            let stands_in = reason == Reason::Expired && self.origin_failed().is_some();
            return match self.visible().filter(|_| stands_in) {
                Some(head) if self.policy.rules.lifetimes.may_stand_in(head, &control, self.now) => {
                    (Outcome::Stale, Reason::StaleIfError)
                }
                _ => (Outcome::Miss, reason),
            };
        }
        if let Some(Note { became: Became::Failed(kind), .. }) = self.note {
            return (Outcome::Error, Reason::Origin(*kind));
        }
        match self.case.map(|case| (case, case.rule(self.fills, &mut |_, _| {}))) {
            Some((case, Ruling::Refused(refusal))) => {
                let served = forwarded(case.status, refusal);
                (served.outcome, served.reason)
            }
            _ => (Outcome::Miss, reason),
        }
    }

    /// How the origin failed when it was asked last, and when that was. What has happened since, nobody knows before it is asked again.
    pub(super) fn origin_failed(&self) -> Option<(String, UnixMillis)> {
        let note = self.note?;
        let status = note.answer.as_ref().map(|answer| answer.status).filter(StatusCode::is_server_error);
        let how = match (&note.became, status) {
            (Became::Failed(kind), _) => kind.as_str().to_owned(),
            (Became::Refused(_), Some(status)) => format!("status {}", status.as_u16()),
            _ => return None,
        };
        Some((how, note.at))
    }

    /// Whether some of the bytes asked for are not stored.
    fn lacks_blocks(&self, head: &Head) -> bool {
        let Content::Blocks { incarnation, block_size } = head.content else { return false };
        if self.request.method == Method::HEAD {
            return false;
        }
        let block_size = u64::from(block_size);
        let asked = (*self.request.headers).first("range").and_then(range::parse);
        let parts = match asked.map(|specs| range::resolve(&specs, head.length)) {
            Some(Resolution::Parts(parts)) => parts,
            _ => std::iter::once(0..head.length).collect(),
        };
        let blocks =
            parts.into_iter().flat_map(|part| part.start / block_size..part.end.div_ceil(block_size));
        blocks
            .take(65_536)
            .any(|block| !self.fills.store().has_block(incarnation, u32::try_from(block).unwrap_or(u32::MAX)))
    }

    pub(super) fn is_too_large(&self) -> bool {
        let length = match (&self.place.head, self.case) {
            (Some(head), _) => Some(head.length),
            (None, case) => case.and_then(|case| case.length),
        };
        length.is_some_and(|length| length > self.fills.store().longest_kept())
    }

    fn remedy(&self, outcome: Outcome, reason: Reason, told: &Explanation) -> (Vec<Fix>, Vec<Fix>) {
        let one = |fix: Fix| (vec![fix], Vec::new());
        let once = |how: &str| one(Fix::new("nobody", "ask-once", how));
        match reason {
            _ if outcome == Outcome::Hit => Default::default(),
            Reason::StaleIfError => one(match self.note {
                Some(Note { became: Became::Failed(kind), .. }) => {
                    Fix::new("origin", "mend-origin", unreachable(*kind))
                }
                _ => Fix::new("origin", "mend-origin", "mend it: it answers that it has failed"),
            }),
            Reason::Origin(kind) => one(Fix::new("origin", "mend-origin", unreachable(kind))),
            Reason::OnlyIfCached => {
                let mut fixes = vec![Fix::new(
                    "client",
                    "drop-only-if-cached",
                    "ask without `only-if-cached`: it lets nothing be fetched",
                )];
                if self.place.head.is_none()
                    && let Some(case) = self.case
                {
                    fixes.extend(self.of_case(case).0);
                }
                (fixes, Vec::new())
            }
            _ if self.place.standing == Standing::Hidden => {
                once("it was purged: the next request brings it anew")
            }
            _ if self.place.standing == Standing::Outdated => {
                once("it was softly purged: the next request has it validated")
            }
            Reason::UriMiss | Reason::VaryMiss if self.under_way => {
                once("it is on its way: whoever asks now shares that fill")
            }
            Reason::Partial | Reason::UriMiss | Reason::VaryMiss if self.is_too_large() => one(Fix::new(
                "config",
                "larger-tier",
                format!(
                    "give it more room: the longest object sure to stay has {} (a quarter of cache.disk, or of cache.memory without a disk tier)",
                    bytes(self.fills.store().longest_kept())
                ),
            )),
            Reason::Partial => once("the missing blocks are fetched and stored when they are asked for"),
            Reason::VaryMiss => self.of_variants(told),
            Reason::UriMiss => match (&self.noise, self.note) {
                (Some(noise), _) if noise.sure => one(noise.fix()),
                (_, Some(_)) if self.place.gone => once("it was taken out: the next request brings it anew"),
                (_, Some(Note { became: Became::Refused(_), .. })) => {
                    once("the answer to this request can be stored: the next one brings it")
                }
                (_, Some(_)) => once("it was stored, and dropped since to make room"),
                (_, None) if self.request.method == Method::HEAD => {
                    once("nobody has asked for it yet: the next GET brings it")
                }
                (_, None) => once("nobody has asked for it yet: the next request brings it"),
            },
            _ => match self.case {
                Some(case) => self.of_case(case),
                None if matches!(reason, Reason::Refused(Refusal::Method) | Reason::NotAllowed) => {
                    one(Fix::new("client", "use-get", "ask with GET: other methods always go to the origin"))
                }
                None => one(Fix::new(
                    "client",
                    "drop-request-directive",
                    "leave `no-store` out of the request's Cache-Control: it keeps the answer from being stored",
                )),
            },
        }
    }

    fn of_case(&self, case: &Case) -> (Vec<Fix>, Vec<Fix>) {
        let (changes, others) = change::smallest(case, self.fills);
        let tell =
            |changes: Vec<change::Change>| changes.into_iter().map(|one| fixes::of(one, case)).collect();
        (tell(changes), tell(others))
    }

    /// Of the variant that is nearest to the request.
    fn of_variants(&self, told: &Explanation) -> (Vec<Fix>, Vec<Fix>) {
        let variants = told.variants.iter().flat_map(|variants| &variants.known);
        let held = variants.filter(|variant| !variant.tiers.is_empty() && !variant.differs.is_empty());
        let nearest = held.min_by_key(|variant| variant.differs.len());
        let names: Vec<&str> = match (nearest, &told.variants) {
            (Some(variant), _) => variant.differs.iter().map(|(name, ..)| &**name).collect(),
            (None, Some(variants)) => variants.by.iter().map(|name| &**name).collect(),
            (None, None) => Vec::new(),
        };
        let once =
            Fix::new("nobody", "ask-once", "the next request brings the variant for fields like these");
        let narrow = |name| match self.is_keyed(name) {
            true => relatives::narrow_key(name),
            false => relatives::narrow_vary(name),
        };
        (names.into_iter().map(narrow).collect(), vec![once])
    }

    /// Whether it is the route that counts this field into the key.
    pub(super) fn is_keyed(&self, name: &str) -> bool {
        self.policy.rules.fields.nominated().iter().any(|keyed| **keyed == *name)
    }
}

fn unreachable(kind: origin::ErrorKind) -> &'static str {
    use origin::ErrorKind;
    match kind {
        ErrorKind::Connect => "bring it up, or correct its address: no connection comes about",
        ErrorKind::Dns => "correct its name, or the name servers: it leads nowhere",
        ErrorKind::Tls => "renew its certificate, or name whom to trust: the connection cannot be secured",
        ErrorKind::FirstByteTimeout => "it takes longer than its first_byte_timeout_ms to answer",
        ErrorKind::IdleTimeout => "it falls silent within the body",
        ErrorKind::BrokenBody => "it breaks off before the end of the body",
        ErrorKind::Forbidden => "this path may not be asked of it",
        _ => "it does not answer in valid HTTP",
    }
}
